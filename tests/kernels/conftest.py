"""The suite of ops: every test that asks for `execute` runs on every target."""

from __future__ import annotations

import pytest
from support.execution import Execute, executor
from support.targets import TARGETS


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    """A target's name, such as "cpu" or "sm_90"."""
    return request.param


@pytest.fixture
def execute(target: str) -> Execute:
    """`execute(op, operands, results, attributes, …) -> list of result arrays` on a target."""
    return executor(target)
