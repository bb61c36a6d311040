"""fuse: neighbours become one op, so that an activation tensor is read and written once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, OpResult, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import (
    GreedyRewritePatternApplier,
    PatternRewriter,
    PatternRewriteWalker,
    RewritePattern,
    op_type_rewrite_pattern,
)
from xdsl.rewriter import InsertPoint

from gncodegen.ir.gn import GnOperation
from gncodegen.ir.gn.base import FUNCTION
from gncodegen.ir.gn.forward import Bias, ChannelNormalize, Convolution, FullyConnected, GroupNorm
from gncodegen.ir.gn.gradient import (
    ActivationGradient,
    BiasGradient,
    ChannelNormalizeGradient,
    ConvolutionWeightGradient,
    CrossEntropyGradient,
    FullyConnectedWeightGradient,
    GroupNormGradient,
    SoftmaxCrossEntropyGradient,
    SoftmaxGradient,
)
from gncodegen.ir.gn.pointwise import Activation, Add, CrossEntropy, Softmax, SoftmaxCrossEntropy
from gncodegen.ir.gn.transposed import TransposedConvolution
from gncodegen.ir.operation import merged_layers, only_user, texts, users
from gncodegen.ir.values import Value, encode
from gncodegen.kernels.activations import IN_REGISTERS, MASKS, Source, gradient_from

PRODUCTS = (Convolution, TransposedConvolution, FullyConnected)
"""Ops that take a bias as third operand, and a residual behind it."""

NORMS: dict[type[GnOperation], type[GnOperation]] = {
    GroupNorm: GroupNormGradient, ChannelNormalize: ChannelNormalizeGradient,
}  # fmt: skip
"""Ops whose gradient recomputes the activation's mask from x."""


class Fusion(RewritePattern):
    """A pattern that notes what it fused."""

    def __init__(self, report: list[str]) -> None:
        self.report = report

    def note(self, *operations: Operation) -> None:
        """`groupnorm_1 + relu_1`, or `conv_1: convolution + bias` inside one layer; replaces a line it extends."""
        layers = merged_layers(operations)
        before = " + ".join(merged_layers(operations[:1]))
        if before in self.report:
            self.report.remove(before)
        parts = " + ".join(operation.name.removeprefix("gn.") for operation in operations)
        self.report.append(" + ".join(layers) if len(layers) > 1 else f"{''.join(layers) or 'unnamed'}: {parts}")


class BiasIntoProducer(Fusion):
    """convolution, bias → convolution with a bias operand; likewise the others of PRODUCTS."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Bias, rewriter: PatternRewriter) -> None:
        producer = _owner(op.operands[0])
        if not isinstance(producer, PRODUCTS) or not producer.results[0].has_one_use():
            return
        if len(producer.operands) > 2 or producer.attribute("activation"):
            return
        operands = (*producer.operands, op.operands[1])
        fused = type(producer)(operands, producer.values, merged_layers((producer, op)))
        self.note(producer, op)
        rewriter.replace(op, fused)
        rewriter.erase(producer)


class AdditionIntoNorm(Fusion):
    """group_norm, add → group_norm{residual}, if the addition alone reads what is normalized.

    Of two norms the first becomes the sum, the other its residual. The gradient of the norm stays as it is.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Add, rewriter: PatternRewriter) -> None:
        if len(op.operands) != 2 or op.attribute("activation"):
            return
        for value, residual in (op.operands, op.operands[::-1]):
            norm = _owner(value)
            if isinstance(norm, GroupNorm) and self._fits(norm, op):
                attributes = dict(norm.values) | {"residual": True}
                fused = GroupNorm((*norm.operands, residual), attributes, merged_layers((norm, op)))
                self.note(norm, op)
                rewriter.insert(fused, InsertPoint.before(op))
                rewriter.replace(op, (), [fused.results[0]])
                rewriter.replace(norm, (), [None, fused.results[1]])
                return

    def _fits(self, norm: GroupNorm, op: Add) -> bool:
        """The norm can move to the addition, and adds and activates nothing yet."""
        plain = norm.attribute("reduced") == "spatial-channel" and not norm.attribute("residual")
        if not plain or norm.attribute("activation") or not norm.results[0].has_one_use():
            return False
        return all(op.is_before_in_block(user) for user in users(norm.results[1]))


