"""The ordered list of passes, and the two ways to run them: a whole lowering, or any pipeline on text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass, PassPipeline
from xdsl.transforms.common_subexpression_elimination import CommonSubexpressionElimination
from xdsl.transforms.dead_code_elimination import DeadCodeElimination

from gncodegen.environment import environment
from gncodegen.errors import CompileError
from gncodegen.ir.text import context, parse_module, print_module, reported
from gncodegen.kernels.schedule import Machine
from gncodegen.layers.checks import shown
from gncodegen.options import CompileOptions
from gncodegen.passes.canonicalize import Canonicalize
from gncodegen.passes.fold import Fold
from gncodegen.passes.fuse import Fuse
from gncodegen.passes.gradients import Gradients
from gncodegen.passes.hoist import Hoist
from gncodegen.passes.layout import Layout
from gncodegen.passes.memory import Memory
from gncodegen.passes.partial_statistics import PartialStatistics
from gncodegen.passes.prologue import Prologue
from gncodegen.passes.select import Select
from gncodegen.passes.shapes import Shapes


def pipeline(
    options: CompileOptions | None = None, machine: Machine | None = None, choices: tuple[str, ...] = ()
) -> tuple[ModulePass, ...]:
    """The passes of a compilation, in order.

    Args:
        options: of the compilation; None = the defaults.
        machine: what the kernels are chosen for; None = the default.
        choices: as Select.choices.
    """
    options, machine = options or CompileOptions(), machine or Machine()
    return (
        Shapes(),  # every shape follows from the arguments
        Canonicalize(),  # one spelling; training or prediction decided
        Gradients(clip=options.clip, solver=options.solver),  # gradient ops and the update
        DeadCodeElimination(),  # gradients nobody asked for
        Fold(),  # affine maps of channels into the weights before them, in prediction
        Fuse(),  # one op per pass over memory
        CommonSubexpressionElimination(),  # what two gradients both compute
        Layout(data_format=options.data_format or ""),  # the caller's axis order, at the edges
        PartialStatistics.of(machine),  # statistics from the convolution in front
        Prologue.of(machine),  # a norm in the convolution that reads it
        Select.of(machine, choices=choices),  # gn → kern: kernels and buffers
        Hoist(),  # what depends on parameters alone, once
        Memory(),  # one arena, offsets, in place
    )


STAGES = ("gn", *(step.name for step in pipeline()))
"""The names under which IR can be read: "gn" as built, then after each pass."""

PASSES: dict[str, type[ModulePass]] = {step.name: type(step) for step in pipeline()}
"""Every pass `gncodegen opt` knows, by name."""

Observer = Callable[[str, ModuleOp], None]
"""Called with the stage's name and the module after each pass."""


def run(module: ModuleOp, passes: Sequence[ModulePass], observer: Observer | None = None) -> None:
    """Runs passes over a module in place, and verifies it after each unless GNCODEGEN_VERIFY=0.

    Raises:
        CompileError: a pass failed or left IR that does not verify; the text names the pass.
    """
    for step in passes:
        with reported(step.name):
            step.apply(context(), module)
            if environment().verify:
                module.verify()
        if observer is not None:
            observer(step.name, module)


def run_pipeline(text: str, spec: str, name: str = "<text>") -> str:
    """Runs a pipeline such as `canonicalize,gradients{clip=l2norm},dce` over IR text.

    Args:
        text: MLIR text of one module.
        spec: passes separated by commas, options in braces, as xDSL writes them.
        name: of the text, for error messages.

    Raises:
        CompileError: the text, a pass name or an option is wrong, or a pass failed.
    """
    module = parse_module(text, name)
    with reported("pipeline"):
        try:
            passes = PassPipeline.parse_spec({key: lambda kind=kind: kind for key, kind in PASSES.items()}, spec).passes
        except (ValueError, TypeError, StopIteration, RuntimeError) as error:
            if isinstance(error, CompileError):
                raise
            reason = "" if isinstance(error, StopIteration) else f": {error}"
            raise CompileError(f"pipeline {shown(spec)}{reason}; passes: {', '.join(PASSES)}") from error
    run(module, passes)
    return print_module(module)
