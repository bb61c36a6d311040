"""A PTX module with what its instructions do."""

from __future__ import annotations

from gncodegen.emulator.isa.packs import packs
from gncodegen.emulator.isa.table import BUILDERS
from gncodegen.emulator.ptx.module import Module


class Executable(Module):
    """A module that can run; `packs` has for each instruction the pack that begins there, if one does.

    Args:
        ptx: PTX 7 to 9 text.
        entry: the kernel's name; the first of the text by default.

    Raises:
        EmulationFault: the text has no entry, or an instruction that the emulator does not know.
    """

    def __init__(self, ptx: str, entry: str = "") -> None:
        super().__init__(ptx, BUILDERS, entry)
        self.packs = packs(self)
