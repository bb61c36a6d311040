"""Where the templates lie, and what they say: apart from Jinja2, which a process whose kernels are rendered needs not.

A start that finds all in the cache is a fifth of a second in all.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from gncodegen.errors import CompileError


@cache
def template_folder() -> Path:
    """The folder of templates: inside the installed package, else the checkout's."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "templates", package.parent / "templates"):
        if folder.is_dir():
            return folder
    raise CompileError(f"no templates beside {package}; reinstall gncodegen")


@cache
def template_digest() -> str:
    """A digest of all template files: a changed template is a changed compiler."""
    digest = hashlib.sha256()
    for path in sorted(template_folder().rglob("*.jinja")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
