"""Decoding: how logits become captions."""
