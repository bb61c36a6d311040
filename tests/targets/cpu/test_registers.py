"""Register tiles stay in registers: on this host, and on a CPU with AVX-512, whose kernels are compiled but not run."""

from __future__ import annotations

import pytest
from support.assembly import assembly, cross_compiler, innermost_loops, multiply_adds, spills, stores, widths

from gncodegen.kernels import catalog, store
from gncodegen.kernels.cpu.register_tiles import block_vectors, fits, row_counts
from gncodegen.kernels.schedule import Machine, Problem, Tensor
from gncodegen.targets.cpu import processor
from gncodegen.targets.cpu.host import tag

WIDE = Machine(vector_bytes=64, vector_registers=32, l1=48 << 10, l2=2 << 20, l3=32 << 20, cores=2)
WIDE_CPU = processor.named("skylake-avx512", triple="x86_64-unknown-linux-gnu")
"""The oldest one; LLVM would rather have narrow vectors on it, where it may choose."""

PADDED = {"padding": (1, 1, 1, 1)}
STRIDED = {"stride": (2, 2), "padding": (1, 1, 1, 1)}
NORM = {"groups": 8, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}


def problem(op, operands, results, attributes=None, machine=None):
    from gncodegen.targets.cpu import host

    tensors = [tuple(Tensor(shape, "float32") for shape in shapes) for shapes in (operands, results)]
    return Problem(op, *tensors, attributes or {}, machine or host.machine())


HOST = {
    "forward": ("convolution", [(8, 32, 32, 64), (3, 3, 64, 64)], [(8, 32, 32, 64)], PADDED),
    "few-filters": ("convolution", [(8, 14, 14, 16), (3, 3, 16, 8)], [(8, 14, 14, 8)], PADDED),
    "input": ("convolution_input_gradient", [(8, 7, 7, 32), (3, 3, 16, 32)], [(8, 7, 7, 16)], PADDED),
    "few-channels": ("convolution_input_gradient", [(8, 32, 32, 64), (3, 3, 3, 64)], [(8, 32, 32, 3)], PADDED),
    "weights": ("convolution_weight_gradient", [(8, 14, 14, 8), (8, 14, 14, 16)], [(3, 3, 8, 16)], PADDED),
    "products": ("fully_connected_input_gradient", [(64, 40), (40, 96)], [(64, 96)], {}),
    "dot-products": ("fully_connected", [(64, 400), (24, 400)], [(64, 24)], {}),
}


@pytest.mark.few
@pytest.mark.parametrize("asked", HOST.values(), ids=HOST)
def test_register_tiles_stay_in_registers(asked):
    from gncodegen.targets.cpu import compile as compiler
    from gncodegen.targets.cpu import host

    launch = max(catalog.plan(problem(*asked)).launches, key=lambda launch: launch.flops)
    path = store.write(launch.schedule, host.tag()).path
    compiler.compile_missing([path])
    # A loop that stores vectors is a transform of Winograd's, not a register tile.
    loops = innermost_loops(assembly(path, host.processor()))
    hot = [body for body in loops if multiply_adds(body) >= 8 and not stores(body)]
    if not hot and "fma" not in host.processor().features:
        pytest.skip("this CPU has no multiply-adds")
    assert hot
    for body in hot:
        assert not spills(body), body
        assert "%rsp" not in body, body


