"""Settings that hold for every test: drawn examples are the same on every run and have no deadline."""

from hypothesis import settings

settings.register_profile("gncodegen", derandomize=True, deadline=None, database=None, max_examples=8)
settings.load_profile("gncodegen")
