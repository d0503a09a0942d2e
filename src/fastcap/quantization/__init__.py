"""Quantisation: smaller and faster graphs."""