WIDE_CASES = {
    # name: (problem, multiply-adds that some loop has at least)
    "winograd": ("convolution", [(8, 56, 56, 64), (3, 3, 64, 64)], [(8, 56, 56, 64)], PADDED, 20),
    "winograd-heavy": ("convolution", [(8, 14, 14, 256), (3, 3, 256, 256)], [(8, 14, 14, 256)], PADDED, 24),
    "winograd-weights": (
        "convolution_weight_gradient", [(8, 28, 28, 128), (8, 28, 28, 128)], [(3, 3, 128, 128)], PADDED, 20,
    ),
    "direct": ("convolution", [(8, 56, 56, 128), (3, 3, 128, 128)], [(8, 28, 28, 128)], STRIDED, 24),
    "direct-weights": ("convolution_weight_gradient", [(8, 56, 56, 3), (8, 28, 28, 64)], [(3, 3, 3, 64)], STRIDED, 20),
    "few-channels": ("convolution_input_gradient", [(8, 32, 32, 64), (3, 3, 3, 64)], [(8, 32, 32, 3)], PADDED, 24),
    "channel-wise": ("convolution", [(8, 56, 56, 64), (3, 3, 1, 64)], [(8, 56, 56, 64)], PADDED | {"groups": 64}, 144),
    "products": ("fully_connected_input_gradient", [(256, 1024), (1024, 1024)], [(256, 1024)], {}, 24),
    "dot-products": ("fully_connected", [(256, 1024), (1024, 1024)], [(256, 1024)], {}, 24),
    "norm": ("group_norm", [(8, 28, 28, 64), (64,), (64,)], [(8, 28, 28, 64), (8, 8, 3)], NORM, 8),
    "norm-gradient": (
        "group_norm_gradient", [(8, 28, 28, 64), (8, 28, 28, 64), (64,), (64,), (8, 8, 3)],
        [(8, 28, 28, 64), (64,), (64,)], NORM, 4,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def compile_wide():
    with cross_compiler(WIDE_CPU) as compile_source:
        yield compile_source


@pytest.mark.parametrize("case", WIDE_CASES.values(), ids=WIDE_CASES)
def test_wide_vectors_fill_their_registers_and_stay_there(compile_wide, case):
    """Multiply-adds of innermost loops are 64 bytes wide, as many as fill the registers, and nothing spills."""
    *asked, expected = case
    launch = max(catalog.plan(problem(*asked, machine=WIDE)).launches, key=lambda launch: launch.flops)
    path = store.write(launch.schedule, f"{tag()}-for-{WIDE_CPU.name}").path
    compile_wide(path)
    counts: dict[bool, list[int]] = {False: [], True: []}
    for body in innermost_loops(assembly(path, WIDE_CPU)):
        if multiply_adds(body) >= 4:
            assert not spills(body), body
            assert set(widths(body)) == {64}, body
            counts[stores(body)].append(multiply_adds(body))
    # A loop that stores vectors is a transform of Winograd's, where there are register tiles.
    assert max(counts[False] or counts[True]) >= expected, counts


NARROW = Machine(vector_bytes=32, vector_registers=16)


@pytest.mark.parametrize(("filters", "narrow", "wide"), [(8, 1, 1), (24, 2, 2), (48, 2, 3), (64, 2, 4), (80, 2, 3)])
def test_more_registers_take_wider_blocks_of_filters(filters, narrow, wide):
    assert block_vectors(filters, NARROW, "float32") == narrow
    assert block_vectors(filters, WIDE, "float32") == wide
    assert block_vectors(filters, WIDE, "float32", enough=4) <= 2
    assert all(fits(rows, wide, WIDE) for rows in row_counts(wide, WIDE))


@pytest.mark.full(like="targets/cpu/test_registers.py::test_register_tiles_stay_in_registers")
def test_registers_of_arm_hold_the_broadcasts_too():
    arm = Machine(vector_bytes=16, vector_registers=32)
    assert [max(row_counts(vectors, machine)) for vectors, machine in ((2, WIDE), (2, arm), (1, NARROW))] == [
        14,
        13,
        14,
    ]


@pytest.mark.full(like="targets/cpu/test_registers.py::test_register_tiles_stay_in_registers")
def test_few_values_take_the_narrowest_vectors_that_hold_them_from_32_bytes_up():
    assert [WIDE.lanes("float32", extent) for extent in (1, 8, 9, 64)] == [8, 8, 16, 16]
    assert [WIDE.lanes("float64", extent) for extent in (4, 5)] == [4, 8]
    assert [NARROW.lanes("float32", extent) for extent in (1, 64)] == [8, 8]
    assert (WIDE.lanes("float32"), NARROW.lanes("float64")) == (16, 4)
