"""The processor that kernels are compiled for: what LLVM says of it, what is refused, and whose kernels lie where."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from gncodegen.environment import Environment
from gncodegen.errors import OptionsError, TargetError
from gncodegen.targets.cpu import host
from gncodegen.targets.cpu import processor as processors

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
on_x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="names CPUs of x86")


@pytest.mark.parametrize(
    ("name", "triple", "registers"),
    [
        ("x86-64-v2", X86, (16, 16)),
        ("x86-64-v3", X86, (32, 16)),
        ("znver3", X86, (32, 16)),
        ("bdver2", X86, (16, 16)),
        ("skylake-avx512", X86, (64, 32)),
        ("znver4", X86, (64, 32)),
        ("neoverse-n1", ARM, (16, 32)),
    ],
)
def test_registers_are_those_that_llvm_gives_the_name(name, triple, registers):
    assert processors.named(name, triple=triple).vector_registers == registers


def test_the_cpu_here_is_the_default_and_no_more_than_its_name(monkeypatch):
    here = processors.host()
    assert here.name == llvm.get_host_cpu_name()
    assert {name for name, on in llvm.get_host_cpu_features().items() if on} == here.features
    for variable in ("GNCODEGEN_CPU", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(host, "environment", lambda: Environment(Path()))
    assert host.processor.__wrapped__() == here


@on_x86
def test_attributes_switch_features_on_and_off():
    fewer, more = processors.named("skylake-avx512", "-avx512f"), processors.named("x86-64", "+avx2,+fma")
    assert fewer.vector_registers == more.vector_registers == (32, 16)
    assert processors.without(fewer, ["avx2", "sse4a"]).attributes == "-avx512f,-avx2"
    assert processors.without(fewer, ["avx2"]).vector_registers == (16, 16)


@pytest.mark.parametrize("name", ["no-such-cpu", "i686", "cortex-a72 ", 'a"b', "", "x86-64-v3\nx"])
@on_x86
def test_what_llvm_does_not_know_is_refused(name):
    with pytest.raises(OptionsError, match="is no CPU of x86_64") as refused:
        processors.named(name, source="GNCODEGEN_CPU")
    assert "such as x86-64-v3, znver3 or skylake-avx512; correct it, or unset GNCODEGEN_CPU" in str(refused.value)


@on_x86
def test_attributes_that_llvm_does_not_know_are_refused():
    with pytest.raises(OptionsError, match=r"'x86-64-v3 \+nothing' is no CPU .* not a recognized feature"):
        processors.named("x86-64-v3", "+nothing")


def pretend(monkeypatch, here: str, wanted: str) -> processors.Processor:
    """The processor chosen on a machine with another CPU."""
    monkeypatch.setattr(processors, "host", lambda: processors.named(here))
    monkeypatch.setattr(host, "environment", lambda: Environment(Path(), cpu=wanted))
    return host.processor.__wrapped__()


@pytest.mark.parametrize(
    ("here", "wanted", "lacking"),
    [
        ("x86-64-v3", "skylake-avx512", "avx512bw"),
        ("znver3", "znver4", "avx512f"),
        ("skylake-avx512", "icelake-server", "avx512vbmi"),
        ("x86-64-v2", "x86-64-v3", "avx2, bmi, bmi2, f16c, fma, lzcnt, movbe"),
    ],
)
@on_x86
def test_a_more_capable_cpu_is_refused(monkeypatch, here, wanted, lacking):
    with pytest.raises(TargetError, match=rf"GNCODEGEN_CPU='{wanted}' computes with .*{lacking}.* \({here}\) lacks"):
        pretend(monkeypatch, here, wanted)


@pytest.mark.few
@pytest.mark.parametrize(
    ("here", "wanted", "attributes"),
    [
        ("skylake-avx512", "x86-64-v3", ""),
        ("skylake-avx512", "haswell", ""),
        ("znver3", "haswell", ""),
        ("skylake-avx512", "znver3", "-clzero,-mwaitx,-rdpid,-rdpru,-sha,-sse4a,-vaes,-vpclmulqdq,-wbnoinvd"),
        ("znver4", "znver4", ""),
    ],
)
@on_x86
def test_a_less_capable_cpu_goes_without_what_is_not_here(monkeypatch, here, wanted, attributes):
    chosen = pretend(monkeypatch, here, wanted)
    assert (chosen.name, chosen.attributes) == (wanted, attributes)
    assert chosen.features <= processors.named(here).features
    assert chosen.target_machine().triple == chosen.triple


def test_the_machine_follows_the_processor(monkeypatch):
    narrow = processors.named("x86-64-v3", triple=X86)
    monkeypatch.setattr(host, "processor", lambda: narrow)
    machine, here = host.machine.__wrapped__(), host.machine()
    assert (machine.vector_bytes, machine.vector_registers) == (32, 16)
    assert (machine.l1, machine.l2, machine.l3, machine.cores) == (here.l1, here.l2, here.l3, here.cores)
    monkeypatch.setattr(host, "environment", lambda: Environment(Path(), vector_bytes=64))
    with pytest.raises(TargetError, match="GNCODEGEN_VECTOR_BYTES=64; allowed: 16, 32, 64, at most this CPU's 32"):
        host.machine.__wrapped__()


# ---- what lies in the cache ----------------------------------------------------------------------------------------

SCRIPT = """
import numpy as np
import gncodegen as gnc
net = gnc.compile([gnc.FeatureInputLayer(40), gnc.FullyConnectedLayer(24), gnc.SoftplusLayer()], batch_size=8, seed=0)
print(net.predict(np.random.default_rng(0).normal(size=(8, 40)).astype("f4")).tolist())
"""
VARIABLES = ("GNCODEGEN_CPU", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")


@dataclass(frozen=True)
class Run:
    """What one process left and said."""

    folders: dict[str, dict[str, bytes]]
    result: np.ndarray


def run(cache: Path, **environment: str) -> Run:
    """Compiles and runs a small network in a process with an environment of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    kept |= {"GNCODEGEN_CACHE_DIR": str(cache), "GNCODEGEN_COMPILE_WORKERS": "1", **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=kept, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    folders = {
        folder.name: {file.name: file.read_bytes() for file in folder.glob("*.o")}
        for folder in (cache / "kernels").iterdir()
    }
    return Run(folders, np.array(json.loads(done.stdout)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Run:
    found = run(tmp_path_factory.mktemp("plain"))
    assert len(found.folders) == 1
    return found


def environments(table: dict[str, dict[str, str]], *always: str) -> pytest.MarkDecorator:
    """Each row of a table; those not named belong to the full set."""
    marks = {name: () if name in always else pytest.mark.full for name in table}
    rows = [pytest.param(given, id=name, marks=marks[name]) for name, given in table.items()]
    return pytest.mark.parametrize("environment", rows)


DECIDES = {
    "generic": {"NUMBA_CPU_NAME": "generic"},
    "v3": {"GNCODEGEN_CPU": "x86-64-v3"},
    "features": {"NUMBA_CPU_FEATURES": "-avx512f,-gfni"},
    "both": {"GNCODEGEN_CPU": "x86-64-v2", "NUMBA_CPU_NAME": "generic"},
}
DECIDES_NOT = {
    "optimization": {"NUMBA_OPT": "0"},
    "debug": {"NUMBA_DEBUGINFO": "1"},
    "bounds": {"NUMBA_BOUNDSCHECK": "1"},
    "avx": {"NUMBA_ENABLE_AVX": "0"},
    "lifetimes": {"NUMBA_EXTEND_VARIABLE_LIFETIMES": "1"},
}


@pytest.mark.full(like="targets/cpu/test_processor.py::test_a_less_capable_cpu_goes_without_what_is_not_here")
@environments(DECIDES, "generic")
@on_x86
def test_kernels_for_another_cpu_lie_apart(plain, tmp_path, environment):
    """A run for another CPU leaves nothing that a later normal run takes."""
    ((folder, objects),) = plain.folders.items()
    other = run(tmp_path, **environment)
    assert folder not in other.folders
    np.testing.assert_allclose(other.result, plain.result, rtol=0, atol=2e-6)
    later = run(tmp_path)
    assert later.folders == {**other.folders, folder: objects}
    np.testing.assert_array_equal(later.result, plain.result)


@pytest.mark.full(like="targets/cpu/test_processor.py::test_a_less_capable_cpu_goes_without_what_is_not_here")
@environments(DECIDES_NOT, "debug")
def test_what_numba_is_told_beside_changes_no_kernel(plain, tmp_path, environment):
    other = run(tmp_path, **environment)
    assert other.folders == plain.folders
    np.testing.assert_array_equal(other.result, plain.result)


def test_float16_needs_instructions_that_convert() -> None:
    old = processors.Processor("x86-64-v2", frozenset(["sse4.2"]), "", "x86_64-unknown-linux-gnu")
    old.require_storage("bfloat16")
    with pytest.raises(TargetError, match=r"'float16' on x86-64-v2, which lacks F16C; .* write dtype='bfloat16'"):
        old.require_storage("float16")
    processors.Processor("generic", frozenset(["neon"]), "", "aarch64-unknown-linux-gnu").require_storage("float16")
