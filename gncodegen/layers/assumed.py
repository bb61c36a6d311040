"""Sizes that are not known yet: what is wrong with a layer whatever they are.

Behind a fault a layer is tried with several sizes that it may get. What is told of it is what comes with each of them,
and what it makes of them is handed on to the layers behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TYPE_CHECKING

from gncodegen.errors import LayerError
from gncodegen.layers.base import Size

if TYPE_CHECKING:
    from gncodegen.layers.base import Layer

_FORMATS = ("C", "SC", "SSC", "SSSC", "TC", "TSC", "TSSC", "TSSSC")

_EXTENTS = (720, 1440)
"""What an unknown axis may have: more than most windows, with divisors, so that few layers refuse it."""

_MOST = 256
"""Combinations of sizes that a layer of several inputs is tried with."""


@dataclass(frozen=True)
class Finding:
    """What is known of a layer.

    Args:
        sizes: that its output may have; one = has; none = nothing is known.
        faults: what is wrong, for every size that its inputs may have.
    """

    sizes: tuple[Size, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Trial:
    """A layer with one size for each input; `size` is None where it refuses them."""

    size: Size | None
    faults: tuple[str, ...]


def look(layer: Layer, given: Sequence[tuple[Size, ...]]) -> Finding:
    """What is wrong with a layer, and what sizes its output may have.

    Args:
        layer: any layer.
        given: for each input the sizes that it may have; none = nothing is known of it.
    """
    if all(len(sizes) == 1 for sizes in given):
        inputs = tuple(size for (size,) in given)
        trial = _tried(layer, inputs)
        return Finding(_instead(layer, inputs) if trial.size is None else (trial.size,), trial.faults)
    known = tuple(sizes[0] for sizes in given if len(sizes) == 1)
    trials = _trials(layer, [sizes or tuple(_unknown(known)) for sizes in given])
    fitting = [trial for trial in trials if trial.size is not None]
    faults = _common(fitting or trials)
    sizes = _sizes(fitting)
    if len(sizes) == 1 and len(fitting) < len(trials) and not known:
        return Finding((), ())  # a lucky guess, which says nothing of other sizes
    return Finding(sizes or _instead(layer, ()), faults)


def _common(trials: Sequence[_Trial]) -> tuple[str, ...]:
    """The faults that come with all sizes."""
    return tuple(fault for fault in trials[0].faults if all(fault in trial.faults for trial in trials))


def _sizes(trials: Sequence[_Trial]) -> tuple[Size, ...]:
    return tuple(dict.fromkeys(trial.size for trial in trials if trial.size is not None))


def _trials(layer: Layer, given: Sequence[tuple[Size, ...]]) -> list[_Trial]:
    return [_assumed(layer, inputs) for inputs in islice(product(*given), _MOST)]


def _tried(layer: Layer, inputs: tuple[Size, ...]) -> _Trial:
    try:
        size = layer.output_size(inputs)
    except LayerError as error:
        return _Trial(None, (str(error),))
    try:
        return _Trial(size, (*layer.shape_errors(inputs), *_wrong_shapes(layer, inputs)))
    except LayerError as error:
        return _Trial(size, (str(error),))


def _assumed(layer: Layer, inputs: tuple[Size, ...]) -> _Trial:
    """The same for sizes that nobody gave, at which a layer of other hands may fail in any way."""
    try:
        trial = _tried(layer, inputs)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        return _Trial(None, ())
    return replace(trial, faults=tuple(_unnamed(fault, inputs) for fault in trial.faults))


def _unnamed(fault: str, inputs: tuple[Size, ...]) -> str:
    """A message without the sizes that were only tried."""
    for size in inputs:
        fault = fault.replace(str(size), "of unknown size")
    return fault


def _wrong_shapes(layer: Layer, inputs: tuple[Size, ...]) -> Iterator[str]:
    for parameter in layer.parameters(inputs):
        if parameter.value is not None and parameter.value.shape != parameter.shape:
            yield (
                f"{parameter.name} has shape {parameter.value.shape}; allowed: {parameter.shape} for the input "
                f"{inputs[0]}; give an array of that shape"
            )


def _unknown(known: Sequence[Size]) -> Iterator[Size]:
    """What an input may have: beside known ones their size, but for its channels, else any."""
    for size in known:
        yield size
        yield from (replace(size, shape=(*size.shape[:-1], extent)) for extent in _EXTENTS)
    if not known:
        yield from (Size(axes, (extent,) * len(axes)) for axes in _FORMATS for extent in _EXTENTS)


def _instead(layer: Layer, refused: tuple[Size, ...]) -> tuple[Size, ...]:
    """The sizes that a layer may make once inputs come that it does not refuse: those most like the refused ones."""
    for tries in _tries(refused, layer.num_inputs):
        if sizes := _sizes([_assumed(layer, inputs) for inputs in tries]):
            return sizes
    return ()


def _tries(refused: tuple[Size, ...], count: int) -> Iterator[Sequence[tuple[Size, ...]]]:
    if len(refused) > 1:
        yield [tuple(replace(size, shape=(*one.shape[:-1], size.channels), format=one.format) for size in refused)
               for one in refused]  # fmt: skip
        yield [(one,) * len(refused) for one in refused]
    if refused:
        larger = [[replace(size, shape=(*(extent,) * (len(size.shape) - 1), size.channels)) for size in refused]
                  for extent in _EXTENTS]  # fmt: skip
        yield list(map(tuple, larger))
    yield [(size,) * count for size in _unknown(())]
