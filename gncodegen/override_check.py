"""The check of a kernel that a user edited, before it is used.

It runs alone, on drawn operands of the compiled shapes. Its reference is the generated kernel in float64, or, where its
template does not follow, on CUDA and of 16 bits, the generated kernel itself. On the CPU it runs on poisoned memory
between guards, the first time in a process of its own; on CUDA in the emulator.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.cache import files
from gncodegen.cache.folder import root
from gncodegen.errors import CheckError, CompileError, EmulationFault
from gncodegen.kernels.program import Buffer, Call, Program
from gncodegen.kernels.schedule import COMPUTED_IN
from gncodegen.kernels.store import Source
from gncodegen.options import CompileOptions
from gncodegen.runtime.arrays import loaded, numpy_type, stored
from gncodegen.runtime.backend import Backend, Key, PersistentBuffers
from gncodegen.runtime.checking import CheckedExecutor, GuardedExecutor
from gncodegen.runtime.host_backend import HostBackend
from gncodegen.runtime.state import Hyperparameters
from gncodegen.runtime.timing import medians
from gncodegen.targets.registry import row_of

DRAWS = ((1.0, 0.0), (0.01, 0.0), (1.0, 100.0))
"""(scale, mean) of what operands are drawn from, each in its turn."""

ROUNDING = 8
"""Units of rounding that an edited kernel may be off by, beside four times the error of the generated one."""

STORED_EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""By type of 16 bits: the distance of neighbours as a share of the smaller; rounding another way moves by one."""

IMPOSSIBLE = 1e20
"""No result of drawn operands is larger."""

Arrays = dict[str, NDArray[Any]]

_ATTEMPT = """
import sys
root = sys.argv[1]
sys.path[:0] = [] if root in sys.path else [root]
from gncodegen.override_check import attempt
attempt()
"""


@dataclass(frozen=True)
class Override:
    """An edited kernel that was checked.

    Args:
        path: the file that the user edited.
        error: its largest error, as a share of the largest value.
        generated_error: that of the generated kernel.
        gain: the generated kernel's time over its own; 0 = not measured.
    """

    path: str
    error: float
    generated_error: float
    gain: float = 0.0

    def __str__(self) -> str:
        timed = f", {self.gain:.2f} × as fast" if self.gain else ""
        return f"edited: {self.path}, error {self.error:.2g} (generated: {self.generated_error:.2g}){timed}"


