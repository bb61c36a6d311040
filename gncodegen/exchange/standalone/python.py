"""`compiled.export("net.py")`: one readable file that needs Numba and NumPy only, and its weights beside it."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import numpy as np

from gncodegen.exchange.standalone.flatten import OURS, Flattened, Place
from gncodegen.exchange.standalone.program import Port, Standalone, standalone
from gncodegen.kernels.program import Call
from gncodegen.kernels.store import Source
from gncodegen.runtime.executor import cost
from gncodegen.saving import written_beside

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled

PAGE = """# A network that stands alone

{text}

`__init__.py` has everything: the vocabulary of the kernels, the kernels, the list of launches. `weights.npz` has the
parameters by name; other values of the same shapes are another network.
"""

HERE = __package__ or ""

REPLACED: dict[Place, Place] = {
    (f"gncodegen.targets.cpu.{module}", name): (f"{HERE}.{own}", name)
    for module, own, names in (
        ("host", "host", ("processor", "target_machine")),
        ("frontend", "host", ("TARGET",)),
        ("parallel", "host", ("numba_threads", "turn", "workers")),
        ("runner", "linking", ("linked_loop",)),
    )
    for name in names
}
"""What stands for what reads settings, keeps caches, guards forks, or is there once in a process."""

HEAD = '''"""{title}

    import {module}
    y = {module}.predict({arguments})

{arrays}
Made by gncodegen {version} from kernels for this network's shapes. It needs numba and numpy, and {weights} beside it;
the kernels are compiled at the first prediction. On the command line: python {module}.py x.npy y.npy
"""

from __future__ import annotations

'''

TAIL = '''
# ---- This network

BUFFERS = [
{buffers}
]
"""All arrays: kind, name, shape, type, and where those of this file's own memory lie, in bytes."""

LAUNCHES = [
{launches}
]
"""In order: kernel, arrays, tiles, the first tile, nanoseconds on one core, about, and numbers that it reads."""

NETWORK = Network(
    Path(__file__).with_name({weights!r}),
    Function(BUFFERS, LAUNCHES, hoisted={hoisted}, arena_bytes={arena}, constant_bytes={constant}),
    inputs=[{inputs}],
    outputs=[{outputs}],
)


def predict(*x: Any) -> Any:
    """The network's outputs for any number of observations: `Network.predict`."""
    return NETWORK.predict(*x)


if __name__ == "__main__":
    import sys

    *arrays, target = sys.argv[1:]
    np.save(target, predict(*map(np.load, arrays)))
'''


def write(compiled: Compiled, path: Path) -> None:
    """Writes the file, and the parameters that prediction reads beside it.

    Raises:
        OptionsError: the network was compiled for another target.
        NetworkError: some layers cannot be in such a file; `issues` names every one.
        SaveError: a file cannot be written.
    """
    alone = standalone(compiled, "a Python file")
    weights = path.with_suffix(".npz").name
    text = source(alone, path.stem, weights)
    with written_beside(path) as draft:
        _save(draft / weights, alone)
        (draft / path.name).write_text(text, encoding="utf-8")


def write_folder(compiled: Compiled, path: Path) -> None:
    """Writes a package of that file, its weights and a page that says how to use it; as for `write`."""
    alone = standalone(compiled, "a folder")
    weights = "weights.npz"
    text = source(alone, path.name, weights)
    with written_beside(path) as draft:
        folder = draft / path.name
        folder.mkdir()
        _save(folder / weights, alone)
        (folder / "__init__.py").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(PAGE.format(text=ast.get_docstring(ast.parse(text))), encoding="utf-8")


def _save(path: Path, alone: Standalone) -> None:
    """Writes the parameters that launches read."""
    buffers = [alone.program.buffers[index] for index in alone.roots]
    names = [each.name for each in buffers if each.kind in ("parameter", "state")]
    # Not np.savez: a keyword of its own may be the name of a parameter.
    with ZipFile(path, "w") as archive:
        for name in dict.fromkeys(names):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, alone.parameter(name), allow_pickle=False)


def source(alone: Standalone, module: str, weights: str) -> str:
    """The text of the file.

    Args:
        alone: the function.
        module: name of the file, for its documentation.
        weights: name of the file of weights.
    """
    from gncodegen import __version__  # noqa: PLC0415  lies above

    names = {name: each.path.stem for name, each in alone.sources.items()}
    kernels = {each.path.stem: _kernel(each) for each in alone.sources.values()}
    flattened = Flattened(REPLACED)
    for _, used in kernels.values():
        for node in used:
            flattened.need(node.module or "", [alias.name for alias in node.names])
    flattened.need(f"{HERE}.network", ["Network"])
    program, places = alone.program, {index: place for place, index in enumerate(alone.roots)}
    buffers = [program.buffers[index] for index in places]
    arrays = [_said(alone, port, "takes") for port in alone.inputs]
    arrays += [_said(alone, port, "gives") for port in alone.outputs]
    xs = ["x"] if len(alone.inputs) == 1 else [f"x{number}" for number in range(1, len(alone.inputs) + 1)]
    head = HEAD.format(
        title=f"A network of {len(kernels)} kernels: {program.batch_size} observations at a time, any number of them.",
        module=_quoted(module), arguments=", ".join(xs),
        arrays="\n".join(arrays), version=__version__, weights=_quoted(weights),
    )  # fmt: skip
    tail = TAIL.format(
        buffers="\n".join(
            f"    Buffer({each.kind!r}, {each.name!r}, {each.shape}, {each.dtype!r}, {each.offset}),  # {place}"
            for place, each in enumerate(buffers)
        ),
        launches="\n".join(f"    {_launch(alone, call, names[call.kernel])}" for call in program.calls),
        weights=weights, hoisted=program.hoisted, arena=program.arena_bytes, constant=program.constant_bytes,
        inputs=", ".join(map(_port, alone.inputs)), outputs=", ".join(map(_port, alone.outputs)),
    )  # fmt: skip
    return (
        f"{head}{flattened.text()}\n\n# ---- Kernels: each is tile after tile of one launch\n\n\n"
        + "\n\n\n".join(text for text, _ in kernels.values())
        + f"\n\n{tail}"
    )


def _quoted(text: str) -> str:
    """What a user typed, for a comment or a docstring: on one line, and without what ends either."""
    return repr(text)[1:-1].replace('"', "'")


def _said(alone: Standalone, port: Port, verb: str) -> str:
    shape = ", ".join(map(str, ("N", *port.shape)))
    return f"It {verb} {_quoted(port.name)}: {alone.buffer(port).dtype} ({shape})."


def _launch(alone: Standalone, call: Call, kernel: str) -> str:
    layers = ", ".join(map(_quoted, call.layers))
    words = f"{kernel}, {alone.arguments(call)}, {call.grid}, {call.first}, {cost(alone.program, call)}"
    words += f", {call.numbers}" if call.numbers else ""
    return f"Launch({words}),{f'  # {layers}' if layers else ''}"


def _port(port: Port) -> str:
    return f"Port({port.key!r}, {port.name!r}, {port.shape})"


def _kernel(source: Source) -> tuple[str, list[ast.ImportFrom]]:
    """A kernel's file as a function that defines its kernel, and what it imports of ours."""
    text = source.text
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)]
    used = [node for node in imports if (node.module or "").startswith(OURS)]
    body = re.sub(r"^from gncodegen\.\S+ import .*\n", "", text, flags=re.MULTILINE)
    body = re.sub(r"\n{3,}", "\n\n", body.rstrip())
    return f"def {source.path.stem}() -> Any:\n{textwrap.indent(body, '    ')}\n\n    return kernel", used
