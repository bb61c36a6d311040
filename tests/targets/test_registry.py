"""A target is one row: a toy is registered here, compiled for and run, and nothing else knows of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.errors import OptionsError, TargetError
from gncodegen.runtime.host_backend import HostBackend
from gncodegen.targets import registry
from gncodegen.targets.cpu import host
from gncodegen.targets.cpu.target import CpuTarget

NARROW = 16
"""Bytes of the toy's vectors."""

LAYERS = [
    gnc.ImageInputLayer((6, 6, 4), normalization="none"),
    gnc.Convolution2dLayer(3, 8, padding="same"),
    gnc.GroupNormalizationLayer(4),
    gnc.ReluLayer(),
    gnc.FullyConnectedLayer(3),
    gnc.SoftmaxLayer(),
    gnc.ClassificationLayer(),
]


def narrow_backend(options):
    machine = replace(host.machine(), target="narrow", vector_bytes=NARROW, precise=options.precise)
    return HostBackend(CpuTarget(machine))


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(registry, "TARGETS", [*registry.TARGETS])
    registry.register(registry.TargetRow("narrow", "'narrow'", "cpu", narrow_backend, ("source", "asm"), tuned=True))


@pytest.mark.full(like="targets/test_registry.py::test_its_options_are_those_of_its_row")
def test_a_toy_target(narrow):
    toy, cpu = (gnc.compile(LAYERS, target, batch_size=4) for target in ("narrow", "cpu"))
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(toy.predict(x), cpu.predict(x), rtol=1e-5, atol=1e-6)
    losses = [toy.train_step(x, [0, 1, 2, 0]) for _ in range(10)]
    assert losses[-1] < losses[0]
    assert toy.target == "narrow"
    for kernel in toy.kernels.values():
        assert kernel.schedule.target == "narrow"
        assert kernel.schedule.tiles.get("vector", 0) <= NARROW // 4
        assert "target narrow" in kernel.source
        assert kernel.ptx is None


def test_its_options_are_those_of_its_row(narrow):
    with pytest.raises(OptionsError, match=r"emulate = True with target 'narrow'"):
        gnc.compile(LAYERS, "narrow", emulate=True)
    with pytest.raises(OptionsError, match=r"math = 'tf32' with target 'narrow'"):
        gnc.compile(LAYERS, "narrow", math="tf32")
    with pytest.raises(TargetError, match=r"target = 'wide'; allowed: 'narrow', 'cpu', 'cuda', sm_75"):
        gnc.compile(LAYERS, "wide")


def test_the_cpu_imports_nothing_of_cuda():
    code = (
        "import sys, gncodegen as g; "
        "g.compile([g.ImageInputLayer((4, 4, 2), normalization='none'), g.ReluLayer()], batch_size=2); "
        "print([name for name in sys.modules if '.cuda' in name and name.startswith('gncodegen')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
