"""Order between blocks: races over a launch, flags, grid and cluster barriers."""

import numpy as np
import pytest
from emulator.ptx import launch

from gncodegen.emulator import EmulationFault

AT = "mul.wide.u32 %rd1, %i, 4;\nadd.s64 %rd2, %rd1, %x0;\n"
ZERO = np.zeros(64, np.uint32)


def found(match, *arguments, **options):
    with pytest.raises(EmulationFault, match=match) as raised:
        launch(*arguments, **options)
    return raised.value


def test_blocks_that_keep_apart():
    body = (
        AT + "ld.global.u32 %r1, [%rd2];\nadd.u32 %r1, %r1, %i;\nst.global.u32 [%rd2], %r1;\nld.global.u32 %r2, [%x1];"
    )
    result, _ = launch(body, ZERO, np.ones(1, np.uint32), grid=2)
    np.testing.assert_array_equal(result, np.arange(64))


@pytest.mark.parametrize(
    ("body", "what"),
    [("st.global.u32 [%rd2], %t;\nmul.wide.u32 %rd3, %t, 4;\nadd.s64 %rd3, %rd3, %x0;\nld.global.u32 %r2, [%rd3+128];",
      "is read here and written by block 1"),
     ("ld.global.u32 %r2, [%x0+128];\nst.global.u32 [%rd2], %t;", "is written here and read by several"),
     ("st.global.u32 [%x0], 7;", "is written here and written by block"),
     ("red.global.add.u32 [%x0], 1;\nsetp.eq.u32 %p1, %b, 1;\n@%p1 ld.global.u32 %r2, [%x0];", "written atomically")],
)  # fmt: skip
def test_races(body, what):
    options = {"grid": 2}
    fault = found(what, AT + body, ZERO, **options)
    assert "array 0" in str(fault)
    launch(AT + body, ZERO, **options, checks=False)


def test_a_race_between_batches():
    # One block of each batch writes the same word; batches run one after the other.
    body = "and.b32 %r1, %b, 511;\nor.b32 %r1, %r1, %t;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 st.global.u32 [%x0], %b;"
    found("race between blocks", body, ZERO, grid=1024, block=64)


def test_atomics_of_all_blocks():
    (total,) = launch("red.global.add.u32 [%x0], 1;", np.zeros(1, np.uint32), grid=4)
    assert total[0] == 128


# Every block writes its word, meets the others at a counter, and reads its neighbour's word.
GRID = """setp.eq.u32 %p1, %t, 0;
    mul.wide.u32 %rd1, %b, 4;
    add.s64 %rd2, %rd1, %x0;
    @%p1 st.global.u32 [%rd2], %b;
    setp.eq.u32 %p2, %t, 5;
    @%p2 st.global.u32 [%rd2+64], %b;
    ENTER
    mov.u32 %r9, %nctaid.x;
    @!%p1 bra MET;
    ARRIVE
    SPIN:
    WAIT
    setp.lt.u32 %p3, %r2, %r9;
    @%p3 bra SPIN;
    AFTER
    MET:
    LEAVE
    add.u32 %r3, %b, 1;
    rem.u32 %r3, %r3, %r9;
    mul.wide.u32 %rd3, %r3, 4;
    add.s64 %rd3, %rd3, %x0;
    ld.global.u32 %r4, [%rd3];
    ld.global.u32 %r5, [%rd3+64];
    add.u32 %r4, %r4, %r5;
    mad.lo.u32 %r6, %b, %n, %t;
    mul.wide.u32 %rd4, %r6, 4;
    add.s64 %rd4, %rd4, %x2;
    st.global.u32 [%rd4], %r4;"""
RELEASE = {
    "ENTER": "bar.sync 0;",
    "ARRIVE": "atom.add.release.gpu.global.u32 %r1, [%x1], 1;",
    "WAIT": "ld.acquire.gpu.global.u32 %r2, [%x1];",
    "AFTER": "",
    "LEAVE": "bar.sync 0;",
}
FENCED = RELEASE | {
    "ARRIVE": "membar.gl;\natom.global.add.u32 %r1, [%x1], 1;",
    "WAIT": "ld.volatile.global.u32 %r2, [%x1];",
    "AFTER": "membar.gl;",
}


def grid(parts, **options):
    body = GRID
    for name, text in parts.items():
        body = body.replace(name, text)
    blocks = 8
    arrays = np.zeros(32, np.uint32), np.zeros(1, np.uint32), (blocks * 64, np.uint32)
    return launch(body, *arrays, grid=blocks, block=64, cooperative=True, **options)[2].reshape(blocks, 64)


@pytest.mark.parametrize("parts", [RELEASE, FENCED])
def test_grid_barrier(parts):
    np.testing.assert_array_equal(grid(parts), np.repeat(2 * ((np.arange(8) + 1) % 8), 64).reshape(8, 64))


@pytest.mark.parametrize(
    ("parts", "change"),
    [(RELEASE, {"ENTER": ""}), (RELEASE, {"LEAVE": ""}), (RELEASE, {"WAIT": "ld.relaxed.gpu.global.u32 %r2, [%x1];"}),
     (RELEASE, {"ARRIVE": "atom.add.relaxed.gpu.global.u32 %r1, [%x1], 1;"}), (FENCED, {"AFTER": ""}),
     (FENCED, {"ARRIVE": "atom.global.add.u32 %r1, [%x1], 1;"})],
)  # fmt: skip
def test_a_grid_barrier_with_a_part_missing(parts, change):
    with pytest.raises(EmulationFault, match="race between blocks"):
        grid(parts | change)


