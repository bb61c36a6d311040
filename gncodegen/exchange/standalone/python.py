"""`compiled.export("net.py")`: one readable file that needs Numba and NumPy only, and its weights beside it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import OptionsError
from gncodegen.exchange.standalone.flatten import OURS, Flattened, Place
from gncodegen.exchange.standalone.network import NORMALIZED
from gncodegen.exchange.standalone.program import Port, Standalone, standalone
from gncodegen.exchange.standalone.training import Target
from gncodegen.exchange.standalone.weights import NORMALIZATION, write_arrays
from gncodegen.kernels.program import Call
from gncodegen.kernels.store import Source
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.runtime.executor import cost
from gncodegen.saving import written_beside

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled

PAGE = """# A network that stands alone

{text}

`__init__.py` has everything: the vocabulary of the kernels, the kernels, the lists of launches. `weights.npz` has the
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
} | {
    ("gncodegen.process.signals", "Uninterrupted"): (f"{HERE}.host", "Uninterrupted"),
}
"""What stands for what reads settings, keeps caches, waits for signals, guards forks, or is there once in a process."""

HEAD = '''"""{title}

    import {module}
    y = {module}.predict({arguments}){steps}

{arrays}
Made by gncodegen {version} from kernels for this network's shapes. It needs numba and numpy, and {weights} beside it;
the kernels are compiled at the first prediction. On the command line: python {module}.py x.npy y.npy
"""

from __future__ import annotations

'''

FUNCTION = '''
{name} = Function(
    buffers=[
{buffers}
    ],
    launches=[
{launches}
    ],
    hoisted={hoisted},
    arena_bytes={arena},
    constant_bytes={constant},
)
"""All arrays: kind, name, shape, type, and where those of this file's own memory lie, in bytes. Then kernels in order:
arrays, tiles, the first tile, nanoseconds on one core, about, numbers that it reads, how these follow observations."""
'''

TAIL = '''
# ---- This network
{functions}
NETWORK = {kind}(
    Path(__file__).with_name({weights!r}),
    {{{named}}},
    inputs=[{inputs}],
    outputs=[{outputs}],{learning}
)


def predict(*x: Any) -> Any:
    """The network's outputs for any number of observations: `Network.predict`."""
    return NETWORK.predict(*x)

{train_step}
if __name__ == "__main__":
    import sys

    *arrays, target = sys.argv[1:]
    np.save(target, predict(*map(np.load, arrays)))
'''

STEPS = """
    loss = {module}.train_step({argument}, t)
    {module}.NETWORK.hyperparameters["learn_rate"] = 0.001
    {module}.NETWORK.save("learned.npz")"""

TRAIN_STEP = '''
def train_step(x: Any, t: Any) -> float:
    """The loss of a mini-batch of {batch}, before a step of the solver on it: `TrainableNetwork.train_step`."""
    return NETWORK.train_step(x, t)

'''


def write(compiled: Compiled, path: Path, *, training: bool = False) -> None:
    """Writes the file, and the parameters that its functions read beside it.

    Args:
        compiled: the network.
        path: of the file.
        training: whether it has steps of the solver, too.

    Raises:
        OptionsError: the network was compiled for another target, or for prediction only.
        NetworkError: some layers cannot be in such a file; `issues` names every one.
        SaveError: a file cannot be written.
    """
    functions = _functions(compiled, "a Python file", training)
    weights = path.with_suffix(".npz").name
    text = source(compiled, functions, path.stem, weights)
    with written_beside(path) as draft:
        write_arrays(draft / weights, _kept(functions))
        (draft / path.name).write_text(text, encoding="utf-8")


def write_folder(compiled: Compiled, path: Path, *, training: bool = False) -> None:
    """Writes a package of that file, its weights and a page that says how to use it; as for `write`."""
    functions = _functions(compiled, "a folder", training)
    weights = "weights.npz"
    text = source(compiled, functions, path.name, weights)
    with written_beside(path) as draft:
        folder = draft / path.name
        folder.mkdir()
        write_arrays(folder / weights, _kept(functions))
        (folder / "__init__.py").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(PAGE.format(text=ast.get_docstring(ast.parse(text))), encoding="utf-8")


def _functions(compiled: Compiled, becomes: str, training: object) -> dict[str, Standalone]:
    """The functions that the file has, by name."""
    if not isinstance(training, bool):
        raise OptionsError(f"export: training={training!r}; allowed: True, False")
    if training and not compiled.options.training:
        raise OptionsError(
            "export: training=True of a network compiled for prediction; allowed: one with an output layer; compile it "
            "with training=True"
        )
    found: dict[str, Standalone] = {}
    for name in ("predict", "train_step") if training else ("predict",):
        found[name] = standalone(compiled, becomes, name)
        if compiled.parameters.statistics:
            found[name + NORMALIZED] = standalone(compiled, becomes, name, normalized=True)
    return found


