"""One layer each, drawn with odd properties for an input of any format, and what it does in NumPy."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import reference as ref

import gncodegen as gnc
from gncodegen.layers.base import Size
from support.drawn_pairs import AFFINE, WEIGHTED, Make, Pair, channels, stepped
from support.drawn_windows import convolution, flat, pooling, transposed, whole

ACTIVATIONS: tuple[tuple[Any, tuple[float, ...], str], ...] = (
    (gnc.ReluLayer, (), "relu"), (gnc.LeakyReluLayer, (0.3,), "leaky-relu"), (gnc.TanhLayer, (), "tanh"),
    (gnc.ClippedReluLayer, (1.5,), "clipped-relu"), (gnc.SigmoidLayer, (), "sigmoid"), (gnc.EluLayer, (0.7,), "elu"),
    (gnc.CeluLayer, (0.6,), "celu"), (gnc.SwishLayer, (), "swish"), (gnc.SoftplusLayer, (), "softplus"),
    (gnc.GeluLayer, (), "gelu"), (gnc.MishLayer, (), "mish"), (gnc.SoftsignLayer, (), "softsign"),
    (gnc.HardSigmoidLayer, (0.2, 0.4), "hard-sigmoid"), (gnc.HardTanhLayer, (-0.8, 0.9), "hard-tanh"),
    (gnc.HardSwishLayer, (), "hard-swish"), (gnc.LogSigmoidLayer, (), "log-sigmoid"),
    (gnc.ThresholdedReluLayer, (0.2,), "thresholded-relu"),
)  # fmt: skip
"""Layer, its numbers, and the oracle's name for it."""

PLAIN = ("absolute", "negative", "sine", "cosine", "arctangent", "arsinh", "erf", "floor", "sign")


def activation(draw: random.Random, size: Size, name: str) -> Pair:
    """Any activation or plain function."""
    kind = draw.random()
    if kind < 0.3:
        function = draw.choice(PLAIN)
        return Pair(gnc.UnaryLayer(function, name=name), ref.activation, options={"function": function})
    if kind < 0.4:
        numbers = {"alpha": 1.6732632423543772, "beta": 1.0507009873554805}
        return Pair(gnc.SeluLayer(name=name), ref.activation, options={"function": "selu", **numbers})
    if kind < 0.45:
        layer = gnc.GeluLayer(approximation="tanh", name=name)
        return Pair(layer, ref.activation, options={"function": "gelu-tanh"})
    make, numbers, function = draw.choice(ACTIVATIONS)
    options = {"function": function, **dict(zip(("alpha", "beta"), numbers, strict=False))}
    return Pair(make(*numbers, name=name), ref.activation, options=options)


def softmax(draw: random.Random, size: Size, name: str) -> Pair:
    """Over the channels."""
    return Pair(gnc.SoftmaxLayer(name=name), ref.softmax)


def prelu(draw: random.Random, size: Size, name: str) -> Pair:
    """Learned slopes."""
    slopes = draw.choice(("channel-wise", "shared"))
    return Pair(gnc.PreluLayer(slopes=slopes, name=name), elementwise("prelu"), ("alpha",))


def constant(draw: random.Random, size: Size, name: str) -> Pair:
    """A function of two operands, one of them a learned array that may repeat along axes."""
    function = draw.choice(("add", "subtract", "multiply", "minimum", "maximum"))
    first = draw.randrange(len(size.shape))
    shape = tuple(draw.choice((1, n)) for n in size.shape[first:])
    layer = gnc.ElementwiseLayer(
        function, 1, constant=np.ones(shape), constant_learn_rate_factor=1.0, name=name
    )  # fmt: skip
    operation = elementwise(function)
    return Pair(layer, _first_steps(operation) if "T" in size.format and first == 0 else operation, ("constant",))


