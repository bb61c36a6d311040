"""Networks as files that need none of this package: the same bits, in Python that cannot import it and in C."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.errors import CompileError, NetworkError, OptionsError, SaveError, TargetError
from gncodegen.exchange.standalone import native
from gncodegen.exchange.standalone.driver import LAUNCH, tiles_of
from gncodegen.kernels.schedule import Order

COUNTS = (3, 4, 11)
"""Observations of a call: fewer than a batch, one, and two with a part of one."""

TYPED = 'a\'"""\nimport nothing'
"""The name of a layer."""

ALONE = f"""
import sys
for name in ("gncodegen", "jinja2", "xdsl", "safetensors", "rich", "lazy_loader", "platformdirs"):
    sys.modules[name] = None
sys.path.insert(0, "")
import numpy as np, net, package
given, results = np.load("given.npz"), dict()
def interrupted(*_):
    raise KeyboardInterrupt
run, net.run = net.run, interrupted
try:
    net.predict(given["x"], given["z"])
except KeyboardInterrupt:
    net.run = run
results["wide"] = net.predict(given["wide"], given["z"])[0]
tiles = []
net.run = lambda launches: (tiles.append(int(launches.grids.sum())), run(launches))
for count in {COUNTS}:
    results["p%d" % count], results["q%d" % count] = net.predict(given["x"][:count], given["z"][:count])
named = dict(zip([port.name for port in net.NETWORK._inputs], (given["x"], given["z"])))
results["named"] = net.predict(named)[0]
try:
    net.predict(given["x"], given["z"][:, 1:])
except ValueError as error:
    results["message"] = str(error)
np.savez("results.npz", tiles=tiles[-9:], **results)
"""

LEARNS = """
import sys
sys.modules["gncodegen"] = None
sys.path.insert(0, "")
import numpy as np, net
given = np.load("given.npz")
before = net.predict(given["x"])
net.NETWORK.hyperparameters["learn_rate"] = 0.125
losses = [net.train_step(x, given["t"]) for x in (given["x"], given["x"].astype(float) / 3, given["x"])]
net.NETWORK.save("learned.npz")
for x, t in ((given["x"][:2], given["t"][:2]), (given["x"], given["t"] + 9)):
    try:
        net.train_step(x, t)
    except ValueError as error:
        print(error)
np.savez("results.npz", before=before, losses=losses, after=net.predict(given["x"]))
"""

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

static void backwards(void *context, void (*tile)(long, void *), long first, long last, void *arguments) {
    for (long i = last - 1; i >= first; i--, ++*(long *)context) tile(i, arguments);
}

int main(int count, char **words) {
    long n = atol(words[1]), tiles = 0;
    float *x = malloc(4 * n * NET_X1_SIZE), *z = malloc(4 * n * NET_X2_SIZE);
    float *p = malloc(4 * n * NET_Y1_SIZE), *q = malloc(4 * n * NET_Y2_SIZE);
    void *workspace = malloc(NET_WORKSPACE_SIZE);
    if (fread(x, 4 * NET_X1_SIZE, n, stdin) != n || fread(z, 4 * NET_X2_SIZE, n, stdin) != n) return 1;
    if (words[2][0] == 'f') net_predict_on(x, z, p, q, n, workspace, backwards, &tiles);
    else net_predict(x, z, p, q, n, workspace);
    fwrite(p, 4 * NET_Y1_SIZE, n, stdout), fwrite(q, 4 * NET_Y2_SIZE, n, stdout);
    fprintf(stderr, "%ld", tiles);
    return words[2][0] == 'f' && tiles == 0;
}
"""


@pytest.fixture(scope="module")
def network() -> gnc.Compiled:
    """Two inputs and two outputs; constants that follow from parameters; a product of both; scores that are rows."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((12, 12, 8), name=TYPED),
        gnc.Convolution2dLayer(3, 16, padding="same", name="conv"), gnc.GroupNormalizationLayer(4), gnc.ReluLayer(),
        gnc.MatrixProductLayer(transpose_second=True, name="scores"), gnc.SoftmaxLayer(),
        gnc.MatrixProductLayer(name="attended"),
        gnc.AdditionLayer(2, name="add"), gnc.GlobalAveragePooling2dLayer(name="pooled"),
    ])  # fmt: skip
    graph.add(gnc.ImageInputLayer((12, 12, 16), normalization="none", name="z"))
    for port in ("scores/in2", "attended/in2", "add/in2"):
        graph.connect("z", port)
    compiled = gnc.compile(graph.returning("add", "pooled"), training=False, batch_size=4)
    values = np.random.default_rng(7)
    for name, value in compiled.parameters.items():
        compiled.parameters[name] = values.normal(1, 0.5, value.shape)
    assert compiled.program.hoisted > 0
    return compiled


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    values = np.random.default_rng(8)
    return {
        name: values.standard_normal((COUNTS[-1], 12, 12, channels), np.float32)
        for name, channels in (("x", 8), ("z", 16))
    }


