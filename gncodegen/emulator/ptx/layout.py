"""Where a kernel's variables lie in their state spaces (PTX ISA 5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gncodegen.emulator.ptx.scalars import DTYPE, Array, literal
from gncodegen.emulator.ptx.spaces import CONSTANT
from gncodegen.emulator.ptx.text import Variable
from gncodegen.errors import EmulationFault


class Layout:
    """Every variable at its place in its space.

    Attributes: `symbols` (name → address), `shared_bytes` (static, a block), `local_bytes` (a thread), `dynamic_start`
    (where dynamic shared memory begins), `constants` (the bytes of constants and global variables).

    Args:
        variables: all that the kernel can name.

    Raises:
        EmulationFault: an initial value is not made of numbers.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        self.symbols: dict[str, int] = {}
        sizes = {"shared": 0, "local": 0, "": 0}
        images: list[tuple[int, Array]] = []
        dynamic: list[Variable] = []
        for one in variables:
            space = one.space if one.space in sizes else ""
            if space == "shared" and one.elements == 0:
                dynamic.append(one)
                continue
            size = DTYPE[one.kind].itemsize
            start = _up(sizes[space], max(one.alignment, size))
            sizes[space] = start + size * one.elements
            self.symbols[one.name] = start + (0 if space else CONSTANT)
            if one.initial is not None:
                images.append((start, _image(one)))
        self.shared_bytes, self.local_bytes = sizes["shared"], sizes["local"]
        self.dynamic_start = _up(self.shared_bytes, max([16, *(one.alignment for one in dynamic)]))
        self.symbols |= {one.name: self.dynamic_start for one in dynamic}
        self.constants = np.zeros(sizes[""] + 16 & ~15, np.uint8)
        for start, image in images:
            self.constants[start : start + image.size] = image


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _image(variable: Variable) -> Array:
    """The bytes of a variable's initial value."""
    dtype: np.dtype[Any] = DTYPE[variable.kind]
    result = np.zeros(variable.elements, dtype)
    words = [word for word in re.split(r"[\s,{}]+", variable.initial or "") if word]
    try:
        result[: len(words)] = [literal(word, dtype) for word in words]
    except ValueError as error:
        raise EmulationFault(f"the initial value of {variable.name} is not made of numbers") from error
    return result.view(np.uint8)
