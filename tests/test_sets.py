"""The default run touches what the full run does: every op on every target, and one like each test that is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.sets import ALONE

from gncodegen.kernels import catalog
from gncodegen.targets import registry

TESTS = Path(__file__).parent
SUITE = [*(TESTS / "kernels").glob("test_*.py"), TESTS / "support" / "normalization.py"]
"""Its tests run on every target."""


def test_something_like_every_full_test_stays(request: pytest.FixtureRequest) -> None:
    assert not request.config.stash[ALONE], "leave one case unmarked, or name a test like it: full(like=…)"


@pytest.mark.parametrize("family", sorted({row.family for row in registry.TARGETS}))
def test_every_op_of_every_target_is_tested(family: str) -> None:
    paths = [*SUITE, *(TESTS / "kernels" / family).glob("test_*.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    assert {op for op in catalog.family(family).PLANS if f'"{op}"' not in text} == set()
