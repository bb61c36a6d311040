"""The whole lowering of one function of a network, and its stages as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from gncodegen.errors import CompileError
from gncodegen.ir.build import build_module
from gncodegen.ir.printing import Line, lines_of
from gncodegen.ir.program import program_of
from gncodegen.ir.text import reported
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Machine, Problem
from gncodegen.layers.checks import shown
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.passes.fuse import Fuse
from gncodegen.passes.pipeline import STAGES, pipeline, run
from gncodegen.passes.select import Select, problems_of
from gncodegen.passes.unfused import unfused_lines
from gncodegen.specification import Specification
from gncodegen.tables import any_of, near


@dataclass(frozen=True)
class Lowering:
    """The way of one function through the passes."""

    specification: Specification

    @property
    def passes(self) -> tuple[ModulePass, ...]:
        """In order."""
        given = self.specification
        return pipeline(given.options, given.machine, given.choices, given.observations)

    def module(self) -> ModuleOp:
        """The module as built, before any pass."""
        given = self.specification
        with reported("gn"):
            return build_module(
                given.network,
                given.function,
                batch_size=given.options.batch_size,
                dtype=given.options.array_dtype,
                training=given.options.training,
                activations=given.activations,
            )

    def program(self) -> Program:
        """Runs all passes; nothing of the IR is kept.

        Raises:
            CompileError: a stage failed; the text names it, and the layer where there is one.
        """
        module = self.module()
        try:
            run(module, self.passes)
        except CompileError:
            if not self.specification.observations:
                raise
            return Lowering(self.specification.alone).program()  # a shape that only the batch has
        with reported("program"):
            return program_of(module)

    def text(self, stage: str) -> str:
        """The IR after `stage`, one of STAGES, lowered anew up to there."""
        return "".join(f"{line.text}\n" for line in self.lines(stage))

    def lines(self, stage: str) -> list[Line]:
        """The lines of that text, with their layers."""
        if not isinstance(stage, str) or stage not in STAGES:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise CompileError(
                f"there is no stage {shown(stage)}; allowed: {', '.join(STAGES)}; write {any_of(near(stage, STAGES))}"
            )
        module = self.module()
        run(module, self.passes[: STAGES.index(stage)])
        return lines_of(module)

    def overview(self) -> tuple[dict[str, list[Line]], tuple[str, ...]]:
        """The lines after every stage, and `unfused`, of one lowering."""
        module = self.module()
        found = {STAGES[0]: lines_of(module)}
        unfused: list[str] = []

        def note(stage: str, module: ModuleOp) -> None:
            found[stage] = lines_of(module)
            if stage == Fuse.name:
                unfused.extend(self._unfused(module))

        run(module, self.passes, note)
        return found, tuple(unfused)

    def unfused(self) -> tuple[str, ...]:
        """What stays an op of its own though others like it become part of their neighbours, and why."""
        module = self.module()
        run(module, self.passes[: STAGES.index(Fuse.name)])
        return self._unfused(module)

    def _unfused(self, module: ModuleOp) -> tuple[str, ...]:
        (fuse,) = (step for step in self.passes if isinstance(step, Fuse))
        return unfused_lines(module, fuse.activations)

    def problems(self) -> tuple[Problem, ...]:
        """The different problems that kernels are planned for, in order."""
        module = self.module()
        run(module, self.passes[: STAGES.index(Select.name) - 1])
        return problems_of(module, self.specification.machine)


class Stages(Mapping[str, str]):
    """Stage name → IR text; each text is made when it is asked for, so stages cost nothing until then."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering

    def __getitem__(self, stage: str) -> str:
        return self._lowering.text(stage)

    def __iter__(self) -> Iterator[str]:
        return iter(STAGES)

    def __len__(self) -> int:
        return len(STAGES)


def lower(
    network: Network,
    function: str,
    *,
    machine: Machine | None = None,
    activations: Sequence[str] = (),
    **options: Any,
) -> tuple[Stages, Program]:
    """Lowers one function of a network.

    Args:
        network: checked and connected.
        function: as Specification.function.
        machine: what kernels are chosen for.
        activations: layers whose outputs are returned too.
        options: of CompileOptions, by name.

    Returns:
        the IR text of every stage, made when asked for, and the Program.

    Raises:
        CompileError: a stage failed; the text names it, and the layer where there is one.
    """
    chosen = CompileOptions(**options)
    lowering = Lowering(Specification(network, function, chosen, machine or Machine(), tuple(activations)))
    return Stages(lowering), lowering.program()
