"""Network files: Python files that define `layers`, and what else a command needs; or ONNX models."""

from __future__ import annotations

import runpy
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gncodegen.errors import GncodegenError, OptionsError

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled


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
    names = _run(path)
    if "layers" not in names:
        raise OptionsError(
            f"{path} does not define `layers`; allowed: a list of layers or a LayerGraph under that name; "
            "write layers = [gncodegen.ImageInputLayer((8, 8, 1)), …]"
        )
    return names


def compiled_network(path: str | None, choice: dict[str, Any]) -> Compiled:
    """The compiled network of a network file, a model or a saved folder; None: that of the last compilation.

    Raises:
        OptionsError: there is no such file.
    """
    from gncodegen import compiler

    if path is None:
        return compiler.last(**choice)
    if Path(path).is_dir():
        return compiler.load(path, **choice)
    names = network_file(path)
    return compiler.compile(names["layers"], options=names.get("options"), **choice)


def _run(path: str) -> dict[str, Any]:
    """The names of a Python file, which may import its neighbours; an error names the line, in it or in one of them."""
    folder = Path(path).resolve().parent
    sys.path.insert(0, str(folder))
    try:
        return runpy.run_path(path)
    except Exception as error:
        own = [each for each in traceback.extract_tb(error.__traceback__) if _lies_in(each.filename, folder)]
        place, line, source = path, getattr(error, "lineno", None) or 1, ""
        if own:
            name = Path(own[-1].filename).name
            place = path if name == Path(path).name else str(Path(path).with_name(name))
            line, source = own[-1].lineno, f"\n  {own[-1].line}"
        kind = "" if isinstance(error, GncodegenError) else f"{type(error).__name__}: "
        raise OptionsError(f"{place}:{line}: {kind}{error}{source}") from error
    finally:
        sys.path.remove(str(folder))


def _lies_in(file: str, folder: Path) -> bool:
    """Whether it is a file of that folder itself; `<frozen runpy>` is none."""
    return Path(file).is_file() and Path(file).resolve().parent == folder


def optional_name(names: dict[str, Any], name: str, path: str) -> Any:
    """One of the names of a network file, with an error that says so where it is missing."""
    if name not in names:
        raise OptionsError(f"{path} does not define `{name}`; allowed: a file that does; add {name} = …")
    return names[name]
