"""What only the CPU's plans have."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["cpu"])
def target(request: pytest.FixtureRequest) -> str:
    return request.param