class AdditionIntoProduct(Fusion):
    """product, add → product{residual}, if the addition alone reads the product's result.

    Of two products the later one takes the other's result; it moves to the addition. Gradients stay as they are.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Add, rewriter: PatternRewriter) -> None:
        if len(op.operands) != 2 or op.attribute("activation"):
            return
        pairs = [(_owner(value), other) for value, other in (op.operands, op.operands[::-1])]
        found = [(product, other) for product, other in pairs if isinstance(product, PRODUCTS) and self._fits(product)]
        if not found:
            return
        product, other = found[-1] if found[0][0].is_before_in_block(found[-1][0]) else found[0]
        attributes = dict(product.values) | {"residual": True}
        fused = type(product)((*product.operands, other), attributes, merged_layers((product, op)))
        self.note(product, op)
        rewriter.replace(op, fused)
        rewriter.erase(product)

    def _fits(self, product: GnOperation) -> bool:
        """The product can move to the addition, and adds and activates nothing yet."""
        plain = not product.attribute("activation") and not product.attribute("residual")
        return plain and len(product.results) == 1 and product.results[0].has_one_use()


class ActivationIntoProducer(Fusion):
    """producer, activation → producer{activation}, if the activation and its gradient are the only users between.

    After a norm the gradient op recomputes the mask from x, and from the residual if there is one; after the others,
    and after a norm that is not differentiated itself while its residual is, the mask comes from the output.
    """

    def __init__(self, report: list[str], activations: Sequence[str]) -> None:
        super().__init__(report)
        self.activations = activations

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Activation, rewriter: PatternRewriter) -> None:
        between = op.operands[0]
        producer = _owner(between)
        if not isinstance(producer, (*PRODUCTS, Add, GroupNorm, ChannelNormalize)):
            return
        allowed = self.activations if type(producer) in NORMS else {*self.activations, *IN_REGISTERS}
        if producer.attribute("activation") or op.attribute("function") not in allowed or op.attribute("beta"):
            return
        others = [user for user in users(between) if user is not op]
        gradients = [user for user in others if isinstance(user, ActivationGradient) and self._belongs(user, op)]
        if len(gradients) != len(others):
            return
        pairs = [(gradient, after) for gradient in gradients if (after := self._norm_gradient(producer, gradient))]
        from_output = _source(op) == "output"
        if type(producer) in NORMS and len(pairs) == len(gradients):
            self._fuse_norm(producer, op, pairs, rewriter)
        elif not gradients or (from_output and (type(producer) not in NORMS or _adds(producer))):
            self._fuse_linear(producer, op, gradients, rewriter)

    def _belongs(self, gradient: ActivationGradient, op: Activation) -> bool:
        return (
            _same_function(op, gradient)
            and gradient.operands[0] is op.operands[0]
            and gradient.attribute("from") == "input"
        )

    def _fused(self, producer: GnOperation, op: Activation, rewriter: PatternRewriter) -> GnOperation:
        """The producer with the activation; takes the place of both."""
        attributes = dict(producer.values) | {"activation": op.attribute("function"), "alpha": op.attribute("alpha")}
        fused = type(producer)(producer.operands, attributes, merged_layers((producer, op)))
        self.note(producer, op)
        rewriter.insert(fused, InsertPoint.before(producer))
        for old, new in zip(producer.results[1:], fused.results[1:], strict=True):
            rewriter.replace_all_uses_with(old, new)
        rewriter.replace(op, (), [fused.results[0]])
        return fused

    def _norm_gradient(self, producer: GnOperation, gradient: ActivationGradient) -> GnOperation | None:
        """The gradient of a norm `producer` that reads `gradient`; only with a residual may others read it too."""
        readers = users(gradient.results[0])
        found = [reader for reader in readers if isinstance(reader, NORMS.get(type(producer), ()))]
        found = [
            reader for reader in found
            if reader.operands[0] is producer.operands[0] and set(producer.results[1:]) <= set(reader.operands)
        ]  # fmt: skip
        if len(found) != 1 or found[0].operands[1] is not gradient.results[0]:
            return None
        return found[0] if len(readers) == 1 or _adds(producer) else None

    def _fuse_norm(
        self,
        producer: GnOperation,
        op: Activation,
        pairs: Iterable[tuple[ActivationGradient, GnOperation]],
        rewriter: PatternRewriter,
    ) -> None:
        more: dict[str, Value] = {"activation": op.attribute("function"), "alpha": op.attribute("alpha")}
        residual: Sequence[SSAValue] = ()
        if _adds(producer):
            more, residual = more | {"residual": True}, producer.operands[-1:]
        fused = self._fused(producer, op, rewriter)
        for gradient, norm in pairs:
            operands = (norm.operands[0], gradient.operands[1], *norm.operands[2:], *residual)
            layers = fused.layers if residual else merged_layers((norm, gradient))
            both = type(norm)(operands, dict(norm.values) | more, layers)
            # What else reads the activation's gradient may stand before the norm's.
            rewriter.insert(both, InsertPoint.before(gradient if residual else norm))
            rewriter.replace(norm, (), both.results[:3])
            rewriter.replace(gradient, (), [both.results[3] if residual else None])
        rewriter.erase(producer)

    def _fuse_linear(
        self, producer: GnOperation, op: Activation, gradients: Iterable[ActivationGradient], rewriter: PatternRewriter
    ) -> None:
        fused = self._fused(producer, op, rewriter)
        for gradient in gradients:
            attributes = dict(gradient.values) | {"from": "output"}
            operands = (fused.results[0], gradient.operands[1])
            rewriter.replace(gradient, ActivationGradient(operands, attributes, gradient.layers))
        rewriter.erase(producer)


class GradientFromOutput(Fusion):
    """activation_gradient of x → of y, where the table says that y tells the slope: x's memory goes early.

    Runs last: the patterns before it know an activation's gradient by its input.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: ActivationGradient, rewriter: PatternRewriter) -> None:
        if op.attribute("from") == "output" or _source(op) == "input":
            return
        for user in users(op.operands[0]):
            if isinstance(user, Activation) and _same_function(user, op) and user.is_before_in_block(op):
                attributes = dict(op.values) | {"from": "output"}
                operands = (user.results[0], op.operands[1])
                rewriter.replace(op, ActivationGradient(operands, attributes, op.layers))
                return


