"""What a training compiles: each kernel once, and nothing for the numbers of observations of its last parts."""

import re

import numpy as np
import pytest
from support.targets import EMULATED, WITH_CUDA

import gncodegen as gnc
from gncodegen.targets.cpu.target import CpuTarget
from gncodegen.targets.cuda.target import CudaTarget

LAYERS = [
    gnc.ImageInputLayer((6, 5, 3)),
    gnc.Convolution2dLayer(3, 8, padding="same"),
    gnc.BatchNormalizationLayer(),
    gnc.ReluLayer(),
    gnc.Convolution2dLayer(3, 8, padding="same"),
    gnc.GroupNormalizationLayer(2),
    gnc.ReluLayer(),
    gnc.FullyConnectedLayer(4),
    gnc.SoftmaxLayer(),
    gnc.ClassificationLayer(),
]


def asked(monkeypatch, target, validated):
    """Path → source of every kernel that a training asks to be compiled, with validation on so many observations.

    None is compiled for a GPU, and its launches do nothing: emulating them takes minutes, and says nothing about which.
    """
    found = {}
    for kind, compiled in ((CpuTarget, CpuTarget.compile), (CudaTarget, lambda *_: 0)):

        def noted(self, sources, compiled=compiled):
            found.update({source.path: source.text for source in sources})
            return compiled(self, sources)

        monkeypatch.setattr(kind, "compile", noted)
    monkeypatch.setattr("gncodegen.targets.cuda.device.emulated.launch_emulated", lambda *_: None)
    draw = np.random.default_rng(0)
    x, t = draw.standard_normal((40, 6, 5, 3)).astype(np.float32), draw.integers(0, 4, 40)
    options = gnc.training_options(
        "sgdm", mini_batch_size=16, max_epochs=1, seed=0, verbose=False, validation_frequency=1,
        validation_data=(x[:validated], t[:validated]),
    )  # fmt: skip
    emulated = {} if target == "cpu" else {"emulate": True}
    gnc.train_network(x[:32], t[:32], LAYERS, options, target=target, **emulated)
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("target", ["cpu", pytest.param(EMULATED, marks=WITH_CUDA)])
def test_each_kernel_once_and_none_for_an_odd_last_part(monkeypatch, target):
    whole, odd = (asked(monkeypatch, target, validated) for validated in (32, 37))
    assert set(odd) == set(whole) > set()
    code = [re.sub(r'^""".*|^#.*', "", text, flags=re.MULTILINE) for text in odd.values()]
    assert len(set(code)) == len(code)
