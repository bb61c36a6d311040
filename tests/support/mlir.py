"""Small functions as IR text, and passes run on them, for tests that compare lines."""

from __future__ import annotations

import re

from gncodegen.passes.pipeline import run_pipeline

IMAGE, VECTOR, WEIGHTS = "tensor<2x4x4x6xf32>", "tensor<6xf32>", "tensor<1x1x6x6xf32>"
CONVOLUTION = "stride = [1, 1], dilation = [1, 1], padding = [0, 0, 0, 0]"
STATISTICS = "tensor<2x3x3xf32>"

ARRAYS = {
    "%x": f'{IMAGE} {{gn.kind = "input", gn.name = "x", gn.format = "BSSC"}}',
    "%t": f'{IMAGE} {{gn.kind = "target", gn.name = "t", gn.format = "BSSC"}}',
    "%w": f'{WEIGHTS} {{gn.kind = "parameter", gn.name = "c.weights"}}',
    "%b": f'{VECTOR} {{gn.kind = "parameter", gn.name = "c.bias"}}',
    "%scale": f'{VECTOR} {{gn.kind = "parameter", gn.name = "g.scale"}}',
    "%offset": f'{VECTOR} {{gn.kind = "parameter", gn.name = "g.offset"}}',
    "%mean": f'{VECTOR} {{gn.kind = "state", gn.name = "g.trained_mean"}}',
    "%variance": f'{VECTOR} {{gn.kind = "state", gn.name = "g.trained_variance"}}',
    "%hyper": 'tensor<16xf64> {gn.kind = "hyperparameters", gn.name = "hyperparameters"}',
}


def function(body: str, returned: str = f"%y : {IMAGE}", *, kind: str = "predict", training: bool = False) -> str:
    """A module with one function: the arguments above that it uses, `body`, and what it returns (f64: the loss)."""
    types = [entry.strip() for entry in returned.split(" : ", 1)[1].split(", ")]
    slots = [
        f'{entry} {{gn.kind = "{"loss" if entry == "tensor<f64>" else "output"}", gn.name = "r{index}"}}'
        for index, entry in enumerate(types)
    ]
    mode = f'attributes {{gn.function = "{kind}", gn.training = {str(training).lower()}}}'
    used = set(re.findall(r"%\w+", body + returned)) | ({"%hyper"} if kind == "train_step" else set())
    arrays = ", ".join(f"{name}: {array}" for name, array in ARRAYS.items() if name in used)
    signature = f"@f({arrays}) -> ({', '.join(slots)})"
    return f"builtin.module {{ func.func {signature} {mode} {{\n{body}\nfunc.return {returned}\n}} }}"


def whole(text: str) -> str:
    """The text with each op on one line, and what aliases stand for in their place."""
    lines: list[str] = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if lines and indent >= len(lines[-1]) - len(lines[-1].lstrip()) + 4:
            lines[-1] += f" {line.lstrip()}"
        else:
            lines.append(line)
    aliases = dict(line.split(" = ", 1) for line in lines if line.startswith("#"))
    rest = "\n".join(line for line in lines if not line.startswith("#"))
    return re.sub(r"#\w+", lambda match: aliases.get(match[0], match[0]), rest)


def ops(text: str) -> list[str]:
    """The gn and kern ops of a text in order, without types, layers and their names: `group_norm {groups = 3}`."""
    found: list[str] = []
    for line in whole(text).splitlines():
        match = re.search(r"(?:gn|kern)\.(\w+(?: @\w+)?)\(.*?\)(?: \{(.*)\})? : ", line)
        if match:
            attributes = re.sub(r",? ?layers = \[[^]]*\]", "", match[2] or "").strip()
            found.append(f"{match[1]} {{{attributes}}}" if attributes else match[1])
    return found


def after(passes: str, body: str, returned: str = f"%y : {IMAGE}", **options: object) -> list[str]:
    """The ops left after `passes`."""
    return ops(run_pipeline(function(body, returned, **options), passes))  # type: ignore[arg-type]
