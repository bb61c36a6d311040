"""The table of targets: one row says all that the compiler knows of a target by its name.

What a row names is imported when the target is asked for: a CPU needs none of CUDA's packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Protocol

from gncodegen.errors import OptionsError, TargetError
from gncodegen.targets import numba_settings

MATH = ("float32", "tf32", "bf16")
"""How matrix products may multiply."""


class TargetOptions(Protocol):
    """The options of compilation that a target reads."""

    @property
    def target(self) -> str:
        """The name of the target."""
        ...

    @property
    def dtype(self) -> str:
        """Element type of activations and parameters."""
        ...

    @property
    def emulate(self) -> bool:
        """Whether kernels run in an emulator."""
        ...

    @property
    def math(self) -> str:
        """How matrix products multiply, one of MATH."""
        ...

    @property
    def tune(self) -> bool:
        """Whether kernels are chosen by measuring."""
        ...

    @property
    def of_machine(self) -> Mapping[str, Any]:
        """The options that are facts of the Machine, by their names there."""
        ...


@dataclass(frozen=True)
class TargetRow:
    """One row: a target, or all that share a pattern of names.

    Args:
        names: regular expression that the whole name matches.
        shown: the names as a message lists them.
        family: kernels/<family> plans its kernels, templates/<family> are their templates.
        backend: "module:function", or the function: TargetOptions → Backend, the place where networks run. Its
            `target.machine` is what kernels are planned for.
        levels: what its kernels can be shown as.
        math: how its matrix products can multiply.
        emulated: whether its kernels can run in an emulator.
        tuned: whether its kernels can be timed here.
    """

    names: str
    shown: str
    family: str
    backend: str | Callable[[TargetOptions], Any]
    levels: tuple[str, ...]
    math: tuple[str, ...] = ("float32",)
    emulated: bool = False
    tuned: bool = False

    def open(self, options: TargetOptions) -> Any:
        """The Backend.

        Raises:
            OptionsError: the machine that is here lacks what an option asks for.
            TargetError: there is no such target, or no GPU, or it cannot be used.
        """
        numba_settings.check()
        factory = resolve_name(self.backend) if isinstance(self.backend, str) else self.backend
        return factory(options)


_HOST_LEVELS = ("source", "llvm", "asm")
_GPU_LEVELS = (*_HOST_LEVELS, "ptx", "sass")
_ARCHITECTURE = "gncodegen.runtime.device_backend:architecture_backend"

TARGETS = [
    TargetRow("cpu", "'cpu'", "cpu", "gncodegen.runtime.host_backend:host_backend", _HOST_LEVELS, tuned=True),
    TargetRow(r"cuda(:\d{1,3})?", "'cuda'", "cuda", "gncodegen.runtime.device_backend:gpu_backend", _GPU_LEVELS, MATH),
    TargetRow("sm_75", "sm_75", "cuda", _ARCHITECTURE, _GPU_LEVELS, emulated=True),
    TargetRow(r"sm_\d{2,3}", "sm_80 … sm_120", "cuda", _ARCHITECTURE, _GPU_LEVELS, MATH, emulated=True),
]
"""In order: the first row whose names match counts."""


def register(row: TargetRow) -> None:
    """Adds a row in front of the others."""
    TARGETS.insert(0, row)


def row_of(target: str) -> TargetRow:
    """The row of a target.

    Raises:
        TargetError: there is none.
    """
    for row in TARGETS:
        if re.fullmatch(row.names, target):
            return row
    raise unknown(target)


def unknown(target: str) -> TargetError:
    """The error that says which targets there are."""
    allowed = ", ".join(row.shown for row in TARGETS)
    return TargetError(f"target = {target!r}; allowed: {allowed}; write target='sm_90' to inspect kernels")


def check(options: TargetOptions) -> None:
    """Checks that the options go together, and with the target.

    Raises:
        OptionsError: they do not; names the cure.
        TargetError: there is no such target.
    """
    target, math, row = options.target, options.math, row_of(options.target)
    if options.emulate and not row.emulated:
        raise OptionsError(
            f"emulate = True with target {target!r}; allowed: with an architecture; write target='sm_90', emulate=True"
        )
    check_math(target, math, options.dtype)
    if options.tune and not row.tuned:
        allowed = ", ".join(row.shown for row in TARGETS if row.tuned)
        raise OptionsError(
            f"tune = True with target {target!r}; allowed: target {allowed}, whose kernels can be timed here; "
            "write target='cpu' or tune=False"
        )


def check_math(target: str, math: str, dtype: str) -> None:
    """Checks that a target multiplies matrices of `dtype` so.

    Raises:
        OptionsError: it does not.
        TargetError: there is no such target.
    """
    if math not in row_of(target).math or (math != "float32" and dtype != "float32"):
        given = f"target {target!r}" if dtype == "float32" else f"dtype {dtype!r}"
        raise OptionsError(
            f"math = {math!r} with {given}; allowed: float32 networks on target 'cuda' or 'sm_80' and later, whose "
            "tensor cores multiply so; write math='float32'"
        )
