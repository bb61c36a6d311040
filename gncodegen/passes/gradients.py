"""gradients: reverse-mode differentiation on the gn dialect; appends gradient ops and, for a train step, the update."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import BlockArgument, OpResult, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint
from xdsl.utils.exceptions import PassFailedException

from gncodegen.ir.function import (
    Slot,
    add_arguments,
    arguments,
    name_hint,
    operations_of,
    results,
    return_of,
    set_results,
    setting,
    slots,
)
from gncodegen.ir.function import (
    function_of as only_function,
)
from gncodegen.ir.gn import CLIPS, NORM_CLIPS, GnOperation, Loss
from gncodegen.ir.gn.pointwise import Add
from gncodegen.ir.gn.storage import UpdateLossScale
from gncodegen.ir.gn.update import Accumulate, GradientNorms, Update
from gncodegen.ir.operation import merged_layers
from gncodegen.ir.values import Value, tensor_type
from gncodegen.kernels.loss_scale import LOSS_SCALE, STATE
from gncodegen.kernels.program import STEPS, SUMS
from gncodegen.kernels.solvers import SOLVERS


@dataclass
class Tape:
    """The cotangents met so far on the way back: per value, one summand per use that was differentiated."""

    builder: Builder
    summands: dict[SSAValue, list[SSAValue]] = field(default_factory=dict[SSAValue, list[SSAValue]])

    def add(self, value: SSAValue, cotangent: SSAValue | None) -> None:
        """Another use of `value` contributes `cotangent`."""
        if cotangent is not None:
            self.summands.setdefault(value, []).append(cotangent)

    def total(self, value: SSAValue) -> SSAValue | None:
        """The cotangent of `value`: the sum over its uses; None if no use reaches the loss."""
        parts = self.summands.get(value, [])
        if len(parts) > 1:
            owners = [part.op for part in parts if isinstance(part, OpResult)]
            total = self.builder.insert(Add(parts, layers=merged_layers(owners))).results[0]
            parts: list[SSAValue] = [total]
            self.summands[value] = parts
        return parts[0] if parts else None


def differentiate(function: FuncOp) -> Tape:
    """Inserts the gradient ops of the function; the tape then gives the cotangent of every argument.

    They start from the loss, or from the cotangents that the function takes of its outputs.
    """
    tape = Tape(Builder(InsertPoint.before(return_of(function))))
    seeds = {slot.name: value for value, slot in slots(function) if slot.kind == "cotangent"}
    losses = {value for value, slot in results(function) if slot.kind == "loss"}
    for value, slot in results(function):
        if slot.kind == "output":
            tape.add(value, seeds.get(slot.name))
    if not seeds and len(losses) != 1:
        raise PassFailedException(
            f"function {function.sym_name.data} returns {len(losses)} losses; allowed: 1; add an output layer"
        )
    for operation in reversed(operations_of(function)):
        assert isinstance(operation, GnOperation)
        cotangents = [tape.total(result) for result in operation.results]
        is_loss = isinstance(operation, Loss) and operation.results[0] in losses
        if is_loss or any(cotangent is not None for cotangent in cotangents):
            try:
                pairs = list(zip(operation.operands, operation.gradient(tape.builder, cotangents), strict=True))
            except ValueError as error:  # more operands than its rule knows
                label = " + ".join(operation.layers) or operation.name
                raise PassFailedException(
                    f"{label}: {operation.name} of {len(operation.operands)} operands has no gradient; allowed: ops as "
                    "built; run this pass before fuse"
                ) from error
            for operand, cotangent in pairs:
                tape.add(operand, cotangent)
    return tape


@dataclass(frozen=True)
class Gradients(ModulePass):
    """Differentiates a "gradients", "vjp", "training_vjp" function or one of STEPS; leaves others alone.

    Args:
        function: one of these; "" = as the function's attribute gn.function says.
        clip: gradient_threshold_method of a train step, one of CLIPS.
        solver: of a train step, a name in the table of solvers.
        scaled: whether a step scales its loss: gradients are then those of scale · loss.
    """

    name: ClassVar[str] = "gradients"
    function: str = ""
    clip: str = "none"
    solver: str = "sgdm"
    scaled: bool = False

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        function = only_function(op)
        wanted = self.function or setting(function, "function", "")
        if self.clip not in CLIPS:
            raise PassFailedException(f"clip = {self.clip!r}; allowed: {', '.join(CLIPS)}")
        if self.solver not in SOLVERS:
            raise PassFailedException(f"solver = {self.solver!r}; allowed: {', '.join(SOLVERS)}")
        if wanted in ("gradients", "vjp", "training_vjp"):
            self._return_gradients(function)
        elif wanted in STEPS:
            self._update(function, wanted)

    def _return_gradients(self, function: FuncOp) -> None:
        tape = differentiate(function)
        returned = results(function)
        for value, slot in slots(function):
            # What is made of an input by functions without a slope, such as places, has no derivative.
            if slot.kind == "parameter" or (slot.kind == "input" and tape.total(value) is not None):
                # Of several inputs each is told by its layer; "/" keeps it apart from "layer.parameter".
                own = "input" if slot.name == "x" else f"input/{slot.name}"
                name = own if slot.kind == "input" else slot.name
                target = Slot("gradient", name, format=slot.format)
                returned.append((_reached(tape, value, slot, target), target))
        set_results(function, returned)

    def _update(self, function: FuncOp, wanted: str) -> None:
        """One gn.update for all parameters whose learn rate factor is not 0; the others stay as they are.

        The gradients of a part of a mini-batch are added to those of the parts before; those of the last are updated.
        """
        tape = differentiate(function)
        trained = [
            (value, slot) for value, slot in slots(function) if slot.kind == "parameter" and slot.learn_rate_factor
        ]
        if not trained:
            return
        parameters = [value for value, _ in trained]
        gradients = [_reached(tape, value, slot, Slot("gradient", slot.name)) for value, slot in trained]
        hyperparameters = arguments(function)["hyperparameters", "hyperparameters"]
        names = tuple(slot.name for _, slot in trained)
        layers = [name.rpartition(".")[0] for name in names]
        scale = add_arguments(function, [(tensor_type(STATE), Slot(LOSS_SCALE, LOSS_SCALE))] if self.scaled else [])
        if wanted != "train_step":
            before = add_arguments(function, ((value.type, Slot(SUMS, slot.name)) for value, slot in trained))
            sums = tape.builder.insert(Accumulate((*before, *gradients, hyperparameters), layers=layers)).results
            summed = [Slot("update", name, updates=SUMS) for name in names]
            set_results(function, [*results(function), *zip(sums, summed, strict=True)])
            gradients = list(sums)
        if wanted == "train_part":
            return
        arrays = SOLVERS[self.solver].state
        added = ((value.type, Slot(array, slot.name)) for array in arrays for value, slot in trained)
        state = add_arguments(function, added)
        l2_factors = tuple(slot.l2_factor for _, slot in trained)
        shared: dict[str, Value] = {"names": names, "l2_factors": l2_factors, "scaled": self.scaled}
        norms: list[SSAValue] = []
        if self.scaled or self.clip in NORM_CLIPS:
            operands = (*parameters, *gradients, *scale, hyperparameters)
            norms = [tape.builder.insert(GradientNorms(operands, shared, layers)).results[0]]
        factors = tuple(slot.learn_rate_factor for _, slot in trained)
        update = Update(
            (*parameters, *gradients, *state, *norms, *scale, hyperparameters),
            shared | {"solver": self.solver, "learn_rate_factors": factors, "clip": self.clip},
            layers,
        )
        updated = [Slot("update", name, updates=kind) for kind in ("parameter", *arrays) for name in names]
        returned = [*zip(tape.builder.insert(update).results, updated, strict=True)]
        for value in scale:  # behind the update, which reads it
            following = tape.builder.insert(UpdateLossScale((*norms, value))).results[0]
            returned.append((following, Slot("update", LOSS_SCALE, updates=LOSS_SCALE)))
        set_results(function, [*results(function), *returned])


def _reached(tape: Tape, value: BlockArgument, slot: Slot, target: Slot) -> SSAValue:
    """The cotangent of an argument, named after it."""
    cotangent = tape.total(value)
    if cotangent is None:
        raise PassFailedException(f"{slot.kind} {slot.name!r} does not reach the loss; connect its layer to the output")
    if cotangent.name_hint is None:
        cotangent.name_hint = name_hint(target)
    return cotangent
