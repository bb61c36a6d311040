"""What a file that stands alone takes of a compiled network: launches and arrays; or why there is no such file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import NetworkError, OptionsError
from gncodegen.exchange.standalone.weights import NORMALIZATION, stored
from gncodegen.kernels.program import Buffer, Call, Program
from gncodegen.kernels.store import Source
from gncodegen.layers.formats import axis_order
from gncodegen.layers.network import argument_name
from gncodegen.layers.tensors import TensorInputLayer
from gncodegen.lowering import Lowered
from gncodegen.runtime.conversion import ArrayConversion
from gncodegen.runtime.input_normalization import InputNormalization, input_normalization
from gncodegen.runtime.rows import Key, seen

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled


@dataclass(frozen=True)
class Port:
    """An input or an output.

    Args:
        key: of its buffer.
        name: of its layer.
        shape: of one observation, as callers see it.
    """

    key: Key
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Standalone:
    """A function of a network, without what compiled it.

    Args:
        lowered: its Program and its kernels' files.
        values: parameters and statistics by name, the solver's arrays by kind and name, as they are now.
        inputs, outputs: what goes in and comes out, in the order of `predict`.
        axes: the order of their axes, such as "BSSC".
        normalizations: of the inputs that are normalized before it runs, by the argument's name.
    """

    lowered: Lowered
    values: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    axes: str
    normalizations: Mapping[str, InputNormalization]

    @property
    def program(self) -> Program:
        """Its calls and buffers."""
        return self.lowered.program

    @property
    def sources(self) -> Mapping[str, Source]:
        """Its kernels' files, by name."""
        return self.lowered.sources

    @property
    def roots(self) -> tuple[int, ...]:
        """The buffers that launches use, views left out."""
        program = self.program
        return tuple(sorted({program.root(index) for call in program.calls for index in call.arguments}))

    def arguments(self, call: Call) -> tuple[int, ...]:
        """The buffers of a call, as places in `roots`."""
        places = {index: place for place, index in enumerate(self.roots)}
        return tuple(places[self.program.root(index)] for index in call.arguments)

    def parameter(self, buffer: Buffer) -> NDArray[Any]:
        """The values of a parameter, of a statistic, or of an array of the solver's, as kernels read them."""
        return np.ascontiguousarray(self.values[stored(buffer.kind, buffer.name)], buffer.dtype)

    @property
    def kept(self) -> dict[str, NDArray[Any]]:
        """The arrays that launches read and a file of weights keeps, by their names in it."""
        used = (self.program.buffers[index] for index in self.roots)
        arrays = {name: self.parameter(each) for each in used if (name := stored(each.kind, each.name))}
        return arrays | {stored(NORMALIZATION, name): array for name, array in self.numbers.items()}

    @property
    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """The numbers of its normalizations, by argument and name, such as "x.shift"."""
        return {
            f"{argument}.{field.name}": np.array(getattr(each, field.name), np.float64)
            for argument, each in self.normalizations.items()
            for field in fields(each)
        }

    def buffer(self, port: Port) -> Buffer:
        """The buffer of an input or an output."""
        return self.program.buffers[self.program.arguments[port.key]]


def standalone(
    compiled: Compiled, becomes: str, function: str = "predict", *, on_gpu: bool = False, normalized: bool = False
) -> Standalone:
    """A function of a network.

    Args:
        compiled: the network.
        becomes: what it is to be, for messages.
        function: "predict", or "train_step" of a network compiled for training.
        on_gpu: whether it is for a GPU.
        normalized: whether inputs that have a normalization go through it in float64 before the function runs.

    Raises:
        OptionsError: it was compiled for another target.
        NetworkError: a file cannot hold what some layers do; `issues` names every one.
    """
    network, options = compiled.network, compiled.options
    if options.target != "cpu" and not on_gpu:
        raise OptionsError(
            f"export: target {options.target!r} does not become {becomes}; allowed: target='cpu'; compile for that"
        )
    conversion = ArrayConversion(network, options.array_dtype, options.data_format or "", lambda array, what: None)
    issues = [
        f"{node.label}: a normalization that is a function of yours does not become {becomes}; allowed: those that the "
        "layer has by name; apply yours to the arrays"
        for node in network.inputs
        if callable(getattr(node.layer, "normalization", None))
    ]
    issues += [
        f"{node.label}: arrays without an axis of observations do not become {becomes}; allowed: networks whose inputs "
        "have one; import the model with a batch axis"
        for node in network.inputs
        if not network.batched
    ]
    given = options.data_format or ""
    letters = ["B" + node.size.format for node in network.inputs] + list(conversion.results.values())
    if any(axis_order(conversion.axes, each) != axis_order(given, each) for each in letters):
        issues.append(
            f"data_format={given!r} does not become {becomes}; allowed: the axis of observations first; compile with "
            f"data_format={conversion.axes!r}"
        )
    if issues:
        raise NetworkError(issues)
    normalizations = {
        argument_name(network, node): found
        for node in network.inputs
        if normalized
        and (
            found := input_normalization(
                node, compiled.parameters.statistics, axis_order(conversion.axes, "B" + node.size.format)
            )
        )
    }
    lowered = compiled.lowered(function, normalized=tuple(normalizations))
    program = lowered.program
    keys = [key for key in program.arguments if key[0] == "input"]
    inputs = tuple(
        Port(key, node.name, () if isinstance(node.layer, TensorInputLayer) and not node.layer.shape else
             program.buffers[program.arguments[key]].shape[1:])
        for key, node in zip(keys, network.inputs, strict=True)
    )  # fmt: skip
    outputs = tuple(
        Port(key, name, seen(axes, shape))
        for name, (key, axes) in zip(network.outputs, conversion.results.items(), strict=True)
        for shape in (program.buffers[program.arguments[key]].shape,)
    )
    values: Mapping[str, Any] = compiled.parameters
    if function == "train_step":
        state = compiled.state
        values = {**state.values, **state.solver}
    return Standalone(lowered, values, inputs, outputs, conversion.axes, normalizations)
