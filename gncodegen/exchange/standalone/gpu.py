"""`compiled.export("net/")` for a GPU: cubins, a manifest of buffers and launches, weights, and a loader for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gncodegen.errors import OptionsError
from gncodegen.exchange.standalone.program import Standalone, standalone
from gncodegen.exchange.standalone.weights import write_arrays
from gncodegen.kernels.program import Call
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.templates import template_folder
from gncodegen.saving import written_beside

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled

ALIGNMENT = 256
"""Bytes; buffers start on such boundaries."""


def write_folder(compiled: Compiled, path: Path, *, training: bool = False) -> None:
    """Writes the folder.

    Args:
        compiled: the network, for a GPU or an architecture.
        path: of the folder.
        training: refused: steps of the solver are for the CPU.

    Raises:
        OptionsError: the network was compiled for the CPU, or steps are wanted.
        NetworkError: some layers cannot be in such a folder; `issues` names every one.
        SaveError: a file cannot be written.
    """
    from gncodegen.targets.cuda.compile import entry  # noqa: PLC0415  needs numba-cuda

    if training:
        raise OptionsError("export: training=True of a network for a GPU; allowed: target='cpu'; compile for that")
    alone = standalone(compiled, "a folder", on_gpu=True)
    kernels = {source.path.stem: (source, alone.program.kernels[name]) for name, source in alone.sources.items()}
    loader = (template_folder() / "standalone" / "gpu_network.py").read_text(encoding="utf-8")
    manifest = _manifest(alone)
    manifest["kernels"] = {
        stem: {"entry": entry(source.path), **_launched(schedule)} for stem, (source, schedule) in kernels.items()
    }
    with written_beside(path) as draft:
        folder = draft / path.name
        folder.mkdir()
        write_arrays(folder / "weights.npz", alone.kept)
        (folder / "__init__.py").write_text(loader.replace("{module}", path.name), encoding="utf-8")
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for stem, (source, _) in kernels.items():
            (folder / f"{stem}.cubin").write_bytes(source.read(".cubin"))


def _manifest(alone: Standalone) -> dict[str, Any]:
    """Buffers of one piece of memory, and launches in order."""
    program, roots = alone.program, alone.roots
    places, end = dict[str, int](), 0
    for kind, size in (("arena", program.arena_bytes), ("constant", program.constant_bytes)):
        places[kind], end = end, end + -(-size // ALIGNMENT) * ALIGNMENT
    buffers: list[dict[str, Any]] = []
    for buffer in (program.buffers[index] for index in roots):
        if buffer.kind in places:
            offset = places[buffer.kind] + buffer.offset
        else:
            offset, end = end, end + -(-max(buffer.bytes, 1) // ALIGNMENT) * ALIGNMENT
        facts = {"kind": buffer.kind, "name": buffer.name, "shape": buffer.shape, "dtype": buffer.dtype}
        buffers.append({**facts, "offset": offset})
    ports = {port: roots.index(program.root(program.arguments[port.key])) for port in (*alone.inputs, *alone.outputs)}
    for port, place in ports.items():
        buffers[place] |= {"name": port.name, "shape": (program.batch_size, *port.shape)}
    launches = [_launch(alone, call) for call in program.calls]
    return {
        "architecture": next(iter(program.kernels.values())).target,
        "batch": program.batch_size,
        "bytes": end,
        "inputs": [ports[port] for port in alone.inputs],
        "outputs": [ports[port] for port in alone.outputs],
        "buffers": buffers,
        "hoisted": launches[: program.hoisted],
        "launches": launches[program.hoisted :],
    }


def _launch(alone: Standalone, call: Call) -> dict[str, Any]:
    return {
        "kernel": alone.sources[call.kernel].path.stem,
        "layers": call.layers,
        "grid": call.grid,
        "first": call.first,
        "buffers": alone.arguments(call),
        "numbers": call.numbers,
        "order": call.order[:4],  # cuts are of kernels of CPUs
    }


def _launched(schedule: Schedule) -> dict[str, Any]:
    """How a kernel is launched."""
    tiles = schedule.tiles
    return {
        "threads": tiles.get("threads", 1),
        "shared": tiles.get("dynamic_shared", 0),
        "cluster": tiles.get("cluster", 1),
        "cooperative": bool(tiles.get("cooperative", False)),
    }
