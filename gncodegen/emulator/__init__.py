"""Runs compiled PTX on the CPU: every thread of a grid at once in NumPy, with the checks a GPU does not make.

The rooms, each importing only from those before it: `ptx` (text → decoded kernel), `state` (lanes, registers, memory),
`isa` (what instructions do) and, beside it, `checks` (races, traffic); barriers, interpreter and launch stand on top.
"""

from gncodegen.emulator.checks.traffic import Traffic
from gncodegen.emulator.isa.executable import Executable
from gncodegen.emulator.launch import Statistics, run
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.errors import EmulationFault

__all__ = ["DeviceMemory", "EmulationFault", "Executable", "Statistics", "Traffic", "run"]
