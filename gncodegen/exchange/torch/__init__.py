"""PyTorch in and out; `torch` is imported by what is called here, and by nothing else."""
