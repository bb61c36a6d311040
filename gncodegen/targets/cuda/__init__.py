"""The CUDA target: intrinsics, compilation to PTX and cubin, disassembly, launching, and an emulator of PTX."""
