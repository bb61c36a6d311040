"""Finds every fault of a network, and the sizes that are known in spite of them."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

from gncodegen.errors import LayerError
from gncodegen.layers.activations import SoftmaxLayer
from gncodegen.layers.assumed import look
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.layers.sequences import Masking, masking
from gncodegen.layers.sharing import Reading
from gncodegen.layers.wiring import UNKNOWN, Placed, Wired, free_name, wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gncodegen.layers.base import Parameter, Size


@dataclass(frozen=True)
class Examination:
    """What is known of a network.

    Args:
        placed: the layers in their places.
        order: positions in `placed`, every layer after those that feed it; layers on or after a cycle are missing.
        outputs: positions of the layers whose outputs prediction returns, in order; empty where an output layer says.
        sizes: output size by position, as far as known.
        issues: every fault found, one message each.
    """

    placed: tuple[Placed, ...]
    order: tuple[int, ...]
    outputs: tuple[int, ...]
    sizes: dict[int, Size]
    issues: tuple[str, ...]

    @property
    def unsized(self) -> tuple[Placed, ...]:
        """The layers whose inputs have no known size yet."""
        return tuple(p for position, p in enumerate(self.placed) if self.input_sizes(position) is None)

    def input_sizes(self, position: int) -> tuple[Size, ...] | None:
        """The sizes of a layer's inputs; None where one is unknown."""
        sizes = [self.sizes.get(UNKNOWN if source is None else source) for source in self.placed[position].sources]
        known = tuple(size for size in sizes if size is not None)
        return known if len(known) == len(sizes) else None


def examine(layers: object, *, require_output: bool = True) -> Examination:
    """Looks at an array of layers, a `LayerGraph` or a `Network`, whatever state it is in; never raises for a fault."""
    placed, faults = wire(layers)
    if not placed and not faults:
        faults = ["the network is empty; allowed: an input layer and at least one more; write [ImageInputLayer(…), …]"]
    if not placed:
        return Examination((), (), (), {}, tuple(faults))
    order, graph = topological_order(placed), isinstance(layers, Wired)
    returned = layers.outputs if isinstance(layers, Wired) else ()
    outputs = _outputs(placed, returned)
    examination = Examination(placed, order, outputs, {}, ())
    issues = [
        *faults,
        *_duplicate_names(placed),
        *_input_layers(placed, several=graph),
        *_output_layers(placed, require_output),
        *_open_inputs(placed),
        *_unused_outputs(placed, outputs if graph else outputs[-1:]),
        *_cycles(placed, set(range(len(placed))) - set(order)),
        *_losses(placed),
        *_sizes(examination),
        *_shared(examination),
        *_sequences(examination),
    ]
    return Examination(placed, order, outputs, examination.sizes, tuple(issues))


def topological_order(placed: Sequence[Placed]) -> tuple[int, ...]:
    """Positions such that every layer comes after those that feed it, else in the user's order; cycles are left out."""
    waiting = [len({s for s in p.sources if s is not None and s != UNKNOWN}) for p in placed]
    readers: list[set[int]] = [set() for _ in placed]
    for position, p in enumerate(placed):
        for source in p.sources:
            if source is not None and source != UNKNOWN:
                readers[source].add(position)
    ready = [position for position, count in enumerate(waiting) if count == 0]
    heapify(ready)
    order: list[int] = []
    while ready:
        position = heappop(ready)
        order.append(position)
        for reader in readers[position]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heappush(ready, reader)
    return tuple(order)


def _duplicate_names(placed: Sequence[Placed]) -> Iterator[str]:
    first: dict[str, Placed] = {}
    for p in placed:
        if p.layer.name in first:
            free = free_name(p.layer, [other.layer.name for other in placed])
            yield (
                f"{p.label}: the name is that of layer {first[p.layer.name].index}; allowed: unique names; "
                f'write name="{free}"'
            )
        first.setdefault(p.layer.name, p)


def _outputs(placed: Sequence[Placed], returned: Sequence[str]) -> tuple[int, ...]:
    """The layers whose outputs prediction returns: those named, else those that no layer takes."""
    if any(p.layer.is_output for p in placed):
        return ()
    if returned:
        positions = {p.layer.name: position for position, p in enumerate(placed)}
        return tuple(positions[name] for name in returned)
    used = {source for p in placed for source in p.sources}
    return tuple(position for position, p in enumerate(placed) if p.layer.num_outputs and position not in used)


def _input_layers(placed: Sequence[Placed], several: bool) -> Iterator[str]:
    inputs = [p.label for p in placed if p.layer.is_input]
    if not inputs:
        yield (
            "the network has no input layer; allowed: exactly one; put ImageInputLayer((height, width, channels)) or "
            "FeatureInputLayer(features) first"
        )
    if len(inputs) > 1 and not several:
        yield (
            f"the network has {len(inputs)} input layers, {_listed(inputs)}; allowed: exactly one in an array of "
            "layers; remove the others, or connect them in a LayerGraph"
        )


def _output_layers(placed: Sequence[Placed], require_output: bool) -> Iterator[str]:
    outputs = [p.label for p in placed if p.layer.is_output]
    if require_output and not outputs:
        yield (
            "the network has no output layer; allowed: exactly one, for training; append ClassificationLayer() or "
            "RegressionLayer()"
        )
    if len(outputs) > 1:
        yield f"the network has {len(outputs)} output layers, {_listed(outputs)}; allowed: one; remove the others"


