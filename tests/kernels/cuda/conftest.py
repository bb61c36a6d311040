"""What only the GPU's plans have."""

from __future__ import annotations

import pytest
from support.targets import EMULATED, WITH_CUDA

pytest.importorskip("numba_cuda", reason="the CUDA side is proved where `pip install 'gncodegen[cuda]'` is possible")


@pytest.fixture(params=[pytest.param(EMULATED, marks=WITH_CUDA)])
def target(request: pytest.FixtureRequest) -> str:
    return request.param
