"""The options of passes that know the machine: its facts, one by one, so that pipelines can be written as text."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from xdsl.passes import ModulePass

from gncodegen.kernels.schedule import Machine


@dataclass(frozen=True)
class ForMachine(Machine, ModulePass):
    """A pass for one machine, whose facts are its options."""

    @classmethod
    def of(cls, machine: Machine, **options: Any) -> Self:
        """The pass for a machine."""
        return cls(**{entry.name: getattr(machine, entry.name) for entry in fields(machine)}, **options)

    @property
    def machine(self) -> Machine:
        """The machine the options describe."""
        return Machine(**{entry.name: getattr(self, entry.name) for entry in fields(Machine)})
