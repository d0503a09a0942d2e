"""Networks that a student learns from: by their features, their next-token probabilities, or their captions."""
