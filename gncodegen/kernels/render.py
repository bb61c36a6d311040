"""Templates to kernel source: Jinja2 whose raw files stay Python.

Line statements are `#: if bias`, comments `##`, and `{{ n }}` only ever stands for a value.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gncodegen.errors import CompileError
from gncodegen.kernels import activations, arithmetic
from gncodegen.kernels.hyperparameters import device_slot, slot
from gncodegen.kernels.schedule import COMPUTED_IN, Constant, Schedule, computed_in
from gncodegen.kernels.templates import template_folder

ENTRY = "def kernel(tile, argv):\n"
"""Where the function of a CPU's template begins."""

FIRST = re.compile(r"^(def kernel\(.*?\bfirst)\b", re.MULTILINE | re.DOTALL)
"""What is in front of the numbers among the parameters of a GPU's kernel."""


class Identifier(str):
    """Text that was checked to be a Python identifier, so it may stand unquoted in source."""


def _identifier(text: str) -> Identifier:
    if not text.isidentifier():
        raise CompileError(f"{text!r} is not a Python identifier and cannot stand in generated source")
    return Identifier(text)


def _literal(value: object) -> Markup:
    """What `{{ value }}` prints: a Python literal, never raw text; a macro's text is template text, so it stands."""
    if isinstance(value, Markup):
        return Markup(value.strip())
    return Markup(str(value) if isinstance(value, (Identifier, jinja2.Undefined)) else repr(value))


def segments(width: int, vector: int, most: int = 4) -> list[tuple[int, int, int]]:
    """(begin, end, lanes) that cover `width` values: `most` vectors at a time, then half as many …, and a short one.

    Four independent vectors hide the latency of an addition; loops that keep many values of each take two.
    """
    result: list[tuple[int, int, int]] = []
    begin = 0
    for lanes in (count * vector for count in (4, 2, 1) if count <= most):
        end = begin + (width - begin) // lanes * lanes
        if end > begin:
            result.append((begin, end, lanes))
        begin = end
    if begin < width:
        result.append((begin, width, width - begin))
    return result


def spans(vector: int) -> list[int]:
    """Lanes of the loops, one after the other, that go through a number of values known at run time only."""
    return [4 * vector, 2 * vector, vector, 1]


def _numbered(text: str, *counts: int) -> Markup:
    """Lines of a parameter list, each with its name numbered: `x,` becomes `x0, x1`, or `x0_0, x0_1, x1_0, x1_1`."""
    names = (line.strip(", ") for line in text.splitlines() if line.strip())
    return Markup(
        "".join(
            f"    {name}{'_'.join(map(str, numbers))},\n"
            for name in names
            for numbers in itertools.product(*map(range, counts))
        )
    )


def _expression(formula: Callable[..., str]) -> Callable[..., Markup]:
    """A function that templates call for an expression: `y = {{ forward(activation, alpha, "v") }}`."""
    return lambda *arguments: Markup(formula(*arguments))


@cache
def _environment(folder: Path | None) -> jinja2.Environment:
    folders = [each for each in (folder, template_folder()) if each is not None]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        line_statement_prefix="#:",
        line_comment_prefix="##",
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        finalize=_literal,
        autoescape=True,  # marks the text of macros, so that `_literal` knows it from a value
        auto_reload=folder is not None,
    )
    environment.filters["identifier"] = _identifier
    environment.filters["numbered"] = _numbered  # pyright: ignore[reportArgumentType]
    for function in (segments, spans, slot, device_slot):
        environment.globals[function.__name__] = function  # pyright: ignore[reportArgumentType]
    for formula in (activations.forward, activations.gradient, activations.activated, arithmetic.elementwise):
        environment.globals[formula.__name__] = _expression(formula)  # pyright: ignore[reportArgumentType]
    return environment


