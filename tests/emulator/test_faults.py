"""Planted faults: each check finds its own, names where, and stays silent on the kernel done right."""

import numpy as np
import pytest
from emulator.ptx import kernel, launch

from gncodegen.emulator import DeviceMemory, EmulationFault, Executable, run
from gncodegen.errors import GncodegenError

WORDS = np.arange(64, dtype=np.uint32)
TILE = ".shared .align 16 .b8 tile[256];"
AT = "mul.wide.u32 %rd1, %i, 4;\nadd.s64 %rd2, %rd1, %x0;\nadd.s64 %rd3, %rd1, %x1;\n"
REVERSE = """.loc 1 10 0
    mov.u32 %r1, tile;
    mad.lo.u32 %r2, %t, 4, %r1;
    sub.u32 %r3, 63, %t;
    mad.lo.u32 %r3, %r3, 4, %r1;
    ld.global.u32 %r4, [%rd2];
    .loc 1 11 0
    st.shared.u32 [%r2], %r4;
    .loc 1 12 0
    BARRIER
    .loc 1 13 0
    ld.shared.u32 %r5, [%r3];
    st.global.u32 [%rd3], %r5;"""


def reverse(barrier="bar.sync 0;", **options):
    body = AT + REVERSE.replace("BARRIER", barrier)
    return launch(body, WORDS, (64, np.uint32), block=64, variables=TILE, **options)[1]


def found(match, *arguments, **options):
    with pytest.raises(EmulationFault, match=match) as raised:
        launch(*arguments, **options)
    return raised.value


def test_right():
    np.testing.assert_array_equal(reverse(), WORDS[::-1])
    np.testing.assert_array_equal(reverse(checks=False), WORDS[::-1])


def test_missing_barrier():
    with pytest.raises(EmulationFault, match=r"race: shared byte .* with no barrier between") as raised:
        reverse("")
    fault = raised.value
    assert isinstance(fault, GncodegenError)
    assert (fault.kernel, fault.line, fault.block, fault.source) == ("probe", 13, 0, "probe.py")
    assert fault.instruction == "ld.shared.u32 %r5, [%r3]"
    assert "line 11, `st.shared.u32 [%r2], %r4`" in str(fault)


def test_a_warp_barrier_orders_its_warp_only():
    with pytest.raises(EmulationFault, match="race"):
        reverse("bar.warp.sync -1;")
    body = AT + REVERSE.replace("63", "31").replace("BARRIER", "bar.warp.sync -1;")
    np.testing.assert_array_equal(launch(body, WORDS[:32], (32, np.uint32), variables=TILE)[1], WORDS[:32][::-1])
    found("race", body.replace("bar.warp.sync -1;", ""), WORDS[:32], (32, np.uint32), variables=TILE)


def test_missing_second_barrier():
    again = """LOOP:
    st.shared.u32 [%r2], %r4;
    bar.sync 0;
    ld.shared.u32 %r5, [%r3];
    add.u32 %r4, %r4, %r5;
    BARRIER
    add.u32 %r6, %r6, 1;
    setp.lt.u32 %p1, %r6, 3;
    @%p1 bra LOOP;
    st.global.u32 [%rd3], %r4;"""
    body = AT + REVERSE[: REVERSE.index("st.shared")] + "mov.u32 %r6, 0;\n" + again
    (_, result) = launch(body.replace("BARRIER", "bar.sync 0;"), WORDS, (64, np.uint32), block=64, variables=TILE)
    np.testing.assert_array_equal(result, np.full(64, 63 * 4))
    found("race", body.replace("BARRIER", ""), WORDS, (64, np.uint32), block=64, variables=TILE)


def test_two_writers_race_even_with_the_same_value():
    body = "mov.u32 %r1, tile;\nst.shared.u32 [%r1], 7;"
    found("race: shared byte 0 is written .* and written", body, block=64, variables=TILE)
    body = "mov.u32 %r1, tile;\nsetp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [%r1], 7;\nbar.sync 0;"
    body += "\nld.shared.u32 %r2, [%r1];"
    launch(body, block=64, variables=TILE)