class Check:
    """The check of one edited kernel."""

    def __init__(
        self,
        program: Program,
        name: str,
        generated: Source,
        path: Path,
        content: bytes,
        options: CompileOptions,
        backend: Backend,
        persistent: PersistentBuffers,
    ) -> None:
        self._program, self._name, self._path = program, name, path
        self._schedule, self._generated = program.kernels[name], generated
        self._options, self._backend, self._numbers = options, backend, persistent.hyperparameters
        self._label = f"{' + '.join(program.layers_of(name)) or 'no layer'}: edited kernel {name}"
        self._content, self._calls = content, [call for call in program.calls if call.kernel == name]
        self._executor = CheckedExecutor
        digest = hashlib.sha256(content).hexdigest()[:12]
        self.edited = Source(generated.path.with_name(f"{self._schedule.template}_{digest}.py"))
        facts = (generated.path.name, digest, backend.target.tag)
        facts += tuple((call.grid, call.first) for call in self._calls)
        self._record = root() / "overrides" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}.json"

    def known(self) -> Override | None:
        """What an earlier check found of the same content."""
        try:
            record = json.loads(files.read(self._record) or b"")
            self._write()
            return Override(**(record | {"path": str(self._path)}))
        except (ValueError, TypeError):
            return None

    def run(self) -> Override:
        """Compiles it, and compares it with the reference for each different call."""
        self._write()
        cuda = self._schedule.family == "cuda"
        backend = row_of(self._options.target).open(replace(self._options, emulate=True)) if cuda else self._backend
        errors, own, gain = [0.0], [0.0], 0.0
        for call in {(call.grid, call.first): call for call in self._calls}.values():
            if not cuda:
                self._survives(call, self._drawn(call, *DRAWS[0]))
            for scale, mean in DRAWS[1:2] if cuda else DRAWS:
                arrays = self._drawn(call, scale, mean)
                base = self._base(call, arrays, backend)
                if not cuda:
                    self._base(call, self._drawn(call, mean + 2.0, scale), backend)
                    self._mark(base, self._base(call, arrays, backend))
                reference = base if cuda else self._in_float64(call, arrays, base)
                found = self._guarded(self.edited, call, arrays, backend, edited=True)
                error, generated_error = self._compare(call, found, base, reference)
                errors.append(error)
                own.append(generated_error)
            if not cuda:
                gain = self._gain(call, arrays)  # pyright: ignore[reportPossiblyUnboundVariable]
        override = Override(str(self._path), max(errors), max(own), round(gain, 3))
        files.keep(self._record, json.dumps(asdict(override)).encode())
        return override

    @property
    def _half(self) -> bool:
        """Whether it reads or writes 16 bits, of which there is no kernel in float64."""
        return any(
            self._program.buffers[index].dtype in COMPUTED_IN for call in self._calls for index in call.arguments
        )

    def _rounding(self, call: Call, name: str) -> float:
        """What an element may be off by, beside the generated kernel's error: stored in 16 bits, a unit of those."""
        dtype = self._program.buffers[call.arguments[int(name.removeprefix("slot"))]].dtype
        computed = np.dtype(COMPUTED_IN.get(dtype, dtype))
        if computed.kind != "f":  # whole numbers are not rounded
            return 0.0
        return ROUNDING * float(np.finfo(computed).eps) + STORED_EPS.get(dtype, 0.0)

    def _survives(self, call: Call, arrays: Arrays) -> None:
        """Runs the edited kernel in a process of its own, which far accesses end.

        Raises:
            CheckError: they did.
        """
        facts = (
            self._alone(call, wide=False),
            str(self.edited.path),
            arrays,
            self._numbers.solver.name,
            self._numbers.array,
        )
        command = [sys.executable, "-P", "-c", _ATTEMPT, str(Path(__file__).parents[1])]
        done = subprocess.run(command, input=pickle.dumps(facts), capture_output=True, check=False)
        if done.returncode < 0:
            raise CheckError(
                f"{self._label} ({self._path}:{self.line}): the process that tried it ended by "
                f"{signal.Signals(-done.returncode).name}: it reads or writes far beyond its buffers; allowed: what "
                "lies within them; correct the file, or remove it"
            )

    @staticmethod
    def _mark(base: Arrays, again: Arrays) -> None:
        """Poisons what the generated kernel leaves to chance, such as parts of a workspace that nobody reads."""
        for name, array in base.items():
            array[(array != again[name]) | (np.abs(array) > IMPOSSIBLE)] = np.nan

    def _write(self) -> None:
        files.write(self.edited.path, self._content)
        try:
            self._backend.target.compile([self.edited])
        except CompileError as error:
            # Numba shortens the file's path.
            text = re.sub(rf'[^\s"]*{re.escape(self.edited.path.name)}', lambda _: str(self._path), str(error))
            text = text.removeprefix("generated file ")
            raise CompileError(f"{self._label}: {text}") from error

    def _drawn(self, call: Call, scale: float, mean: float) -> Arrays:
        """An array for each slot that is read: of ints zeros, of what solvers keep positive numbers."""
        random, found = np.random.default_rng(0), Arrays()
        for slot, index in enumerate(call.arguments):
            buffer, kind = self._program.buffers[index], self._program.buffers[self._program.root(index)].kind
            if slot in call.writes or kind == "hyperparameters":
                continue
            if numpy_type(COMPUTED_IN.get(buffer.dtype, buffer.dtype)).kind != "f":
                values: Any = np.zeros(buffer.shape)
            elif kind in ("input", "parameter", "arena", "constant", "cotangent"):
                values = random.normal(mean if kind in ("input", "arena") else 0.0, scale, buffer.shape)
            elif kind == "mask":
                values = np.ones(buffer.shape)
            elif kind == "target":
                values = np.eye(buffer.shape[-1])[random.integers(buffer.shape[-1], size=buffer.shape[:-1])]
            else:
                values = random.uniform(0.5, 1.5, buffer.shape)
            found[f"slot{slot}"] = stored(np.asarray(values), buffer.dtype)
        return found

    def _alone(self, call: Call, wide: bool) -> Program:
        """A Program of this call alone, each slot with a buffer of its own; `wide`: in float64."""
        buffers: list[Buffer] = []
        for slot, index in enumerate(call.arguments):
            buffer, kind = self._program.buffers[index], self._program.buffers[self._program.root(index)].kind
            dtype = "float64" if wide and buffer.dtype == self._schedule.dtype else buffer.dtype
            own = kind if kind == "hyperparameters" else "output" if slot in call.writes else "input"
            name = own if own == "hyperparameters" else f"slot{slot}"
            buffers.append(Buffer(own, name, buffer.shape, dtype))
        schedule = replace(self._schedule, dtype="float64") if wide else self._schedule
        alone = replace(call, arguments=tuple(range(len(buffers))), order=())
        return Program("check", {self._name: schedule}, tuple(buffers), (alone,), 0)

    def _guarded(
        self, source: Source, call: Call, arrays: Arrays, backend: Backend, *, edited: bool = False, wide: bool = False
    ) -> Arrays:
        """The results of a kernel on these operands; what it writes beyond an end is refused."""
        program = self._alone(call, wide)
        persistent = PersistentBuffers(backend.values({}, self._options.array_dtype), {}, self._numbers)
        files = {self._name: source}
        if isinstance(backend, HostBackend):
            runner = backend.runner(program, files, persistent, self._executor)
        else:  # the emulator always checks
            runner = backend.runner(program, files, persistent)
        given: dict[Key, NDArray[Any]] = {
            ("input", name): array.astype(numpy_type(program.buffers[program.arguments["input", name]].dtype))
            for name, array in arrays.items()
        }
        try:
            with backend.lock:
                runner.run(given)
                results = {
                    key: loaded(np.asarray(runner.result(key)), program.buffers[index].dtype)
                    for key, index in program.arguments.items()
                    if key[0] == "output"
                }
        except (CheckError, EmulationFault) as error:
            if not edited:
                raise
            text = str(error).replace("; this is a fault of gncodegen", "")
            text = text.replace(str(self.edited.path), str(self._path))
            raise CheckError(
                f"{self._label} ({self._path}:{self.line}): {text}; allowed: what lies within its buffers and was "
                "written; correct the file, or remove it"
            ) from error
        return {name: array for (_, name), array in results.items()}

    def _base(self, call: Call, arrays: Arrays, backend: Backend) -> Arrays:
        """The results of the generated kernel; other launches may write the rest of them."""
        try:
            return self._guarded(self._generated, call, arrays, backend)
        except CheckError:
            self._executor = GuardedExecutor
            return self._guarded(self._generated, call, arrays, backend)

    def _in_float64(self, call: Call, arrays: Arrays, base: Arrays) -> Arrays:
        """The results of the generated kernel in float64; its own where the template does not follow."""
        if self._schedule.dtype == "float64" or self._half:
            return base
        try:
            (source,) = self._backend.target.write([replace(self._schedule, dtype="float64")])
            self._backend.target.compile([source])
            found = self._guarded(source, call, arrays, self._backend, wide=True)
        except (CompileError, CheckError):
            return base
        for name, array in found.items():
            array[~np.isfinite(base[name])] = np.nan
        close = all(_error(base[name], found[name]) < 1e-3 for name in base)
        return found if close else base

    def _compare(self, call: Call, found: Arrays, base: Arrays, reference: Arrays) -> tuple[float, float]:
        """The largest errors of the edited and of the generated kernel.

        Raises:
            CheckError: the edited one's is beyond what rounding explains.
        """
        worst, own = 0.0, 0.0
        for name, right in reference.items():
            error, generated = _error(found[name], right), _error(base[name], right)
            worst, own = max(worst, error), max(own, generated)
            allowed = 4 * generated + self._rounding(call, name)
            if not error <= allowed:
                index = _first_beyond(found[name], right, allowed)
                place, value = ", ".join(map(str, index)), found[name][index]
                raise CheckError(
                    f"{self._label} ({self._path}:{self.line}): argument {name.removeprefix('slot')} at [{place}] is "
                    f"{value:.9g}, and the reference {right[index]:.9g}; largest error {error:.2g} of the largest "
                    f"value; allowed: {allowed:.2g} (the generated kernel's is {generated:.2g}); correct the file, or "
                    "remove it"
                )
        return worst, own

    @property
    def line(self) -> int:
        """The first line of the edited source that is not the generated one's."""
        before, after = self._generated.text.splitlines(), self._content.decode(errors="replace").splitlines()
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        return next((begin + 1 for tag, _, _, begin, _ in matcher.get_opcodes() if tag != "equal"), 1)

    def _gain(self, call: Call, arrays: Arrays) -> float:
        """The generated kernel's time over the edited one's."""
        program = self._alone(call, wide=False)
        persistent = PersistentBuffers(self._backend.values({}, self._options.array_dtype), {}, self._numbers)
        given = {("input", name): array for name, array in arrays.items()}

        def timed(source: Source) -> Any:
            runner = self._backend.runner(program, {self._name: source}, persistent)
            return lambda: runner.run(given)

        with self._backend.lock:
            before, after = medians([timed(self._generated), timed(self.edited)])
        return before / after


