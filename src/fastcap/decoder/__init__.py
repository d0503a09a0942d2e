"""Decoders: image tokens and caption tokens to logits."""
