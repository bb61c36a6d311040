"""The IR: gn (pure ops on tensors) and kern (launches over buffers), built, printed and parsed with xDSL."""
