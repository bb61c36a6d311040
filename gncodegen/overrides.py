"""Kernels that a user edited: found in a folder by the name of the generated file, checked, and used in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gncodegen.environment import environment
from gncodegen.errors import OptionsError
from gncodegen.kernels.program import Program
from gncodegen.kernels.store import Source
from gncodegen.options import CompileOptions
from gncodegen.override_check import Check, Override
from gncodegen.runtime.backend import Backend, PersistentBuffers


def edited(program: Program, sources: Sequence[Source], options: CompileOptions) -> dict[str, tuple[Path, bytes]]:
    """Name → path and content of each kernel that the folder of overrides, or of templates, has another source for.

    Raises:
        OptionsError: there is no such folder.
    """
    folder = Path(options.override or environment().override)
    templates = environment().templates
    for name, each in (("override", options.override or environment().override), ("GNCODEGEN_TEMPLATES", templates)):
        if each and not Path(each).is_dir():
            raise OptionsError(f"{name} = {each!r}; allowed: a folder; make it, or unset it")
    found: dict[str, tuple[Path, bytes]] = {}
    for (name, schedule), source in zip(program.kernels.items(), sources, strict=True):
        path = folder / source.path.name
        if (options.override or environment().override) and path.is_file():
            content = path.read_bytes()
        elif templates:
            from gncodegen.kernels.render import render  # noqa: PLC0415  a warm start renders nothing

            path = Path(templates) / schedule.family / f"{schedule.template}.py.jinja"
            content = render(schedule, Path(templates)).encode()
        else:
            continue
        if content != source.read(".py"):
            found[name] = (path, content)
    return found


def replaced(
    program: Program, sources: list[Source], options: CompileOptions, backend: Backend, persistent: PersistentBuffers
) -> tuple[list[Source], dict[str, Override]]:
    """The kernels' files with the edited ones in their places, checked, and what the checks found, by kernel.

    Raises:
        CheckError: one computes something else, or writes where it must not.
        CompileError: one does not compile.
    """
    overrides: dict[str, Override] = {}
    result = list(sources)
    for name, (path, content) in edited(program, sources, options).items():
        index = list(program.kernels).index(name)
        check = Check(program, name, sources[index], path, content, options, backend, persistent)
        overrides[name] = check.known() or check.run()
        result[index] = check.edited
    return result, overrides


def copy_of(source: Source, folder: Path) -> Path:
    """A copy of a generated file in the folder of overrides, to be edited; one that is there stays as it is.

    Raises:
        OptionsError: it cannot be written.
    """
    path = folder / source.path.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(source.read(".py"))
    except OSError as error:
        raise OptionsError(
            f"{path} cannot be written: {error.strerror}; allowed: a folder of yours; set GNCODEGEN_OVERRIDE to one"
        ) from error
    return path