def test_a_flag_that_nobody_sets():
    with pytest.raises(EmulationFault, match="no progress: threads spin on a flag"):
        grid(RELEASE | {"ARRIVE": ""})


def test_a_chain_of_flags():
    # Block b waits for block b − 1's sum, adds its own number and passes it on: st.release, ld.acquire.
    body = """setp.ne.u32 %p1, %t, 0;
    @%p1 ret;
    mul.wide.u32 %rd1, %b, 4;
    add.s64 %rd2, %rd1, %x0;
    add.s64 %rd3, %rd1, %x1;
    mov.u32 %r2, 0;
    setp.eq.u32 %p2, %b, 0;
    @%p2 bra FIRST;
    SPIN:
    ld.acquire.gpu.global.u32 %r1, [%rd3+-4];
    setp.eq.u32 %p3, %r1, 0;
    @%p3 bra SPIN;
    ld.global.u32 %r2, [%rd2+-4];
    FIRST:
    add.u32 %r2, %r2, %b;
    st.global.u32 [%rd2], %r2;
    RELEASE"""
    release = "st.release.gpu.global.u32 [%rd3], 1;"
    arrays = (16, np.uint32), np.zeros(16, np.uint32)
    sums, _ = launch(body.replace("RELEASE", release), *arrays, grid=16, cooperative=True)
    np.testing.assert_array_equal(sums, np.cumsum(np.arange(16)))
    weak = release.replace("release", "relaxed")
    found("race between blocks", body.replace("RELEASE", weak), *arrays, grid=16, cooperative=True)


CLUSTER = """mov.u32 %r1, tile;
    mad.lo.u32 %r2, %t, 4, %r1;
    st.shared.u32 [%r2], %i;
    FIRST
    mov.u32 %r3, %cluster_ctarank;
    xor.b32 %r3, %r3, 1;
    mapa.shared::cluster.u32 %r4, %r2, %r3;
    ld.shared::cluster.u32 %r5, [%r4];
    mul.wide.u32 %rd1, %i, 4;
    add.s64 %rd1, %rd1, %x0;
    st.global.u32 [%rd1], %r5;
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;
    add.u32 %r6, %i, 64;
    rem.u32 %r6, %r6, 128;
    xor.b32 %r6, %i, 32;
    mul.wide.u32 %rd2, %r6, 4;
    add.s64 %rd2, %rd2, %x0;
    ld.global.u32 %r7, [%rd2];"""


def test_cluster():
    both = "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;"
    options = {"grid": 4, "cluster": 2, "variables": ".shared .align 4 .b8 tile[128];"}
    (result,) = launch(CLUSTER.replace("FIRST", both), (128, np.uint32), **options)
    np.testing.assert_array_equal(result, np.arange(128) ^ 32)
    (last, end) = CLUSTER.rindex("barrier.cluster.arrive"), CLUSTER.index("add.u32 %r6")
    missing = CLUSTER[:last] + CLUSTER[end:]
    found("race between blocks", missing.replace("FIRST", both), (128, np.uint32), **options)
    waits = CLUSTER.replace("FIRST", "setp.lt.u32 %p1, %b, 1;\n@%p1 barrier.cluster.arrive;\nbarrier.cluster.wait;")
    found("deadlock", waits, (128, np.uint32), **options)


# As Numba calls the barrier of a grid: every block writes its word, and reads its neighbour's behind the barrier.
MET = """mul.wide.u32 %rd1, %i, 4;
    add.s64 %rd1, %rd1, %x0;
    st.global.u32 [%rd1], %i;
    {
    .param .b32 p0;
    .param .b64 r0;
    st.param.b32 [p0+0], 1;
    call.uni (r0), cudaCGGetIntrinsicHandle, (p0);
    ld.param.b64 %rd2, [r0+0];
    }
    {
    .param .b64 p0;
    .param .b32 p1;
    .param .b32 r0;
    st.param.b64 [p0+0], %rd2;
    st.param.b32 [p1+0], 0;
    call.uni (r0), cudaCGSynchronize, (p0, p1);
    }
    xor.b32 %r1, %i, 64;
    mul.wide.u32 %rd3, %r1, 4;
    add.s64 %rd3, %rd3, %x0;
    ld.global.u32 %r2, [%rd3];
    add.s64 %rd1, %rd1, 512;
    st.global.u32 [%rd1], %r2;"""


def test_the_barrier_of_the_device_runtime():
    (words,) = launch(MET, ((256,), np.uint32), grid=4, block=32, cooperative=True)
    np.testing.assert_array_equal(words[128:], np.arange(128) ^ 64)
    found("all blocks wait for each other; allowed: a cooperative launch", MET, ((256,), np.uint32), grid=4)
    apart = MET.replace("call.uni (r0), cudaCGSynchronize, (p0, p1);", "bar.sync 0;")
    found("race", apart, ((256,), np.uint32), grid=4, cooperative=True)
