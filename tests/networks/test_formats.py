"""docs/formats.md, line by line: what each layer does with each format; and that arrays may have any order of axes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_same_network
from support.formats import entrance

import gncodegen as gnc
from gncodegen.layers.base import Size
from gncodegen.layers.formats import permutation
from gncodegen.layers.network import Network

TABLE = Path(__file__).parents[2] / "docs" / "formats.md"
EXTENTS = {"SC": (5, 4), "SSC": (4, 2, 4), "SSSC": (3, 2, 4, 4), "C": (4,)}
STEPS = 3
REFUSED = "—"


def lines():
    rows = [line.strip("|\n").split("|") for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    header, _, *body = [[cell.strip() for cell in row] for row in rows]
    for layer, *cells in body:
        for letters, cell in zip(header[1:], cells, strict=True):
            yield layer.strip("`"), letters, cell


LINES = list(lines())
ALLOWED = [line for line in LINES if line[2] != REFUSED]


def size_of(letters):
    """Format and shape of one observation, T first and C last."""
    spatial = "S" * letters.count("S") + "C"
    return ("T" + spatial, (STEPS, *EXTENTS[spatial])) if "T" in letters else (spatial, EXTENTS[spatial])


def made(layer):
    kind, _, rest = layer.partition("(")
    arguments = rest.removesuffix(")")
    return eval(f"gnc.{kind}({arguments}{', ' if arguments else ''}name='layer')", {"gnc": gnc})


def test_the_table_has_every_layer_with_windows_or_groups():
    named = {layer.partition("(")[0] for layer, _, _ in LINES}
    kinds = r"\ddLayer$|(Normalization|Crop|Padding|Space|Depth)Layer$"
    assert {name for name in gnc.__all__ if re.search(kinds, name)} <= named


@pytest.mark.parametrize(("layer", "letters", "cell"), LINES, ids=str)
def test_sizes_and_refusals(layer, letters, cell):
    size = Size(*size_of(letters))
    layers = [entrance(size.format, size.shape), made(layer)]
    if cell == REFUSED:
        with pytest.raises(gnc.NetworkError, match="spatial axes; allowed: "):
            Network.build(layers, require_output=False)
        return
    result = Network.build(layers, require_output=False).output.size
    wanted = cell.partition(" → ")[2] or letters
    assert sorted(result.format) == sorted(wanted.replace("B", ""))


def statistics_over(over):
    """Group normalization by the oracle, of x reduced to (rows, what a row's statistics are over, C)."""

    def norm(x, scale, offset, *, groups):
        x = np.asarray(x, np.float64)
        rows = x.shape[: x.ndim - 1 - over.count("S") - over.count("T")]
        y, backward = ref.group_norm(x.reshape(int(np.prod(rows)), -1, x.shape[-1]), scale, offset, groups=groups)

        def back(dy):
            dx, *others = backward(np.asarray(dy).reshape(y.shape))
            return (dx.reshape(x.shape), *others)

        return y.reshape(x.shape), back

    return norm


def twin(layer, letters, cell):
    """The oracle's node; None for layers whose windows tests/networks/test_window_axes.py judges."""
    over = cell.partition(" → ")[0]
    name = layer.partition("(")[0]
    learned = ("scale", "offset")
    if name in ("GroupNormalizationLayer", "InstanceNormalizationLayer", "LayerNormalizationLayer"):
        groups = {"G": 2, "I": "channel-wise", "L": "all-channels"}[name[0]]
        return ref.Node("layer", statistics_over("" if over == "each" else over), learned, options={"groups": groups})
    if name == "BatchNormalizationLayer":
        return ref.Node("layer", ref.batch_norm, learned)
    if name == "FullyConnectedLayer":
        fully_connected = ref.each_step(ref.fully_connected) if "T" in letters else ref.fully_connected
        return ref.Node("layer", fully_connected, ("weights", "bias"))
    axes = [axis + 1 for axis, letter in enumerate(size_of(letters)[0]) if letter == "S"]
    each_step = ref.each_step if "T" in letters else lambda operation: operation
    operation = {
        "ReluLayer": ref.relu,
        "SoftmaxLayer": ref.softmax,
        "CrossChannelNormalizationLayer": lambda x: ref.local_response(x, 3),
        f"Resize{len(axes)}dLayer": lambda x: ref.resize(x, [2 * x.shape[axis] for axis in axes], axes=axes),
        "PaddingLayer": each_step(lambda x: ref.pad(x, [(1, 0)] * len(axes), mode="constant")),
        "DepthToSpaceLayer": each_step(lambda x: ref.depth_to_space(x, 2, "depth-first")),
        "SpaceToDepthLayer": each_step(lambda x: ref.space_to_depth(x, 2, "depth-first")),
        "CropLayer": lambda x: ref.crop(
            x, *((1, 0) if axis + 1 in axes else (0, 0) for axis in range(len(x.shape) - 2))
        ),
    }.get(name)
    return ref.Node("layer", operation) if operation else None


JUDGED = [line for line in ALLOWED if twin(*line)]


@pytest.mark.few
@pytest.mark.parametrize(
    ("layer", "letters", "cell"),
    [
        pytest.param(*line, id="-".join(line[:2]), marks=[pytest.mark.full] if i % 18 else [])
        for i, line in enumerate(JUDGED)
    ],
)
def test_works_over_the_axes_that_the_table_says(layer, letters, cell):
    size = size_of(letters)
    x = np.random.default_rng(0).standard_normal((3, *size[1]))
    layers = [entrance(*size), made(layer), gnc.RegressionLayer()]
    assert_same_network(
        layers, [twin(layer, letters, cell)], x, dtype="float64", training="Batch" in layer, tolerance=1e-11
    )


ORDERS = (
    "CB",
    "CBT",
    "TCB",
    "BCT",
    "SCBT",
    "BCTS",
    "SSCB",
    "BCSS",
    "SSCBT",
    "BCTSS",
    "SSSCB",
    "BCSSS",
    "SSSCBT",
    "TCSBSS",
)


@pytest.mark.parametrize(
    "order", [pytest.param(o, marks=[pytest.mark.full] if i % 6 else []) for i, o in enumerate(ORDERS)]
)
def test_arrays_in_any_order_of_axes(order):
    """The same bits as channel-last arrays: prediction and the gradients of all parameters and of the input."""
    size = size_of(order)
    inner = "B" + size[0]
    layers = [entrance(*size), gnc.GroupNormalizationLayer(2), gnc.ReluLayer(), gnc.RegressionLayer()]
    draw = np.random.default_rng(0)
    x, t = (draw.standard_normal((3, *size[1])).astype(np.float32) for _ in range(2))
    plain = gnc.compile(layers, batch_size=3, seed=0)
    ordered = gnc.compile(layers, batch_size=3, seed=0, data_format=order)
    there, targets = permutation(inner, order), permutation(inner, "B" + order.replace("B", ""))
    moved = x.transpose(there)
    np.testing.assert_array_equal(ordered.predict(moved), plain.predict(x).transpose(there))
    found, wanted = ordered.gradients(moved, t.transpose(targets)), plain.gradients(x, t)
    np.testing.assert_array_equal(found.pop("input"), wanted.pop("input").transpose(there))
    for name, gradient in wanted.items():
        np.testing.assert_array_equal(found[name], gradient)


@pytest.mark.full(like="networks/test_formats.py::test_arrays_in_any_order_of_axes")
def test_training_and_classes_of_arrays_whose_batch_is_not_first():
    """Accuracy and labels are those of channel-last arrays, where scores are (K, N)."""
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((12, 5, 4)).astype(np.float32), draw.integers(0, 3, 12)
    layers = [
        gnc.SequenceInputLayer(4, min_length=5),
        gnc.Convolution1dLayer(3, 6, padding="same"),
        gnc.GlobalAveragePooling1dLayer(),
        gnc.FullyConnectedLayer(3),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]
    found = []
    for order, array in (("BTC", x), ("CTB", x.transpose(2, 1, 0))):
        options = gnc.training_options(
            "sgdm", max_epochs=2, mini_batch_size=6, seed=0, verbose=False, validation_data=(array, y)
        )
        net, info = gnc.train_network(array, y, layers, options, data_format=order)
        found.append((*net.classify(array), info.training_accuracy, info.validation_accuracy))
    for plain, moved in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, moved)
