"""A zoo of small networks that reaches every op: a training step and a prediction in the emulator, as on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.zoo import ZOO


def far(found, wanted):
    """The largest difference relative to the largest magnitude."""
    return float(np.max(np.abs(np.asarray(found, np.float64) - wanted)) / max(np.max(np.abs(wanted)), 1e-30))


@pytest.mark.slow
@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_steps_and_predicts_as_on_the_cpu(specimen):
    specimen = replace(specimen, batch=2)
    cpu, emulated = specimen.compile(), specimen.compile(target="sm_90", emulate=True)
    x, t = specimen.data(cpu)
    bar = 1e-5 if specimen.dtype == "float32" else 1e-13
    assert emulated.train_step(x, t) == pytest.approx(cpu.train_step(x, t), rel=bar)
    differences = {name: far(emulated.parameters[name], value) for name, value in cpu.parameters.items()}
    assert {name: d for name, d in differences.items() if d > bar} == {}
    assert far(emulated.last_scores, cpu.last_scores) < bar
    assert far(emulated.predict(x), cpu.predict(x)) < bar