class BiasGradientIntoWeightGradient(Fusion):
    """weight_gradient, bias_gradient of one layer over the same cotangent → weight_gradient{bias = true}."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: BiasGradient, rewriter: PatternRewriter) -> None:
        dy = op.operands[0]
        for user in users(dy):
            if not isinstance(user, (ConvolutionWeightGradient, FullyConnectedWeightGradient)):
                continue
            if user.operands[1] is dy and not user.attribute("bias") and user.layers == op.layers:
                both = type(user)(user.operands, dict(user.values) | {"bias": True}, user.layers)
                rewriter.insert(both, InsertPoint.before(op if op.is_before_in_block(user) else user))
                rewriter.replace(user, (), [both.results[0]])
                rewriter.replace(op, (), [both.results[1]])
                return


class SoftmaxIntoLoss(Fusion):
    """softmax, cross_entropy → softmax_cross_entropy, and their two gradients → one."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: CrossEntropy, rewriter: PatternRewriter) -> None:
        y, target = op.operands
        softmax = _owner(y)
        if not isinstance(softmax, Softmax):
            return
        chains = [(user, only_user(user.results[0])) for user in users(y) if isinstance(user, CrossEntropyGradient)]
        if not all(isinstance(after, SoftmaxGradient) for _, after in chains):
            return
        layers = merged_layers((softmax, op))
        fused = SoftmaxCrossEntropy((softmax.operands[0], target), op.values, layers)
        self.note(softmax, op)
        rewriter.insert(fused, InsertPoint.before(softmax))
        loss, probabilities = fused.results
        for gradient, after in chains:
            assert after is not None
            operation = SoftmaxCrossEntropyGradient((probabilities, gradient.operands[1]), gradient.values, layers)
            rewriter.replace(after, operation)
            rewriter.erase(gradient)
        rewriter.replace(op, (), [loss])
        rewriter.replace(softmax, (), [probabilities])


@dataclass(frozen=True)
class Fuse(ModulePass):
    """Makes one op of what one pass over memory can do; the module's gn.fused lists what was fused.

    Args:
        activations: the activations that norms apply as they write their result; others also do IN_REGISTERS.
    """

    name: ClassVar[str] = "fuse"
    activations: tuple[str, ...] = tuple(filter(None, MASKS))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        report = list(fused_lines(op))
        # First: an addition that has taken its activation no longer fits a norm.
        PatternRewriteWalker(AdditionIntoNorm(report)).rewrite_module(op)
        patterns: list[RewritePattern] = [
            BiasIntoProducer(report),
            AdditionIntoProduct(report),
            ActivationIntoProducer(report, self.activations),
            BiasGradientIntoWeightGradient(report),
            SoftmaxIntoLoss(report),
        ]
        PatternRewriteWalker(GreedyRewritePatternApplier(patterns)).rewrite_module(op)
        PatternRewriteWalker(GradientFromOutput(report)).rewrite_module(op)
        if report:
            op.attributes["gn.fused"] = encode(tuple(report))


def fused_lines(module: ModuleOp) -> tuple[str, ...]:
    """What was fused, one readable line each: `groupnorm_1 + relu_1`."""
    return texts(module, "gn.fused")


def _source(operation: GnOperation) -> Source:
    """Which array the gradient of an activation is best taken from."""
    values = operation.values
    return gradient_from(values.text("function"), values.real("alpha"), values.real("beta"))


def _same_function(first: GnOperation, second: GnOperation) -> bool:
    """Whether an activation and a gradient are of one function with the same constants."""
    return all(first.attribute(declared.name) == second.attribute(declared.name) for declared in FUNCTION)


def _adds(operation: GnOperation) -> bool:
    """Whether an op is a norm that an addition was merged into."""
    return isinstance(operation, GroupNorm) and bool(operation.attribute("residual"))


def _owner(value: SSAValue) -> Operation | None:
    return value.op if isinstance(value, OpResult) else None
