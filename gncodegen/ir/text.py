"""IR as text: the context that knows all dialects, parsing, printing, and xDSL's errors as ours."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from io import StringIO

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import ArgSpecParseError, DiagnosticException, ParseError

from gncodegen.errors import CompileError
from gncodegen.ir.gn import GN
from gncodegen.ir.kern import KERN


@cache
def context() -> Context:
    """The xDSL context with the dialects builtin, func, gn and kern."""
    known = Context()
    for dialect in (Builtin, Func, GN, KERN):
        known.load_dialect(dialect)
    return known


@contextmanager
def reported(stage: str) -> Generator[None]:
    """Turns whatever xDSL raises inside into a CompileError that names the stage.

    The text of a verification error ends with the IR, the faulty op underlined.
    """
    try:
        yield
    except (DiagnosticException, ParseError, ArgSpecParseError) as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        raise CompileError(f"stage {stage!r}: {error}" + (f"\n{notes}" if notes else "")) from error


def parse_module(text: str, name: str = "<text>") -> ModuleOp:
    """The verified module a text stands for.

    Args:
        text: MLIR text of one module.
        name: shown in error messages.

    Raises:
        CompileError: the text does not parse or verify.
    """
    with reported(f"parse {name}"):
        module = Parser(context(), text, name).parse_module()
        module.verify()
    return module


def print_module(module: ModuleOp) -> str:
    """The MLIR text of a module; `parse_module` reads it back to the same IR."""
    stream = StringIO()
    Printer(stream).print_op(module)
    return stream.getvalue() + "\n"
