"""The cases of bench/kernels.py: one op, or two neighbours, in one direction at one shape, with the peers' calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One op, direction and shape.

    Args:
        name: as the table shows it.
        kind: group of cases that one bar speaks of.
        ours: makes our call.
        torch: (channels_last) → PyTorch's eager call.
        compiled: () → the same under torch.compile; None = not measured.
        jax: () → JAX's jitted call; None = not measured.
        copies: tensor-sized copies of `bytes` that the op's floor is;
        tensors: of that size that it touches, as its floor does.
        bytes: of the tensor.
        flops: of the op.
    """

    name: str
    kind: str
    ours: Callable[[], Call]
    torch: Callable[[bool], Call]
    compiled: Callable[[], Call] | None = None
    jax: Callable[[], Call] | None = None
    copies: float = 0.0
    tensors: int = 2
    bytes: int = 0
    flops: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


def ours(op: str, operands: list[np.ndarray], results: list[tuple[tuple[int, ...], str]], **attributes: Any) -> Call:
    """A call that runs one op's kernels on fixed arrays."""
    from gncodegen.allocation import lasting
    from gncodegen.kernels.schedule import Problem, Tensor
    from gncodegen.kernels.single import program
    from gncodegen.runtime.executor import Arena, Executor
    from gncodegen.targets.cpu.target import CpuTarget

    target = CpuTarget()
    tensors = tuple(Tensor(a.shape, str(a.dtype)) for a in operands)
    problem = Problem(op, tensors, tuple(Tensor(*r) for r in results), attributes, target.machine)
    single = program(problem)
    sources = target.write(single.kernels.values())
    target.compile(sources)
    executor = Executor(single, dict(zip(single.kernels, target.link(sources), strict=True)), Arena(), {})
    arrays: dict[tuple[str, str], np.ndarray] = {}
    for key, index in executor.free.items():
        buffer = single.buffers[index]
        given = buffer.kind == "input"
        arrays[key] = operands[int(key[1].removeprefix("operand"))] if given else lasting(buffer.shape, buffer.dtype)
    return lambda: executor.run(arrays)


def _normal(*shape: int) -> np.ndarray:
    from gncodegen.allocation import lasting

    x = lasting(shape, np.float32)
    x[...] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return x


# ---- group normalization -----------------------------------------------------------------------------------------

NORMALIZED = (
    # (N, C, spatial, groups)
    (2, 32, (8, 8), 8), (8, 64, (56, 56), 32), (8, 256, (56, 56), 32), (32, 64, (28, 28), 8), (16, 512, (7, 7), 32),
    (1, 32, (256, 256), 32), (4, 64, (224, 224), 32), (8, 64, (56, 56), 1), (8, 64, (56, 56), 64),
    (2, 32, (16, 32, 32), 8), (16, 64, (512,), 8), (16, 512, (196,), 1),
)  # fmt: skip


def group_norms() -> Iterator[Case]:
    """GN+ReLU, GN+ReLU after a residual addition, forward and forward+backward."""
    for n, c, spatial, groups in NORMALIZED:
        shape = f"{n}×{c}×{'×'.join(map(str, spatial))}, {groups} groups"
        for residual in (False, True):
            for backward in (False, True):
                what = "GN+add+ReLU" if residual else "GN+ReLU"
                yield _group_norm(n, c, spatial, groups, residual, backward, f"{what} {shape}")
        if len(spatial) == 2:
            case = _group_norm(n, c, spatial, groups, False, False, f"predict of GN+ReLU {shape}")
            predict = partial(_through_predict, n, c, spatial, groups)
            yield replace(case, kind="predict of GN+ReLU", ours=predict, compiled=None, jax=None)


