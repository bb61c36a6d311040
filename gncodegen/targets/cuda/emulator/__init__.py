"""Runs compiled PTX on the CPU: every thread of a grid at once in NumPy, with the checks a GPU does not make."""

from gncodegen.errors import EmulationFault
from gncodegen.targets.cuda.emulator.launch import Statistics, run
from gncodegen.targets.cuda.emulator.memory import Memory
from gncodegen.targets.cuda.emulator.module import Module
from gncodegen.targets.cuda.emulator.traffic import Traffic

__all__ = ["EmulationFault", "Memory", "Module", "Statistics", "Traffic", "run"]
