"""`from_torch`: the nodes that torch.export finds, as steps of the shared translation."""

from __future__ import annotations

import operator
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import give_back
from gncodegen.errors import NetworkError
from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.node import MANY, Step
from gncodegen.exchange.torch.binding import bound
from gncodegen.exchange.torch.call import OWN, Array, Call, Writer
from gncodegen.exchange.torch.capture import Captured, captured
from gncodegen.exchange.torch.framework import framework
from gncodegen.exchange.torch.operators import OPERATORS
from gncodegen.exchange.translation import Source, reached, translated

if TYPE_CHECKING:
    from gncodegen.layers.graph import LayerGraph

OPSET = 24
"""Of ONNX's default operator set, in which the steps are said."""

LIKE = {f"{name}_like" for name in ("zeros", "ones", "full")} | {f"new_{name}" for name in ("zeros", "ones", "full")}
"""Operators that read the shape and the type of an array, and none of its values."""


def from_torch(module: Any, example_inputs: Any) -> LayerGraph:
    """A layer graph of a PyTorch module, whose layers carry the weights.

    The graph takes and returns arrays in the module's own order of axes, such as (N, C, H, W), for any number N of
    observations, whatever the example has. A module that computes along its first axis, as one that takes (T, N, C), is
    taken as one observation of the example's shapes; a warning says so. A tensor that the module reads in several
    places is one parameter. In training mode dropout is a layer; in evaluation mode it is gone. Batch norms are layers
    in both. Of several outputs those that are None are left out.

    Args:
        module: an nn.Module of float32 or float64 tensors.
        example_inputs: a tensor, or a tuple of tensors, that the module can be called with. What is whole numbers here,
            such as the places of an embedding, the network takes as whole numbers or as floats.

    Raises:
        NetworkError: the module cannot be traced, or has nodes that no layer covers; `issues` names every one of them.

    Source: torch.export; ATen operator schemas.
    """
    try:
        graph, computed = _imported(module, example_inputs, free=True)
    except NetworkError as error:
        try:
            graph, computed = _imported(module, example_inputs, free=False)
        except NetworkError:
            raise error from None
        warnings.warn(
            f"from_torch: the module is taken as one observation of the example's shapes, since {error.issues[0]}",
            stacklevel=2,
        )
    if computed:
        more = f" and {len(computed) - 3} more" if len(computed) > 3 else ""
        warnings.warn(
            f"from_torch: {', '.join(map(repr, computed[:3]))}{more}: what the module computes from parameters alone "
            "is computed once, here. Layers have the result: as weights it is learned itself, else it stays as it is; "
            "these tensors are not learned. For weight_norm call remove_parametrizations first; train the others in "
            "PyTorch; after requires_grad_(False) on them nothing is said",
            stacklevel=2,
        )
    give_back()
    return graph


def _imported(module: Any, example_inputs: Any, free: bool) -> tuple[LayerGraph, list[str]]:
    """As `bound`; with `free` of any number of observations, else of the example's shapes."""
    found = captured(module, example_inputs, free)
    return bound(found, lambda tensors: translated(source(found, tensors)))


def source(found: Captured, tensors: Mapping[str, Any]) -> Source:
    """A captured module as steps.

    Args:
        found: the module.
        tensors: name of a placeholder → the values to take, such as the module's own.
    """
    for node in found.results:
        if str(getattr(node.meta.get("val"), "dtype", "")) == "torch.bool":
            raise NetworkError([f"from_torch: output {node.name!r} is a condition; allowed: floats; return x.float()"])
    walk = _Walk(found, tensors)
    outputs = [walk.output(node) for node in found.results]
    whole = frozenset(node.name for node in found.inputs if not node.meta["val"].dtype.is_floating_point)
    return Source("from_torch", walk.writer.steps, walk.inputs, outputs, walk.writer.constants, OPSET, _refuse, whole)


def _refuse(step: Step, operands: Sequence[NDArray[Any] | None]) -> Sequence[NDArray[Any]]:
    """A step of constants: torch computed all that it can already."""
    raise Unsupported(f"{step.operator} of constants; allowed: at least one array computed at run time")


MOVED = {
    "alias", "clone", "contiguous", "expand", "flatten", "reshape", "select", "slice", "squeeze", "to", "_to_copy",
    "unflatten", "unsqueeze", "view",
}  # fmt: skip
"""Operators that leave the numbers of observations what they are, where the first axis stays that of observations."""

OF_BITS = {form.format(name) for form in ("__{}__", "bitwise_{}") for name in ("and", "or", "xor", "not")}
"""Operators that are those of conditions where they get conditions."""


