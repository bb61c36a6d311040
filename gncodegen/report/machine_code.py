"""Machine code with the source lines that it comes from, read from the text of assemblers and disassemblers."""

from __future__ import annotations

import re
from pathlib import PurePath

from gncodegen.errors import TargetError
from gncodegen.inspection import CompiledKernel

Instructions = list[tuple[str, int]]
"""(an instruction or a label, the line of the source file that it comes from or 0)."""

_GENERATED_LABELS = (".Ltmp", ".Lfunc_begin", ".Linfo", ".Ldebug", ".LCPI")
"""Of assembly: places that no jump leads to."""


def levels(kernel: CompiledKernel, with_lines: str) -> dict[str, Instructions]:
    """A kernel below its source, by the name of the level.

    Args:
        kernel: which one.
        with_lines: its assembly, or PTX, with `.loc` directives.
    """
    llvm: Instructions = [(line, 0) for line in kernel.llvm.splitlines()]
    listed = assembly(with_lines, kernel.path.name)
    if kernel.ptx is None:
        return {"Assembly": listed, "LLVM": llvm}
    return {"PTX": listed, "SASS": _disassembled(kernel), "LLVM": llvm}


def _disassembled(kernel: CompiledKernel) -> Instructions:
    try:
        return sass(kernel.sass or "", kernel.path.name)
    except TargetError as error:
        return [(str(error), 0)]


def assembly(text: str, source: str) -> Instructions:
    """Assembly or PTX without its directives.

    Args:
        text: with `.loc` directives.
        source: the name of the file whose lines count.
    """
    lines: Instructions = []
    line = 0
    own = {number for number, name in re.findall(r'\.file\s+(\d+).*"([^"]*)"', text) if PurePath(name).name == source}
    for each in text.splitlines():
        word = each.lstrip()
        if word.startswith(".loc"):
            _, file, number, *_ = word.split()
            line = int(number) if not own or file in own else 0
        elif not word or (word.startswith(".") and len(word) < len(each)) or each.startswith(_GENERATED_LABELS):
            continue
        elif each.startswith(("\t", " ")):
            lines.append((each.expandtabs(4).split("#")[0].rstrip(), line))
        else:
            lines.append((each.split("#")[0].rstrip(), 0))
    last = next((i for i, (each, _) in enumerate(lines) if each.startswith(".Lfunc_end")), len(lines))
    return lines[:last]


def sass(text: str, source: str) -> Instructions:
    """SASS as nvdisasm prints it, without its directives, functions with lines first; of inlined calls the innermost.

    Args:
        text: with comments `//## File "…", line 7`.
        source: the name of the file whose lines count.
    """
    functions: list[Instructions] = [[]]
    line, within = 0, False  # within the comments in front of an instruction
    for each in text.splitlines():
        if match := re.match(r'\s*//## File "([^"]*)", line (\d+)', each):
            if not (within and line):
                line = int(match[2]) if PurePath(match[1]).name == source else 0
            within = True
        elif match := re.match(r"\s+(/\*[0-9a-f]{4,}\*/)\s+(.*?)\s*$", each):
            functions[-1].append((f"    {match[1]} {match[2]}", line))
            within = False
        elif each.startswith(".L"):
            functions[-1].append((each, 0))
        elif re.match(r"\w+:$", each):
            functions.append([(each, 0)])
            line, within = 0, False
    functions.sort(key=lambda function: not any(line for _, line in function))
    return [each for function in functions for each in function]
