"""GNCODEGEN_CHECK=1: what kernels must not do is found, and what they may do changes no bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gncodegen.cache import files
from gncodegen.errors import CheckError
from gncodegen.kernels.program import Buffer, Call, Program
from gncodegen.kernels.schedule import Schedule
from gncodegen.runtime.arrays import loaded, numpy_type, stored
from gncodegen.runtime.checking import CheckedExecutor, Guarded, is_poisoned
from gncodegen.runtime.executor import Arena
from gncodegen.targets.cpu import objects, vector
from gncodegen.targets.cpu.compile import compile_source

HEAD = "from gncodegen.targets.cpu.intrinsics import float32, local, opaque, pointer\n\n\ndef kernel(tile, argv):\n"
COPY = f"""{HEAD}    x = pointer(argv, 0, float32)
    y = pointer(argv, 1, float32)
    for i in range(8):
        y[i] = x[i] * float32(2)
"""
FAULTS = {
    "writes behind an end": (COPY.replace("8", "9"), "bad of layer_b wrote right behind its end: output 'y'"),
    "writes before a start": (COPY + "    y[-2] = float32(1)\n", "bad of layer_b wrote 8 bytes before its start"),
    "writes to what it reads": (COPY + "    x[8] = float32(1)\n", "wrote right behind its end: arena '' of shape"),
    "reads behind an end": (COPY.replace("y[i] = x[i]", "y[i] = x[i + 1]"), "bad of layer_b: output 'y' depends on"),
    "leaves a hole": (COPY.replace("8", "7"), "bad of layer_b: output 'y' depends on memory that nobody wrote"),
    "reads an unwritten local": (
        COPY.replace("x[i] *", "opaque(local(8, float32))[i] *"), "bad of layer_b: output 'y' depends on memory",
    ),
}  # fmt: skip


NAMES = (("input", "x"), ("arena", ""), ("output", "y"))


def executor(folder: Path, first: str, second: str, dtype: str = "float32") -> CheckedExecutor:
    """Input → kernel "good" → arena → kernel "bad" → output, 8 values each."""
    sources = {name: files.write(folder / f"{name}.py", body.encode()) for name, body in
               (("good", first), ("bad", second))}  # fmt: skip
    for path in sources.values():
        compile_source(path)
    schedule = Schedule("op", "template", "cpu", dtype)
    buffers = tuple(Buffer(kind, name, (8,), dtype) for kind, name in NAMES)
    calls = (Call("good", (0, 1), (1,), 1, layers=("layer_a",)), Call("bad", (1, 2), (1,), 1, layers=("layer_b",)))
    program = Program("predict", {"good": schedule, "bad": schedule}, buffers, calls, 64)
    return CheckedExecutor(program, dict(zip(sources, objects.link(sources.values()), strict=True)), Arena(), {})


@pytest.fixture(autouse=True)
def _poisoned_locals(monkeypatch):
    given = replace(vector.environment(), check=True)
    monkeypatch.setattr(vector, "environment", lambda: given)


@pytest.mark.parametrize("fault", FAULTS)
def test_seeded_faults_are_found(tmp_path, fault):
    body, message = FAULTS[fault]
    run = executor(tmp_path, COPY, body)
    with pytest.raises(CheckError, match=message):
        run.run({("input", "x"): np.ones(8, np.float32)})


def test_what_is_right_is_left_alone(tmp_path):
    run = executor(tmp_path, COPY, COPY)
    for x in (
        np.arange(8, dtype=np.float32),
        np.full(8, np.nan, np.float32),
        np.frombuffer(b"\xff" * 32, np.float32).copy(),
    ):
        run.run({("input", "x"): x})
        np.testing.assert_array_equal(run.result(("output", "y")), 4 * x)


def test_the_kernel_that_read_is_named(tmp_path):
    run = executor(tmp_path, COPY.replace("8", "7"), COPY)
    with pytest.raises(CheckError, match="kernel good of layer_a: output 'y'"):
        run.run({("input", "x"): np.ones(8, np.float32)})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_poison_is_known_from_other_nans(dtype):
    kind = numpy_type(dtype)
    for each in Guarded(64, dtype).array((64 // kind.itemsize,), dtype):
        poison = np.array([each])
        assert is_poisoned(poison, dtype)
        assert is_poisoned(loaded(poison, dtype), "float32" if kind.itemsize == 2 else dtype)
        assert is_poisoned(loaded(poison, dtype) * 3 - 1, "float32" if kind.itemsize == 2 else dtype)
        assert is_poisoned(loaded(poison, dtype).astype("float64"), "float64")
        assert is_poisoned(stored(loaded(poison, dtype).astype("float64"), dtype), dtype)
    with np.errstate(invalid="ignore"):
        others = np.array([np.nan, np.inf, 0, 1, -np.inf]) * 0
    assert not is_poisoned(stored(others, dtype), dtype)


NARROW_COPY = (
    HEAD.replace("float32, local", "bfloat16, float32, load, local, store").removesuffix("\n")
    + """
    x = pointer(argv, 0, bfloat16)
    y = pointer(argv, 1, bfloat16)
    for i in range(8):
        store(y, i, load(x, i, 1))
