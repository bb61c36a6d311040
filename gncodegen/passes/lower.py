"""The whole lowering of one function of a network, and its stages as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from gncodegen.errors import CompileError
from gncodegen.ir.build import build_module
from gncodegen.ir.program import program_of
from gncodegen.ir.text import print_module, reported
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Machine, Problem
from gncodegen.layers.network import Network
from gncodegen.passes.pipeline import STAGES, pipeline, run
from gncodegen.passes.select import Select, problems_of


@dataclass(frozen=True)
class Lowering:
    """Everything that decides what a function lowers to; equal lowerings give equal IR and Programs.

    Args:
        network: checked and connected.
        function: "predict", "loss", "gradients", "train_step" or "evaluate".
        batch_size: observations per call.
        dtype: of activations and parameters.
        training: whether "loss" and "gradients" run in training mode.
        data_format: axis order of the caller's arrays, for example "BCSS"; "" = channel-last.
        machine: what kernels are chosen for.
        clip: gradient_threshold_method, or "none".
        activations: layers whose outputs are returned too.
        choices: as Select.choices.
        solver: of a training step.
    """

    network: Network
    function: str
    batch_size: int
    dtype: str = "float32"
    training: bool = True
    data_format: str = ""
    machine: Machine = field(default_factory=Machine)
    clip: str = "none"
    activations: Sequence[str] = ()
    choices: tuple[str, ...] = ()
    solver: str = "sgdm"

    @property
    def passes(self) -> tuple[ModulePass, ...]:
        """In order."""
        return pipeline(
            clip=self.clip, data_format=self.data_format, machine=self.machine, choices=self.choices, solver=self.solver
        )

    def module(self) -> ModuleOp:
        """The module as built, before any pass."""
        with reported("gn"):
            return build_module(
                self.network,
                self.function,
                batch_size=self.batch_size,
                dtype=self.dtype,
                training=self.training,
                activations=self.activations,
            )

    def program(self) -> Program:
        """Runs all passes; nothing of the IR is kept."""
        module = self.module()
        run(module, self.passes)
        with reported("program"):
            return program_of(module)

    def text(self, stage: str) -> str:
        """The IR after `stage`, one of STAGES, lowered anew up to there."""
        if stage not in STAGES:
            raise CompileError(f"there is no stage {stage!r}; allowed: {', '.join(STAGES)}")
        module = self.module()
        run(module, self.passes[: STAGES.index(stage)])
        return print_module(module)

    def problems(self) -> tuple[Problem, ...]:
        """The different problems that kernels are planned for, in order."""
        module = self.module()
        run(module, self.passes[: STAGES.index(Select.name) - 1])
        return problems_of(module, self.machine)


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
    batch_size: int,
    dtype: str = "float32",
    training: bool = True,
    data_format: str = "",
    machine: Machine | None = None,
    clip: str = "none",
    activations: Sequence[str] = (),
    solver: str = "sgdm",
) -> tuple[Stages, Program]:
    """Lowers one function of a network; the arguments are those of Lowering.

    Returns:
        the IR text of every stage, made when asked for, and the Program.

    Raises:
        CompileError: a stage failed; the text names it, and the layer where there is one.
    """
    lowering = Lowering(
        network, function, batch_size, dtype, training, data_format, machine or Machine(), clip, tuple(activations),
        solver=solver,
    )  # fmt: skip
    return Stages(lowering), lowering.program()
