"""The options of passes that know the machine: its facts, one by one, so that pipelines can be written as text."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from xdsl.passes import ModulePass

from gncodegen.kernels.schedule import Machine


@dataclass(frozen=True)
class ForMachine(ModulePass):
    """A pass for one machine; the fields are those of Machine."""

    target: str = "cpu"
    vector_bytes: int = 32
    vector_registers: int = 16
    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 16 << 20
    cores: int = 1
    threads: int = 0
    math: str = "float32"
    precise: bool = False

    @classmethod
    def of(cls, machine: Machine, **options: Any) -> Self:
        """The pass for a machine."""
        return cls(**{entry.name: getattr(machine, entry.name) for entry in fields(machine)}, **options)

    @property
    def machine(self) -> Machine:
        """The machine the options describe."""
        return Machine(**{entry.name: getattr(self, entry.name) for entry in fields(Machine)})
