"""Settings of Numba that no kernel would compile or run with: a sentence that cures."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import gncodegen as gnc
from gncodegen.errors import TargetError
from gncodegen.targets import numba_settings

LAYERS = [gnc.FeatureInputLayer(3, normalization="none"), gnc.FullyConnectedLayer(2)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("NUMBA_NUM_THREADS", "0", "NUMBA_NUM_THREADS=0; allowed: a positive int; unset it"),
        ("NUMBA_NUM_THREADS", "-3", "NUMBA_NUM_THREADS=-3; allowed"),
        ("NUMBA_THREADING_LAYER", "fibres", "NUMBA_THREADING_LAYER=fibres; allowed: default, safe.*; unset it"),
        ("NUMBA_DISABLE_JIT", "1", "NUMBA_DISABLE_JIT=1; allowed: 0: .*; unset it"),
    ],
)
def test_refused_with_the_cure(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(TargetError, match=message):
        gnc.compile(LAYERS)


@pytest.mark.parametrize(
    ("name", "value"), [("NUMBA_NUM_THREADS", "2"), ("NUMBA_NUM_THREADS", "many"), ("NUMBA_DISABLE_JIT", "0")]
)
def test_others_are_left_to_numba(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    numba_settings.check()


RUN = """
import sys
sys.executable = ""
import numpy as np
import gncodegen as gnc
layers = [gnc.FeatureInputLayer(3, normalization="none"), gnc.FullyConnectedLayer(2)]
net = gnc.compile(layers, batch_size=2, training=False)
print(net.predict(np.ones((2, 3), np.float32)).shape)
try:
    gnc.compile(layers, target="pdp11")
except gnc.errors.TargetError as error:
    print(error)
"""


def test_an_embedded_interpreter_on_a_terminal_of_ascii():
    given = {**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", RUN], env=given, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert done.stdout.startswith("(2, 2)\ntarget = 'pdp11'")
