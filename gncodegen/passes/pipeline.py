"""The ordered list of passes, and the two ways to run them: a whole lowering, or any pipeline on text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import field, fields, make_dataclass
from functools import partial
from time import perf_counter
from typing import Any, cast

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass, PassPipeline
from xdsl.transforms.common_subexpression_elimination import CommonSubexpressionElimination
from xdsl.transforms.dead_code_elimination import DeadCodeElimination

from gncodegen.environment import environment
from gncodegen.errors import CompileError
from gncodegen.ir.kern import KernelOp
from gncodegen.ir.printing import print_module
from gncodegen.ir.program import program_of
from gncodegen.ir.text import context, parse_module, reported, shortened
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Machine
from gncodegen.layers.checks import shown
from gncodegen.options import CompileOptions
from gncodegen.passes.canonicalize import Canonicalize
from gncodegen.passes.fold import Fold
from gncodegen.passes.fuse import Fuse
from gncodegen.passes.gradients import Gradients
from gncodegen.passes.hoist import Hoist
from gncodegen.passes.layout import Layout
from gncodegen.passes.machine import ForMachine
from gncodegen.passes.memory import Memory
from gncodegen.passes.partial_statistics import PartialStatistics
from gncodegen.passes.prologue import Prologue
from gncodegen.passes.reduce import Reduce
from gncodegen.passes.select import Select
from gncodegen.passes.shapes import Shapes
from gncodegen.passes.storage import Storage
from gncodegen.process import trace
from gncodegen.process.trace import tell
from gncodegen.tables import alike, any_of


def pipeline(
    options: CompileOptions | None = None,
    machine: Machine | None = None,
    choices: tuple[str, ...] = (),
    observations: int = 0,
) -> tuple[ModulePass, ...]:
    """The passes of a compilation, in order.

    Args:
        options: of the compilation; None = the defaults.
        machine: what the kernels are chosen for; None = the default.
        choices: as Select.choices.
        observations: as Select.observations.
    """
    options, machine = options or CompileOptions(), machine or Machine()
    return (
        Shapes(),  # every shape follows from the arguments
        # One spelling; training or prediction decided.
        Canonicalize(synchronize=options.synchronize_batch_normalization),
        Gradients(clip=options.clip, solver=options.solver, scaled=options.scales_loss),  # gradient ops and the update
        DeadCodeElimination(),  # gradients nobody asked for
        Fold(),  # affine maps of channels into the weights before them, in prediction
        Fuse(),  # one op per pass over memory
        CommonSubexpressionElimination(),  # what two gradients both compute
        Layout(data_format=options.data_format or ""),  # the caller's axis order, at the edges
        PartialStatistics.of(machine),  # statistics from the convolution in front
        Prologue.of(machine),  # a norm in the convolution that reads it
        Storage(dtype=options.dtype, family=machine.family),  # 16 bits in memory, where the network's type has them
        Reduce(bucket_size=options.bucket_size),  # averages over ranks, while the backward pass goes on
        Select.of(machine, choices=choices, observations=observations),  # gn → kern: kernels and buffers
        Hoist(),  # what depends on parameters alone, once
        Memory(),  # one arena, offsets, in place
    )


STAGES = ("gn", *(step.name for step in pipeline()))
"""The names under which IR can be read: "gn" as built, then after each pass."""

PASSES: dict[str, type[ModulePass]] = {step.name: type(step) for step in pipeline()}
"""Every pass `gncodegen opt` knows, by name."""

_BORROWED = {"dce": "Removes ops whose results nobody reads.", "cse": "Makes one of equal ops."}
"""What xDSL's own passes do, which do not say so."""

Observer = Callable[[str, ModuleOp], None]
"""Called with the stage's name and the module after each pass."""


def described(kind: type[ModulePass]) -> str:
    """What a pass does, and its options with their defaults: a line, or two."""
    text = _BORROWED.get(kind.name) or (kind.__doc__ or "").strip().splitlines()[0]
    facts = {} if not issubclass(kind, ForMachine) else {each.name for each in fields(Machine)}
    own = [f"{each.name}={each.default!r}" for each in fields(kind) if each.name not in facts]
    if facts:
        own.append("the facts of a machine: " + " ".join(sorted(facts)))
    options = f"\n    {{{', '.join(own)}}}" if own else ""
    return f"{kind.name}: {text}{options}"