def _error(found: NDArray[Any], right: NDArray[Any]) -> float:
    """The largest difference as a share of the largest value, where the right one is a number; infinite for none."""
    found, right = np.asarray(found, np.float64), np.asarray(right, np.float64)
    usual = np.isfinite(right)
    if not np.isfinite(found[usual]).all():
        return np.inf
    if not usual.any():
        return 0.0
    largest = float(np.max(np.abs(right[usual]), initial=0.0))
    return float(np.max(np.abs(found[usual] - right[usual]), initial=0.0)) / (largest or 1.0)


def _first_beyond(found: NDArray[Any], right: NDArray[Any], allowed: float) -> tuple[int, ...]:
    """Where the first element lies that differs by more than is allowed."""
    right = np.asarray(right, np.float64)
    largest = float(np.max(np.abs(right[np.isfinite(right)]), initial=0.0)) or 1.0
    with np.errstate(invalid="ignore"):
        near = np.abs(found - right) <= allowed * largest
    same = near | ~np.isfinite(right)
    return tuple(int(i) for i in np.unravel_index(int(np.argmin(same)), right.shape))


def attempt() -> None:
    """In a process of its own: runs a kernel whose Program, source, operands and numbers come by standard input."""
    program, path, arrays, solver, values = pickle.load(sys.stdin.buffer)  # what this package wrote a moment ago
    numbers = Hyperparameters(solver)
    numbers.array[:] = values
    backend: HostBackend = row_of("cpu").open(CompileOptions())
    persistent = PersistentBuffers(backend.values({}, "float32"), {}, numbers)
    runner = backend.runner(program, dict.fromkeys(program.kernels, Source(Path(path))), persistent, GuardedExecutor)
    with suppress(CheckError):  # told by the parent
        runner.run({("input", name): array for name, array in arrays.items()})
