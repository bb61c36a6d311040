"""docs/reference.md is written from the code: names, properties, defaults, what is allowed, and what they mean.

`pytest --update-golden` writes it anew. The words of the reference system stand in tables here.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import gncodegen as gnc
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.layers.archive import layer_types
from gncodegen.layers.base import Layer
from gncodegen.layers.checks import Check

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"

GROUPS = {
    "Inputs": ("inputs",),
    "Convolution and products": ("convolution", "transposed_convolution", "dense"),
    "Normalization": ("normalization", "local_response"),
    "Activations": ("activations", "prelu"),
    "Pooling": ("pooling",),
    "Joining": ("joining", "matrices"),
    "Size and movement": ("resize", "padding", "movement", "tensors"),
    "Outputs": ("outputs",),
}
"""Heading → the modules of gncodegen.layers whose layers stand below it."""

LAYERS = {
    "CropLayer": "crop2dLayer",
    "DepthToSpaceLayer": "depthToSpace2dLayer",
    "TensorInputLayer": "inputLayer",
    **{f"TransposedConvolution{rank}dLayer": f"transposedConv{rank}dLayer" for rank in (1, 2, 3)},
}
"""Layers that the reference calls otherwise; all others have its name with a small first letter."""

OURS = {
    "CeluLayer", "ElementwiseLayer", "GroupedConvolution1dLayer", "GroupedConvolution3dLayer", "HardSigmoidLayer",
    "HardSwishLayer", "HardTanhLayer", "LogSigmoidLayer", "MishLayer", "PaddingLayer", "PermuteLayer", "ReshapeLayer",
    "Resize1dLayer", "SeluLayer", "SoftsignLayer", "ThresholdedReluLayer", "UnaryLayer",
}  # fmt: skip
"""Layers that the reference lacks."""

PROPERTIES = {
    ("FullyConnectedLayer", "outputs"): "OutputSize",
    ("SequenceInputLayer", "padding"): "—",
    ("SequenceInputLayer", "padding_value"): "SequencePaddingValue, of trainingOptions",
    ("SequenceInputLayer", "padding_direction"): "SequencePaddingDirection, of trainingOptions",
    ("FeatureInputLayer", "num_features"): "InputSize",
    ("DepthToSpaceLayer", "block"): "BlockSize",
    ("SpaceToDepthLayer", "block"): "BlockSize",
    ("DepthToSpaceLayer", "order"): "Mode",
    **{(f"Resize{rank}dLayer", "extents"): "OutputSize" for rank in (2, 3)},
}
"""Properties that the reference calls otherwise; all others have its name with capitals."""

OWN = {
    "shared", "ignore_label", "slopes", "start", "seed", "checkpoints_kept", "detect_anomaly", "order", "batched",
    "gradient_accumulation_steps",
    "alpha_l2_factor",
}  # fmt: skip
"""Properties and options that the reference lacks; all properties of its missing layers too."""

DIFFERENCES = (
    'Names are Pythonic: `GroupNormalizationLayer(8, name="gn1")` is `groupNormalizationLayer(8, Name="gn1")`.',
    'Arrays are N, H, W, C (`"BSSC"`); `data_format="SSCB"` takes them as the reference has them; see formats.md.',
    "A step is compiled for its shapes, so sequences are padded to one length, `min_length`; cut longer ones before.",
    'Sequences: padding="include" lets padding into norms, pools and losses, as the reference does; "mask" (ours) not.',
    "Sequences are padded before the input layer normalizes, as in the reference; its statistics leave padding out.",
    "A SoftmaxLayer and the cross entropy behind it are computed as one stable log-sum-exp.",
    "The L2 term is added before gradients are clipped.",
    "A learn-rate factor of 0 freezes a parameter bit for bit, and keeps it out of the global norm.",
    "`ClassificationLayer` works over positions too: the sum over them is divided by the number of observations.",
    'Resizing by `method="linear"` is the reference\'s "bilinear" and "trilinear".',
    '`execution_environment` is "auto", "cpu", "gpu" or, under mpiexec, "parallel" or "multi-gpu" (docs/parallel.md).',
    "Values of ±1e20 in float32, whose variance overflows, are scaled so that group normalization is right.",
)


def entries(kind: type) -> dict[str, str]:
    """Property → its description, of the docstrings of a class and of those it is derived from."""
    found: dict[str, str] = {}
    for each in kind.__mro__:
        text = inspect.cleandoc(each.__dict__.get("__doc__") or "")
        arguments = text.partition("Args:\n")[2].partition("\n\n")[0]
        for names, description in re.findall(r"^    ([\w, ]+): (.*(?:\n {6,}.*)*)", arguments, re.MULTILINE):
            for name in names.split(", "):
                found.setdefault(name, " ".join(description.split()))
    return found


def summary(kind: Any) -> str:
    """The first paragraph of a docstring."""
    return " ".join(inspect.getdoc(kind).partition("\n\n")[0].split())


def capitals(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def rows_of(kind: type, others: tuple[str, ...] = ()) -> list[str]:
    """The table of a dataclass's properties: ours, the reference's, default, allowed, meaning."""
    hints, described = get_type_hints(kind, include_extras=True), entries(kind)
    lines = ["| property | reference | default | allowed | meaning |", "|---|---|---|---|---|"]
    for each in fields(kind):
        if each.name in others:
            continue
        check = next(
            (extra for extra in getattr(hints[each.name], "__metadata__", ()) if isinstance(extra, Check)), None
        )
        default = "required" if each.default is MISSING else repr(each.default)
        own = kind.__name__ in OURS or (each.name in OWN and (kind.__name__, each.name) not in PROPERTIES)
        theirs = "—" if own else PROPERTIES.get((kind.__name__, each.name), capitals(each.name))
        allowed, meaning = check.allowed if check else "", described.get(each.name, "")
        lines.append(f"| `{each.name}` | {theirs} | {cell(default)} | {cell(allowed)} | {cell(meaning)} |")
    return lines


def layer_lines(name: str, kind: type) -> list[str]:
    theirs = "ours" if name in OURS else f"`{LAYERS.get(name, name[0].lower() + name[1:])}`"
    shared = tuple(each.name for each in fields(Layer))
    table = rows_of(kind, shared)
    return [f"### `{name}` — {theirs}", "", summary(kind), "", *([*table, ""] if len(table) > 2 else [])]


def below(modules: tuple[str, ...]) -> list[str]:
    """The names of the layers of these modules."""
    types = layer_types().items()
    return [name for module in modules for name, kind in sorted(types) if kind.__module__.endswith(f".{module}")]


def written() -> str:
    """The page."""
    types = layer_types()
    lines = [
        "# Reference",
        "",
        "Every layer and option: its name and those of its properties here and in the reference system, MATLAB's Deep",
        "Learning Toolbox; defaults, what is allowed, and what they mean. A dash: the reference lacks it.",
        "`tests/test_reference_page.py` writes this page from the code.",
        "",
        "## Differences",
        "",
        *(f"- {difference}" for difference in DIFFERENCES),
        "",
        "## Of every layer",
        "",
        *rows_of(Layer),
        "",
    ]
    for heading, modules in GROUPS.items():
        lines += [f"## {heading}", ""]
        for name in below(modules):
            lines += layer_lines(name, types[name])
    lines += ["## `training_options(solver, …)` — `trainingOptions`", ""]
    lines += [*rows_of(gnc.TrainingOptions, ("hyperparameters",)), "", "Of one solver only:", ""]
    lines += ["| option | solver | reference | default | allowed |", "|---|---|---|---|---|"]
    for row in SOLVERS.values():
        for each in row.hyperparameters:
            lines.append(f"| `{each.name}` | {row.name} | {capitals(each.name)} | {each.default} | {each.allowed} |")
    lines += ["", "## Functions", ""]
    for name, function in functions().items():
        lines += [f"- `{name}({', '.join(taken(function))})`: {summary(function)}"]
    return "\n".join([*lines, ""])


def functions() -> dict[str, Any]:
    """Those of the package, then the forms of layers on arrays."""
    own = {name: getattr(gnc, name) for name in sorted(gnc.__all__) if name[0].islower() and name != "training_options"}
    forms = {f"functional.{name}": getattr(gnc.functional, name) for name in dir(gnc.functional) if name not in own}
    return {name: function for name, function in (own | forms).items() if callable(function)}


def taken(function: Any) -> list[str]:
    """What a function takes by place; "…" for what it takes by name."""
    given, kind = inspect.signature(function).parameters.values(), inspect.Parameter
    named = (kind.KEYWORD_ONLY, kind.VAR_KEYWORD)
    placed = ["*" * (each.kind is kind.VAR_POSITIONAL) + each.name for each in given if each.kind not in named]
    return placed + ["…"] * any(each.kind in named for each in given)


def test_the_page_is_that_of_the_code(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PAGE.write_text(written(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == written(), "pytest tests/test_reference_page.py --update-golden"


def test_every_property_has_a_meaning() -> None:
    for name, kind in {**layer_types(), "TrainingOptions": gnc.TrainingOptions}.items():
        described = entries(kind)
        missing = [each.name for each in fields(kind) if each.name not in described]
        assert not missing, f"{name}: {missing} in no Args"


def test_the_tables_name_what_there_is() -> None:
    assert sorted(name for modules in GROUPS.values() for name in below(modules)) == sorted(
        set(layer_types()) - {"Layer"}
    )
    types = layer_types()
    assert set(LAYERS) | OURS | {layer for layer, _ in PROPERTIES} <= set(types)
    known = {each.name for kind in (*types.values(), gnc.TrainingOptions) for each in fields(kind)}
    assert OWN | {name for _, name in PROPERTIES} <= known
