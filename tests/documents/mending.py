"""What tests of documents share."""

RED = "A red barn stands."
"""What the tiny model says of a red picture."""