def program_of_text(text: str, options: CompileOptions, machine: Machine, name: str = "<text>") -> Program:
    """The Program of IR text at any stage: of a gn module after all passes, of a kern module after those behind select.

    Args:
        text: MLIR text of one module.
        options: of the compilation.
        machine: what kernels are chosen for.
        name: of the text, for error messages.

    Raises:
        CompileError: the text is wrong, or a pass failed.
    """
    module, passes = parse_module(text, name), pipeline(options, machine)
    if any(isinstance(op, KernelOp) for op in module.ops):
        passes = passes[[step.name for step in passes].index(Select.name) + 1 :]
        if any("kern.arena_bytes" in op.attributes for op in module.ops):
            passes = ()
    run(module, passes)
    with reported("program"):
        return program_of(module)


def run(module: ModuleOp, passes: Sequence[ModulePass], observer: Observer | None = None) -> None:
    """Runs passes over a module in place, and verifies it after each unless GNCODEGEN_VERIFY=0.

    Raises:
        CompileError: a pass failed or left IR that does not verify; the text names the pass.
    """
    for step in passes:
        begin = perf_counter()
        with reported(step.name):
            step.apply(context(), module)
            if environment().verify:
                module.verify()
        tell(trace.PASSES, partial(_timed, step, module, perf_counter() - begin))
        if observer is not None:
            observer(step.name, module)


def _planning_for(kind: type[ModulePass], machine: Machine | None) -> type[ModulePass]:
    """The pass with the facts of a machine as the defaults of its options."""
    if machine is None or not issubclass(kind, ForMachine):
        return kind
    facts = [(each.name, each.type, field(default=getattr(machine, each.name))) for each in fields(Machine)]
    made = make_dataclass(kind.__name__, facts, bases=(kind,), frozen=True)
    return cast("type[ModulePass]", made)


def _check_truth(passes: Sequence[ModulePass]) -> None:
    """Refuses true and false as numbers, which xDSL takes, since Python's bool is an int."""
    for step in passes:
        for each in fields(step):
            value = getattr(step, each.name)
            if isinstance(value, bool) and "bool" not in str(each.type):
                raise TypeError(f"{step.name}: {each.name} = {str(value).lower()}; allowed: {_type_name(each.type)}")


def _type_name(of: Any) -> str:
    return of.__name__ if isinstance(of, type) else str(of)


def _timed(step: ModulePass, module: ModuleOp, seconds: float) -> str:
    return f"pass {step.name}: {1e3 * seconds:.1f} ms, {sum(1 for _ in module.walk())} ops"


def run_pipeline(text: str, spec: str, name: str = "<text>", machine: Machine | None = None) -> str:
    """Runs a pipeline such as `canonicalize,gradients{clip=l2norm},dce` over IR text.

    Args:
        text: MLIR text of one module.
        spec: passes separated by commas, options in braces, as xDSL writes them.
        name: of the text, for error messages.
        machine: what passes plan for whose options do not say otherwise; None = the default.

    Raises:
        CompileError: the text, a pass name or an option is wrong, or a pass failed.
    """
    module = parse_module(text, name)
    with reported("pipeline"):
        try:
            known = {key: lambda kind=kind: _planning_for(kind, machine) for key, kind in PASSES.items()}
            passes = PassPipeline.parse_spec(known, spec).passes
            _check_truth(passes)
        except (ValueError, TypeError, StopIteration, RuntimeError) as error:
            if isinstance(error, CompileError):
                raise
            reason = "" if isinstance(error, StopIteration) else f": {shortened(str(error))}"
            unknown = [name for name in re.findall(r"(?:^|[,}])\s*([\w-]+)", spec) if name not in PASSES]
            close = [found[0] for name in unknown if (found := alike(name, PASSES))]
            cure = f"; write {any_of(dict.fromkeys(close))}" if close else ""
            raise CompileError(f"pipeline {shown(spec)}{reason}; passes: {', '.join(PASSES)}{cure}") from error
    run(module, passes)
    return print_module(module)
