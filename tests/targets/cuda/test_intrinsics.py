"""The vocabulary of CUDA kernels: small kernels written by hand, compiled and emulated, against NumPy."""

import re
import textwrap

import numpy as np
import pytest
from support.cuda_kernels import from_bfloat16, report, to_bfloat16

from gncodegen.cache import files
from gncodegen.errors import CompileError, EmulationFault
from gncodegen.kernels.store import Source
from gncodegen.targets.cuda import memory
from gncodegen.targets.cuda.disassemble import sass

THREADS = 64


@pytest.fixture
def launch(tmp_path):
    """`launch(body, {name: array or (shape, dtype)}) -> {name: array}` runs `kernel(names…, first)` on one block."""

    def run(body, arrays, grid=1, threads=THREADS, first=0):
        from gncodegen.emulator import DeviceMemory, Executable
        from gncodegen.emulator import run as emulate
        from gncodegen.targets.cuda.compile import compile_source
        from gncodegen.targets.cuda.emulated import arguments_of

        head = f"# op test · template none · target sm_90 · float32 · channel-last\nTHREADS = {threads}\n"
        names = ", ".join(arrays)
        text = f"{head}from gncodegen.targets.cuda.intrinsics import *\n\ndef kernel({names}, first):\n"
        path = tmp_path / "by_hand.py"
        files.write(path, (text + textwrap.indent(textwrap.dedent(body), "    ")).encode())
        compile_source(path)
        memory = DeviceMemory()
        addresses = {}
        for name, array in arrays.items():
            given = array if isinstance(array, np.ndarray) else None
            shape, dtype = (array.shape, array.dtype) if given is not None else array
            addresses[name] = memory.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize, name)
            if given is not None:
                memory.write(addresses[name], given)
        module = Executable(path.with_suffix(".ptx").read_text())
        emulate(
            module, grid=grid, block=threads, arguments=arguments_of(list(addresses.values()), first), memory=memory
        )
        run.source = Source(path)
        return {
            name: memory.read(addresses[name], *(array if isinstance(array, tuple) else (array.shape, array.dtype)))
            for name, array in arrays.items()
        }

    return run


