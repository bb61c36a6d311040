"""Arrays in and out, the state of a network, the executor."""
