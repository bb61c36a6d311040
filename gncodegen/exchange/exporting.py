"""`Compiled.export`: a network as a file that others read. One row per format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gncodegen.errors import NetworkError, OptionsError, SaveError
from gncodegen.layers.checks import required_path
from gncodegen.runtime.sequences import pads
from gncodegen.saving import writing

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        becomes: what it is, for messages and the documentation.
        write: writes it: network, path, and the options by name.
        options: name → what it says.
    """

    becomes: str
    write: Callable[..., None]
    options: Mapping[str, str]


def _onnx(compiled: Compiled, path: Path, **choices: Any) -> None:
    from gncodegen.exchange.onnx.exporting import write  # noqa: PLC0415  needs the package onnx

    write(compiled, path, **choices)


def _python(compiled: Compiled, path: Path, **choices: Any) -> None:
    from gncodegen.exchange.standalone import python  # noqa: PLC0415  needs Numba

    python.write(compiled, path, **choices)


def _folder(compiled: Compiled, path: Path, **choices: Any) -> None:
    from gncodegen.exchange.standalone import gpu, python  # noqa: PLC0415  needs Numba

    _require_replaceable(path)
    module = python if compiled.options.target == "cpu" else gpu
    module.write_folder(compiled, path, **choices)


def _refuse_masks(compiled: Compiled) -> None:
    """Files take arrays only, and none says how long a sequence is."""
    masked = [node for node in compiled.network.inputs if pads(node.layer) and node.layer.padding == "mask"]
    if masked:
        raise NetworkError(
            [
                f'{node.label}: padding="mask", and files take no lengths of sequences; allowed: padding="none" and '
                f'"include"; export compile(net.graph.replace({node.name!r}, dataclasses.replace('
                f'net.graph[{node.name!r}], padding="none")), …), which computes full-length sequences alike'
                for node in masked
            ]
        )


EXPORTED = ("__init__.py", "README.md", "manifest.json", "weights.npz", "__pycache__")
"""What lies in an exported folder, beside cubins."""


def _require_replaceable(path: Path) -> None:
    """Refuses a folder that holds what no export wrote."""
    with writing(path):
        found = sorted(path.iterdir()) if path.exists() else []
    others = [each.name for each in found if each.name not in EXPORTED and each.suffix != ".cubin"]
    if others:
        raise SaveError(
            f"export: the folder {str(path)!r} holds {', '.join(others[:3])}{' …' if others[3:] else ''}; allowed: a "
            "new folder, or one that an export wrote; name another"
        )


def _native(compiled: Compiled, path: Path, **choices: Any) -> None:
    from gncodegen.exchange.standalone import native  # noqa: PLC0415  needs LLVM

    native.write(compiled, path, **choices)


TRAINING = {"training": "whether it has steps of the solver too; default False"}
CPU = {"cpu": 'LLVM\'s name of the CPU that it is for, such as "x86-64-v3"; "" = that of the compilation'}

FORMATS: Mapping[str, Format] = {
    ".onnx": Format(
        "an ONNX model",
        _onnx,
        {
            "opset": "version of the operator set, 21 or newer; default 21",
            "data_format": 'axis order of its arrays, such as "BCSS"; "" = that which `predict` takes',
        },
    ),
    ".py": Format("a Python file that needs numba and numpy only, its weights beside it", _python, TRAINING),
    "": Format(
        "a folder: a Python package of that file, its weights and a page; for a GPU of cubins, a manifest and a loader",
        _folder,
        TRAINING,
    ),
    ".o": Format("an object for C, weights inside, and a header beside it", _native, CPU),
    ".so": Format("a shared library for C, weights inside, and a header beside it; needs a C compiler", _native, CPU),
}
"""Ending of the path → format."""


def export(compiled: Compiled, path: str | Path, **choices: Any) -> None:
    """Writes a network in the format that the path's ending says.

    Args:
        compiled: the network.
        path: of the file.
        choices: the format's options.

    Raises:
        OptionsError: there is no such format, or it has no such option.
        NetworkError: the format cannot hold the network; `issues` names every layer.
        SaveError: the file cannot be written.
    """
    place = required_path(path, "export: path", 'write export("net.onnx")')
    row = FORMATS.get(place.suffix)
    if row is None:
        allowed = ", ".join(f"{ending or 'no ending'} ({each.becomes})" for ending, each in FORMATS.items())
        raise OptionsError(f"export: {str(path)!r} ends in {place.suffix!r}; allowed: {allowed}; choose one of them")
    unknown = sorted(set(choices) - set(row.options))
    if unknown:
        allowed = ", ".join(row.options) or "none"
        raise OptionsError(f"export: {', '.join(unknown)}: no such option of {place.suffix}; allowed: {allowed}")
    _refuse_masks(compiled)
    row.write(compiled, place, **choices)
