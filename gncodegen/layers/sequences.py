"""Sequences of different lengths in one batch: how many steps each value has, and what keeps padding out of it.

A sequence's own steps are the first ones of every value that is made of it. Where a layer mixes steps, a mask puts
behind them what the layer would find behind a sequence that ends there; layers that treat each step alone need none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import LayerError
from gncodegen.layers.base import Attribute, Layer, Operation, Size
from gncodegen.layers.geometry import window_output
from gncodegen.layers.inputs import SequenceInputLayer
from gncodegen.layers.outputs import RegressionLayer
from gncodegen.layers.windows import WindowLayer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class Windows:
    """A window that slides over steps; its arguments are those of `geometry.window_output`."""

    window: int
    stride: int
    dilation: int
    before: int
    after: int

    def of(self, steps: Any) -> Any:
        """Its positions over so many steps."""
        return window_output(steps, self.window, self.stride, self.dilation, self.before, self.after)

    def seen(self, steps: NDArray[np.int64], positions: int) -> NDArray[np.int64]:
        """How many of so many steps, and of the pads around them, each of its positions sees: (N, positions)."""
        starts = np.arange(positions) * self.stride - self.before
        places = starts[:, None] + np.arange(self.window) * self.dilation
        return np.count_nonzero((places >= 0) & (places < steps[:, None, None]), axis=2)


@dataclass(frozen=True)
class Spread:
    """A transposed convolution over steps: `stride` results for each, and `more`."""

    stride: int
    more: int

    def of(self, steps: Any) -> Any:
        """Its results for so many steps."""
        return self.stride * steps + self.more


@dataclass(frozen=True)
class Steps:
    """The steps that a value has of each sequence.

    Args:
        source: the input layer of the sequences.
        changes: what made other numbers of them, in order.
        made_by: the layer that did it last, or the source.
    """

    source: str
    changes: tuple[Windows | Spread, ...] = ()
    made_by: str = field(default="", compare=False)

    def of(self, lengths: Any) -> Any:
        """For sequences of these lengths."""
        for change in self.changes:
            lengths = change.of(lengths)
        return lengths

    def through(self, change: Windows | Spread, layer: str) -> Steps:
        """The steps behind a layer."""
        return replace(self, changes=(*self.changes, change), made_by=layer)


@dataclass(frozen=True)
class Mask:
    """An array that tells a kernel where each sequence ends, made of the lengths for every batch.

    Args:
        steps: of the value.
        extent: steps that the value has room for.
        axes: axes of an observation of it.
        kind: "count" = the number of steps, (N, 1); and, for each step, 0 behind them, and on them "own" = 1;
            "mean" = extent / count, which makes of a mean over all steps one over the sequence's; "seen" = for a
            pooling that does not count padding, how many steps its window sees / how many of the sequence.
        window: of that pooling.
        room: steps that its input has room for.
    """

    steps: Steps
    extent: int
    axes: int
    kind: str = "own"
    window: Windows | None = None
    room: int = 0

    @property
    def name(self) -> str:
        """That of its argument."""
        return f"{self.steps.made_by}.{self.kind}{self.axes}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an observation."""
        return (1,) if self.kind == "count" else (self.extent, *(1,) * (self.axes - 1))

    def array(self, lengths: NDArray[np.int64], dtype: DTypeLike) -> NDArray[Any]:
        """The mask of sequences of these lengths, (N, *shape)."""
        count = self.steps.of(lengths)[:, None]
        own = np.arange(self.extent) < count
        match self.kind:
            case "count":
                values: NDArray[Any] = count
            case "mean":
                values = own * (self.extent / count)
            case "seen":
                values = own * self._seen(lengths)
            case _:
                values = own
        return np.ascontiguousarray(values.reshape(len(lengths), *self.shape), dtype)

    def _seen(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self.window is not None
        before = replace(self.steps, changes=self.steps.changes[:-1])
        whole = self.window.seen(np.array([self.room]), self.extent)
        return whole / np.maximum(self.window.seen(before.of(lengths), self.extent), 1)


@dataclass(frozen=True)
class Masking:
    """What masks do at one layer.

    Args:
        steps: that its output has; None = all, or it has no time.
        before: masks its inputs.
        lowest: what stands behind the steps becomes −∞ there, and not 0.
        norm: the counts by which its norm goes.
        after: masks its output.
        clean: whether its output is 0 behind the steps.
    """

    steps: Steps | None = None
    before: Mask | None = None
    lowest: bool = False
    norm: Mask | None = None
    after: Mask | None = None
    clean: bool = False


KEEPS_ZERO = frozenset({
    "relu", "leaky-relu", "clipped-relu", "elu", "celu", "selu", "tanh", "swish", "hard-swish", "mish", "gelu",
    "gelu-tanh", "softsign", "absolute", "negative", "square", "expm1", "log1p", "floor", "ceiling", "round", "sign",
    "sine", "tangent", "arcsine", "arctangent", "sinh", "arsinh", "artanh", "erf",
})  # fmt: skip
"""Activations with f(0) = 0."""

NOT_AT_ZERO = frozenset({"square-root", "reciprocal", "logarithm", "arcosh", "divide", "power", "remainder", "modulo"})
"""Functions without a finite value or slope at 0, which is what stands behind a sequence."""


def maskings(nodes: Iterator[tuple[Layer, Sequence[str], tuple[Size, ...], Size]]) -> Mapping[str, Masking]:
    """What masks do at each layer of a network, by name; empty where no input has any.

    Args:
        nodes: layer, names of those that feed it, sizes of its inputs, size of its output; in topological order.

    Raises:
        LayerError: a layer would let padding into what it computes, or mix up sequences; `layer` is its name.
    """
    found: dict[str, Masking] = {}
    for layer, sources, inputs, size in nodes:
        found[layer.name] = masking(layer, [found[name] for name in sources], inputs, size)
    return found if any(each.steps for each in found.values()) else {}


def masking(layer: Layer, given: Sequence[Masking], inputs: tuple[Size, ...], size: Size) -> Masking:
    """What masks do at a layer.

    Args:
        layer: any layer.
        given: the masking of the layers that feed it.
        inputs: sizes of its inputs.
        size: of its output.

    Raises:
        LayerError: it would let padding into what it computes.
    """
    if isinstance(layer, SequenceInputLayer) and layer.padding == "mask":
        steps = Steps(layer.name, made_by=layer.name)
        return Masking(steps, after=Mask(steps, size.shape[0], len(size.shape)), clean=True)
    known = [each.steps for each in given]
    if not any(known):
        return Masking()
    if len(set(known)) > 1:
        raise _mixed("joins sequences with values of other steps", "inputs that come the same way from one input layer")
    (steps,) = set(known)
    assert steps is not None
    return _Masked(layer, steps, inputs[0], size, all(each.clean for each in given)).masking()


def _mixed(what: str, allowed: str) -> LayerError:
    return LayerError(
        f'it {what}, and the input layer has padding="mask"; allowed: {allowed}; change the layer, or write '
        'padding="include" and let padding in'
    )


@dataclass(frozen=True)
class _Masked:
    """A layer whose inputs have steps.

    Args:
        layer: any layer.
        steps: of its inputs.
        input: size of the first.
        size: of its output.
        clean: whether all inputs are 0 behind the steps.
    """

    layer: Layer
    steps: Steps
    input: Size
    size: Size
    clean: bool

    def masking(self) -> Masking:
        if isinstance(self.layer, RegressionLayer):
            return Masking(before=None if self.clean else self._mask())
        masking = Masking(self.steps, clean=self.clean)
        for operation in self.layer.operations((self.input,)):
            if operation.op not in OPS:
                allowed = "layers of which is known what they do with steps (gncodegen/layers/sequences.py, OPS)"
                raise _mixed(f"has the op {operation.op}, which may mix steps", allowed)
            masking = OPS[operation.op](self, masking, operation)
        if masking.steps is not None and (self.size.format[:1] != "T" and not self.layer.is_output):
            raise _mixed("makes other axes of time", "layers that leave time as it is")
        return masking

    def norm(self, masking: Masking, operation: Operation) -> Masking:
        """A group norm goes by the count of steps where its statistics are over several."""
        if operation.attributes["reduced"] == "spatial-channel":
            return replace(masking, norm=self._mask("count"), clean=True)
        return replace(masking, clean=False)

    def batch_norm(self, masking: Masking, operation: Operation) -> Masking:
        """While training, a batch norm goes by the counts of all sequences; in prediction each step stands alone."""
        return replace(masking, norm=self._mask("count"), clean=False)

    def pad(self, masking: Masking, operation: Operation) -> Masking:
        """Pads along other axes than time stay what they are."""
        if self._covers(operation.attributes["padding"], 2):
            raise _mixed(f"pads steps with {operation.attributes['mode']} values", "padding with 0 along time")
        return masking

    def along_axis(self, masking: Masking, operation: Operation) -> Masking:
        """What cuts or resamples an axis may do so to others than time."""
        if operation.attributes["axis"] == 1:
            raise _mixed(f"mixes steps in {operation.op}", "other axes than time")
        return masking

    def transpose(self, masking: Masking, operation: Operation) -> Masking:
        """Time stays in front."""
        if _integers(operation.attributes["permutation"])[1] != 1:
            raise _mixed("moves time", "time in front of all other axes")
        return masking

    def function(self, masking: Masking, operation: Operation) -> Masking:
        """Functions of elements, which may keep zeros, and must be finite at them."""
        function, several = str(operation.attributes["function"]), operation.op == "elementwise"
        if function in NOT_AT_ZERO:
            raise _mixed(f"computes {function}, which is not finite at 0", "functions that are")
        keeps = function == "multiply" and not operation.parameters if several else function in KEEPS_ZERO
        return replace(masking, clean=masking.clean and keeps)

    def products(self, masking: Masking, operation: Operation) -> Masking:
        """Products of matrices that stand at each step."""
        if len(self.input.shape) < 3:
            raise _mixed("multiplies matrices whose rows are steps", "matrices of their own at each step")
        return masking

    def keep(self, masking: Masking, operation: Operation) -> Masking:
        """Each step alone, zeros stay zeros."""
        return masking

    def change(self, masking: Masking, operation: Operation) -> Masking:
        """Each step alone, zeros become something else."""
        return replace(masking, clean=False)

    def windows(self, masking: Masking, operation: Operation) -> Masking:
        """Windows, which may slide over steps."""
        op, attributes = operation.op, operation.attributes
        if not self._covers(attributes["stride"], 1):
            return replace(masking, clean=masking.clean and op.endswith("pool"))
        if self.size.format[:1] != "T":  # global pooling
            mean = op == "average_pool"
            return Masking(before=self._mask("mean" if mean else "own"), lowest=not mean)
        before = None if masking.clean and op != "max_pool" else self._mask()
        stride, name = _integers(attributes["stride"])[0], self.layer.name
        if op == "transposed_convolution":
            more = self.size.shape[0] - stride * self.input.shape[0]
            return Masking(self.steps.through(Spread(stride, more), name), before)
        window = self._over_steps(op, attributes)
        through = self.steps.through(window, name)
        steps = self.steps if window.of(1) == 1 and stride == 1 else through
        masking = Masking(steps, before, lowest=op == "max_pool")
        if not op.endswith("pool"):
            return masking
        after = Mask(steps, self.size.shape[0], len(self.size.shape))
        if op == "average_pool" and not attributes["count_padding"]:
            after = replace(after, steps=through, kind="seen", window=window, room=self.input.shape[0])
        return replace(masking, after=after, clean=True)

    def _covers(self, entries: Attribute, per_axis: int) -> bool:
        """Whether a window of so many entries slides over time, too."""
        return len(_integers(entries)) == per_axis * (len(self.input.shape) - 1)

    def _mask(self, kind: str = "own") -> Mask:
        return Mask(self.steps, self.input.shape[0], len(self.input.shape), kind)

    def _over_steps(self, op: str, attributes: Mapping[str, Attribute]) -> Windows:
        """The window along time."""
        stride, padding = _integers(attributes["stride"])[0], _integers(attributes["padding"])
        if isinstance(self.layer, WindowLayer) and self.layer.padding == "same" and stride > 1:
            raise _mixed(
                'has padding="same" and a stride along time, which pads a sequence by its length',
                f"numbers, such as padding={padding}, which is what the longest one gets",
            )
        extent = self._extent(op, attributes)
        dilation = _integers(attributes.get("dilation", (1,)))[0]
        return Windows(extent, stride, dilation, *padding[:2])

    def _extent(self, op: str, attributes: Mapping[str, Attribute]) -> int:
        if op != "convolution":
            return _integers(attributes["window"])[0]
        weights = next(each for each in self.layer.parameters((self.input,)) if each.name == "weights")
        return weights.shape[0]


def _integers(value: Attribute) -> tuple[int, ...]:
    assert isinstance(value, tuple)
    return tuple(map(int, value))


OPS: Mapping[str, Callable[[_Masked, Masking, Operation], Masking]] = {
    **dict.fromkeys(("convolution", "transposed_convolution", "max_pool", "average_pool"), _Masked.windows),
    **dict.fromkeys(("activation", "elementwise"), _Masked.function),
    **dict.fromkeys(("sparse_product", "slice"), _Masked.along_axis),
    **dict.fromkeys(("add", "concatenate", "dropout", "reshape", "cross_entropy"), _Masked.keep),
    **dict.fromkeys(("bias", "fully_connected", "softmax"), _Masked.change),
    "matrix_product": _Masked.products,
    "group_norm": _Masked.norm,
    "batch_norm": _Masked.batch_norm,
    "pad": _Masked.pad,
    "transpose": _Masked.transpose,
}
"""Op of a layer → the masking behind it, from that in front of it."""