def test_shared_atomics_do_not_race():
    body = """mov.u32 %r1, tile;
    setp.eq.u32 %p1, %t, 0;
    @%p1 st.shared.u32 [%r1], 0;
    bar.sync 0;
    atom.shared.add.u32 %r2, [%r1], 1;
    bar.sync 0;
    ld.shared.u32 %r3, [%r1];
    mul.wide.u32 %rd1, %i, 4;
    add.s64 %rd1, %rd1, %x0;
    st.global.u32 [%rd1], %r3;"""
    (result,) = launch(body, (128, np.uint32), grid=2, block=64, variables=TILE)
    assert (result == 64).all(), "each block has its own"
    late = body.rindex("bar.sync 0;")
    found("race", body[:late] + body[late + len("bar.sync 0;") :], (64, np.uint32), block=64, variables=TILE)


@pytest.mark.parametrize("offset", [4, -4, 256, 1 << 20])
def test_global_index_off(offset):
    body = AT + f"ld.global.u32 %r1, [%rd2+{offset}];"
    found("bytes at .* are out of bounds", body, WORDS, WORDS, block=64)
    assert launch(body, np.append(WORDS, 0), WORDS, block=63) if offset == 4 else True


def test_the_allocation_is_named():
    fault = found(
        "4 bytes at byte 256 of array 0 .256 bytes.", AT + "ld.global.u32 %r1, [%rd2+4];", WORDS, WORDS, block=64
    )
    assert fault.thread == 63
    assert "thread 63" in str(fault)


def test_null_and_truncated_pointers():
    found("in no allocation", "mov.u64 %rd1, 0;\nld.global.u32 %r1, [%rd1];", WORDS)
    found("in no allocation", "cvt.u32.u64 %r1, %x0;\ncvt.u64.u32 %rd1, %r1;\nst.global.u32 [%rd1], %t;", WORDS)
    found("in no allocation", "ld.global.u32 %r1, [%rd1];")


def test_freed_memory():
    memory = DeviceMemory()
    address = memory.allocate(128, "gone")
    memory.write(address, WORDS[:32])
    module = Executable(kernel("ld.param.u64 %rd1, [p];\nld.global.u32 %r1, [%rd1];", [("u64", "p")]))
    run(module, grid=1, block=1, arguments=[address], memory=memory)
    memory.free(address)
    with pytest.raises(EmulationFault, match="out of bounds"):
        run(module, grid=1, block=1, arguments=[address], memory=memory)


def test_shared_and_local_bounds():
    shared = "mov.u32 %r1, tile;\nmad.lo.u32 %r1, %t, 8, %r1;\nst.shared.u32 [%r1], %t;"
    launch(shared, variables=TILE)
    assert found("byte 256 of the block's 256 bytes of shared", shared, block=40, variables=TILE).thread == 32
    local = ".local .align 4 .b8 depot[16];\nmov.u64 %rd1, depot;\nst.local.u32 [%rd1+16], %t;"
    found("byte 16 of the thread's 16 bytes of local", local)


def test_misaligned():
    found("16 bytes at .* are misaligned", AT + "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd2];", WORDS, WORDS)
    found("misaligned", "mov.u32 %r1, tile;\nst.shared.u32 [%r1+2], 0;", variables=TILE)


def test_uninitialised():
    fault = found("global memory is read before it is written: byte 0 of array 0", AT + "ld.global.u32 %r1, [%rd2];",
                  (64, np.uint32), WORDS)  # fmt: skip
    assert fault.thread == 0
    shared = "mov.u32 %r1, tile;\nld.shared.u32 %r2, [%r1+12];"
    found("shared memory is read before it is written: shared byte 12", shared, variables=TILE)
    launch(shared, variables=TILE, checks=False)


def test_forgotten_bytes_are_uninitialised():
    memory = DeviceMemory()
    address = memory.allocate(128, "arena")
    memory.write(address, WORDS[:32])
    module = Executable(kernel("ld.param.u64 %rd1, [p];\nld.global.u32 %r1, [%rd1+64];", [("u64", "p")]))
    run(module, grid=1, block=1, arguments=[address], memory=memory)
    memory.forget(address + 64, 64)
    with pytest.raises(EmulationFault, match="byte 64 of arena"):
        run(module, grid=1, block=1, arguments=[address], memory=memory)
    memory.initialise(address + 64, 64)
    run(module, grid=1, block=1, arguments=[address], memory=memory)