"""
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (NARROW_COPY.replace("8", "7"), "bad of layer_b: output 'y' depends on memory that nobody wrote"),
        (NARROW_COPY.replace("load(x, i,", "load(x, i + 1,"), "bad of layer_b: output 'y' depends on memory"),
        (NARROW_COPY.replace("8", "9"), "bad of layer_b wrote right behind its end: output 'y'"),
        (NARROW_COPY.replace("(y, i,", "(y, i - 1,"), "bad of layer_b wrote 2 bytes before its start: output 'y'"),
    ],
)
def test_seeded_faults_in_16_bits_are_found(tmp_path, body, message):
    x = stored(np.arange(1, 9), "bfloat16")
    run = executor(tmp_path, NARROW_COPY, NARROW_COPY, "bfloat16")
    run.run({("input", "x"): x})
    np.testing.assert_array_equal(run.result(("output", "y")), x)
    with pytest.raises(CheckError, match=message):
        executor(tmp_path / "wrong", NARROW_COPY, body, "bfloat16").run({("input", "x"): x})


STEP = """
import json, sys
import numpy as np
import gncodegen as gnc
layers = [
    gnc.FeatureInputLayer(6, normalization="none"), gnc.FullyConnectedLayer(4), gnc.GroupNormalizationLayer(2),
    gnc.ReluLayer(), gnc.RegressionLayer(),
]
net = gnc.compile(layers, batch_size=2)
x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
losses = [float(net.train_step(x, x[:, :4])).hex() for _ in range(2)]
print(json.dumps([losses, net.predict(x).tobytes().hex()]))
"""


@pytest.mark.full(like="runtime/test_checking.py::test_what_is_right_is_left_alone")
def test_a_training_step_keeps_its_bits():
    outputs = []
    for check in ("0", "1"):
        command = [sys.executable, "-c", STEP]
        done = subprocess.run(
            command, env={**os.environ, "GNCODEGEN_CHECK": check}, capture_output=True, text=True, check=False
        )
        assert not done.returncode, done.stderr
        outputs.append(json.loads(done.stdout))
    assert outputs[0] == outputs[1]


SUITE = ("test_normalization.py", "test_pooling.py", "test_loss.py", "cpu/test_residual_norm.py")


@pytest.mark.full(like="runtime/test_checking.py::test_what_is_right_is_left_alone")
def test_the_kernel_suite_on_poisoned_memory():
    folder = Path(__file__).parents[1] / "kernels"
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-pno:cacheprovider", "-k", "cpu and not sm_"]
    done = subprocess.run(
        [*command, *(str(folder / name) for name in SUITE)], env={**os.environ, "GNCODEGEN_CHECK": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stdout[-4000:]
