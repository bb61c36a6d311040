"""The default run touches what the full run does: every op on every target, and one like each test that is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.sets import ALONE, out_of_turn
from support.targets import ARCHITECTURES, EMULATED

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


class _Case:
    """What `out_of_turn` asks of a collected test."""

    path = Path("test_file.py")
    originalname = "test"

    def __init__(self, case: int, target: str) -> None:
        self.name, self.target = f"test[{case}-{target}]", target
        self.callspec = SimpleNamespace(params={"target": target})

    def iter_markers(self, _: str) -> Iterator[pytest.Mark]:
        if self.target != EMULATED:
            yield pytest.mark.full.mark


def test_every_case_meets_every_architecture_in_a_few_runs() -> None:
    items: list[Any] = [_Case(case, target) for case in range(5) for target in ("cpu", *ARCHITECTURES)]
    others = {name for name in ARCHITECTURES if name != EMULATED}
    met = set()
    for seed in range(len(others)):
        kept = {item.name: item.target for item in items if item not in out_of_turn(items, seed)}
        assert set(kept.values()) == {"cpu", *ARCHITECTURES}, "every architecture in every run"
        assert len(kept) == 5 * 3, "each case on the CPU, on the architecture of the default run, on one more"
        met |= set(kept)
    assert met == {item.name for item in items}