def test_python_computes_the_same_bits_where_this_package_cannot_be_imported(network, arrays, tmp_path):
    network.export(tmp_path / "net.py")
    network.export(tmp_path / "package")
    text = (tmp_path / "net.py").read_text()
    assert (tmp_path / "package" / "__init__.py").read_text() == text.replace("net.npz", "weights.npz").replace(
        "import net\n", "import package\n"
    ).replace("net.predict", "package.predict").replace("python net.py", "python package.py")
    wide = arrays["x"].astype(np.float64) / 3
    np.savez(tmp_path / "given.npz", **arrays, wide=wide)
    command = [sys.executable, "-P", "-c", ALONE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "results.npz") as found:
        for count in COUNTS:
            wanted = network.predict(arrays["x"][:count], arrays["z"][:count])
            for name, value in zip("pq", wanted, strict=True):
                np.testing.assert_array_equal(found[f"{name}{count}"], value)
        np.testing.assert_array_equal(found["named"], found[f"p{COUNTS[-1]}"])
        np.testing.assert_array_equal(found["wide"], network.predict(wide, arrays["z"])[0])
        assert (found["wide"] != network.predict(wide.astype(np.float32), arrays["z"])[0]).any()
        three, four, *eleven = found["tiles"][-8:-3]
        assert eleven == [four, four, three]
        assert three < four
        assert str(found["message"]) == "z has shape (11, 11, 12, 16); allowed: (N, 12, 12, 16)"


