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
