"""The rooms of the emulator import one way; import-linter's contracts see every import because none is hidden."""

from pathlib import Path

import pytest

import gncodegen.emulator

SOURCES = sorted(Path(gncodegen.emulator.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_import_is_for_type_checkers_only(path):
    assert "TYPE_CHECKING" not in path.read_text(encoding="utf-8")
