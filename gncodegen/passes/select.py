"""select: gn ops become launches. Kernels are planned by shape and machine; values become buffers, reshapes views."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter
from xdsl.utils.exceptions import PassFailedException, VerifyException

from gncodegen.errors import CompileError
from gncodegen.ir.function import function_of, operations_of
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.gn.pointwise import Reshape
from gncodegen.ir.gn.update import AllReduce
from gncodegen.ir.kern import AllocOp, AllReduceOp, KernelOp, LaunchOp, ViewOp
from gncodegen.ir.operation import users
from gncodegen.ir.values import constant, memref_type, tensor_of
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Machine, Plan, Problem, Schedule, Tensor
from gncodegen.passes.destinations import bind_results, root_of
from gncodegen.passes.machine import ForMachine
from gncodegen.passes.observations import separate
from gncodegen.passes.shapes import Shapes
from gncodegen.process import trace
from gncodegen.process.trace import tell
from gncodegen.tables import scaled

Planner = Callable[[Problem], Plan]


def problem_of(operation: GnOperation, machine: Machine) -> Problem:
    """What a gn op asks of the kernels."""
    operands = operation.operands[: -1 if operation.READS_HYPERPARAMETERS else None]
    return Problem(
        op=operation.name.removeprefix("gn."),
        operands=tuple(map(tensor_of, operands)),
        results=tuple(map(tensor_of, operation.results)),
        # Kernels never see names: what a user typed stays out of schedules and sources.
        attributes={name: constant(value) for name, value in operation.values.items() if name != "names"},
        machine=machine,
    )


def problems_of(module: ModuleOp, machine: Machine) -> tuple[Problem, ...]:
    """The different problems that the pass would plan kernels for, in order."""
    operations = [operation for operation in operations_of(function_of(module)) if isinstance(operation, GnOperation)]
    problems = [problem_of(operation, machine) for operation in operations if operation.COMPUTES]
    return tuple({problem.digest: problem for problem in problems}.values())


@dataclass
class Selection:
    """One run of the pass: the kernels chosen so far and where launches go.

    `alone` are the ops that treat each observation by itself, `models` the problems whose kernels serve those of ops.
    """

    module: ModuleOp
    machine: Machine
    planner: Planner
    alone: Collection[GnOperation] = ()
    models: Mapping[GnOperation, Problem] = field(default_factory=dict[GnOperation, Problem])
    kernels: dict[Schedule, str] = field(default_factory=dict[Schedule, str])
    step: int = 0

    def run(self) -> None:
        """Replaces every gn op of the function, in order."""
        function = function_of(self.module)
        for argument in function.args:
            Rewriter.replace_value_with_new_type(argument, memref_type(tensor_of(argument)))
        for operation in operations_of(function):
            if isinstance(operation, GnOperation):
                builder = Builder(InsertPoint.before(operation))
                buffers = self._lowered(operation, builder)
                for result, buffer in zip(operation.results, buffers, strict=True):
                    buffer.name_hint = result.name_hint
                    result.replace_all_uses_with(buffer)
                Rewriter.erase_op(operation)
        bind_results(function, self.copy)

    def _lowered(self, operation: GnOperation, builder: Builder) -> list[SSAValue]:
        """Emits the views, allocs and launches of one op; the buffers of its results."""
        if isinstance(operation, Reshape):
            shape = operation.values.integers("shape")
            return [builder.insert(ViewOp(operation.operands[0], shape)).buffer]
        if isinstance(operation, AllReduce):
            return self._reduced(operation, builder)
        operands = list(operation.operands)
        named: dict[str, SSAValue] = {}
        if operation.READS_HYPERPARAMETERS:
            named["hyperparameters"] = operands.pop()
        problem = problem_of(operation, self.machine)
        if operation in self.models:
            problem = replace(problem, model=self.models[operation])
        named |= {f"operand{index}": operand for index, operand in enumerate(operands)}
        return self.emit(builder, problem, named, operation.layers, operation in self.alone)

    def _reduced(self, operation: AllReduce, builder: Builder) -> list[SSAValue]:
        """The buffers of its operands, reduced where they lie; copies of those that are also read as they are."""
        buffers: list[SSAValue] = []
        for operand in operation.operands:
            root, buffer = root_of(operand), operand
            taken = any(root_of(other) is root for other in buffers) or _is_reduced(root)
            if taken or not isinstance(root.owner, AllocOp) or _readers(root) != {operation}:
                buffer = builder.insert(AllocOp(tensor_of(operand))).buffer
                self.copy(builder, operand, buffer)
            else:
                root.owner.operands = []
            buffers.append(buffer)
        builder.insert(AllReduceOp(buffers, operation.layers))
        return buffers

    def emit(
        self,
        builder: Builder,
        problem: Problem,
        named: dict[str, SSAValue],
        layers: tuple[str, ...],
        alone: bool = False,
    ) -> list[SSAValue]:
        """Emits the allocs and launches of a problem whose operands are `named`; the result buffers it allocated.

        A result that is already named is written where it is. `alone` says that it treats each observation alone.
        """
        try:
            plan = self.planner(problem) if alone else self.planner(problem).without_order
        except CompileError as error:
            raise CompileError(f"{' + '.join(layers) or problem.op}: {error}") from error
        try:
            return self._launch(builder, problem, plan, named, layers)
        except VerifyException as error:  # a number that no attribute holds
            raise CompileError(f"{' + '.join(layers) or problem.op}: {error}") from error

    def _launch(
        self, builder: Builder, problem: Problem, plan: Plan, named: dict[str, SSAValue], layers: tuple[str, ...]
    ) -> list[SSAValue]:
        """The same, of a plan."""
        results: list[SSAValue] = []
        for index, tensor in enumerate(problem.results):
            if f"result{index}" not in named:
                candidates = [named[f"operand{operand}"] for result, operand in plan.in_place if result == index]
                named[f"result{index}"] = builder.insert(AllocOp(tensor, candidates)).buffer
            results.append(named[f"result{index}"])
        for index, tensor in enumerate(plan.workspaces):
            named[f"workspace{index}"] = builder.insert(AllocOp(tensor)).buffer
        for launch in plan.launches:
            unknown = [slot for slot in launch.arguments if slot not in named]
            if unknown:
                raise PassFailedException(f"the plan of {problem.op} names {unknown[0]!r}; it has {', '.join(named)}")
            names = ("grid", "writes", "bytes", "flops", "first", "order", "numbers")
            attributes = {name: getattr(launch, name) for name in names} | {"step": self.step}
            arguments = [named[slot] for slot in launch.arguments]
            builder.insert(LaunchOp(self._kernel(launch.schedule), arguments, attributes, layers))
        for schedule in plan.others:
            self._kernel(schedule)
        self.step += 1
        return results

    def copy(self, builder: Builder, source: SSAValue, target: SSAValue) -> None:
        """Emits a copy of one buffer into another of the same shape."""
        tensor = tensor_of(source)
        flat = Tensor((1, tensor.count), tensor.dtype)
        views = [builder.insert(ViewOp(value, flat.shape)).buffer for value in (source, target)]
        problem = Problem("transpose", (flat,), (flat,), {"permutation": (0, 1)}, self.machine)
        self.emit(builder, problem, {"operand0": views[0], "result0": views[1]}, ())

    def _kernel(self, schedule: Schedule) -> str:
        """The symbol of a schedule; equal schedules share one kernel."""
        if schedule not in self.kernels:
            count = sum(known.op == schedule.op for known in self.kernels)
            name = f"{schedule.op}_{count + 1}"
            self.kernels[schedule] = name
            function = function_of(self.module)
            self.module.body.block.insert_op_before(KernelOp(name, schedule), function)
        return self.kernels[schedule]


@dataclass(frozen=True)
class Select(ForMachine):
    """Plans kernels for a machine.

    Args:
        choices: "digest:number" of each problem whose plan is not candidate 0 (see kernels.catalog).
        observations: for how many launches are; kernels are those for as many as the function has. 0 = for as many.
    """

    name: ClassVar[str] = "select"
    choices: tuple[str, ...] = ()
    observations: int = 0

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if faulty := [choice for choice in self.choices if not re.fullmatch(r"\w+:\d{1,6}", choice)]:
            raise PassFailedException(f"choices = {faulty[0]!r}; allowed: digest:number of a problem; correct it")
        numbers = dict(choice.split(":") for choice in self.choices)

        def planner(problem: Problem) -> Plan:
            choice = int(numbers.get(problem.modelled.digest, 0)) if numbers else 0
            tell(trace.PLANS, lambda: _considered(problem, choice))
            return catalog.plan(problem, choice) if choice else catalog.plan(problem)

        models: dict[GnOperation, Problem] = {}
        if self.observations:
            operations = [each for each in operations_of(function_of(op)) if isinstance(each, GnOperation)]
            models = {each: problem_of(each, self.machine) for each in operations}
            Shapes(self.observations).apply(ctx, op)
        Selection(op, self.machine, planner, separate(op, ctx), models).run()


def _readers(value: SSAValue) -> set[Operation]:
    """The ops that are still to be lowered and use a buffer, under any shape."""
    found: set[Operation] = set()
    for user in users(value):
        if isinstance(user, ViewOp):
            found |= _readers(user.buffer)
        elif not isinstance(user, LaunchOp | AllocOp | AllReduceOp):
            found.add(user)
    return found


def _is_reduced(value: SSAValue) -> bool:
    """Whether a reduction of this buffer was emitted, under any shape."""
    return any(
        isinstance(user, AllReduceOp) or (isinstance(user, ViewOp) and _is_reduced(user.buffer))
        for user in users(value)
    )


def _considered(problem: Problem, choice: int) -> str:
    """The candidates of a problem, a line per launch, with what the cost model counts."""
    shapes = ", ".join("×".join(map(str, tensor.shape)) or "1" for tensor in problem.operands)
    lines = [f"plan {problem.op} of {shapes}"]
    for number, plan in enumerate(catalog.candidates(problem)):
        for launch in plan.launches:
            tiles = " ".join(f"{name}={value}" for name, value in launch.schedule.tiles.items())
            taken = "taken" if number == choice else "left"
            lines.append(
                f"  {taken}: {launch.schedule.template}, {launch.grid} tiles, {scaled(launch.bytes, 'B')}, "
                f"{scaled(launch.flops, 'FLOP')}: {tiles}"
            )
    return "\n".join(lines)