def test_index_arithmetic_is_32_bits_wide_and_wraps(launch):
    body = """
    y, t = pointer(y, uint32), thread_index()
    y[t] = t - 3
    y[t + 64] = (t * 7 + 5) // 3 % 11
    y[t + 128] = (t << 4) ^ (t >> 1) | 3
    y[t + 192] = uint32(1 if t - 3 < 10 else 0)
    """
    y = launch(body, {"y": ((4, THREADS), "uint32")})["y"]
    t = np.arange(THREADS, dtype=np.uint32)
    np.testing.assert_array_equal(y[0], t - np.uint32(3))
    np.testing.assert_array_equal(y[1], (t * 7 + 5) // 3 % 11)
    np.testing.assert_array_equal(y[2], (t << 4) ^ (t >> 1) | 3)
    np.testing.assert_array_equal(y[3], (t >= 3) & (t < 13))
    assert not re.search(r"(div|rem|mul\.lo)\.[us]64", launch.source.beside(".ptx").read_text())


def test_wide_index_keeps_64_bits(launch):
    body = """
    y, t = pointer(y, uint32), thread_index()
    big = wide(t) * 4294967296 + t
    y[t] = index(big // 4294967296)
    """
    np.testing.assert_array_equal(launch(body, {"y": ((THREADS,), "uint32")})["y"], np.arange(THREADS))


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
def test_vectors_load_compute_and_store(launch, lanes):
    x = np.random.default_rng(0).normal(size=THREADS * lanes).astype(np.float32)
    body = f"""
    x, y, i = pointer(x, float32), pointer(y, float32), thread_index() * {lanes}
    v = load_readonly(x, i, {lanes})
    store(y, i, select(v < 0.0, v * 0.5, maximum(v - 1.0, 0.25)) / 2.0 + splat(float32(3.0), {lanes}))
    """
    y = launch(body, {"x": x, "y": (x.shape, "float32")})["y"]
    np.testing.assert_allclose(y, np.where(x < 0, x * 0.5, np.maximum(x - 1, 0.25)) / 2 + 3, rtol=1e-6)
    if lanes >= 4:
        assert "ld.global.nc.v4" in launch.source.beside(".ptx").read_text()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_halves_compute_in_float32_and_round_to_nearest_even(launch, dtype, lanes):
    x = np.random.default_rng(1).normal(size=THREADS * lanes).astype(np.float32) * 100
    x[:4] = [np.inf, -np.inf, np.nan, 1e30]
    with np.errstate(over="ignore"):
        stored = to_bfloat16(x) if dtype == "bfloat16" else x.astype(np.float16)
    stored[2] = 0x7FC0 if dtype == "bfloat16" else np.nan
    body = f"""
    x, y, i = pointer(x, {dtype}), pointer(y, {dtype}), thread_index() * {lanes}
    store(y, i, load(x, i, {lanes}) * 1.1)
    """
    y = launch(body, {"x": stored, "y": (stored.shape, stored.dtype)})["y"]
    if dtype == "bfloat16":
        wanted = to_bfloat16(from_bfloat16(stored) * np.float32(1.1))
        finite = np.isfinite(from_bfloat16(stored))
        np.testing.assert_array_equal(y[finite], wanted[finite])
        np.testing.assert_array_equal(from_bfloat16(y[:3]), [np.inf, -np.inf, np.nan])
    else:
        np.testing.assert_array_equal(y, (stored.astype(np.float32) * np.float32(1.1)).astype(np.float16))
    assert lanes != 8 or "v4.u32" in launch.source.beside(".ptx").read_text(), "eight halves are one access"


def test_tiles_load_and_store_in_strides_below_a_limit(launch):
    x = np.arange(1000, dtype=np.float32)
    body = """
    x, y, z, i = pointer(x, float32), pointer(y, float32), pointer(z, float32), thread_index() * 4
    v = load_strided_below(x, i, index(256), 4, 4, index(1000), float32(-1.0))
    store_strided_below(y, i, index(256), 4, v * 2.0, index(900))
    store(z, i, fold_add(v, 4) + part(v, 4, 4) * 0.0)
    """
    shapes = {"x": x, "y": np.zeros(1000, np.float32), "z": ((256,), "float32")}
    found = launch(body, shapes)
    np.testing.assert_array_equal(found["y"], np.where(np.arange(1000) < 900, 2 * x, 0))
    padded = np.concatenate([x, np.full(24, -1, np.float32)]).reshape(4, 256)
    np.testing.assert_array_equal(found["z"], padded.sum(0))


@pytest.mark.parametrize(
    ("name", "reference"),
    [("exp", np.exp), ("expm1", np.expm1), ("log1p", np.log1p), ("tanh", np.tanh), ("sqrt", np.sqrt),
     ("absolute", np.abs), ("sigmoid", lambda x: 1 / (1 + np.exp(-x)))],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_are_accurate(launch, name, reference, dtype):
    x = np.abs(np.random.default_rng(2).normal(size=THREADS * 2)).astype(dtype) * 4
    body = f"""
    x, y, i = pointer(x, {dtype}), pointer(y, {dtype}), thread_index() * 2
    store(y, i, {name}(load(x, i, 2)))
    """
    y = launch(body, {"x": x, "y": (x.shape, dtype)})["y"]
    np.testing.assert_allclose(y, reference(x.astype(np.float64)), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_warps_and_blocks_reduce_in_a_fixed_order(launch, dtype):
    x = np.random.default_rng(3).normal(size=THREADS).astype(dtype)
    body = f"""
    x, y, t = pointer(x, {dtype}), pointer(y, {dtype}), thread_index()
    s = shared(2, {dtype})
    total = warp_sum(x[t])
    if lane_index() == 0:
        s[t // 32] = total
    barrier()
    y[t] = s[0] + s[1]
    y[t + 64] = warp_max(x[t])
    y[t + 128] = exchange(x[t], index(1))
    """
    y = launch(body, {"x": x, "y": ((3, THREADS), dtype)})["y"]
    np.testing.assert_allclose(y[0], x.sum(), rtol=1e-5)
    np.testing.assert_array_equal(y[1], np.repeat(x.reshape(2, 32).max(1), 32))
    np.testing.assert_array_equal(y[2], x.reshape(-1, 2)[:, ::-1].ravel())


def test_nan_stays_in_maximum_and_minimum(launch):
    x = np.array([np.nan, 1.0] * 32, np.float32)
    body = """
    x, y, i = pointer(x, float32), pointer(y, float32), thread_index()
    y[i] = maximum(x[i], float32(0.0)) + minimum(x[i], float32(5.0))
    """
    np.testing.assert_array_equal(launch(body, {"x": x, "y": (x.shape, "float32")})["y"], np.where(np.isnan(x), x, 2))


def test_dynamic_shared_memory_is_that_of_the_launch(launch, tmp_path):
    body = """
    y, t = pointer(y, float32), thread_index()
    s = shared(128, float32)
    s[t] = to_float(t, float32)
    s[t + 64] = float32(1.0)
    barrier()
    y[t] = s[63 - t] + s[t + 64]
    """
    y = launch(body, {"y": ((THREADS,), "float32")})["y"]
    np.testing.assert_array_equal(y, 64 - np.arange(THREADS))
    assert report(launch.source)["shared"] >= 512


def test_a_tile_is_counted_from_first(launch):
    body = "pointer(y, uint32)[0] = first + block_index()"
    assert launch(body, {"y": ((1,), "uint32")}, threads=1, first=7)["y"] == [7]


def test_the_assembler_reports_and_a_faulty_source_is_named(launch):
    with pytest.raises(CompileError, match=r"by_hand\.py:\d+ does not compile"):
        launch("unknown(y)", {"y": ((1,), "float32")})


def test_a_flag_is_set_behind_one_barrier_and_met(launch):
    body = """
    f, t = pointer(flags, uint32), thread_index()
    if t == 0:
        set_flag(f, 0)
    await_flag(f, 0)
    pointer(y, uint32)[t] = t
    """
    found = launch(body, {"flags": np.zeros(1, np.uint32), "y": ((THREADS,), "uint32")})
    assert found["flags"] == 1
    np.testing.assert_array_equal(found["y"], np.arange(THREADS))
    code = sass(launch.source.beside(".cubin"))
    assert len(re.findall(r"MEMBAR\S*\.GPU", code)) == 1
    assert len(re.findall(r"LDG\.E\.STRONG\.GPU", code)) == 1, "the loop is not unrolled"


def test_a_flag_that_never_comes_stops_the_launch(launch, monkeypatch):
    monkeypatch.setattr(memory, "MOST_READS", 3)
    with pytest.raises(EmulationFault, match="trapped"):
        launch("await_flag(pointer(flags, uint32), 0)", {"flags": np.zeros(1, np.uint32)})