def _through_predict(n: int, c: int, spatial: tuple[int, ...], groups: int) -> Call:
    """A network's call, which makes the array of its result."""
    import gncodegen as gnc

    layers = [
        gnc.ImageInputLayer((*spatial, c), normalization="none"),
        gnc.GroupNormalizationLayer(groups, name="gn"),
        gnc.ReluLayer(name="relu"),
    ]
    net, x = gnc.compile(layers, training=False, batch_size=n), _normal(n, *spatial, c)
    return lambda: net.predict(x)


def _group_norm(
    n: int, c: int, spatial: tuple[int, ...], groups: int, residual: bool, backward: bool, name: str
) -> Case:
    (x, dy, r), vector = (_normal(n, *spatial, c) for _ in range(3)), _normal(c)
    more = {
        "groups": groups,
        "epsilon": 1e-5,
        "activation": "relu",
        "alpha": 0.0,
        **({"residual": True} if residual else {}),
    }

    def make() -> Call:
        extra = [r] if residual else []
        statistics = np.ones((n, groups, 3), np.float32)
        shapes = [(x.shape, "float32"), (statistics.shape, "float32")]
        forward = ours("group_norm", [x, vector, vector, *extra], shapes, **more)
        if not backward:
            return forward
        shapes = [
            (x.shape, "float32"),
            ((c,), "float32"),
            ((c,), "float32"),
            *([(x.shape, "float32")] if residual else []),
        ]
        gradient = ours("group_norm_gradient", [x, dy, vector, vector, statistics, *extra], shapes, **more)
        return lambda: (forward(), gradient())

    def reference(channels_last: bool, compiles: bool = False) -> Call:
        import torch

        def function(x: Any, scale: Any, offset: Any, r: Any) -> Any:
            y = torch.nn.functional.group_norm(x, groups, scale, offset, 1e-5)
            return torch.relu(y + r if residual else y)

        function = torch.compile(function) if compiles else function
        images = torch.tensor(np.moveaxis(x, -1, 1).copy())
        formats = {2: torch.channels_last, 3: torch.channels_last_3d}
        if channels_last and len(spatial) in formats:
            images = images.contiguous(memory_format=formats[len(spatial)])
        images = images.requires_grad_(backward)
        scale, offset = (torch.tensor(vector, requires_grad=backward) for _ in "ab")
        r = images.detach().clone().requires_grad_(backward)
        if not backward:
            return lambda: function(images, scale, offset, r)
        dy = torch.randn_like(images)
        wanted = (images, scale, offset, r)[: 4 if residual else 3]
        return lambda: torch.autograd.grad(function(images, scale, offset, r), wanted, dy)

    def in_jax() -> Call:
        import jax
        import jax.numpy as jnp

        def function(x: Any, scale: Any, offset: Any, r: Any) -> Any:
            grouped = x.reshape(n, -1, groups, c // groups)
            mean = grouped.mean((1, 3), keepdims=True)
            variance = ((grouped - mean) ** 2).mean((1, 3), keepdims=True)
            y = ((grouped - mean) / jnp.sqrt(variance + 1e-5)).reshape(x.shape) * scale + offset
            return jnp.maximum(y + r if residual else y, 0)

        arrays = [jnp.asarray(a) for a in (x, vector, vector, x)]
        whole = jax.grad(lambda *given: function(*given).sum(), argnums=(0, 1, 2)) if backward else function
        jitted = jax.jit(whole)
        return lambda: jax.block_until_ready(jitted(*arrays))

    copies = (1.5 if residual else 1.0) if not backward else (4.0 if residual else 2.5)
    tensors = (3 if residual else 2) if not backward else (6 if residual else 4)
    kind = f"{'GN+add+ReLU' if residual else 'GN+ReLU'} {'forward+backward' if backward else 'forward'}"
    name = f"{name}{', forward+backward' if backward else ''}"
    return Case(name, kind, make, reference, lambda: reference(False, True), in_jax, copies, tensors, x.nbytes)


# ---- convolution -------------------------------------------------------------------------------------------------

CONVOLVED = (
    # (N, H, C, K, window, stride, groups)
    (8, 56, 64, 64, 3, 1, 1), (8, 28, 128, 128, 3, 1, 1), (8, 14, 256, 256, 3, 1, 1), (8, 7, 512, 512, 3, 1, 1),
    (32, 32, 64, 64, 3, 1, 1), (32, 16, 128, 128, 3, 1, 1), (32, 16, 16, 32, 3, 1, 1), (128, 14, 8, 16, 3, 1, 1),
    (8, 56, 64, 256, 1, 1, 1), (8, 28, 512, 128, 1, 1, 1), (8, 56, 128, 128, 3, 2, 1), (8, 28, 32, 32, 5, 1, 1),
    (8, 224, 3, 64, 7, 2, 1), (128, 28, 1, 8, 3, 1, 1), (32, 32, 3, 64, 3, 1, 1), (8, 56, 64, 64, 3, 1, 64),
    (8, 56, 64, 64, 3, 1, 4),
)  # fmt: skip


def convolutions() -> Iterator[Case]:
    """Forward, input gradient and weight gradient, padded to the same size."""
    for case in CONVOLVED:
        for direction in ("forward", "input gradient", "weight gradient"):
            yield _convolution(*case, direction)


def _convolution(n: int, h: int, c: int, k: int, window: int, stride: int, groups: int, direction: str) -> Case:
    pad, out = window // 2, (h + 2 * (window // 2) - window) // stride + 1
    x, y, w = _normal(n, h, h, c), _normal(n, out, out, k), _normal(window, window, c // groups, k)
    given = {"stride": (stride,) * 2, "dilation": (1, 1), "padding": (pad,) * 4, "groups": groups}

    def make() -> Call:
        if direction == "forward":
            return ours("convolution", [x, w], [(y.shape, "float32")], **given)
        if direction == "input gradient":
            return ours("convolution_input_gradient", [y, w], [(x.shape, "float32")], input_shape=x.shape, **given)
        return ours("convolution_weight_gradient", [x, y], [(w.shape, "float32")], weights_shape=w.shape, **given)

    def reference(channels_last: bool) -> Call:
        import torch

        kind = torch.channels_last if channels_last else torch.contiguous_format
        images, dy = (torch.tensor(a.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=kind) for a in (x, y))
        weights = torch.tensor(w.transpose(3, 2, 0, 1).copy()).contiguous(memory_format=kind)
        if direction == "forward":
            return lambda: torch.nn.functional.conv2d(images, weights, None, stride, pad, 1, groups)
        mask = (direction == "input gradient", direction == "weight gradient", False)
        fixed = (None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, mask)
        return lambda: torch.ops.aten.convolution_backward(dy, images, weights, *fixed)

    flops = 2 * n * out * out * k * window * window * c // groups
    label = "" if groups == 1 else f", {groups} groups"
    kind = "C ≤ 4" if c <= 4 else "3×3" if (window, stride, groups) == (3, 1, 1) and min(c, k) >= 16 else "other"
    name = f"conv {direction} {n}×{h}²×{c}→{k}, {window}×{window}/{stride}{label}"
    return Case(name, f"conv {kind}, {direction}", make, reference, flops=flops)


# ---- norms and convolutions side by side, in prediction ----------------------------------------------------------

NEIGHBOURS = (
    # (N, H, C, K, window, stride, whether the norm comes first)
    (8, 56, 256, 64, 1, 1, True), (8, 28, 512, 128, 1, 1, True), (8, 56, 256, 512, 1, 2, True),
    (8, 56, 128, 128, 3, 2, True), (8, 56, 64, 256, 1, 1, False), (8, 224, 3, 64, 7, 2, False),
)  # fmt: skip


def neighbours() -> Iterator[Case]:
    """GN+ReLU+convolution, and convolution+GN+ReLU, as whole networks."""
    for n, h, c, k, window, stride, first in NEIGHBOURS:
        what = "GN+ReLU+conv" if first else "conv+GN+ReLU"
        name = f"{what} {n}×{h}²×{c}→{k}, {window}×{window}/{stride}, prediction"
        yield _neighbours(n, h, c, k, window, stride, first, name)


def _neighbours(n: int, h: int, c: int, k: int, window: int, stride: int, first: bool, name: str) -> Case:
    x, w, bias, vector = _normal(n, h, h, c), _normal(window, window, c, k), _normal(k), _normal(c if first else k)
    pad = window // 2

    def make() -> Call:
        import gncodegen as gnc

        norm = [gnc.GroupNormalizationLayer(32, scale=vector, offset=vector), gnc.ReluLayer()]
        convolution = [gnc.Convolution2dLayer(window, k, stride=stride, padding=pad, weights=w, bias=bias)]
        between = [*norm, *convolution] if first else [*convolution, *norm]
        compiled = gnc.compile([gnc.ImageInputLayer((h, h, c), normalization="none"), *between], batch_size=n)
        return lambda: compiled.predict(x)

    def reference(channels_last: bool, compiles: bool = False) -> Call:
        import torch
        from torch.nn.functional import conv2d, group_norm

        kind = torch.channels_last if channels_last else torch.contiguous_format
        images = torch.tensor(x.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=kind)
        weights = torch.tensor(w.transpose(3, 2, 0, 1).copy()).contiguous(memory_format=kind)
        summand, affine = torch.tensor(bias), torch.tensor(vector)

        def function(x: Any) -> Any:
            if first:
                return conv2d(torch.relu(group_norm(x, 32, affine, affine)), weights, summand, stride, pad)
            return torch.relu(group_norm(conv2d(x, weights, summand, stride, pad), 32, affine, affine))

        function = torch.compile(function) if compiles else function

        def call() -> object:
            with torch.inference_mode():
                return function(images)

        return call

    kind = f"{name.split(maxsplit=1)[0]}, prediction"
    return Case(name, kind, make, reference, lambda: reference(True, True))


# ---- the rest ----------------------------------------------------------------------------------------------------


def others() -> Iterator[Case]:
    """Pooling and fully connected layers."""
    for n, h, c, size, stride in ((128, 28, 8, 2, 2), (8, 112, 64, 3, 2), (32, 32, 64, 2, 2)):
        x, out = _normal(n, h, h, c), (h - size) // stride + 1
        y = (n, out, out, c)
        given = {"window": (size,) * 2, "stride": (stride,) * 2, "padding": (0,) * 4}
        yield Case(
            f"max pool {n}×{h}²×{c}, {size}/{stride}", "pooling",
            lambda x=x, y=y, given=given: ours("max_pool", [x], [(y, "float32")], **given),
            lambda last, x=x, size=size, stride=stride: _torch_pool(x, size, stride, last),
            copies=0.5 + 0.5 * prod(y) / x.size, bytes=x.nbytes,
        )  # fmt: skip
    for n, inputs, outputs in ((128, 1568, 10), (32, 512, 1000), (256, 1024, 1024)):
        x, w = _normal(n, inputs), _normal(outputs, inputs)
        yield Case(
            f"fully connected {n}×{inputs}→{outputs}", "fully connected",
            lambda x=x, w=w: ours("fully_connected", [x, w], [((len(x), len(w)), "float32")]),
            lambda last, x=x, w=w: _torch_linear(x, w),
            flops=2 * n * inputs * outputs,
        )  # fmt: skip


def _torch_pool(x: np.ndarray, size: int, stride: int, channels_last: bool) -> Call:
    import torch

    kind = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.tensor(x.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=kind)
    return lambda: torch.nn.functional.max_pool2d(images, size, stride)


def _torch_linear(x: np.ndarray, w: np.ndarray) -> Call:
    import torch

    rows, weights = torch.tensor(x), torch.tensor(w)
    return lambda: torch.nn.functional.linear(rows, weights)


def cases() -> Iterator[Case]:
    """All of them."""
    for kind in (group_norms, convolutions, neighbours, others):
        yield from kind()
