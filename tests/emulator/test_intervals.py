"""Races in global memory between the threads of one block, planted; the same kernels done right pass."""

import numpy as np
import pytest
from emulator.ptx import launch

from gncodegen.emulator import EmulationFault

WORDS = np.arange(128, dtype=np.uint32)
AT = "mul.wide.u32 %rd1, %i, 4;\nadd.s64 %rd2, %rd1, %x0;\nadd.s64 %rd3, %rd1, %x1;\n"
OPPOSITE = """xor.b32 %r1, %i, {mask};
    mul.wide.u32 %rd4, %r1, 4;
    add.s64 %rd4, %rd4, %x0;
    """
CLUSTER = "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;"
ALONE = "setp.eq.u32 %p1, %t, 0;\n@%p1 "


def found(match, *arguments, **options):
    with pytest.raises(EmulationFault, match=match) as raised:
        launch(*arguments, **options)
    return raised.value


def opposite(between, mask=63, load="ld.global.u32 %r2, [%rd4];", **options):
    """Every thread writes its word, then stores the word of the thread that differs in the mask's bits."""
    body = AT + OPPOSITE.format(mask=mask) + ".loc 1 20 0\nst.global.u32 [%rd2], %i;\n"
    body += f"{between}\n.loc 1 30 0\n{load}\nst.global.u32 [%rd3], %r2;"
    return launch(body, *[(128, np.uint32)] * 2, **{"block": 64, "grid": 2} | options)[1]


def test_write_then_read():
    np.testing.assert_array_equal(opposite("bar.sync 0;"), WORDS ^ 63)
    with pytest.raises(EmulationFault) as raised:
        opposite("")
    fault = raised.value
    assert (fault.line, fault.block, fault.instruction) == (30, 0, "ld.global.u32 %r2, [%rd4]")
    assert "race: byte 0 of array 0 (512 bytes) is read by this thread and written by thread 0 (line 20," in str(fault)
    assert "with no barrier between" in str(fault)
    np.testing.assert_array_equal(opposite("", checks=False), WORDS ^ 63)


@pytest.mark.parametrize("load", ["ld.global.nc.u32 %r2, [%rd4];", "ld.u32 %r2, [%rd4];"])
def test_every_kind_of_load(load):
    opposite("bar.sync 0;", load=load)
    with pytest.raises(EmulationFault, match="race: byte 0 of array 0"):
        opposite("", load=load)


def test_a_thread_may_read_back_what_it_wrote():
    np.testing.assert_array_equal(opposite("", mask=0), WORDS)


@pytest.mark.parametrize("grid", [1, 2])
def test_a_warp_orders_its_own_threads(grid):
    sizes = {"grid": grid, "block": 128 // grid}
    np.testing.assert_array_equal(opposite("bar.warp.sync -1;", mask=31, **sizes), WORDS ^ 31)
    np.testing.assert_array_equal(opposite("shfl.sync.bfly.b32 %r9, %t, 1, 31, -1;", mask=31, **sizes), WORDS ^ 31)
    for between, mask in (("", 31), ("bar.warp.sync -1;", 32), ("membar.gl;", 32)):
        with pytest.raises(EmulationFault, match=r"race: byte .* of array 0"):
            opposite(between, mask=mask, **sizes)


def test_a_cluster_barrier_ends_the_interval():
    np.testing.assert_array_equal(opposite(CLUSTER, cluster=2), WORDS ^ 63)
    with pytest.raises(EmulationFault, match="with no barrier between"):
        opposite("", cluster=2)


def test_read_then_write():
    body = AT + OPPOSITE.format(mask=1) + "ld.global.u32 %r2, [%rd4];\nBARRIER\nst.global.u32 [%rd2], %r2;"
    result, _ = launch(body.replace("BARRIER", "bar.sync 0;"), WORDS, WORDS, block=128)
    np.testing.assert_array_equal(result, WORDS ^ 1)
    assert "is written by this thread and read by thread" in str(
        found("race", body.replace("BARRIER", ""), WORDS, WORDS, block=128)
    )


def test_two_threads_store_to_one_address():
    fault = found("race: byte 0 of array 0 .* is written .* and written by", "st.global.u32 [%x0], 7;", WORDS, block=64)
    assert fault.thread >= 0
    same = "and.b32 %r1, %t, 62;\nmul.wide.u32 %rd1, %r1, 4;\nadd.s64 %rd1, %rd1, %x0;\nst.global.u32 [%rd1], 7;"
    found("is written .* and written by", same, WORDS, block=64)
    launch(ALONE + "st.global.u32 [%x0], 7;", WORDS, block=64)
    # One after the other, with a barrier between, two threads may.
    last = "setp.eq.u32 %p2, %t, 40;\n@%p2 st.global.u32 [%x0], 8;"
    (result,) = launch(f"{ALONE}st.global.u32 [%x0], 7;\nbar.sync 0;\n{last}", WORDS, block=64)
    assert result[0] == 8
    found("is written .* and written by thread 0", f"{ALONE}st.global.u32 [%x0], 7;\n{last}", WORDS, block=64)


def test_bytes_are_told_apart():
    """Threads write neighbouring bytes; a word across them is another matter."""
    body = "cvt.u64.u32 %rd1, %t;\nadd.s64 %rd2, %rd1, %x0;\ncvt.u16.u32 %h1, %t;\nst.global.u8 [%rd2], %h1;\n"
    result = launch(body, (64, np.uint8), block=64)[0]
    np.testing.assert_array_equal(result, np.arange(64))
    wide = "and.b64 %rd3, %rd1, 48;\nadd.s64 %rd3, %rd3, %x0;\nld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd3];"
    launch(f"{body}bar.sync 0;\n{wide}", (64, np.uint8), block=64)
    found("race: byte 0 of array 0 .* is read by this thread and written by thread 0 ", body + wide, (64, np.uint8),
          block=64)  # fmt: skip


def test_a_barrier_that_some_blocks_pass_later():
    """Blocks part before their barrier, so that their intervals end one after the other."""
    between = """setp.eq.u32 %p3, %b, 0;
    @%p3 bra FIRST;
    add.u32 %r9, %r9, 1;
    bar.sync 0;
    bra.uni JOINED;
    FIRST:
    BARRIER
    JOINED:"""
    np.testing.assert_array_equal(opposite(between.replace("BARRIER", "bar.sync 0;")), WORDS ^ 63)
    with pytest.raises(EmulationFault, match="race: byte 0 of array 0") as raised:
        opposite(between.replace("BARRIER", ""))
    assert raised.value.block == 0


def test_atomics():
    count = "red.global.add.u32 [%x0], 1;"
    (result,) = launch(f"{count}\nbar.sync 0;\nld.global.u32 %r1, [%x0];", np.zeros(1, np.uint32), block=64)
    assert result[0] == 64
    found("race: byte 0", f"{count}\nld.global.u32 %r1, [%x0];", np.zeros(1, np.uint32), block=64)


def test_under_memory_pressure(monkeypatch):
    monkeypatch.setattr("gncodegen.emulator.checks.intervals._MOST_BYTES", 1 << 10)
    np.testing.assert_array_equal(opposite("bar.sync 0;", grid=1, block=128, mask=127), WORDS ^ 127)
    with pytest.raises(EmulationFault, match="race"):
        opposite("", grid=1, block=128, mask=127)
