"""Edited kernels: used where they are right, refused with what is wrong where they are not."""

from __future__ import annotations

import re

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen import override_check, overrides
from gncodegen.errors import CheckError, CompileError, OptionsError
from gncodegen.kernels.templates import template_folder
from gncodegen.overrides import copy_of
from gncodegen.report import html

LAYERS = [
    gnc.ImageInputLayer((4, 4, 8), normalization="none"),
    gnc.GroupNormalizationLayer(2, name="gn"),
    gnc.ReluLayer(name="relu"),
]
CPU = {"batch_size": 2, "training": False}
CUDA = CPU | {"target": "sm_80"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "edited"


def edit(folder, choices, before, after):
    """A copy of the group norm's kernel in which, below its constants, one text is another; its path."""
    path = copy_of(gnc.compile(LAYERS, **choices).kernels["group_norm_1"].file, folder)
    head, kernel = path.read_text().split("def kernel", 1)
    assert before in kernel
    path.write_text(f"{head}def kernel{kernel.replace(before, after)}")
    return path


def compiled(folder, choices):
    return gnc.compile(LAYERS, **choices, override=folder)


@pytest.mark.parametrize("choices", [CPU, CUDA], ids=["cpu", "cuda"])
def test_one_that_is_right_is_used_and_shown(folder, choices, monkeypatch):
    path = edit(folder, choices, "EPSILON", "(EPSILON + 0.0)")
    net = compiled(folder, choices)
    kernel = net.kernels["group_norm_1"]
    assert "(EPSILON + 0.0)" in kernel.source
    assert kernel.override.path == str(path)
    assert kernel.override.error <= 1e-6
    assert "edited: " in repr(kernel)
    assert ("group_norm_1 (edited)", "gn, relu") == net.kernels.table.rows[0][:2]
    assert "(1 edited)" in repr(net)
    if choices is CPU:
        x = np.random.default_rng(0).normal(size=(2, 4, 4, 8))
        np.testing.assert_array_equal(net.predict(x), gnc.compile(LAYERS, **CPU).predict(x))
        assert kernel.override.gain > 0
    monkeypatch.setattr(override_check.Check, "run", None)  # what was checked once is known
    assert compiled(folder, choices).kernels["group_norm_1"].override == kernel.override


@pytest.mark.parametrize("choices", [CPU, CUDA], ids=["cpu", "cuda"])
def test_another_epsilon_is_refused_with_numbers(folder, choices):
    path = edit(folder, choices, "EPSILON", "4 * EPSILON")
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "4 * EPSILON" in text)
    said = rf"gn \+ relu: edited kernel group_norm_1 \(.*:{line}\): argument \d at \[.*\] is .*, and the reference .*"
    with pytest.raises(CheckError, match=said):
        compiled(folder, choices)


def test_one_that_is_faster_says_so(folder):
    layers = [
        gnc.ImageInputLayer((32, 32, 16), normalization="none"),
        gnc.CrossChannelNormalizationLayer(5, beta=0.5, name="lrn"),
    ]
    net = gnc.compile(layers, **CPU)
    (generated,) = (kernel for kernel in net.kernels.values() if "power(v + 2.0, -0.5)" in kernel.source)
    path = copy_of(generated.file, folder)
    edited = generated.source.replace("power(v + 2.0, -0.5)", "1.0 / sqrt(v + 2.0)")
    path.write_text(edited.replace("import number, power", "import number, sqrt"))
    other = gnc.compile(layers, **CPU, override=folder)
    kernel = other.kernels[generated.name]
    assert "sqrt(v + 2.0)" in kernel.source
    assert kernel.override.gain > 1
    assert re.search(r"error \S+ \(generated: \S+\), \S+ × as fast", repr(kernel))
    assert ["Edited", str(kernel.override)] in html._kernel(other, kernel, "", None)["facts"]
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 16)).astype(np.float32)
    np.testing.assert_allclose(other.predict(x), net.predict(x), rtol=1e-6)


