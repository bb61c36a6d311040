"""Sizes are compared with the memory there is before any work: one sentence with the bytes, at once."""

from __future__ import annotations

import re
import resource
import time

import numpy as np
import pytest
from support.execution import executor, problem_of

import gncodegen as gnc
from gncodegen import footprint
from gncodegen.cache import files
from gncodegen.errors import CompileError, LayerError, NetworkError, OptionsError
from gncodegen.kernels.catalog import plan
from gncodegen.kernels.render import render
from gncodegen.targets.cpu import host
from gncodegen.targets.cpu.compile import compile_source
from gncodegen.targets.cpu.target import CpuTarget

IMAGE = gnc.ImageInputLayer((8, 8, 6), normalization="none")
END = (gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer())
BILLION = 10**9

TOO_LARGE = {
    "padding": [IMAGE, gnc.PaddingLayer((BILLION,) * 4)],
    "padding of a convolution": [IMAGE, gnc.Convolution2dLayer(3, 4, padding=BILLION)],
    "transposed stride": [IMAGE, gnc.TransposedConvolution2dLayer(2, 4, stride=BILLION)],
    "filters": [IMAGE, gnc.Convolution2dLayer(3, BILLION)],
    "window": [IMAGE, gnc.Convolution2dLayer(BILLION, 4, padding="same")],
    "filters of groups": [IMAGE, gnc.GroupedConvolution2dLayer(3, BILLION, "channel-wise")],
    "features": [gnc.FeatureInputLayer(BILLION)],
    "outputs": [IMAGE, gnc.FullyConnectedLayer(10**18)],
    "image": [gnc.ImageInputLayer((BILLION,) * 3)],
    "a product that is 0 in int64": [gnc.ImageInputLayer((2**32, 2**32, 1))],
    "sequence": [gnc.SequenceInputLayer(BILLION)],
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_has_no_room_is_refused_with_its_bytes(case):
    start = time.process_time()
    with pytest.raises(
        NetworkError, match=r"layer \d .* needs? \d{1,3}(,\d{3}){3,} bytes; allowed: [\d,]+, the memory"
    ):
        gnc.compile([*TOO_LARGE[case], *END])
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("line", "given"), [(8, {"extents": 2**32}), (8, {"scale": 1e308}), (10**5, {"extents": 10**6, "method": "area"})]
)
def test_weights_of_a_resized_axis_that_have_no_room(line, given):
    layers = [gnc.SequenceInputLayer((line, 2), min_length=2, normalization="none"), gnc.Resize1dLayer(**given), *END]
    start = time.process_time()
    for function in (gnc.compile, gnc.Network.build):
        with pytest.raises(NetworkError, match=r"along an axis are (inf|[\d,]+) bytes; allowed: up to 1,073,741,824"):
            function(layers)
    assert time.process_time() - start < 1


def test_a_batch_that_has_no_room():
    with pytest.raises(NetworkError, match=r"batch_size = 1000000000000 needs 1,536,000,000,000,000 bytes"):
        gnc.compile([IMAGE, *END], batch_size=10**12)


def test_what_the_process_may_not_take_is_no_room():
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, before[1]))
    try:
        with pytest.raises(NetworkError, match=r"its parameters need 12,000,000,012 bytes; allowed: 8,589,934,592"):
            gnc.compile([gnc.FeatureInputLayer(10**9), gnc.FullyConnectedLayer(1)], training=False, batch_size=1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_what_a_container_does_not_give_is_no_room(monkeypatch):
    monkeypatch.setattr(footprint.control_groups, "memory", lambda: 1 << 20)
    with pytest.raises(NetworkError, match=r"its parameters need 12,000,012 bytes; allowed: 1,048,576"):
        gnc.compile([gnc.FeatureInputLayer(10**6), gnc.FullyConnectedLayer(1)], training=False, batch_size=1)


def test_gradients_and_the_solver_have_no_room(monkeypatch):
    monkeypatch.setattr(footprint, "_machine_bytes", lambda: 15 * 10**6)
    layers = [gnc.FeatureInputLayer(10**6, normalization="none"), gnc.FullyConnectedLayer(1), gnc.RegressionLayer()]
    with pytest.raises(NetworkError, match=r"its parameters need 16,000,016 bytes; allowed: 15,000,000"):
        gnc.compile(layers, batch_size=1)


def test_an_arena_that_has_no_room(monkeypatch):
    monkeypatch.setattr(footprint, "_machine_bytes", lambda: 60_000)
    layers = [IMAGE, gnc.Convolution2dLayer(1, 6), gnc.PreluLayer(), gnc.Convolution2dLayer(1, 6), *END]
    with pytest.raises(CompileError, match=r"needs [0-9,]+ bytes between its input and its output"):
        gnc.compile(layers, batch_size=32)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gnc.Convolution2dLayer(3, 4, stride=2**63), "stride = 9223372036854775808; .* below 2⁶³"),
        (lambda: gnc.Convolution2dLayer(3, 4, padding=(2**63, 0)), "padding = .*, below 2⁶³"),
        (lambda: gnc.AdditionLayer(10**9), "num_inputs = 1000000000; allowed: an int ≥ 2, up to 4096"),
        (
            lambda: gnc.GroupNormalizationLayer(7, num_channels=10**15),
            r"divisors are 1, 2, 4, .*, …, 1000000000000000$",
        ),
    ],
)
def test_properties_have_bounds(build, message):
    start = time.process_time()
    with pytest.raises(LayerError) as refusal:
        build()
    assert re.search(message, str(refusal.value).splitlines()[0].removesuffix("; write num_groups=1")), refusal.value
    assert time.process_time() - start < 1


