"""A CUDA driver without a GPU, so that the real cuda.core runs: memory and kernels are the emulator's.

`libcuda.c` is the shared library, a dozen lines; `abi` makes entry points of Python functions; `devices`, `memory`,
`streams`, `graphs` and `kernels` have them; `driver` puts them together; the fixture `stub` lends it to a test.

What hardware decides is decided against the program wherever the CUDA manuals leave it open: work runs as late as its
order allows, so a missing wait shows. It says nothing of timing, of memory order within a kernel beyond what the
emulator checks, and of whether a real driver takes a cubin.
"""
