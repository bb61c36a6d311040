"""Exchange within a warp, and branches that part and meet."""

import numpy as np
import pytest
from emulator.ptx import compute, launch

from gncodegen.errors import EmulationFault

VALUES = np.arange(64, dtype=np.uint32) * 10
LANE = np.arange(32)
FULL = "-1"


def same(found, wanted):
    np.testing.assert_array_equal(found, wanted, strict=True)


def shuffled(source):
    return np.concatenate([VALUES[:32][source], VALUES[32:][source]])


@pytest.mark.parametrize(
    ("instruction", "source"),
    [("bfly.b32 %d0, %a0, 5, 31", LANE ^ 5), ("down.b32 %d0, %a0, 3, 31", np.where(LANE + 3 < 32, LANE + 3, LANE)),
     ("up.b32 %d0, %a0, 3, 0", np.where(LANE >= 3, LANE - 3, LANE)), ("idx.b32 %d0, %a0, 7, 31", LANE * 0 + 7),
     ("down.b32 %d0, %a0, 2, 0x1807", np.where(LANE % 8 < 6, LANE + 2, LANE)),
     ("idx.b32 %d0, %a0, 1, 0x181f", LANE // 8 * 8 + 1)],
)  # fmt: skip
def test_shuffle(instruction, source):
    same(compute(f"shfl.sync.{instruction}, {FULL};", [VALUES], "u4", block=64), shuffled(source))


def test_shuffle_predicate():
    body = "shfl.sync.down.b32 %d0|%p1, %a0, 16, 31, -1;\nselp.u32 %d1, 1, 0, %p1;"
    same(compute(body, [VALUES], "u4", "u4", block=32)[1], np.tile(LANE < 16, 2).astype(np.uint32))


def test_shuffle_in_half_a_warp():
    body = """mov.u32 %d0, 1;
    setp.lt.u32 %p1, %t, 16;
    @%p1 shfl.sync.bfly.b32 %d0, %a0, 1, 31, 0xffff;"""
    wanted = np.where(LANE < 16, VALUES[:32][LANE ^ 1], 1).astype(np.uint32)
    same(compute(body, [VALUES[:32]], "u4"), wanted)


def test_votes():
    flags = np.zeros(32, np.uint32)
    flags[[1, 4]] = 1
    body = """setp.ne.u32 %p1, %a0, 0;
    vote.sync.ballot.b32 %d0, %p1, -1;
    vote.sync.any.pred %p2, %p1, -1;
    vote.sync.all.pred %p3, !%p1, -1;
    selp.u32 %d1, 1, 0, %p2;
    selp.u32 %d2, 1, 0, %p3;
    activemask.b32 %d3;"""
    ballot, some, none, active = compute(body, [flags], "u4", "u4", "u4", "u4")
    same(ballot, np.full(32, 0b10010, np.uint32))
    same(some, np.ones(32, np.uint32))
    same(none, np.zeros(32, np.uint32))
    same(active, np.full(32, 0xFFFFFFFF, np.uint32))


def test_reductions():
    values = np.random.default_rng(0).integers(0, 1000, 32).astype(np.uint32)
    found = compute("redux.sync.add.u32 %d0, %a0, -1;\nredux.sync.max.s32 %d1, %a0, -1;", [values], "u4", "u4")
    same(found[0], np.full(32, values.sum(), np.uint32))
    same(found[1], np.full(32, values.max(), np.uint32))


def test_match():
    values = (LANE % 3).astype(np.uint32)
    wanted = [sum(1 << j for j in range(32) if j % 3 == i % 3) for i in range(32)]
    same(compute("match.any.sync.b32 %d0, %a0, -1;", [values], "u4"), np.uint32(wanted))


def test_branches_meet_again():
    body = """setp.lt.u32 %p1, %t, 7;
    @%p1 bra LOW;
    mul.lo.u32 %d0, %a0, 3;
    bra.uni DONE;
    LOW:
    add.u32 %d0, %a0, 1;
    DONE:
    activemask.b32 %r1;
    popc.b32 %d1, %r1;"""
    found, together = compute(body, [VALUES[:32]], "u4", "u4")
    same(found, np.where(LANE < 7, VALUES[:32] + 1, VALUES[:32] * 3).astype(np.uint32))
    same(together, np.full(32, 32, np.uint32))


def test_loops_of_different_lengths():
    body = """mov.u32 %d0, 0;
    mov.u32 %r1, 0;
    LOOP:
    setp.ge.u32 %p1, %r1, %a0;
    @%p1 bra DONE;
    add.u32 %d0, %d0, %r1;
    add.u32 %r1, %r1, 1;
    bra.uni LOOP;
    DONE:"""
    counts = np.random.default_rng(0).integers(0, 40, 96).astype(np.uint32)
    same(compute(body, [counts], "u4", block=96), counts * (counts - 1) // 2)


def test_early_return_of_some():
    body = """setp.ge.u32 %p1, %i, 70;
    @%p1 ret;
    mul.wide.u32 %rd1, %i, 4;
    add.s64 %rd1, %rd1, %x0;
    st.global.u32 [%rd1], %i;"""
    (found,) = launch(body, np.full(96, 5, np.uint32), grid=3)
    same(found, np.where(np.arange(96) < 70, np.arange(96), 5).astype(np.uint32))


def test_special_registers():
    body = """mul.wide.u32 %rd1, %i, 4;
    add.s64 %rd1, %rd1, %x0;
    mov.u32 %r1, %nctaid.x;
    mov.u32 %r2, %laneid;
    mov.u32 %r3, %warpid;
    mad.lo.u32 %r1, %r1, 100, %r2;
    mad.lo.u32 %r1, %r3, 10000, %r1;
    mov.u32 %r2, %tid.y;
    add.u32 %r1, %r1, %r2;
    st.global.u32 [%rd1], %r1;"""
    (found,) = launch(body, (96, np.uint32), grid=2, block=48)
    thread = np.arange(96) % 48
    same(found, (200 + thread % 32 + thread // 32 * 10000).astype(np.uint32))


def test_a_branch_placed_behind_the_shuffle_comes_back_to_it():
    body = """setp.lt.u32 %p1, %t, 3;
    mov.u32 %d0, %a0;
    @%p1 bra COLD;
    MEET:
    shfl.sync.bfly.b32 %d0, %d0, 1, 31, -1;
    bra.uni END;
    COLD:
    add.u32 %d0, %d0, 5;
    bra.uni MEET;
    END:"""
    wanted = np.where(LANE < 3, VALUES[:32] + 5, VALUES[:32])[LANE ^ 1].astype(np.uint32)
    same(compute(body, [VALUES[:32]], "u4"), wanted)


def test_lanes_that_leave_before_a_shuffle_are_missed():
    body = """setp.lt.u32 %p1, %t, 3;
    mov.u32 %d0, %a0;
    @%p1 bra COLD;
    shfl.sync.bfly.b32 %d0, %d0, 1, 31, -1;
    bra.uni END;
    COLD:
    add.u32 %d0, %d0, 5;
    END:"""
    with pytest.raises(EmulationFault, match=r"divergent shuffle: the mask names lanes \[0, 1, 2\]"):
        compute(body, [VALUES[:32]], "u4")


def test_who_is_named_by_a_mask_need_not_wait_for_others():
    """Each side of a branch votes among itself; its lanes go on to where the whole warp meets."""
    body = """setp.lt.u32 %p1, %t, 3;
    @%p1 bra FEW;
    vote.sync.ballot.b32 %d0, %p1, 0xfffffff8;
    bra MEET;
    FEW:
    vote.sync.ballot.b32 %d0, %p1, 7;
    MEET:
    bar.warp.sync -1;"""
    same(compute(body, [VALUES[:32]], "u4"), np.where(LANE < 3, 7, 0).astype(np.uint32))


def test_a_branch_for_each_index_of_a_table():
    body = """and.b32 %r1, %t, 3;
    setp.lt.u32 %p1, %t, 30;
    TABLE: .branchtargets ZERO, ONE, ZERO, THREE;
    mov.u32 %d0, 9;
    @%p1 brx.idx %r1, TABLE;
    bra END;
    ZERO: mov.u32 %d0, 100;
    bra END;
    ONE: mov.u32 %d0, 101;
    bra END;
    THREE: mov.u32 %d0, 103;
    END:"""
    wanted = np.where(LANE < 30, np.array([100, 101, 100, 103])[LANE % 4], 9)
    same(compute(body, [VALUES[:32]], "u4"), wanted.astype(np.uint32))
