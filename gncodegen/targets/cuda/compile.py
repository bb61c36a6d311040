"""Kernel source to PTX and cubin, on any machine that has the CUDA wheels; no GPU is needed.

Each source file defines `kernel(argument…, first, NUMBER…)`. Beside it lie `.ll` (LLVM IR), `.ptx`, `.json` (what the
assembler reports: registers, spills, shared memory) and `.cubin`.
"""

from __future__ import annotations

import ast
import gc
import json
import re
import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gncodegen.cache import files
from gncodegen.errors import CompileError, TargetError
from gncodegen.kernels.store import Source, execute
from gncodegen.targets import workers
from gncodegen.targets.cuda.architectures import architecture
from gncodegen.targets.refusals import refused

TILES = re.compile(r"^(THREADS|BLOCKS_PER_PROCESSOR|CLUSTER) = (\d+)$", re.MULTILINE)
"""The constants of a source file's head that the compiler must know."""

TARGET = re.compile(r"^# op .* · target (sm_\w+) ·", re.MULTILINE)


def require_wheels() -> None:
    """Checks that the CUDA compiler is installed.

    Raises:
        TargetError: it is not; names the extra.
    """
    for module in ("numba.cuda", "numba_cuda", "cuda.core"):
        try:
            missing = find_spec(module) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            raise TargetError(
                f"the CUDA target needs the module {module}, which is not installed; allowed: target='cpu' without it; "
                "run `pip install 'gncodegen[cuda]'`"
            )


def entry(path: Path) -> str:
    """The name of the compiled kernel: the file's stem is unique by content."""
    return f"kernel_{path.stem}"


def prepare() -> None:
    """Imports what `compile_source` needs, so that the first kernel does not wait for it."""
    require_wheels()
    import_module("gncodegen.targets.cuda.intrinsics")


def compile_source(path: Path) -> None:
    """Compiles one source file; writes `.ll`, `.ptx`, `.json` and `.cubin` beside it.

    Raises:
        CompileError: Numba or the assembler refused it; names the file.
        TargetError: the CUDA wheels are missing.
    """
    prepare()
    text = Source(path).text
    found = TARGET.search(text)
    if found is None:
        raise CompileError(f"generated file {path} names no architecture; compile the network again")
    target, tiles = found[1], {name: int(value) for name, value in TILES.findall(text)}
    # Numba makes millions of small objects and no garbage to speak of: collecting takes an eighth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        llvm, ptx = _compiled(path, text, architecture(target).capability, tiles)
        cubin, report = assemble(ptx, target, entry(path))
    except Exception as error:
        raise refused(path, error) from error
    finally:
        if collecting:
            gc.enable()
    files.write(path.with_suffix(".ll"), llvm.encode())
    files.write(path.with_suffix(".ptx"), ptx.encode())
    files.write(path.with_suffix(".json"), json.dumps(report).encode())
    files.write(path.with_suffix(".cubin"), cubin)


def _compiled(path: Path, text: str, capability: tuple[int, int], tiles: dict[str, int]) -> tuple[str, str]:
    """LLVM IR and PTX of the file's kernel."""
    # A process whose kernels all have cubins needs no compiler.
    from gncodegen.targets.cuda.numba_cuda import compile_kernel, types  # noqa: PLC0415
    from gncodegen.targets.cuda.values import WIDE  # noqa: PLC0415

    definition = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "kernel")
    names = [argument.arg for argument in definition.args.args]
    addresses = names.index("first")
    arguments = (types.uint64,) * addresses + (types.uint32,) + (WIDE,) * (len(names) - addresses - 1)
    bounds = (tiles["THREADS"], tiles.get("BLOCKS_PER_PROCESSOR", 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about launch sizes of a GPU that is not here
        library = compile_kernel(execute(path).kernel, arguments, capability, bounds)
        return library.get_llvm_str(), _renamed(library.get_asm_str(cc=capability), entry(path))


def _renamed(ptx: str, name: str) -> str:
    """PTX with a readable entry name and without Numba's environment, so that equal sources give equal text."""
    found = re.search(r"\.visible \.entry (\w+)\(", ptx)
    assert found, "a kernel has an entry"
    ptx = ptx.replace(found[1], name)
    return re.sub(r"^\.common \.global \.align 8 \.u64 _ZN08NumbaEnv\w+;\n", "", ptx, flags=re.MULTILINE)


def assemble(ptx: str, target: str, name: str) -> tuple[bytes, dict[str, int]]:
    """The cubin of PTX for one architecture, and the assembler's report.

    Returns:
        the cubin, and {"registers": per thread, "spills": bytes, "stack": bytes, "shared": bytes}.
    """
    core: Any = import_module("cuda.core")
    options = core.LinkerOptions(arch=target, ptxas_options=["-v"], lineinfo=True)
    linker = core.Linker(core.ObjectCode.from_ptx(ptx.encode(), name=name), options=options)
    cubin = bytes(linker.link("cubin").code)
    return cubin, _report(linker.get_info_log())


def _report(log: str) -> dict[str, int]:
    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found[1]) if found else 0

    return {
        "registers": number(r"Used (\d+) registers"),
        "spills": number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        "stack": number(r"(\d+) bytes stack frame"),
        "shared": number(r"(\d+) bytes smem"),
    }


def compile_missing(paths: Iterable[Path]) -> int:
    """Compiles every source without a cubin, on all cores; returns how many there were."""
    return workers.compile_missing(paths, ".cubin", __name__)
