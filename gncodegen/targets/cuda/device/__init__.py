"""Where compiled CUDA kernels run: a GPU, or the PTX emulator on host memory, behind one protocol."""
