"""The sets of tests: the default run, `pytest --full`, and what the second adds to the first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

Value = TypeVar("Value")

ALONE = pytest.StashKey[set[tuple[str, str, str]]]()
"""Groups of tests of which the default run has none; empty, or a mistake."""

MANY = 4
"""A test with so many cases has each on one target in the default run, on all in --full."""


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests marked `full`, unless the run has --full; with --rest, those that a default run has done."""
    from support.targets import ARCHITECTURES, EMULATED

    extra = {item for item in items if _only_full(item)}
    extra |= out_of_turn([item for item in items if item not in extra], ("cpu", EMULATED), 0, least=MANY)
    extra |= in_between([item for item in items if item not in extra and item.get_closest_marker("few")])
    if config.getoption("--rest"):
        gone = {item for item in items if item not in extra and not _draws(item)}
    else:
        gone = set() if config.getoption("--full") else set(extra)
    if config.getoption("--full"):
        names = [name for architecture in ARCHITECTURES for name in ("cpu", architecture)]
        gone |= out_of_turn([item for item in items if item in extra], names, int(config.option.hypothesis_seed))
    items[:] = [item for item in items if item not in gone]
    kept = {_group(item) for item in items}
    config.stash[ALONE] = {_group(item) for item in gone & extra if not _like(item)} - kept
    if gone:
        config.hook.pytest_deselected(items=list(gone))


def out_of_turn(items: Sequence[pytest.Item], names: Sequence[str], first: int, least: int = 1) -> set[pytest.Item]:
    """Tests on targets whose turn it is not: each case of a test runs on one of its targets.

    Case after case goes on to the next, so all of them are met in every run; a case meets them all in a few full runs,
    where a number drawn for the run says with which one it begins.

    Args:
        items: tests.
        names: the targets in turn, some more often than others; tests on none of them stay.
        first: which one the first case runs on, counted from 0 and round.
        least: a test with fewer cases keeps them all.
    """
    cases: dict[tuple[str, str], dict[str, dict[str, pytest.Item]]] = {}
    for item in items:
        target = _target(item)
        if target in names:
            test = cases.setdefault((str(item.path), getattr(item, "originalname", item.name)), {})
            test.setdefault(item.name.replace(target, "*"), {})[target] = item
    gone: set[pytest.Item] = set()
    for test in cases.values():
        for number, case in enumerate(test.values() if len(test) >= least else ()):
            possible = [name for name in names if name in case]
            turn = possible[(first + number) % len(possible)]
            gone |= {item for target, item in case.items() if target != turn}
    return gone


def in_between(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """The cases of each test but the first, and the last, which is one on another target if there is one."""
    cases: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        cases.setdefault((str(item.path), getattr(item, "originalname", item.name)), []).append(item)
    gone: set[pytest.Item] = set()
    for test in cases.values():
        elsewhere = [item for item in test if _family(item) != _family(test[0])]
        gone |= set(test) - {test[0], (elsewhere or test)[-1]}
    return gone


def _draws(item: pytest.Item) -> bool:
    """Whether a full run gives the test other examples than a default run."""
    return getattr(getattr(item, "function", None), "is_hypothesis_test", False)


def _only_full(item: pytest.Item) -> bool:
    """Marked `full`, or `full(family)` and on a target of that family."""
    return any(not mark.args or _family(item) in mark.args for mark in item.iter_markers("full"))


def _family(item: pytest.Item) -> str:
    """The family of targets that a test runs on, by its parameter `target`; "" where it has none."""
    target = _target(item)
    return "cuda" if target.startswith("sm_") else target


def _target(item: pytest.Item) -> str:
    """A test's parameter `target`; "" where it has none."""
    return str(getattr(getattr(item, "callspec", None), "params", {}).get("target", ""))


def _like(item: pytest.Item) -> bool:
    """Marked `full(like="folder/test_file.py::test_name")`, and that test, counted from tests/, is there and stays."""
    for mark in item.iter_markers("full"):
        name, _, function = mark.kwargs.get("like", "").partition("::")
        found = re.search(rf"^((?: *@.*\n)*) *def {function}\(", _text(name), re.MULTILINE) if function else None
        if found and not re.search(r"^ *@pytest\.mark\.full(\n|\(like)", found[1], re.MULTILINE):
            return True
    return False


@cache
def _text(name: str) -> str:
    path = Path(__file__).parents[1] / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _group(item: pytest.Item) -> tuple[str, str, str]:
    """What must stay in the default run: the file, the function and the family of targets of a test."""
    return str(item.path), getattr(item, "originalname", item.name), _family(item)


def diagonal(*axes: Sequence[object]) -> list[ParameterSet]:
    """The product of the axes, for `parametrize`; the default run has one diagonal, in which every value occurs.

    Args:
        axes: values, each a tuple where it stands for several parameters.
    """
    steps = range(max(map(len, axes)))
    kept = {tuple(step % len(axis) for axis in axes) for step in steps}
    found = []
    for place in product(*(range(len(axis)) for axis in axes)):
        values = [axis[i] for axis, i in zip(axes, place, strict=True)]
        flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        found.append(pytest.param(*flat, marks=[] if place in kept else [pytest.mark.full]))
    return found


def in_full(cases: Sequence[object], *families: str) -> list[ParameterSet]:
    """Cases that only --full runs; values, or parameters that have marks already.

    Args:
        cases: each a tuple where it stands for several parameters.
        families: the families of targets that this is said of; none = all.
    """
    mark = pytest.mark.full(*families)
    return [pytest.param(*case.values, marks=[*case.marks, mark], id=case.id) for case in _parameters(cases)]


def few(cases: Sequence[object], count: int) -> list[ParameterSet]:
    """Cases of which the default run has so many, spread evenly; those that have marks already stay as they are."""
    found = _parameters(cases)
    free = [place for place, case in enumerate(found) if not case.marks]
    kept = {free[number * len(free) // count] for number in range(count)}
    return [in_full([case])[0] if place in free and place not in kept else case for place, case in enumerate(found)]


def _parameters(cases: Sequence[object]) -> list[ParameterSet]:
    """Cases as pytest's parameters; a tuple stands for several."""
    return [
        case if isinstance(case, ParameterSet) else pytest.param(*(case if isinstance(case, tuple) else (case,)))
        for case in cases
    ]


def dealt(values: Sequence[Value], place: int, hands: int, first: int) -> Sequence[Value]:
    """The share of one of several hands, dealt one by one; `first` says with whose, so that runs differ."""
    return values[(place + first) % hands :: hands]


def on_gpu_in_full(cases: Sequence[object]) -> list[ParameterSet]:
    """Cases that the emulator runs with --full only."""
    return in_full(cases, "cuda")
