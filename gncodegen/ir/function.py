"""The one function of a module: its arguments and results, each with a Slot that says what the array is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, SSAValue
from xdsl.rewriter import Rewriter
from xdsl.utils.exceptions import VerifyException

from gncodegen.ir.values import Value, decode, encode
from gncodegen.kernels.loss_scale import LOSS_SCALE
from gncodegen.kernels.program import SUMS
from gncodegen.kernels.solvers import STATE_ARRAYS

ARGUMENT_KINDS = (
    "input", "mask", "target", "cotangent", "parameter", "state", "hyperparameters", LOSS_SCALE, SUMS, *STATE_ARRAYS
)  # fmt: skip
RESULT_KINDS = ("loss", "output", "activation", "gradient", "update")


@dataclass(frozen=True)
class Slot:
    """What an argument or result of the function is; written as `{gn.kind = "parameter", gn.name = "conv_1.weights"}`.

    Args:
        kind: one of ARGUMENT_KINDS for arguments, RESULT_KINDS for results.
        name: "x", "t", "y", "loss", "conv_1.weights"; unique among arguments, and among results, of one kind.
        format: axis letters such as "BSSC" where the layout pass may reorder the axes; "" elsewhere.
        updates: for kind "update", the kind of argument the result replaces in place.
        learn_rate_factor: of a parameter; times the global rate.
        l2_factor: of a parameter; times the global L2.
    """

    kind: str
    name: str
    format: str = ""
    updates: str = ""
    learn_rate_factor: float = 1.0
    l2_factor: float = 1.0

    @lru_cache(maxsize=4096)  # noqa: B019  slots are small values
    def attributes(self) -> DictionaryAttr:
        """As an argument or result attribute, values equal to their default left out."""
        given: dict[str, Attribute] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                given[f"gn.{field.name}"] = encode(value)
        return DictionaryAttr(given)

    @staticmethod
    @lru_cache(maxsize=4096)
    def of(attributes: DictionaryAttr) -> Slot:
        """The slot written in an argument or result attribute."""
        given = {name.removeprefix("gn."): decode(value) for name, value in attributes.data.items()}
        try:
            slot = Slot(**given)  # pyright: ignore[reportArgumentType]
        except TypeError as error:
            raise VerifyException(f"attributes {attributes} do not describe an array: {error}") from error
        for name in given:
            wanted, kinds = ("a number", (int, float)) if name.endswith("_factor") else ("a text", (str,))
            if type(getattr(slot, name)) not in kinds:
                raise VerifyException(f"gn.{name} in {attributes} describes no array; allowed: {wanted}")
        return slot


def function_of(module: ModuleOp) -> FuncOp:
    """The module's function; raises VerifyException unless there is exactly one."""
    found = [operation for operation in module.ops if isinstance(operation, FuncOp)]
    if len(found) != 1:
        raise VerifyException(f"the module has {len(found)} functions; allowed: 1")
    return found[0]


def body_of(function: FuncOp) -> Block:
    """The function's only block."""
    return function.body.block


def operations_of(function: FuncOp) -> list[Operation]:
    """The ops of the body in order, without the return."""
    return list(function.body.block.ops)[:-1]


def return_of(function: FuncOp) -> ReturnOp:
    """The function's return."""
    found = function.get_return_op()
    if found is None:
        raise VerifyException(f"function {function.sym_name.data} has no func.return")
    return found


def setting(function: FuncOp, name: str, default: Value) -> Value:
    """A `gn.…` attribute of the function as a Python value."""
    attribute = function.attributes.get(f"gn.{name}")
    return default if attribute is None else decode(attribute)


def slots(function: FuncOp) -> list[tuple[BlockArgument, Slot]]:
    """Every argument with its slot."""
    return list(zip(function.args, _slots(function.arg_attrs, len(function.args)), strict=True))


class Arguments(dict[tuple[str, str], BlockArgument]):
    """The arguments of a function by (kind, name); a missing one raises VerifyException."""

    def __missing__(self, key: tuple[str, str]) -> BlockArgument:
        raise VerifyException(f"the function has no argument of kind {key[0]!r} named {key[1]!r}")


def arguments(function: FuncOp) -> Arguments:
    """Every argument by (kind, name)."""
    return Arguments({(slot.kind, slot.name): value for value, slot in slots(function)})


def results(function: FuncOp) -> list[tuple[SSAValue, Slot]]:
    """Every returned value with its slot."""
    values = return_of(function).operands
    return list(zip(values, _slots(function.res_attrs, len(values)), strict=True))


def _slots(attributes: ArrayAttr[DictionaryAttr] | None, count: int) -> list[Slot]:
    given = () if attributes is None else attributes.data
    if len(given) != count:
        raise VerifyException(f"{count} arrays with {len(given)} descriptions; each needs gn.kind and gn.name")
    return [Slot.of(entry) for entry in given]


def add_arguments(function: FuncOp, added: Iterable[tuple[Attribute, Slot]]) -> list[BlockArgument]:
    """Appends arguments of these types."""
    block = function.body.block
    known = [entry for _, entry in slots(function)]
    values: list[BlockArgument] = []
    for kind, slot in added:
        value = block.insert_arg(kind, len(block.args))
        value.name_hint = name_hint(slot)
        values.append(value)
        known.append(slot)
    _set_slots(function, known)
    return values


def set_argument(function: FuncOp, value: BlockArgument, kind: Attribute, slot: Slot) -> BlockArgument:
    """Gives an argument another type and slot; its uses see the new type at once."""
    known = [slot if entry is value else old for entry, old in slots(function)]
    replaced = Rewriter.replace_value_with_new_type(value, kind)
    assert isinstance(replaced, BlockArgument)
    _set_slots(function, known)
    return replaced


def _set_slots(function: FuncOp, known: Sequence[Slot]) -> None:
    function.properties["arg_attrs"] = ArrayAttr([slot.attributes() for slot in known])
    function.update_function_type()


def set_results(function: FuncOp, returned: Iterable[tuple[SSAValue, Slot]]) -> None:
    """Replaces what the function returns."""
    returned = list(returned)
    return_of(function).operands = [value for value, _ in returned]
    if returned:
        function.properties["res_attrs"] = ArrayAttr([slot.attributes() for _, slot in returned])
    else:
        function.properties.pop("res_attrs", None)
    function.update_function_type()


def name_hint(slot: Slot) -> str | None:
    """A readable SSA name for an array, or None where the user's name is no identifier."""
    stem = slot.name if slot.kind not in ("gradient", SUMS, *STATE_ARRAYS) else f"{slot.name}.{slot.kind}"
    return stem if SSAValue.is_valid_name(stem) else None
