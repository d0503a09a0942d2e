"""Compression: a model of any family is made to fit a size, by what it loses least from; see docs/compression.md."""
