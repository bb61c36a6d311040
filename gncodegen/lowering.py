"""The functions of one network, each taken through the whole path when it is first asked for, and then kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from gncodegen.cache.cleaning import clean_sometimes
from gncodegen.cache.files import is_whole
from gncodegen.errors import CompileError
from gncodegen.footprint import check_program
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.store import Source
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.override_check import Override
from gncodegen.overrides import replaced
from gncodegen.process import forks, trace
from gncodegen.process.trace import tell
from gncodegen.programs import load_program, store_program
from gncodegen.runtime.backend import Backend, PersistentBuffers, Runner
from gncodegen.specification import Specification

if TYPE_CHECKING:
    from gncodegen.passes.lower import Lowering


TRIES = 3
"""To compile a function whose files another process removes meanwhile."""


@dataclass(frozen=True)
class Lowered:
    """A function taken through the whole path, ready to run.

    Args:
        specification: what decided it.
        program: its calls and buffers.
        sources: its kernels' files, by name.
        overrides: what is known of those that a user edited.
        runner: runs it.
    """

    specification: Specification
    program: Program
    sources: Mapping[str, Source]
    runner: Runner
    overrides: Mapping[str, Override] = field(default_factory=dict[str, Override])


class Functions:
    """The functions of one network.

    Args:
        network: checked and connected.
        options: of the compilation.
        backend: where they run.
        persistent: what their Programs are bound to.
        data_format: axis order of the arrays that a run takes.
    """

    def __init__(
        self,
        network: Network,
        options: CompileOptions,
        backend: Backend,
        persistent: PersistentBuffers,
        data_format: str,
    ) -> None:
        self._network, self._options, self._data_format = network, options, data_format
        self._backend, self._persistent = backend, persistent
        self._known: dict[tuple[str, int, tuple[str, ...], tuple[str, ...]], Lowered] = {}
        self._files: dict[Schedule, Source] = {}
        self._lock = forks.lock(forks.Rank.LOWERING)

    def lowered(
        self,
        function: str,
        batch_size: int = 0,
        activations: tuple[str, ...] = (),
        normalized: tuple[str, ...] = (),
    ) -> Lowered:
        """One function, ready to run.

        Args:
            function: as Specification.function.
            batch_size: observations per run; 0 = the compiled batch size.
            activations: layers whose outputs are results too.
            normalized: the inputs that are normalized already.
        """
        key = (function, batch_size or self._options.batch_size, activations, normalized)
        known = self._known.get(key)
        if known is None:
            with self._lock:
                known = self._known.get(key) or self._lower(self._specification(*key))
                self._known[key] = known
        return known

    def lowering(self, function: str) -> Lowering:
        """The way of a function through the passes, to look at its stages."""
        from gncodegen.passes.lower import Lowering  # noqa: PLC0415  running needs no IR

        return Lowering(self._tuned(self._specification(function, self._options.batch_size)))

    @property
    def known(self) -> tuple[Lowered, ...]:
        """All that were asked for so far."""
        return tuple(self._known.values())

    def _specification(
        self, function: str, batch_size: int, activations: tuple[str, ...] = (), normalized: tuple[str, ...] = ()
    ) -> Specification:
        machine, tuned_for = self._backend.target.machine, self._options.batch_size
        options = self._options.of_function(function, tuned_for, self._data_format)
        observations = 0 if batch_size == tuned_for else batch_size  # kernels serve any number of them
        network = self._network.normalized(normalized) if normalized else self._network
        return Specification(network, function, options, machine, activations, observations=observations)

    def _tuned(self, specification: Specification) -> Specification:
        """The specification with the choices that were measured, now or before, where they are to be."""
        if not specification.options.tune:
            return specification
        from gncodegen.tuning import tuned  # noqa: PLC0415  with a Program from disk, nothing is measured

        return tuned(specification, self._backend, self._persistent)

    def _lower(self, specification: Specification) -> Lowered:
        target = self._backend.target
        known = load_program(specification, target.tag)
        tell(trace.CACHE, lambda: f"{specification.function}: {'lowered' if known is None else 'from the cache'}")
        if known is None:
            from gncodegen.passes.lower import Lowering  # noqa: PLC0415  a Program from disk needs no IR

            program = Lowering(self._tuned(specification)).program()
            files = self._written(program.schedules)
            store_program(specification, target.tag, program, files)
        else:
            program, files = known
            if not target.ready(files):
                files = target.write(program.schedules)
        self._files |= zip(program.schedules, files, strict=True)
        check_program(program, self._options.target)
        for _ in range(TRIES - 1):
            try:
                return self._linked(specification, program, files)
            except CompileError:
                if all(is_whole(source.path) for source in files):
                    raise
                files = target.write(program.schedules)  # somebody has cleared the cache
        return self._linked(specification, program, files)

    def _linked(self, specification: Specification, program: Program, files: list[Source]) -> Lowered:
        """A Program, of whose schedules these are the files, with its kernels compiled and in memory."""
        begin = perf_counter()
        try:
            compiled = self._backend.target.compile(files)
        except CompileError as error:
            raise CompileError(f"{_layers_at_fault(program, files, str(error))}{error}") from error
        seconds = perf_counter() - begin
        tell(trace.CACHE, lambda: f"{program}: {compiled} kernels compiled in {seconds:.2f} s")
        files = files[: len(program.kernels)]  # others are for later runs
        files, overrides = replaced(program, files, self._options, self._backend, self._persistent)
        sources = dict(zip(program.kernels, files, strict=True))
        runner = self._backend.runner(program, sources, self._persistent)
        if compiled:
            clean_sometimes()  # what this function needs is in memory
        return Lowered(specification, program, sources, runner, overrides)

    def _written(self, schedules: Collection[Schedule]) -> list[Source]:
        """The files of kernels, of which other functions and other numbers of observations have many."""
        target = self._backend.target
        if not target.ready([self._files[each] for each in schedules if each in self._files]):
            self._files.clear()  # somebody has cleared the cache
        missing = [each for each in schedules if each not in self._files]
        self._files |= zip(missing, target.write(missing), strict=True)
        return [self._files[each] for each in schedules]


def _layers_at_fault(program: Program, sources: Sequence[Source], text: str) -> str:
    """The layers whose kernels' files an error names, as the start of its message."""
    kernels = zip(program.kernels, sources, strict=False)
    layers = [layer for name, source in kernels if source.path.stem in text for layer in program.layers_of(name)]
    return " + ".join(dict.fromkeys(layers)) + (": " if layers else "")
