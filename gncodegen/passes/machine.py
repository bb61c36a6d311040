"""The options of passes that know the machine: its facts, one by one, so that pipelines can be written as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

from xdsl.passes import ModulePass

from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import Machine
from gncodegen.targets.registry import MATH

_SIZE = (lambda value: value >= 0, "an int, 0 or more")

_FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "family": (lambda value: value in ("cpu", "cuda"), "cpu or cuda"),
    "vector_bytes": (lambda value: value in (8, 16, 32, 64), "8, 16, 32 or 64"),
    "vector_registers": (lambda value: 8 <= value <= 256, "8 to 256"),
    "cores": (lambda value: value >= 1, "a positive int"),
    "math": (lambda value: value in MATH, ", ".join(MATH)),
    "l1": _SIZE,
    "l2": _SIZE,
    "l3": _SIZE,
    "threads": _SIZE,
}
"""Option of a pass → whether a value may be, and what may be in words."""


@dataclass(frozen=True)
class ForMachine(Machine, ModulePass):
    """A pass for one machine, whose facts are its options."""

    def __post_init__(self) -> None:
        for name, (holds, allowed) in _FACTS.items():
            if not holds(value := getattr(self, name)):
                raise CompileError(f"{self.name}{{{name}={value}}}; allowed: {allowed}; correct the option")

    @classmethod
    def of(cls, machine: Machine, **options: Any) -> Self:
        """The pass for a machine."""
        return cls(**{entry.name: getattr(machine, entry.name) for entry in fields(machine)}, **options)

    @property
    def machine(self) -> Machine:
        """The machine the options describe."""
        return Machine(**{entry.name: getattr(self, entry.name) for entry in fields(Machine)})
