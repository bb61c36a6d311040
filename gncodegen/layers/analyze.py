"""The table of a network and everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import prod
from typing import TYPE_CHECKING, Any

from gncodegen.layers.costs import flops
from gncodegen.layers.examine import Examination, examine
from gncodegen.tables import Table, scaled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gncodegen.layers.base import Size


@dataclass(frozen=True)
class Row:
    """One layer of the table.

    Args:
        index: 1-based position in the array.
        name: the layer's name.
        type: its type.
        activations: size and format of its output; None where it is unknown.
        learnables: shape of each learnable, by name.
        states: shape of each array that is not learned, such as a trained mean, by name.
        flops: floating-point operations of a prediction of one observation: products and sums, and functions such as
            exp, count one each.
    """

    index: int
    name: str
    type: str
    activations: Size | None
    learnables: dict[str, tuple[int, ...]]
    states: dict[str, tuple[int, ...]]
    flops: int = 0

    @property
    def num_learnables(self) -> int:
        """How many numbers the layer learns."""
        return sum(map(prod, self.learnables.values()))

    @property
    def bytes(self) -> int:
        """Of the activations of one observation, in float32."""
        return 0 if self.activations is None else 4 * self.activations.count

    def cells(self) -> tuple[str, ...]:
        """The row as text, one per column of the table."""
        size = "unknown" if self.activations is None else str(self.activations)
        # What is not learned stands in parentheses.
        states = f"({_listed(self.states)})" if self.states else ""
        arrays = " ".join(filter(None, (_listed(self.learnables), states)))
        kind = self.type.removesuffix("Layer")
        return (
            str(self.index), self.name, kind, size, scaled(self.bytes, "B"), arrays, f"{self.num_learnables:,}",
            scaled(self.flops, "").strip(),
        )  # fmt: skip

    def data(self) -> dict[str, Any]:
        """The row as numbers, texts and lists."""
        size = self.activations
        return {
            "index": self.index,
            "name": self.name,
            "type": self.type,
            "format": None if size is None else size.format,
            "activations": None if size is None else list(size.shape),
            "bytes": self.bytes,
            "learnables": {name: list(shape) for name, shape in self.learnables.items()},
            "states": {name: list(shape) for name, shape in self.states.items()},
            "num_learnables": self.num_learnables,
            "flops": self.flops,
        }


def _listed(arrays: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in arrays.items())


@dataclass(frozen=True)
class Analysis:
    """What `analyze_network` found; `str()` of it is a table.

    Args:
        rows: one per layer, in the order of the array.
        issues: every fault found, one message each; empty where the network is sound.
        unsized: the layers, as messages name them, whose inputs have no known size because of a fault before them: what
            is wrong with them at any size is told, what depends on it is not.
    """

    rows: tuple[Row, ...]
    issues: tuple[str, ...]
    unsized: tuple[str, ...] = ()

    @property
    def total_learnables(self) -> int:
        """How many numbers the network learns."""
        return sum(row.num_learnables for row in self.rows)

    @property
    def total_bytes(self) -> int:
        """Of all activations of one observation, in float32."""
        return sum(row.bytes for row in self.rows)

    @property
    def total_flops(self) -> int:
        """Floating-point operations of a prediction of one observation."""
        return sum(row.flops for row in self.rows)

    def data(self) -> dict[str, Any]:
        """All of it as numbers, texts and lists, which json.dumps takes."""
        return {
            "layers": [row.data() for row in self.rows],
            "num_learnables": self.total_learnables,
            "bytes": self.total_bytes,
            "flops": self.total_flops,
            "issues": list(self.issues),
            "unsized": list(self.unsized),
        }

    def __str__(self) -> str:
        return "\n".join([str(self.table), self.summary, *(f"  {issue}" for issue in self.issues), *self._open])

    @property
    def html(self) -> str:
        """The same in HTML."""
        return "".join(
            [self.table.html, *(f"<p>{escape(text)}</p>" for text in (self.summary, *self.issues, *self._open))]
        )

    @property
    def _open(self) -> tuple[str, ...]:
        """What could not be looked at, in a sentence."""
        if not self.unsized:
            return ()
        first, more = self.unsized[0], len(self.unsized) - 1
        named = f"{first} and {more} behind it" if more else first
        return (f"  The sizes that reach {named} are not known: what depends on them was not checked.",)

    def _repr_html_(self) -> str:
        return self.html

    @property
    def table(self) -> Table:
        """One row per layer."""
        header = ("", "Name", "Type", "Output", "Bytes", "Learnables", "Count", "FLOPs")
        return Table(header, tuple(row.cells() for row in self.rows), frozenset({0, 4, 6, 7}))

    @property
    def summary(self) -> str:
        """How many layers, learnables and issues there are."""
        found = f"{len(self.issues)} issue{'s' * (len(self.issues) != 1)}" if self.issues else "no issues"
        cost = f"{scaled(self.total_flops, 'FLOP')} for an observation"
        return f"{len(self.rows)} layers, {self.total_learnables:,} learnables, {cost}, {found}"


def analyze_network(layers: object, *, require_output: bool = True) -> Analysis:
    """The table of a network, and every fault found; never raises for a faulty network.

    Args:
        layers: an array of layers, a `LayerGraph` or a `Network`.
        require_output: count a missing output layer as a fault.
    """
    examination = examine(layers, require_output=require_output)
    return Analysis(
        tuple(_row(examination, position) for position in range(len(examination.placed))),
        examination.issues,
        tuple(p.label for p in examination.unsized) if examination.issues else (),
    )


def _row(examination: Examination, position: int) -> Row:
    p = examination.placed[position]
    inputs = examination.input_sizes(position)
    known = position in examination.sizes and inputs is not None
    parameters = p.layer.owned(inputs) if known and inputs is not None else ()
    return Row(
        p.index,
        p.layer.name,
        type(p.layer).__name__,
        examination.sizes.get(position),
        {parameter.name: parameter.shape for parameter in parameters if parameter.learnable},
        {parameter.name: parameter.shape for parameter in parameters if not parameter.learnable},
        flops(p.layer, inputs, examination.sizes[position]) if known and inputs is not None else 0,
    )