@pytest.mark.full(like="exchange/test_standalone.py::test_c_computes_the_same_bits")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float16", marks=pytest.mark.full)])
def test_steps_of_the_solver_have_the_same_bits(tmp_path, dtype):
    layers = [
        gnc.FeatureInputLayer(6, normalization="rescale-symmetric", min=-2.5, max=3.5),
        gnc.BatchNormalizationLayer(), gnc.DropoutLayer(0.5),
        gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer(name="classes"),
    ]  # fmt: skip
    network = gnc.compile(layers, batch_size=8, options=gnc.training_options("adam"), dtype=dtype)
    values = np.random.default_rng(9)
    x, t = values.standard_normal((8, 6), np.float32), values.integers(0, 3, 8)
    network.train_step(x, t)  # the file goes on where the network is
    network.export(tmp_path / "net.py", training=True)
    np.savez(tmp_path / "given.npz", x=x, t=t)
    command = [sys.executable, "-P", "-c", LEARNS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    short, wrong = done.stdout.splitlines()
    assert short == "2 observations; allowed: 8, a mini-batch as this file is made for"
    assert wrong.startswith(f"layer 6 'classes': class index {t[0] + 9}; allowed: whole numbers 0 … 2; ")
    with np.load(tmp_path / "results.npz") as found, np.load(tmp_path / "learned.npz") as learned:
        np.testing.assert_array_equal(found["before"], network.predict(x))
        network.hyperparameters["learn_rate"] = 0.125
        steps = [network.train_step(each, t) for each in (x, x.astype(float) / 3, x)]
        np.testing.assert_array_equal(found["losses"], steps)
        np.testing.assert_array_equal(found["after"], network.predict(x))
        kept = {**network.parameters, **network.state.solver}
        assert sorted(name for name in learned if not name.startswith("normalization/")) == sorted(kept)
        for name, value in kept.items():
            np.testing.assert_array_equal(learned[name], value)


def test_a_folder_with_files_of_others_stays_as_it_is(network, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SaveError, match=r"work' holds thesis.tex; allowed: a new folder, or one that an export wrote"):
        network.export(tmp_path / "work")
    with pytest.raises(SaveError, match="Not a directory"):
        network.export(tmp_path / "file")
    assert [path.read_text() for path in (tmp_path / "work" / "thesis.tex", tmp_path / "file")] == ["mine", "mine"]
    importlib.import_module("numba.types")  # from now on another module than numba.core.types
    for _ in range(2):
        network.export(tmp_path / "new")
        (tmp_path / "new" / "__pycache__").mkdir()


def test_only_what_kernels_use_comes_along(network, tmp_path):
    network.export(tmp_path / "net.py")
    text = (tmp_path / "net.py").read_text()
    assert "def erf" not in text
    assert "def reduce_any" not in text
    assert "environment()" not in text
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F811,F821", str(tmp_path)]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_c_computes_the_same_bits(network, arrays, tmp_path):
    network.export(tmp_path / "net.o")
    network.export(tmp_path / "net.so")
    (tmp_path / "main.c").write_text(PROGRAM)
    for made, program in (("net.o", "static"), ("./net.so", "shared")):
        command = ["cc", "-std=c99", "-Wall", "-Werror=implicit", "-o", program, "main.c", made, "-lm"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr.replace("-Wsign-compare", "")
    tiles = {}
    for program, count, loop in (
        ("static", 3, "none"),
        ("static", 2, "for"),
        ("static", 4, "for"),
        ("shared", 11, "none"),
        ("shared", 11, "for"),
    ):
        given = [array[:count].tobytes() for array in arrays.values()]
        command = [f"./{program}", str(count), loop]
        done = subprocess.run(command, cwd=tmp_path, input=b"".join(given), capture_output=True, check=True)
        wanted = network.predict(*(array[:count] for array in arrays.values()))
        assert done.stdout == b"".join(map(bytes, map(np.ndarray.tobytes, wanted)))
        tiles[loop, count] = int(done.stderr)
    assert 0 < tiles["for", 2] <= tiles["for", 4] // 2


def test_a_library_needs_a_compiler_and_an_object_does_not(network, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TargetError, match=r'"net\.o", which needs none'):
        network.export(tmp_path / "net.so")
    network.export(tmp_path / "3 nets.o")
    assert "void net_3_nets_predict(const float *x1, " in (tmp_path / "3 nets.h").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3 nets.h", "3 nets.o"]


def test_what_kernels_need_beside_the_c_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "LIBRARY_SYMBOLS", frozenset({"expf"}))
    logarithm = [gnc.FeatureInputLayer(8, normalization="none"), gnc.UnaryLayer("logarithm")]
    with pytest.raises(CompileError, match="need logf"):
        gnc.compile(logarithm, training=False).export(tmp_path / "net.o")
    assert not list(tmp_path.iterdir())


def test_a_folder_for_a_gpu(network, arrays, tmp_path, stub):
    on_gpu = gnc.compile(network.graph, "cuda", training=False, batch_size=4)
    on_gpu.export(tmp_path / "on_gpu")
    spec = importlib.util.spec_from_file_location("on_gpu", tmp_path / "on_gpu" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for count in COUNTS:
        given = [array[:count] for array in arrays.values()]
        for found, wanted in zip(module.predict(*given), on_gpu.predict(*given), strict=True):
            np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match=r"z has shape \(2, 12, 12, 16\)"):
        module.predict(arrays["x"], arrays["z"][:2])
    manifest = json.loads((tmp_path / "on_gpu" / "manifest.json").read_text())
    manifest["architecture"] = "sm_75"
    (tmp_path / "on_gpu" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RuntimeError, match="is sm_90; these cubins are for sm_75"):
        module.Network()


def test_refusals_name_the_layer(network, tmp_path):
    own = [gnc.ImageInputLayer((12, 12, 8), normalization=np.sign, name="own"), gnc.ReluLayer()]
    for ending in (".py", "", ".o"):
        with pytest.raises(NetworkError, match=r"'own'.*function of yours"):
            gnc.compile(own, training=False).export(tmp_path / f"net{ending}")
    last = [gnc.ImageInputLayer((12, 12, 8), normalization="none"), gnc.ReluLayer()]
    with pytest.raises(NetworkError, match=r"data_format='SSCB'.*'BSSC'"):
        gnc.compile(last, training=False, data_format="SSCB").export(tmp_path / "net.py")
    with pytest.raises(OptionsError, match=r"'sm_90'.*target='cpu'"):
        gnc.compile(last, training=False, target="sm_90", emulate=True).export(tmp_path / "net.py")
    with pytest.raises(OptionsError, match=r"training=True of a network for a GPU; allowed: target='cpu'"):
        gnc.compile(last, training=False, target="sm_90", emulate=True).export(tmp_path / "net", training=True)
    with pytest.raises(OptionsError, match="nothing"):
        network.export(tmp_path / "net.o", cpu="nothing")
    with pytest.raises(OptionsError, match=r"compiled for prediction.*training=True"):
        network.export(tmp_path / "net.py", training=True)
    with pytest.raises(OptionsError, match="training=1; allowed: True, False"):
        network.export(tmp_path / "net", training=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.full(like="exchange/test_standalone.py::test_c_computes_the_same_bits")
def test_an_object_for_a_cpu_by_name(network, arrays, tmp_path):
    network.export(tmp_path / "net.so", cpu="x86-64-v2")
    header, count = (tmp_path / "net.h").read_text(), len(arrays["x"])
    assert "for x86-64-v2." in header
    size = re.search(r"WORKSPACE_SIZE (\d+)", header)
    assert size is not None
    results = [np.empty((count, 12, 12, 16), np.float32), np.empty((count, 16), np.float32)]
    words = [*arrays.values(), *results, np.empty(int(size[1]), np.uint8)]
    places = [ctypes.c_void_p(each.ctypes.data) for each in words]
    ctypes.CDLL(str(tmp_path / "net.so")).net_predict(*places[:-1], ctypes.c_long(count), places[-1])
    for result, wanted in zip(results, network.predict(*arrays.values()), strict=True):
        np.testing.assert_allclose(result.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 7, 40, 63])
@pytest.mark.parametrize("order", [(64, 27, 1, 2, 128), (64, 27, 1, 1), (1, 3, 4), (256, 1024)])
def test_an_object_does_the_tiles_that_a_program_does(order, count):
    each = Order(*order)
    most = each.needed(64) * each.tiles * each.repeats
    words = [0, 2, most, 0, 0, *each]
    assert len(words) == LAUNCH
    assert tiles_of.py_func([0, *words], 1, count, 64) == each.grid(count, 2, most)
    assert tiles_of.py_func([0, *words], 1, 64, 64) == most
