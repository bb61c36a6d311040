"""What `--json` prints of a compiled network."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from gncodegen.compiled import Compiled


def facts(compiled: Compiled) -> str:
    """Target, stages, layers, what was fused, kernels and memory, as JSON."""
    layers: list[dict[str, Any]] = [
        {
            "name": node.name,
            "type": type(node.layer).__name__,
            "inputs": node.inputs,
            "format": node.size.format,
            "size": node.size.shape,
            "parameters": {parameter.name: parameter.shape for parameter in node.parameters},
        }
        for node in compiled.network.nodes
    ]
    kernels: list[dict[str, Any]] = [
        {
            "name": kernel.name,
            "op": kernel.schedule.op,
            "template": kernel.schedule.template,
            "layers": kernel.layers,
            "bytes": kernel.bytes,
            "flops": kernel.flops,
            "path": str(kernel.path),
            "edited": None if kernel.override is None else asdict(kernel.override),
        }
        for kernel in compiled.kernels.values()
    ]
    found = {
        "target": compiled.target,
        "function": compiled.program.function,
        "stages": compiled.stages,
        "layers": layers,
        "fused": compiled.fused,
        "unfused": compiled.unfused,
        "kernels": kernels,
        "memory_bytes": compiled.memory.peak_bytes,
    }
    return json.dumps(found, indent=1)
