"""Runs compiled PTX on the CPU: every thread of a grid at once in NumPy, with the checks a GPU does not make."""

from gncodegen.emulator.checks.traffic import Traffic
from gncodegen.emulator.launch import Statistics, run
from gncodegen.emulator.ptx.module import Module
from gncodegen.emulator.state.memory import Memory
from gncodegen.errors import EmulationFault

__all__ = ["EmulationFault", "Memory", "Module", "Statistics", "Traffic", "run"]