DIVERGENT = "setp.lt.u32 %p1, %t, 16;\n@%p1 bra SOME;\n{}\nbra.uni DONE;\nSOME:\n{}\nDONE:"


def test_divergent_barriers():
    found("divergent barrier: 16 of 32 threads", DIVERGENT.format("", "bar.sync 0;") + "\nmov.u32 %r1, 0;")
    found("divergent barrier", DIVERGENT.format("bar.sync 0;", "bar.sync 0;"))
    left = "setp.lt.u32 %p1, %t, 16;\n@%p1 ret;\n"
    found("divergent barrier", f"{left}bar.sync 0;")
    launch(f"{left}bar.sync 0;\nbar.warp.sync -1;", leaving=True)
    found("divergent barrier", DIVERGENT.format("bar.sync 0;", "bar.sync 0;"), leaving=True)


def test_deadlock():
    found("barrier deadlock: 16 threads wait at barrier 1", DIVERGENT.format("bar.sync 1;", "bar.sync 2;"))
    found("deadlock", "setp.lt.u32 %p1, %t, 16;\n@%p1 bar.sync 1, 32;")


def test_inactive_lanes():
    shuffle = "shfl.sync.bfly.b32 %r1, %t, 1, 31, -1;"
    found(
        r"divergent shuffle: the mask names lanes \[1, 3,",
        f"and.b32 %r2, %t, 1;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 {shuffle}",
    )
    found("reads lane 1, which does not", shuffle.replace("-1", "1"), block=1)
    found("does not name", shuffle.replace("-1", "0xffff"))
    found("divergent vote", "setp.lt.u32 %p1, %t, 4;\n@%p1 vote.sync.any.pred %p2, %p1, -1;")
    found("divergent bar.warp.sync", "setp.lt.u32 %p1, %t, 4;\n@%p1 bar.warp.sync -1;")


LOCK = """AGAIN:
    atom.global.cas.b32 %r1, [%x0], 0, 1;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra AGAIN;
    ld.volatile.global.u32 %r2, [%x0+4];
    add.u32 %r2, %r2, 1;
    st.volatile.global.u32 [%x0+4], %r2;
    atom.global.exch.b32 %r1, [%x0], 0;"""


def test_a_lock():
    """Who holds it goes on, whatever the others' loop does."""
    (words,) = launch(LOCK, np.zeros(2, np.uint32), grid=3, budget=100_000)
    assert list(words) == [0, 96]
    found("no progress: threads spin on a flag that nobody will set", LOCK.replace("exch.b32", "or.b32"), WORDS[:2] * 0)


def test_no_progress():
    found("no progress", "LOOP:\nadd.u32 %r1, %r1, 1;\nbra LOOP;", budget=1000)
    found("the kernel trapped", "trap;")


def test_unknown_instruction():
    with pytest.raises(EmulationFault, match=r"does not know this instruction.*wgmma") as raised:
        Executable(kernel(".loc 1 5 0\nwgmma.fence.sync.aligned;"))
    assert raised.value.line == 5
    with pytest.raises(EmulationFault, match="not known"):
        Executable(kernel("mov.u32 %r1, %nothing;"))
    with pytest.raises(EmulationFault, match="cannot be launched"):
        run(Executable(kernel("")), grid=1, block=2000, arguments=[], memory=DeviceMemory())


def test_what_a_wide_load_brings_and_nobody_reads_need_not_be_written():
    head = "mov.u32 %r1, tile;\n"
    wide = "ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1];\n"
    body = head + "st.shared.v2.u32 [%r1], {7, 8};\n" + wide + "add.u32 %r6, %r2, %r3;\n"
    launch(body, variables=TILE, block=1)
    found("read before it is written: shared byte 8", body + "add.u32 %r6, %r6, %r4;", variables=TILE, block=1)
    found("out of", head + "add.u32 %r1, %r1, 256;\n" + wide + "add.u32 %r6, %r2, %r3;", variables=TILE, block=1)