class _Walk:
    """One walk over the nodes.

    Args:
        found: the module.
        tensors: name of a placeholder → its values.
    """

    def __init__(self, found: Captured, tensors: Mapping[str, Any]) -> None:
        self.writer = Writer()
        self.inputs: dict[str, tuple[int | None, ...]] = {}
        self._known: dict[Any, Any] = {}
        self._own: list[Any] = []  # tensors that stand for the numbers of observations, of which they hold the first
        for node in found.inputs:
            self.inputs[node.name] = tuple(n if n < MANY else None for n in _shape(node.meta["val"]))
            self._known[node] = self._array(node.name, _shape(node.meta["val"]))
        needed = reached(found.results, lambda node: node.all_input_nodes)
        for number, node in enumerate(found.nodes, 1):
            if node.name in tensors:
                self._known[node] = tensors[node.name]
            elif node in needed and node not in self._known:
                self._known[node] = self._value(node, number)

    def output(self, node: Any) -> str:
        """The name of a result."""
        value = self._known.get(node)
        if not isinstance(value, Array):
            return self.writer.constant(_host(value), str(node))
        if value not in self.inputs:
            # The result is called after its node, and not after a step.
            self.writer.steps.append(Step("Identity", str(node.target), node.name, (value,), (node.name,)))
        return value if value in self.inputs else node.name

    def _array(self, name: str, shape: tuple[int, ...]) -> Array:
        self.writer.shapes[name] = shape
        return Array(name)

    def _value(self, node: Any, number: int) -> Any:
        """What a node stands for: an array's name, a tensor that is known, a number, or several of these."""
        value = node.meta.get("val")
        if node.op == "call_function" and node.target is operator.getitem:
            return self._known[node.args[0]][node.args[1]]
        if node.op == "call_function" and not hasattr(value, "shape") and not isinstance(value, (tuple, list)):
            return None if value is None else _number(value)
        if node.op == "call_function" and (own := self._numbers(node)) is not None:
            self._own.append(own)
            return own
        arguments = _arguments(node, self._of)
        if arguments is None:
            return self._call(node, number, {str(i): self._of(each) for i, each in enumerate(node.args)})
        flat = _flat(arguments.values())
        known = not any(isinstance(each, Array) for each in flat)
        if any(map(self._is_own, flat)) and not (_name(node) == "index" and self._is_own(arguments["indices"][0])):
            known = False  # what is computed with the numbers of observations differs between them
        if _name(node) in LIKE or known:
            constant = self._constant(node)
            if constant is not None:
                return constant
        return self._call(node, number, arguments)

    def _numbers(self, node: Any) -> Any:
        """What stands for 0 … N − 1 along the first axis, as for one observation; None where it is something else."""
        name, value = _name(node), node.meta.get("val")
        if name not in MOVED | {"arange"} or not hasattr(value, "shape") or _shape(value)[:1] != (MANY,):
            return None
        if name == "arange":
            torch = framework("from_torch")
            given = _arguments(node, self._of) or {}
            usual = not given.get("start") and given.get("step", 1) == 1
            return torch.zeros(1, dtype=value.dtype) if usual else None
        return self._constant(node) if self._is_own(self._of(node.args[0])) else None

    def _is_own(self, value: Any) -> bool:
        return any(value is each for each in self._own)

    def _of(self, argument: Any) -> Any:
        """An argument with nodes replaced by what they stand for."""
        if isinstance(argument, (list, tuple)):
            return [self._of(each) for each in argument]
        return self._known[argument] if argument.__class__.__name__ == "Node" else argument

    def _constant(self, node: Any) -> Any:
        """The result of a node that depends on no values of inputs, by torch; None where it draws random numbers."""
        torch = framework("from_torch")
        seeded = torch.Tag.nondeterministic_seeded in node.target.tags
        if seeded and (_arguments(node, self._of) or {}).get("dropout_p", 1):
            return None

        def one(extent: Any) -> Any:  # what is the same for all observations is made for one
            many = type(extent) is int and extent >= MANY and extent % MANY == 0
            return extent // MANY if many else extent

        # Numbers in the place of values are float64, whatever the module's own tensors are.
        floats = [each for each in _flat(map(self._of, node.args)) if getattr(each, "is_floating_point", bool)()]
        wide = any(each.dtype == torch.float64 for each in floats)

        def widened(value: Any) -> Any:
            if isinstance(value, list):
                return [*map(widened, value)]
            return value.double() if wide and isinstance(value, torch.Tensor) and value.is_floating_point() else value

        def given(argument: Any) -> Any:
            value = self._of(argument)
            if isinstance(value, Array):
                value = torch.empty([*map(one, self.writer.shapes[value])], dtype=argument.meta["val"].dtype)
            return widened([*map(one, value)] if isinstance(value, list) else value)

        arguments = [given(each) for each in node.args]
        # The end of a slice that has none is the largest number that there is.
        if any(isinstance(each, int) and MANY <= each < sys.maxsize for each in _flat(arguments)):
            return None
        with torch.no_grad():
            keywords = {name: given(each) for name, each in node.kwargs.items()}
            return node.target(*arguments, **keywords)

    def _call(self, node: Any, number: int, arguments: Mapping[str, Any]) -> Any:
        value = node.meta.get("val")
        several = isinstance(value, (tuple, list))
        results: list[Any] = [each for each in value if hasattr(each, "shape")] if several else [value]
        first = results[0] if results and hasattr(results[0], "shape") else None
        shape, dtype = ((), "") if first is None else (_shape(first), str(first.dtype))
        named = {name: self._named(each) for name, each in arguments.items()}
        call = Call(str(node.target), _title(node), number, named, shape, dtype, len(results), self.writer)
        made: Any = self._converted(call, node)
        made = (made,) if isinstance(made, Array) else made
        for name, result in zip(made, results, strict=False):
            self.writer.shapes[name] = _shape(result)
            if str(result.dtype) == "torch.bool":
                self.writer.conditions.add(name)
        return made if several else made[0]

    @staticmethod
    def _converted(call: Call, node: Any) -> Any:
        row = OPERATORS.get(_name(node))
        try:
            if _name(node) == "add" and str(node.meta["val"].dtype) == "torch.bool":
                raise Unsupported("a sum of conditions; allowed: one of floats; write a | b, or a.float() + b")
            if _name(node) in OF_BITS and str(node.meta["val"].dtype) != "torch.bool":
                raise Unsupported("bits of whole numbers; allowed: conditions")
            if OWN in _flat(call.arguments.values()) and _name(node) != "index":
                raise Unsupported("the number of each observation; allowed: as an index along the first axis")
            if row is None:
                raise Unsupported(
                    "no layer computes it; allowed: the operators of docs/exchange.md; write the module with those, or "
                    "compute this outside of it"
                )
            return row.convert(call)
        except Unsupported as reason:
            return call.refuse(str(reason))

    def _named(self, argument: Any) -> Any:
        """An argument with known tensors as constants under names."""
        if self._is_own(argument):
            return OWN
        if isinstance(argument, list):
            return [self._named(each) for each in argument]
        return self.writer.constant(_host(argument)) if hasattr(argument, "detach") else argument