def _kept(functions: Mapping[str, Standalone]) -> dict[str, NDArray[Any]]:
    """The arrays that the file keeps, by name."""
    return {name: array for each in functions.values() for name, array in each.kept.items()}


def source(compiled: Compiled, functions: Mapping[str, Standalone], module: str, weights: str) -> str:
    """The text of the file.

    Args:
        compiled: the network.
        functions: what the file has.
        module: name of the file, for its documentation.
        weights: name of the file of weights.
    """
    from gncodegen import __version__  # noqa: PLC0415  lies above

    alone, trains = functions["predict"], "train_step" in functions
    kernels = {each.path.stem: _kernel(each) for one in functions.values() for each in one.sources.values()}
    flattened = Flattened(REPLACED)
    for _, used in kernels.values():
        for node in used:
            flattened.need(node.module or "", [alias.name for alias in node.names])
    kind = "TrainableNetwork" if trains else "Network"
    flattened.need(f"{HERE}.network", ["Network"])
    if trains:
        flattened.need(f"{HERE}.training", ["Target", kind])
    arrays = [_said(alone, port, "takes") for port in alone.inputs]
    arrays += [_said(alone, port, "gives") for port in alone.outputs]
    xs = ["x"] if len(alone.inputs) == 1 else [f"x{number}" for number in range(1, len(alone.inputs) + 1)]
    named = ", ".join(f"{_quoted(port.name)!r}: {x}" for port, x in zip(alone.inputs, xs, strict=True))
    argument = "x" if len(xs) == 1 else f"{{{named}}}"
    batch = alone.program.batch_size
    head = HEAD.format(
        title=f"A network of {len(kernels)} kernels: {batch} observations at a time, any number of them.",
        module=_quoted(module), arguments=", ".join(xs),
        steps=STEPS.format(module=_quoted(module), argument=argument) if trains else "",
        arrays="\n".join(arrays), version=__version__, weights=_quoted(weights),
    )  # fmt: skip
    tail = TAIL.format(
        functions="".join(_function(name, one) for name, one in functions.items()),
        kind=kind, weights=weights, named=", ".join(f"{name!r}: {name.upper()}" for name in functions),
        inputs=", ".join(map(_port, alone.inputs)), outputs=", ".join(map(_port, alone.outputs)),
        learning=_learning(compiled, alone.axes) if trains else "",
        train_step=TRAIN_STEP.format(batch=batch) if trains else "",
    )  # fmt: skip
    return (
        f"{head}{flattened.text()}\n\n# ---- Kernels: each is tile after tile of one launch\n\n\n"
        + "\n\n\n".join(text for text, _ in kernels.values())
        + f"\n\n{tail}"
    )


def _function(name: str, alone: Standalone) -> str:
    """A function's arrays and launches."""
    names = {kernel: each.path.stem for kernel, each in alone.sources.items()}
    program = alone.program
    buffers = [program.buffers[index] for index in alone.roots]
    rows = [(each.kind, each.name, each.shape, each.dtype, each.offset) for each in buffers]
    rows += [(NORMALIZATION, name, array.shape, str(array.dtype), 0) for name, array in alone.numbers.items()]
    return FUNCTION.format(
        name=name.upper(),
        buffers="\n".join(
            f"        Buffer{row},  # {place}" for place, row in enumerate(rows)
        ),
        launches="\n".join(f"        {_launch(alone, call, names[call.kernel])}" for call in program.calls),
        hoisted=program.hoisted, arena=program.arena_bytes, constant=program.constant_bytes,
    )  # fmt: skip


def _learning(compiled: Compiled, axes: str) -> str:
    """What a network that learns is made with beside; `axes` is the order of its arrays' axes."""
    node, numbers = compiled.network.loss, compiled.hyperparameters
    letters = f"B{node.size.format}"
    label = getattr(node.layer, "ignore_label", None)
    target = Target(
        node.label,
        node.size.shape,
        permutation(letters, axis_order(axes, letters)),
        isinstance(node.layer, ClassificationLayer),
        None if label is None else (-1, label),
    )
    values = {name: value for name, value in numbers.values().items() if np.isfinite(value)}
    return (
        f"\n    target=Target{tuple(target)},"
        f"\n    hyperparameters=Hyperparameters({numbers.solver.name!r}, steps={numbers.steps}, **{values}),"
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
    words += f", {call.numbers}, {call.order}" if call.numbers or call.order else ""
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
