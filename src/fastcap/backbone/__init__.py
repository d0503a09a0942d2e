"""Encoders: images to image tokens."""
