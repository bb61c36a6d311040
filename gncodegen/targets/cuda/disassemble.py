"""Cubin to SASS, the machine code of one architecture, with the source lines it comes from."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from gncodegen.errors import TargetError


def _disassembler() -> str:
    """The path of nvdisasm: of the wheel, else of an installed toolkit."""
    spec = find_spec("nvidia")
    for root in spec.submodule_search_locations or () if spec else ():
        for found in Path(root).glob("cu*/bin/nvdisasm*"):
            return str(found)
    found = shutil.which("nvdisasm")
    if found is None:
        raise TargetError(
            "SASS is shown by nvdisasm, which is not installed; allowed: `.ptx` without it; "
            "run `pip install 'gncodegen[cuda]'` or put a CUDA toolkit on the PATH"
        )
    return found


def sass(cubin: Path) -> str:
    """The SASS of a cubin, instructions only.

    Raises:
        TargetError: nvdisasm is missing or fails.
    """
    command = [_disassembler(), "--print-code", "--print-line-info", "--no-dataflow", str(cubin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TargetError(f"nvdisasm cannot read {cubin}: {done.stderr.strip()}; compile the network again")
    return done.stdout
