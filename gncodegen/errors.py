"""The one family of errors gncodegen raises."""

from __future__ import annotations

from collections.abc import Sequence


class GncodegenError(Exception):
    """Root of every error raised on purpose; its text says what was given, what is allowed and the cure."""


class LayerError(GncodegenError, ValueError):
    """A layer's property is out of range, or a layer does not fit its place in the network."""


class NetworkError(GncodegenError, ValueError):
    """A network cannot be built; `issues` lists every fault found, not only the first."""

    def __init__(self, issues: Sequence[str]) -> None:
        self.issues = tuple(issues)
        super().__init__("\n".join(self.issues))


class ArrayError(GncodegenError, ValueError):
    """An array handed in has the wrong shape, type, format or values."""


class OptionsError(GncodegenError, ValueError):
    """A training or compile option is out of range."""


class CompileError(GncodegenError, RuntimeError):
    """A stage of the compiler failed; the text names the stage and, where there is one, the generated file."""


class TargetError(GncodegenError, RuntimeError):
    """The machine or the installation lacks what the target needs."""


class RankError(GncodegenError, RuntimeError):
    """Another process of a training on several ranks failed, or did not come; the text has its own message."""


class AnomalyError(GncodegenError, ArithmeticError):
    """A training step with detect_anomaly met a NaN or an infinity; the network is as it was before the step.

    Args:
        reason: what was found, and the cure.
        layer: name of the layer where it came up first, "" if it came with the data.
        op: what computed it.
        iteration: of the training, from 1.
    """

    def __init__(self, reason: str, *, layer: str = "", op: str = "", iteration: int = 0) -> None:
        self.layer, self.op, self.iteration = layer, op, iteration
        super().__init__(reason)


class CheckError(GncodegenError, RuntimeError):
    """A kernel wrote beyond an end, read what nobody wrote, or, edited, computes something else; names its layers.

    Kernels are looked at so with GNCODEGEN_CHECK=1, and edited ones before they are used.
    """


class CacheError(GncodegenError, RuntimeError):
    """The cache's folder cannot be used, or cannot be believed."""


class SaveError(GncodegenError, OSError):
    """A file that was to be written cannot be; what was in its place before is there still."""


class EmulationFault(GncodegenError, RuntimeError):  # noqa: N818
    """A kernel run in the PTX emulator did what a GPU would punish or leave undefined; where is told by its attributes.

    Args:
        reason: what went wrong, one sentence.
        kernel: the entry's name.
        source: the generated source file, "" if unknown.
        line: its line, 0 if unknown.
        block: the block's number in the grid, -1 if unknown.
        thread: the thread's number in its block, -1 if unknown.
        instruction: the PTX instruction.
    """

    def __init__(
        self,
        reason: str,
        *,
        kernel: str = "",
        source: str = "",
        line: int = 0,
        block: int = -1,
        thread: int = -1,
        instruction: str = "",
    ) -> None:
        self.reason, self.kernel, self.source, self.line = reason, kernel, source, line
        self.block, self.thread, self.instruction = block, thread, instruction
        where = [f"kernel {kernel}" if kernel else "", f"{source or 'source'}:{line}" if line else ""]
        where += [f"block {block}" if block >= 0 else "", f"thread {thread}" if thread >= 0 else ""]
        where += [f"`{instruction}`" if instruction else ""]
        place = ", ".join(part for part in where if part)
        super().__init__(f"{reason} ({place})" if place else reason)