def _name(node: Any) -> str:
    """The ATen operator of a call; "" where it is none."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.removeprefix("aten::") if schema else ""


def _arguments(node: Any, of: Any) -> dict[str, Any] | None:
    """Arguments by the names of the operator's schema, defaults filled in; None where it has none."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return None
    found = {argument.name: argument.default_value for argument in schema.arguments}
    found |= {argument.name: of(given) for argument, given in zip(schema.arguments, node.args, strict=False)}
    return found | {name: of(given) for name, given in node.kwargs.items()}


def _flat(values: Iterable[Any]) -> list[Any]:
    return [each for value in values for each in (_flat(value) if isinstance(value, (list, tuple)) else [value])]


def _shape(tensor: Any) -> tuple[int, ...]:
    """The extents, `MANY` for the observations."""
    return tuple(int(_number(extent)) for extent in tensor.shape)


def _number(value: Any) -> Any:
    """A number that may depend on how many observations there are, as if there were `MANY`."""
    if isinstance(value, (bool, int, float)):
        return value
    expression = value.node.expr
    found = expression.subs(dict.fromkeys(expression.free_symbols, MANY))
    return {"SymInt": int, "SymFloat": float, "SymBool": bool}[type(value).__name__](found)


def _host(tensor: Any) -> NDArray[Any]:
    """A tensor's values in NumPy, which has no bfloat16."""
    torch = framework("from_torch")
    if tensor is None:
        return np.zeros(0)
    known = tensor.detach().cpu()
    return (known.float() if known.dtype in (torch.bfloat16, torch.float16) else known).numpy()


def _title(node: Any) -> str:
    """The path of the module that calls, and the function where that is not the module's own."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    path, kind = ("", "") if path.startswith("_empty") else (path, str(kind))
    function = getattr(node.target, "_opname", node.name)
    whole = "torch.nn.modules." in kind and "container" not in kind
    return path if whole and path else ".".join(filter(None, (path, function)))
