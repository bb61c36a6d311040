"""The two sets of tests: the default run and what `pytest --full` adds."""

from __future__ import annotations

import pytest

LEFT_OUT = pytest.StashKey[list[pytest.Item]]()
"""The tests that a run without --full leaves out."""


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests marked `full`, unless the run has --full."""
    left_out = [] if config.getoption("--full") else [item for item in items if _only_full(item)]
    config.stash[LEFT_OUT] = left_out
    if left_out:
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=left_out)


def _only_full(item: pytest.Item) -> bool:
    """Marked `full`, or `full(family)` and on a target of that family."""
    return any(not mark.args or family(item) in mark.args for mark in item.iter_markers("full"))


def family(item: pytest.Item) -> str:
    """The family of targets that a test runs on, by its parameter `target`; "" where it has none."""
    target = str(getattr(getattr(item, "callspec", None), "params", {}).get("target", ""))
    return "cuda" if target.startswith("sm_") else target


def group(item: pytest.Item) -> tuple[str, str, str]:
    """What must stay in the default run: the file, the function and the family of targets of a test."""
    return str(item.path), getattr(item, "originalname", item.name), family(item)
