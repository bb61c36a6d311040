"""Network files: Python files that define `layers`, and what else a command needs; or ONNX models."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from gncodegen.errors import OptionsError


def network_file(path: str) -> dict[str, Any]:
    """The names a network file defines; `layers` is one of them.

    Args:
        path: a Python file that defines `layers` (a list of layers or a LayerGraph) and perhaps `options`, `x` and `y`;
            or an ONNX model, whose graph the layers are.

    Raises:
        OptionsError: there is no such file, or it defines no `layers`.
        NetworkError: no layer covers some nodes of the model.
    """
    if Path(path).suffix == ".onnx":
        from gncodegen.exchange.onnx.importing import from_onnx

        return {"layers": from_onnx(path)}
    if not Path(path).is_file():
        raise OptionsError(
            f"FILE = {path!r} is not a file; allowed: a Python file that defines `layers`, or an ONNX model; "
            "check the path"
        )
    names = runpy.run_path(path)
    if "layers" not in names:
        raise OptionsError(
            f"{path} does not define `layers`; allowed: a list of layers or a LayerGraph under that name; "
            "write layers = [gncodegen.ImageInputLayer((8, 8, 1)), …]"
        )
    return names


def optional_name(names: dict[str, Any], name: str, path: str) -> Any:
    """One of the names of a network file, with an error that says so where it is missing."""
    if name not in names:
        raise OptionsError(f"{path} does not define `{name}`; allowed: a file that does; add {name} = …")
    return names[name]
