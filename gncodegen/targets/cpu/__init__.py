"""The CPU target: vectors, register tiles, compilation, the runner."""