def render(schedule: Schedule, folder: Path | None = None) -> str:
    """The source of the kernel for `schedule`.

    Args:
        schedule: what is rendered.
        folder: templates in it go before those of the package.

    Raises:
        CompileError: the template is missing or faulty; names the template file.
    """
    name = f"{schedule.family}/{schedule.template}.py.jinja"
    stored = Identifier(schedule.dtype if schedule.dtype in COMPUTED_IN else "DTYPE")
    context: dict[str, Any] = {
        **schedule.constants,
        "op": schedule.op,
        "dtype": schedule.dtype,
        "real": computed_in(schedule.dtype),
        # Of pointers in a template whose DTYPE is `real`: to activations, and to a result that may be wider.
        "stored": stored,
        "written": Identifier("DTYPE") if schedule.constants.get("wide") else stored,
    }
    try:
        body = _environment(folder).get_template(name).render(context)
    except jinja2.TemplateError as error:
        raise CompileError(f"template {template_folder() / name}: {error}; schedule {schedule}") from error
    docstring, _, rest = body.partition("\n")
    if schedule.numbers:
        rest = _with_numbers(rest, schedule)
    names = activations.intrinsics_of_formulas() | arithmetic.intrinsics_of_formulas() | {"number"}
    rest = _importing(rest, schedule.family, names)
    # A line statement takes the empty lines after it along.
    rest = re.sub(r"(?<!@device)\n+(?=@device\n|def )", "\n\n\n", rest.lstrip("\n"))
    return "\n".join([docstring, *_header(schedule, name), "", rest])


def _with_numbers(source: str, schedule: Schedule) -> str:
    """The source of a kernel that reads numbers of the run: from its table, or as the last of its parameters."""
    names = ", ".join(map(str.upper, schedule.numbers))
    if schedule.family == "cpu":
        read = ", ".join(f"number(argv, {slot})" for slot in range(len(schedule.numbers)))
        return source.replace(ENTRY, f"{ENTRY}    {names} = {read}  # of this run\n")
    return FIRST.sub(lambda match: f"{match[1]}, {names}", source, count=1)


def page(path: Path, **values: Any) -> str:
    """An HTML page; values stand as they are where they are markup by themselves, which the caller sees to."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=True)
    raw = ("css", "script", "network", "layer_table", "kernel_table", "roofline", "memory", "data")
    marked = {name: Markup(value) if name in raw else value for name, value in values.items()}
    return environment.from_string(path.read_text(encoding="utf-8")).render(marked)


def _importing(source: str, target_family: str, names: frozenset[str]) -> str:
    """The source with an import of those among `names` that it calls: what a table's formulas brought; and of types."""
    imports = re.findall(r"^from gncodegen\.\S+ import (.*)$", source, re.MULTILINE)
    imported = {name for line in imports for name in line.split(", ")}
    called = set(re.findall(r"\b(\w+)\(", source)) & names
    called |= {name for name in COMPUTED_IN if re.search(rf"\b{name}\b", source)}
    missing = ", ".join(sorted(called - imported))
    if not missing:
        return source
    line = f"from gncodegen.targets.{target_family}.intrinsics import {missing}\n"
    return re.sub(r"^from gncodegen\.", lambda match: line + match[0], source, count=1, flags=re.MULTILINE)


def _header(schedule: Schedule, name: str) -> list[str]:
    """Comment lines that say where the file comes from, then the constants of shape and tiles."""
    lines = [
        "",
        f"# op {schedule.op} · template {name} · target {schedule.target} · {schedule.dtype} · {schedule.layout}",
        "# Generated: edit a copy, or the template.",
    ]
    # The templates of a GPU make tables of their own of tuples.
    tabled = schedule.family == "cpu"
    for title, constants in (("shape", schedule.shape), ("tiles", schedule.tiles)):
        if constants:
            lines += [f"# {title}", *(f"{key.upper()} = {_source(value, tabled)}" for key, value in constants.items())]
    if tabled and any(map(_is_table, schedule.constants.values())):
        lines.insert(3, "import numpy")
    return lines


LONGEST_TUPLE = 64
"""Numba makes a branch for each element of a tuple that is indexed at run time; longer tables are arrays."""


def _source(value: Constant, tabled: bool) -> str:
    return f"numpy.array({value!r})" if tabled and _is_table(value) else repr(value)


def _is_table(value: Constant) -> bool:
    return isinstance(value, tuple) and len(value) > LONGEST_TUPLE
