"""Settings that hold for every test: one BLAS thread, and drawn examples that are the same on every run."""

import os

# The oracle's many small products wait for each other's threads on a busy machine; NumPy reads this when it loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("gncodegen", derandomize=True, deadline=None, database=None, max_examples=8)
settings.load_profile("gncodegen")


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files of generated source")
