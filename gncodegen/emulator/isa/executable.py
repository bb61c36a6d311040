"""A PTX module with what its instructions do."""

from __future__ import annotations

from gncodegen.emulator.isa.packs import packs
from gncodegen.emulator.isa.table import BUILDERS
from gncodegen.emulator.ptx.module import Module


class Executable(Module):
    """A module that can run; `packs` has for each instruction the pack that begins there, if one does.

    Args:
        ptx: PTX 7 to 9 text with one `.visible .entry`.

    Raises:
        EmulationFault: the text has no entry, or an instruction that the emulator does not know.
    """

    def __init__(self, ptx: str) -> None:
        super().__init__(ptx, BUILDERS)
        self.packs = packs(self)
