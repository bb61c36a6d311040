"""The default run touches what the full run does: every op on every target, and one like each test that is left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.sets import ALONE, few, in_between, out_of_turn
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


def test_all_targets_have_plans_for_the_same_ops() -> None:
    plans = {row.family: set(catalog.family(row.family).PLANS) for row in registry.TARGETS}
    for family, ops in plans.items():
        assert ops == set.union(*plans.values()), family


class _Case:
    """What `out_of_turn` asks of a collected test."""

    path = Path("test_file.py")
    originalname = "test"

    def __init__(self, case: int, target: str) -> None:
        self.name, self.target = f"test[{case}-{target}]", target
        self.callspec = SimpleNamespace(params={"target": target})


def _cases(count: int, *targets: str) -> list[Any]:
    return [_Case(case, target) for case in range(count) for target in targets]


def test_every_case_meets_every_target_in_a_few_runs() -> None:
    names = [name for architecture in ARCHITECTURES for name in ("cpu", architecture)]
    items, met = _cases(8, "cpu", *ARCHITECTURES), set[str]()
    for seed in range(len(names)):
        kept = {item.name: item.target for item in items if item not in out_of_turn(items, names, seed)}
        assert len(kept) == 8, "each case on one"
        assert set(kept.values()) == {"cpu", *ARCHITECTURES}, "every target in every run"
        met |= set(kept)
    assert met == {item.name for item in items}


def test_a_case_without_the_target_whose_turn_it_is_runs_on_one_that_it_has() -> None:
    items = _cases(2, *ARCHITECTURES[:2])
    kept = [item.target for item in items if item not in out_of_turn(items, ("cpu", *ARCHITECTURES), 3)]
    assert kept == [ARCHITECTURES[1], ARCHITECTURES[0]]


def test_a_long_table_has_each_case_on_one_target() -> None:
    items = _cases(5, "cpu", EMULATED)
    kept = [item.name for item in items if item not in out_of_turn(items, ("cpu", EMULATED), 0, least=5)]
    assert kept == ["test[0-cpu]", f"test[1-{EMULATED}]", "test[2-cpu]", f"test[3-{EMULATED}]", "test[4-cpu]"]
    assert not out_of_turn(items, ("cpu", EMULATED), 0, least=6)


@pytest.mark.parametrize(
    ("targets", "kept"),
    [
        (["cpu"], ["test[0-cpu]", "test[4-cpu]"]),
        (["cpu", EMULATED], ["test[0-cpu]", f"test[4-{EMULATED}]"]),
        ([EMULATED, "cpu"], [f"test[0-{EMULATED}]", "test[4-cpu]"]),
    ],
)
def test_the_first_and_the_last_case_stay(targets: list[str], kept: list[str]) -> None:
    items = _cases(5, *targets)
    assert [item.name for item in items if item not in in_between(items)] == kept


def test_few_are_spread_evenly_and_those_marked_stay_as_they_are() -> None:
    cases = few([1, (2, 3), pytest.param(4, marks=pytest.mark.skip), 5, 6, 7], 3)
    assert [[mark.name for mark in case.marks] for case in cases] == [[], [], ["skip"], ["full"], [], ["full"]]
    assert [case.values for case in cases] == [(1,), (2, 3), (4,), (5,), (6,), (7,)]
