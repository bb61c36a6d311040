"""What a compiled network tells of itself: stages, kernels, memory, and what it costs."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gncodegen.calls import T
from gncodegen.inspection import Kernels, MemoryPlan, kernels_of
from gncodegen.kernels.program import Program
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network
from gncodegen.lowering import Functions, Lowered
from gncodegen.options import CompileOptions
from gncodegen.process.forks import kept
from gncodegen.runtime.backend import Backend, PersistentBuffers
from gncodegen.runtime.conversion import ArrayConversion
from gncodegen.saving import NetworkState
from gncodegen.tables import scaled

if TYPE_CHECKING:
    from gncodegen.ir.printing import Line
    from gncodegen.passes.lower import Lowering
    from gncodegen.report.profile import Profile


class Readable:
    """The part of Compiled that is read, not run."""

    network: Network
    options: CompileOptions
    parameters: Any
    _backend: Backend
    _persistent: PersistentBuffers
    _conversion: ArrayConversion
    _functions: Functions
    _main: Lowered

    @property
    def state(self) -> NetworkState:
        """Everything that this network is made from and has learned, copied."""
        raise NotImplementedError

    def _learn(self, state: NetworkState) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        options, program, edited = self.options, self.program, len(self._main.overrides)
        plural = "s" * (len(program.kernels) != 1) + f" ({edited} edited)" * bool(edited)
        return (
            f"Compiled({options.target}, {options.dtype}, batch size {options.batch_size}, {program.function}: "
            f"{len(self.network.nodes)} layers, {self.network.num_learnables:,} learnables, "
            f"{len(program.kernels)} kernel{plural}, {scaled(program.arena_bytes, 'B')} arena)"
        )

    def _repr_html_(self) -> str:
        from gncodegen.layers.analyze import analyze_network  # noqa: PLC0415  used here only

        return f"<p>{escape(repr(self))}</p>{analyze_network(self.network, require_output=False).html}"

    @property
    def target(self) -> str:
        """What it runs on."""
        return self.options.target

    @property
    def graph(self) -> LayerGraph:
        """The layers with their connections; each carries the values of its parameters as they are now."""
        return self.network.with_values({**self.parameters, **self.parameters.statistics}).graph

    @property
    def program(self) -> Program:
        """The Program of the training step, or of prediction where there is none."""
        return self._main.program

    @property
    def fused(self) -> tuple[str, ...]:
        """What was fused, one readable line each."""
        return self.program.fused

    @property
    def unfused(self) -> tuple[str, ...]:
        """What stays a kernel of its own where others are fused, and why: `relu_2: conv_1 is read by add_1 too`."""
        return self.lowering.unfused()

    @property
    def stages(self) -> tuple[str, ...]:
        """The names `ir` takes, in order."""
        from gncodegen.passes.pipeline import STAGES  # noqa: PLC0415  running needs no IR

        return STAGES

    def ir(self, stage: str, function: str = "", layer: str = "") -> str:
        """The MLIR text after a stage.

        Args:
            stage: one of `stages`: "gn" is the IR as built, the others are named after their pass.
            function: "train_step", "predict", "loss", "gradients" or "evaluate"; "" = the one compiled first.
            layer: show only the lines about this layer; "" = all.
        """
        return "".join(f"{line.text}\n" for line in self._ir_lines(stage, function, layer))

    def diff(self, before: str, after: str, function: str = "", layer: str = "") -> str:
        """What changed in the IR between two stages, as a unified diff; numbers of values do not count as changes.

        Args:
            before: one of `stages`.
            after: a later one.
            function: as for `ir`.
            layer: as for `ir`.
        """
        from gncodegen.ir.changes import changes  # noqa: PLC0415  running needs no IR

        old, new = (self._ir_lines(stage, function, layer) for stage in (before, after))
        return "".join(f"{mark}{line.text}\n" for mark, line in changes(old, new))

    def _ir_lines(self, stage: str, function: str, layer: str) -> list[Line]:
        from gncodegen.ir.changes import about  # noqa: PLC0415  running needs no IR

        lines = self._functions.lowering(function or self.program.function).lines(stage)
        every = isinstance(layer, str) and not layer  # pyright: ignore[reportUnnecessaryIsInstance]
        return lines if every else about(lines, self.network[layer].name)

    @property
    def kernels(self) -> Kernels:
        """Name → kernel, of every function lowered so far; shown as a table."""
        return kernels_of(self._functions.known, self._backend.target)

    @kept
    def memory(self) -> MemoryPlan:
        """The planned buffers of the function compiled first."""
        return MemoryPlan.of(self.program)

    def profile(self, x: Any, t: Any = None, data_format: str = "", *, measure: bool = False) -> Profile:
        """Where the time goes: microseconds of every call, kernel and layer, and the share of what the machine can.

        Args:
            x: as many observations as a batch, or fewer.
            t: their targets: a training step is timed, or the loss where there is no training; None: prediction.
            data_format: axis order of x; "" = that of the compilation.
            measure: measure the machine again; else that is done once, and remembered.

        Of a training over several ranks all call it for a step; the averages over ranks stand in it, and in its trace.
        On a GPU calls are timed by events, launched one by one; the whole run beside it is the graph that runs use.
        On a CPU a run that notes its times takes about 2 µs more with 20 calls: a clock is read 40 ns a call, and what
        it writes is found anew. Of runs over 70 µs that is under 3 %; `seconds` is of runs that note nothing.

        Returns:
            The profile. The network learns nothing from it.

        Raises:
            ArrayError: x or t do not fit.
            TargetError: compiled for a target that has no clock: the emulator, or an architecture to be read.
        """
        from gncodegen.report.profile import timed  # noqa: PLC0415  used here only

        given = self._conversion.whole((x,), data_format)
        count = min(given.observations, self.options.batch_size)
        arrays = {key: array[:count] for key, array in given.arrays.items()}
        if t is not None:
            arrays[T] = self._conversion.targets(t, given.observations, {})[:count]
        function = "predict" if t is None else "train_step" if self.options.training else "loss"
        lowered, state = self._functions.lowered(function, count, normalized=given.normalized), self.state
        try:
            return timed(lowered, self._backend, self._persistent, arrays, measure)
        finally:
            self._learn(state)

    @property
    def lowering(self) -> Lowering:
        """The way of the function compiled first through the passes, anew."""
        return self._functions.lowering(self.program.function)

    def report(self, path: str | Path, x: Any = None, t: Any = None, data_format: str = "") -> None:
        """Writes an HTML page that opens offline: network, layers, IR by pass, kernels and machine code, costs.

        Needs networkx: `pip install 'gncodegen[report]'`.

        Args:
            path: of the file.
            x: what is timed; None = drawn data, where the network runs on the CPU or a GPU.
            t: its targets; as for `profile`.
            data_format: axis order of x.

        Raises:
            SaveError: the file cannot be written.
            TargetError: networkx is not installed.
        """
        from gncodegen.report.drawn import drawn  # noqa: PLC0415  used here only
        from gncodegen.report.html import write  # noqa: PLC0415

        given = drawn(self) if x is None else (x, t)
        write(self, path, self.profile(*given, data_format=data_format) if self._backend.has_clock else None)
