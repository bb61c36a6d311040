"""The memory that a network needs at least, compared with what there is before any of it is asked for."""

from __future__ import annotations

import os
from math import prod

import numpy as np

from gncodegen.errors import CompileError, NetworkError
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import ITEM_SIZE
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.layers.network import Network, Node
from gncodegen.options import CompileOptions
from gncodegen.targets import control_groups
from gncodegen.targets.registry import row_of

OF_NO_GPU = 4 << 40
"""Bytes, more than a GPU has: the limit of networks that are compiled for one that may not be here."""

_DRAWN = np.dtype(np.float64).itemsize


def _machine_bytes() -> int:
    """The memory of this machine, or what of it the process may take: `ulimit -v`, or a container's limit."""
    try:
        import resource  # noqa: PLC0415  POSIX only

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ImportError, ValueError, OSError, AttributeError):
        return OF_NO_GPU
    return min(here, *([] if most == resource.RLIM_INFINITY else [most]), control_groups.memory() or here)


def limit(target: str) -> int:
    """Bytes that a run on a target may take."""
    return _machine_bytes() if row_of(target).family == "cpu" else OF_NO_GPU


def check_network(network: Network, options: CompileOptions) -> None:
    """Checks that the largest activation, and all parameters with their solver's state, have room.

    Raises:
        NetworkError: they have not; names the layer and the bytes.
    """
    issues = [fault for node in network.nodes for fault in _faults(node, options)]
    total = sum(_parameter_bytes(node, options) for node in network.nodes)
    if total > _machine_bytes() and not issues:
        issues = [
            f"all parameters need {total:,} bytes; allowed: {_machine_bytes():,}, the memory here; make layers smaller"
        ]
    if issues:
        raise NetworkError(issues)


def check_program(program: Program, target: str) -> None:
    """Checks that what a run keeps between its input and its output has room.

    Raises:
        CompileError: it has not; names the bytes.
    """
    needed = program.arena_bytes + program.constant_bytes
    if needed > limit(target):
        raise CompileError(
            f"{program.function} needs {needed:,} bytes between its input and its output; allowed: {limit(target):,}, "
            "the memory of this machine; make batch_size or layers smaller"
        )


def _faults(node: Node, options: CompileOptions) -> list[str]:
    needed = node.size.count * options.batch_size * ITEM_SIZE[options.dtype]
    faults: list[str] = []
    if needed > limit(options.target):
        faults.append(
            f"{node.label}: its output {node.size} for batch_size = {options.batch_size} needs {needed:,} bytes; "
            f"allowed: {limit(options.target):,}, the memory there is; make batch_size or the layer smaller"
        )
    needed = _parameter_bytes(node, options)
    if needed > _machine_bytes():
        faults.append(
            f"{node.label}: its parameters need {needed:,} bytes; allowed: {_machine_bytes():,}, the memory of this "
            "machine; make the layer smaller"
        )
    return faults


def _parameter_bytes(node: Node, options: CompileOptions) -> int:
    """Of parameters while they are drawn, in float64; then as drawn, as kernels read them, of gradients and solver."""
    itemsize = ITEM_SIZE[options.array_dtype]
    kept = itemsize * (2 + (1 + len(SOLVERS[options.solver].state) if options.training else 0))
    return max(kept, _DRAWN + itemsize) * sum(prod(parameter.shape) for parameter in node.parameters)
