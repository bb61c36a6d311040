"""The list of kernels, as commands print it."""

from __future__ import annotations

from gncodegen.compiled import Compiled


def kernel_table(compiled: Compiled) -> str:
    """One line per kernel: name, the layers it computes, its file; and the folder they lie in."""
    kernels = compiled.kernels.values()
    rows = [("Kernel", "Layers", "File"), *((k.name, _some(k.layers), k.path.name) for k in kernels)]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {layers:<{widths[1]}}  {file}" for name, layers, file in rows]
    folders = sorted({str(kernel.path.parent) for kernel in kernels})
    return "\n".join([*lines, *(f"in {folder}" for folder in folders)])


def _some(layers: tuple[str, ...], most: int = 3) -> str:
    """The layers, the first few of them where they are many."""
    return ", ".join(layers[:most]) + (f" and {len(layers) - most} more" if len(layers) > most else "")
