"""IR in from text: the context that knows all dialects, parsing, and xDSL's errors as ours."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.parser import Parser
from xdsl.utils.exceptions import ArgSpecParseError, DiagnosticException, ParseError

from gncodegen.errors import CompileError, GncodegenError
from gncodegen.ir.gn import GN
from gncodegen.ir.kern import KERN

MOST_SHOWN = 400
"""Letters of a line in an error."""


@cache
def context() -> Context:
    """The xDSL context with the dialects builtin, func, gn and kern."""
    known = Context()
    for dialect in (Builtin, Func, GN, KERN):
        known.load_dialect(dialect)
    return known


def shortened(line: str) -> str:
    """A line as an error shows it."""
    return line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]} …"


@contextmanager
def reported(stage: str) -> Generator[None]:
    """Turns whatever xDSL raises inside into a CompileError that names the stage.

    The text of a verification error ends with the IR, the faulty op underlined.
    """
    try:
        yield
    except (DiagnosticException, ParseError, ArgSpecParseError) as error:
        lines = "\n".join([str(error), *getattr(error, "__notes__", ())]).splitlines()
        raise CompileError(f"stage {stage!r}: " + "\n".join(map(shortened, lines))) from error
    except GncodegenError:
        raise
    except RecursionError as error:
        raise CompileError(
            f"stage {stage!r}: the IR is nested too deeply; allowed: some hundred levels; take levels out"
        ) from error
    except Exception as error:
        raise CompileError(
            f"stage {stage!r} failed: {type(error).__name__}: {error}; this is a fault of gncodegen"
        ) from error


def parse_module(text: str, name: str = "<text>") -> ModuleOp:
    """The verified module a text stands for.

    Args:
        text: MLIR text of one module.
        name: shown in error messages.

    Raises:
        CompileError: the text does not parse or verify.
    """
    _check_literals(text, name)
    with reported(f"parse {name}"):
        try:
            module = _Parser(context(), text, name).parse_module()
        except (ValueError, OverflowError) as error:  # such as a number of more digits than Python reads
            raise CompileError(f"stage 'parse {name}': {error}; allowed: MLIR text; correct it") from error
        module.verify()
    return module


_LITERALS = re.compile(r"""//[^\n]*|"(?:[^"\\\n\v\f]|\\(?:["nt\\]|[0-9A-Fa-f]{2}))*+"|(?P<open>")""")
"""Comments, literals, and a quote that begins none; linear in the text, since nothing is tried a second time."""


def _check_literals(text: str, name: str) -> None:
    """Refuses a quote that begins no literal: xDSL's lexer tries 2ⁿ ways to read the n characters behind it."""
    for match in _LITERALS.finditer(text):
        if match["open"]:
            line, column = text.count("\n", 0, match.start()) + 1, match.start() - text.rfind("\n", 0, match.start())
            raise CompileError(
                f"stage 'parse {name}': {name}:{line}:{column}: this quote begins no text literal; allowed: literals "
                'that end on their line, with the escapes \\", \\\\, \\n, \\t and \\ with two hexadecimal digits; '
                "close it"
            )


class _Parser(Parser):
    """xDSL's parser without dense literals: no op of ours takes one, and xDSL spreads each to its full size."""

    def parse_dense_int_or_fp_elements_attr(self, type: Any) -> NoReturn:  # noqa: A002  as xDSL calls it
        self.raise_error("no op takes a dense literal; allowed: numbers, texts, lists and dictionaries")
