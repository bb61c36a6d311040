"""Training: options, the loop, the trained network."""
