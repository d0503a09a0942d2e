"""Documents that show pictures: which alternative texts are missing, empty or poor, and captions in their place."""