def _open_inputs(placed: Sequence[Placed]) -> Iterator[str]:
    has_input = any(p.layer.is_input for p in placed)
    for position, p in enumerate(placed):
        for name, source in zip(p.layer.input_names, p.sources, strict=True):
            # Where the input layer is missing, that is the fault, and not that nothing feeds the first layer.
            if source is None and (has_input or position > 0):
                yield (
                    f"{p.label}: its input {name!r} is not connected; allowed: one source for every input; "
                    f"write graph.connect(source, '{p.layer.name}/{name}') on a LayerGraph"
                )


def _unused_outputs(placed: Sequence[Placed], outputs: Sequence[int]) -> Iterator[str]:
    used = {source for p in placed for source in p.sources}
    # What stands before something that is no layer would feed it, had that been one.
    fed_gap = [a.index for a, b in pairwise(placed) if b.index > a.index + 1]
    loose = [
        p
        for position, p in enumerate(placed)
        if p.layer.num_outputs and position not in used and p.index not in fed_gap and position not in outputs
    ]
    for p in loose:
        yield (
            f"{p.label}: no layer takes its output; allowed: layers that lead to the network's one output; "
            f"write graph.connect('{p.layer.name}', destination) on a LayerGraph, or remove it"
        )


def _cycles(placed: Sequence[Placed], left: set[int]) -> Iterator[str]:
    while left:
        path: list[int] = []
        position: int | None = min(left)
        while position is not None and position not in path:
            path.append(position)
            position = next((source for source in placed[position].sources if source in left), None)
        left -= set(path)
        if position is not None:
            cycle = path[path.index(position) :][::-1]
            names = [repr(placed[p].layer.name) for p in (*cycle, cycle[0])]
            yield (
                f"layers {' → '.join(names)} form a cycle; allowed: connections that never lead back; "
                f"write graph.disconnect({names[-2]}, {names[-1]})"
            )


def _losses(placed: Sequence[Placed]) -> Iterator[str]:
    for p in placed:
        sources = [placed[s] for s in p.sources if s is not None and s != UNKNOWN]
        # Arrays that are handed in may be probabilities.
        gives = any(isinstance(source.layer, SoftmaxLayer) or source.layer.is_input for source in sources[:1])
        if isinstance(p.layer, ClassificationLayer) and sources and not gives:
            yield (
                f"{p.label}: it follows {sources[0].label} ({type(sources[0].layer).__name__}), whose outputs are no "
                "probabilities; allowed: SoftmaxLayer; put SoftmaxLayer() between the two"
            )


def _sizes(examination: Examination) -> Iterator[str]:
    """Fills in the sizes in order, and tells what does not fit; behind a fault, what does not whatever comes."""
    possible: dict[int, tuple[Size, ...]] = {}
    for position in examination.order:
        p = examination.placed[position]
        finding = look(p.layer, [possible.get(UNKNOWN if source is None else source, ()) for source in p.sources])
        possible[position] = finding.sizes
        if len(finding.sizes) == 1:
            examination.sizes[position] = finding.sizes[0]
        yield from (f"{p.label}: {fault}" for fault in finding.faults)


def _shared(examination: Examination) -> Iterator[str]:
    """Tells which learnables that layers share are none, or do not fit."""
    owned: dict[str, Parameter] = {}
    for position, p in enumerate(examination.placed):
        inputs = examination.input_sizes(position)
        if position in examination.sizes and inputs is not None:
            owned |= {f"{p.layer.name}.{each.name}": each for each in p.layer.owned(inputs) if each.learnable}
    for position, p in enumerate(examination.placed):
        inputs = examination.input_sizes(position)
        if not p.layer.shared or position not in examination.sizes or inputs is None:
            continue
        own = {each.name: each for each in p.layer.parameters(inputs) if each.learnable}
        for name, key in p.layer.shared:
            shapes = {other: each.shape for other, each in owned.items()}
            given = f"{p.label}: shared = {{{name!r}: {key!r}}}"
            if name not in own:
                yield f"{given}; allowed: {', '.join(own) or 'nothing'}, the layer's learnables; correct the name"
            elif not Reading.of(key).fits(shapes.get(Reading.of(key).key), own[name].shape):
                fitting = [other for other, shape in shapes.items() if shape == own[name].shape]
                allowed = ", ".join(fitting) or "none here"
                yield f"{given}; allowed: learnables of shape {own[name].shape}: {allowed}; correct the key"
            elif own[name].value is not None and name not in p.layer.shaping:
                yield f"{given} beside a value of its own; allowed: one of both; leave out {name}"


def _sequences(examination: Examination) -> Iterator[str]:
    """Tells which layers would let the padding of masked sequences into what they compute."""
    found: dict[int, Masking] = {}
    for position in examination.order:
        p, inputs = examination.placed[position], examination.input_sizes(position)
        sources = [found.get(UNKNOWN if source is None else source) for source in p.sources]
        given = [each for each in sources if each is not None]
        if position not in examination.sizes or inputs is None or len(given) < len(sources):
            continue
        try:
            found[position] = masking(p.layer, given, inputs, examination.sizes[position])
        except LayerError as error:
            yield f"{p.label}: {error}"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:-1]) + f" and {labels[-1]}"
