"""PTX text as decoded kernels."""
