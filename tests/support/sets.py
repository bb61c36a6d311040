"""The two sets of tests: the default run and what `pytest --full` adds."""

from __future__ import annotations

import pytest

LEFT_OUT = pytest.StashKey[list[pytest.Item]]()
"""The tests that a run without --full leaves out."""


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests marked `full`, unless the run has --full."""
    left_out = [] if config.getoption("--full") else [item for item in items if item.get_closest_marker("full")]
    config.stash[LEFT_OUT] = left_out
    if left_out:
        items[:] = [item for item in items if not item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left_out)


def group(item: pytest.Item) -> tuple[str, str, str]:
    """What must stay in the default run: the file, the function and the family of targets of a test."""
    arguments = getattr(getattr(item, "callspec", None), "params", {})
    target = str(arguments.get("target", ""))
    return str(item.path), getattr(item, "originalname", item.name), "cuda" if target.startswith("sm_") else target
