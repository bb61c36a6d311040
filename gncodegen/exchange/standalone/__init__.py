"""Networks as files that need none of this package: Python with Numba and NumPy, or objects and headers for C."""