def test_options_have_bounds():
    with pytest.raises(OptionsError, match=r"batch_size = 1000.*; allowed: a positive int, below 2⁶³"):
        gnc.compile([IMAGE, *END], batch_size=10**20)


def test_a_large_orthogonal_matrix_is_refused():
    layer = gnc.FullyConnectedLayer(20_000, weights_initializer="orthogonal")
    with pytest.raises(LayerError, match=r"layer 2 'fc_1': a 20000×20000 matrix .* needs 12,800,000,000 bytes"):
        gnc.Network.build([gnc.FeatureInputLayer(20_000), layer, *END]).initial_values(np.random.default_rng(0))


CONVOLUTION = gnc.Convolution2dLayer(1, 4, name="first")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (gnc.Convolution2dLayer(3, 4, stride=BILLION, padding="same", name="c"), "c: strides .* up to 65,536"),
        (gnc.Convolution2dLayer(3, 4, stride=2**62, padding="same", name="c"), "c: strides .* up to 65,536"),
        (
            gnc.Convolution2dLayer(3, 4, dilation_factor=BILLION, padding="same", name="c"),
            "c: its windows span .* bytes",
        ),
        (gnc.MaxPooling2dLayer(BILLION, padding="same", name="c"), "c: .* is beyond 64 bits"),
    ],
)
def test_what_no_kernel_does_is_refused(layer, message):
    with pytest.raises(CompileError, match=message):
        gnc.compile([IMAGE, CONVOLUTION, layer, *END])


LARGE_TILE = """
from gncodegen.targets.cpu.intrinsics import float32, local, opaque, pointer

def kernel(tile, argv):
    memory = opaque(local(2000000, float32))
    for i in range(tile):
        memory[i] = pointer(argv, 0, float32)[i]
    pointer(argv, 0, float32)[0] = memory[tile]
"""


def test_what_a_tile_keeps_at_hand_is_bounded(tmp_path):
    path = files.write(tmp_path / "large.py", LARGE_TILE.encode())
    with pytest.raises(CompileError, match=r"large.py keeps 8,000,000 bytes at hand for one tile; allowed: up to"):
        compile_source(path)


def test_a_kernel_that_does_not_compile_is_named_by_its_layers(monkeypatch):
    def failing(target, sources):
        raise CompileError(f"kernel {sources[0].path} is too large")

    monkeypatch.setattr(CpuTarget, "compile", failing)
    with pytest.raises(CompileError, match=r"^first: kernel /.* is too large"):
        gnc.compile([IMAGE, CONVOLUTION, gnc.RegressionLayer()], training=False, batch_size=3)


def test_code_does_not_grow_with_the_stride():
    operands, result = [((1, 2, 2, 3), "float32"), ((2, 2, 4, 3), "float32")], ((1, 130, 130, 4), "float32")
    given = {"stride": (128, 128), "dilation": (1, 1), "padding": (0, 0, 0, 0)}
    problem = problem_of("transposed_convolution", operands, [result], given, host.machine())
    assert all(render(launch.schedule).count("\n") < 400 for launch in plan(problem).launches)
    draw = np.random.default_rng(0)
    x, weights = draw.standard_normal((1, 2, 2, 3)), draw.standard_normal((2, 2, 4, 3))
    (y,) = executor("cpu")(
        "transposed_convolution", [x.astype(np.float32), weights.astype(np.float32)], [result], given
    )
    expected = np.zeros((1, 130, 130, 4))
    for row, column in np.ndindex(2, 2):
        spread = np.einsum("c,hwkc->hwk", x[0, row, column], weights)
        expected[0, row * 128 : row * 128 + 2, column * 128 : column * 128 + 2] += spread
    assert np.abs(y - expected).max() < 1e-5
