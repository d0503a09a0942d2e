"""Those who know more than the model that learns: their features, next tokens and captions."""