def _first_steps(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation of x and a constant of as many steps as there may be, of which x may have fewer."""

    def shortened(x: Any, constant: Any) -> Any:
        y, backward = operation(x, constant[: np.shape(x)[1]])

        def back(dy: Any) -> tuple[Any, Any]:
            dx, found = backward(dy)
            whole = np.zeros_like(constant)
            whole[: len(found)] = found
            return dx, whole

        return y, back

    return shortened


def elementwise(function: str) -> Callable[..., Any]:
    """The oracle of a function of several operands."""
    return lambda *operands: ref.elementwise(function, *operands)


def product(draw: random.Random, size: Size, name: str) -> Pair:
    """Fully connected, at each time step alike."""
    return Pair(
        gnc.FullyConnectedLayer(channels(draw), name=name), stepped(size, ref.fully_connected), WEIGHTED
    )  # fmt: skip


def matrix(draw: random.Random, size: Size, name: str) -> Pair | None:
    """A product of matrices with a learned one."""
    if len(size.shape) < 2:
        return None
    first, second, columns = draw.random() < 0.5, draw.random() < 0.5, draw.choice((1, 2, 5, 8))
    rows = size.shape[-2 if first else -1]
    shape = (columns, rows) if second else (rows, columns)
    layer = gnc.MatrixProductLayer(
        first, second, constant=np.ones(shape), constant_learn_rate_factor=1.0, name=name
    )  # fmt: skip
    return Pair(layer, ref.matrix_product, ("constant",), {"first": first, "second": second})


def dropout(draw: random.Random, size: Size, name: str) -> Pair:
    """Of any probability; the mask is that of the stream of its seed, iteration and place in the network."""
    options = {"probability": draw.choice((0.0, 0.1, 0.5, 0.9))}
    return Pair(gnc.DropoutLayer(**options, name=name), dropped, options=options, prediction=_same)


def dropped(x: Any, *, probability: float, index: int = 0, iteration: int = 0, seed: int = 0) -> Any:
    """What dropout leaves of x while training."""
    mask = ref.dropout_mask(np.size(x), probability, index, iteration, seed).reshape(np.shape(x))
    return ref.dropout(x, mask, probability=probability)


def _same(x: Any, **options: Any) -> Any:
    return x, lambda dy: (dy,)


# ---- normalization ---------------------------------------------------------------------------------------------------


def group_norm(draw: random.Random, size: Size, name: str) -> Pair:
    """Of any number of groups that divides the channels."""
    groups = draw.choice(["all-channels", "channel-wise", *(g for g in (1, 2, 3, 4) if size.channels % g == 0)])
    epsilon = draw.choice((1e-5, 1e-2))
    layer = gnc.GroupNormalizationLayer(groups, epsilon=epsilon, name=name)
    return Pair(layer, ref.group_norm, AFFINE, {"groups": groups, "epsilon": epsilon})


def instance_norm(draw: random.Random, size: Size, name: str) -> Pair:
    """Each channel by itself."""
    return Pair(
        gnc.InstanceNormalizationLayer(epsilon=1e-2, name=name), ref.instance_norm, AFFINE, {"epsilon": 1e-2}
    )  # fmt: skip


def layer_norm(draw: random.Random, size: Size, name: str) -> Pair:
    """Over what its property says."""
    over = draw.choice(("auto", "channel-only", "spatial-channel", "batch-excluded"))
    layer = gnc.LayerNormalizationLayer(epsilon=1e-2, operation_dimension=over, name=name)
    options: dict[str, Any] = {"epsilon": 1e-2}
    if over == "channel-only" or (over != "batch-excluded" and "S" not in size.format) or size.format == "C":
        return Pair(layer, ref.layer_norm, AFFINE, options | {"dimension": "channel-only"})
    return Pair(layer, ref.layer_norm if over == "batch-excluded" else stepped(size, ref.layer_norm), AFFINE, options)


def batch_norm(draw: random.Random, size: Size, name: str) -> Pair:
    """While training over the batch, else with trained numbers."""
    return Pair(
        gnc.BatchNormalizationLayer(epsilon=1e-2, name=name), ref.batch_norm, AFFINE, {"epsilon": 1e-2}
    )  # fmt: skip


def local(draw: random.Random, size: Size, name: str) -> Pair:
    """Across neighbouring channels."""
    window, options = draw.choice((1, 2, 3, 5)), {"alpha": 0.1, "beta": draw.choice((0.5, 0.75, 1.3))}
    layer = gnc.CrossChannelNormalizationLayer(window, **options, name=name)
    return Pair(layer, ref.local_response, options={"window": window, **options})


# ---- size and movement -----------------------------------------------------------------------------------------------


def resize(draw: random.Random, size: Size, name: str) -> Pair | None:
    """To other extents, by any method."""
    axes = [axis + 1 for axis, letter in enumerate(size.format) if letter == "S"]
    if not axes or len(axes) > 3 or max(size.spatial) > 16:
        return None
    method = draw.choice(("nearest", "nearest", "linear", "linear", "cubic", "area"))
    given: dict[str, Any] = {"method": method}
    coordinates = draw.choice(("half-pixel", "asymmetric", "align-corners"))
    twin: dict[str, Any] = {"method": method}
    if method != "area":
        given["geometric_transform_mode"] = twin["coordinates"] = coordinates
    if method == "nearest":
        rounding = draw.choice(("round", "floor", "ceil", "round-half-down"))
        given["nearest_rounding_mode"] = twin["rounding"] = rounding
    if method in ("linear", "cubic"):
        given["antialias"] = twin["antialias"] = draw.random() < 0.3
        given["exclude_outside"] = twin["exclude_outside"] = draw.random() < 0.3
    extents, scales = [draw.randint(1, 9) for _ in axes], None
    if draw.random() < 0.3 and method != "area":
        scales = [draw.choice((0.5, 1.0, 1.5, 2.0, 3.0)) for _ in axes]
        extents = [int(scale * n) for scale, n in zip(scales, size.spatial, strict=True)]
        given["scale"] = tuple(scales)
    else:
        given["extents"] = tuple(extents)
    layer = getattr(gnc, f"Resize{len(axes)}dLayer")(**given, name=name)
    return Pair(layer, ref.resize, options=twin | {"extents": extents, "axes": axes, "scales": scales})


def padding(draw: random.Random, size: Size, name: str) -> Pair | None:
    """Positions around."""
    if "S" not in size.format:
        return None
    mode = draw.choice(("constant", "symmetric-include-edge", "symmetric-exclude-edge", "replicate"))
    value = draw.choice((0.0, -2.5)) if mode == "constant" else 0.0
    sides = tuple((draw.randrange(3), draw.randrange(3)) for _ in size.spatial)
    layer = gnc.PaddingLayer(flat(sides), mode=mode, value=value, name=name)
    return Pair(layer, stepped(size, ref.pad), options={"padding": sides, "mode": mode, "value": value})


def crop(draw: random.Random, size: Size, name: str) -> Pair | None:
    """Fewer positions."""
    if "S" not in size.format:
        return None
    sides = tuple((draw.randrange(2), draw.randrange(2)) for _ in size.spatial)
    timed = [(0, 0)] if "T" in size.format else []
    return Pair(gnc.CropLayer(flat(sides), name=name), lambda x: ref.crop(x, *timed, *sides))


def blocks(draw: random.Random, size: Size, name: str) -> Pair | None:
    """Channels that become positions, or positions that become channels."""
    if size.format.count("S") != 2:
        return None
    block, order = draw.choice((1, 2, 3)), draw.choice(("depth-first", "column-first"))
    options = {"block": block, "order": order}
    if size.channels % block**2 == 0 and draw.random() < 0.5:
        return Pair(
            gnc.DepthToSpaceLayer(block, order=order, name=name), stepped(size, ref.depth_to_space), options=options
        )  # fmt: skip
    return Pair(
        gnc.SpaceToDepthLayer(block, order=order, name=name), stepped(size, ref.space_to_depth), options=options
    )  # fmt: skip


def permuted(draw: random.Random, size: Size, name: str) -> Pair | None:
    """Axes in another order."""
    if "T" in size.format:
        return None
    order = draw.sample(range(len(size.shape)), len(size.shape))
    axes = (0, *(axis + 1 for axis in order))

    def operation(x: Any) -> Any:
        return np.transpose(x, axes), lambda dy: (np.transpose(dy, np.argsort(axes)),)

    return Pair(gnc.PermuteLayer(tuple(order), name=name), operation)


def reshaped(draw: random.Random, size: Size, name: str) -> Pair | None:
    """The same elements in another shape, or as one line."""
    shape, rest = [], size.count
    for _ in range(draw.randint(0, 3)):
        shape.append(draw.choice([n for n in range(1, rest + 1) if rest % n == 0]))
        rest //= shape[-1]
    shape = (*shape, rest)
    if "T" not in size.format and draw.random() < 0.6:
        return Pair(gnc.ReshapeLayer(shape, name=name), _reshaped(shape))
    timed = "T" in size.format
    line = (-1, size.count // size.shape[0]) if timed else (size.count,)
    return Pair(gnc.FlattenLayer(name=name), _reshaped(line))


def _reshaped(shape: tuple[int, ...]) -> Callable[..., Any]:
    return lambda x: (np.reshape(x, (len(x), *shape)), lambda dy: (np.reshape(dy, np.shape(x)),))


LAYERS: tuple[Make, ...] = (
    *(activation, activation, group_norm, group_norm, *[convolution] * 6, product, pooling, resize),
    *(softmax, prelu, constant, matrix, instance_norm, layer_norm, batch_norm, local, transposed, whole, resize),
    *(dropout, padding, crop, blocks, permuted, reshaped),
)
"""As often as each should be drawn."""