@pytest.mark.parametrize(("distance", "said"), [(16, "wrote right behind its end"), (10**9, "far beyond")])
def test_writes_beyond_an_end_are_refused(folder, distance, said):
    edit(folder, CPU, "y = offset(pointer(argv, 3, DTYPE), ", f"y = offset(pointer(argv, 3, DTYPE), {distance} + ")
    with pytest.raises(CheckError, match=said):
        compiled(folder, CPU)


def test_writes_beyond_an_end_are_refused_by_the_emulator(folder):
    path = edit(folder, CUDA, "pointer(y, DTYPE), begin", "pointer(y, DTYPE), begin + 10000")
    with pytest.raises(CheckError, match=r"gn \+ relu: edited kernel .*") as caught:
        compiled(folder, CUDA)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "begin + 10000" in text)
    said = rf"\({re.escape(str(path))}:{line}\): .*out of bounds .*{re.escape(str(path))}:{line}, block 0, thread 0"
    assert re.search(said, str(caught.value)), caught.value


def test_one_that_does_not_compile_names_the_users_file(folder):
    path = edit(folder, CPU, "EPSILON", "undefined_name")
    with pytest.raises(CompileError, match="undefined_name") as caught:
        compiled(folder, CPU)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "undefined_name" in text)
    assert f"{path}:{line} does not compile" in str(caught.value)


def edit_half(folder, dtype, after, target=CPU):
    layers, choices = [*LAYERS, gnc.FullyConnectedLayer(3)], target | {"dtype": dtype}
    generated = gnc.compile(layers, **choices).kernels["group_norm_1"]
    assert dtype in generated.source
    path = copy_of(generated.file, folder)
    head, kernel = path.read_text().split("def kernel", 1)
    assert "EPSILON" in kernel
    path.write_text(f"{head}def kernel{kernel.replace('EPSILON', after)}")
    return lambda: gnc.compile(layers, **choices, override=folder), path


@pytest.mark.full(like="test_overrides.py::test_one_that_is_right_is_used_and_shown")
@pytest.mark.parametrize("target", [CPU, CUDA], ids=["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_one_of_16_bits_that_is_right_is_used(folder, dtype, target):
    compiled_half, path = edit_half(folder, dtype, "(EPSILON + 0.0)", target)
    kernel = compiled_half().kernels["group_norm_1"]
    assert "(EPSILON + 0.0)" in kernel.source
    assert kernel.override.path == str(path)
    assert kernel.override.error <= override_check.STORED_EPS[dtype]
    assert "edited: " in repr(kernel)


@pytest.mark.full(like="test_overrides.py::test_another_epsilon_is_refused_with_numbers")
@pytest.mark.parametrize("target", [CPU, CUDA], ids=["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_another_epsilon_is_refused_of_16_bits(folder, dtype, target):
    compiled_half, _ = edit_half(folder, dtype, "4 * EPSILON", target)
    with pytest.raises(
        CheckError, match=r"edited kernel group_norm_1 .*: argument \d at \[.*\] is .*, and the reference "
    ):
        compiled_half()


def test_a_folder_that_is_not_there(folder):
    with pytest.raises(OptionsError, match="allowed: a folder"):
        compiled(folder, CPU)


def test_templates_are_checked_likewise(tmp_path, monkeypatch):
    chosen = type("", (), {"override": "", "templates": str(tmp_path)})
    part = tmp_path / "parts" / "group_norm.py.jinja"
    part.parent.mkdir()
    text = (template_folder() / "parts" / part.name).read_text()
    part.write_text(text.replace("EPSILON", "(EPSILON + 0.0)"))
    monkeypatch.setattr(overrides, "environment", lambda: chosen)
    assert "(EPSILON + 0.0)" in gnc.compile(LAYERS, **CPU).kernels["group_norm_1"].source
    part.write_text(text.replace("EPSILON", "4 * EPSILON"))
    with pytest.raises(CheckError, match="and the reference"):
        gnc.compile(LAYERS, **CPU)
