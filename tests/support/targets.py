"""The targets that tests run on: the CPU here and GPUs in the emulator, one of them in the default run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from gncodegen.kernels.schedule import Machine
from gncodegen.options import CompileOptions
from gncodegen.targets import registry

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")
"""One of each generation that the CUDA target treats in its own way."""

EMULATED = "sm_90"
"""The architecture of the default run."""

WITH_CUDA = pytest.mark.skipif(not find_spec("numba_cuda"), reason="needs `pip install 'gncodegen[cuda]'`")
ON_ARCHITECTURES = [
    pytest.param(name, marks=[WITH_CUDA, *([] if name == EMULATED else [pytest.mark.full])]) for name in ARCHITECTURES
]
"""A parameter `target`: the default run has one architecture."""

_EMULATED = {row.family for row in registry.TARGETS if row.emulated}
TARGETS = [*(row.names for row in registry.TARGETS if row.family not in _EMULATED), *ON_ARCHITECTURES]
"""A parameter `target`: the suite of ops runs on every row of the registry that this machine can run."""


def machine(target: str = EMULATED, **changes: Any) -> Machine:
    """The Machine of a target; `changes` replace fields, so that small shapes reach every schedule."""
    return replace(registry.row_of(target).open(CompileOptions(target=target)).target.machine, **changes)


def over_architectures(cases: Sequence[tuple[object, ...]], names: Sequence[str] = ARCHITECTURES) -> list[ParameterSet]:
    """Case after case on architecture after architecture, the last parameter `target`; the default run has one."""
    targets = [names[number % len(names)] for number in range(len(cases))]
    kept = targets.index(EMULATED)
    return [
        pytest.param(*case, target, marks=[] if number == kept else [pytest.mark.full])
        for number, (case, target) in enumerate(zip(cases, targets, strict=True))
    ]
