"""memory: no two live buffers overlap, nothing is overwritten that is still read, and the peak is small."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import numpy_gn
from support.networks import NETWORKS

from gncodegen.errors import CompileError
from gncodegen.kernels import catalog
from gncodegen.kernels.program import Program
from gncodegen.passes.lower import lower
from gncodegen.passes.pipeline import run_pipeline
from gncodegen.passes.placement import ALIGNMENT, Lifetime, place


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Lifetime]:
    count = draw(st.integers(0, 14))
    spans = [sorted(draw(st.tuples(st.integers(0, 12), st.integers(0, 12)))) for _ in range(count)]
    return [
        Lifetime(
            bytes=draw(st.integers(0, 600)), first=first, last=last,
            takes_over=tuple(draw(st.lists(st.sampled_from(range(count)), max_size=3))),
            until=min(last, first + draw(st.integers(0, 2))),
        )
        for first, last in spans
    ]  # fmt: skip


@settings(max_examples=150)
@given(lives=lifetimes())
@example([Lifetime(1, 0, 6, (), 0), Lifetime(0, 5, 6, (0,), 6), Lifetime(1, 6, 6, (1,), 6)])
def test_live_buffers_never_overlap(lives: list[Lifetime]) -> None:
    found = place(lives)
    for i, a in enumerate(lives):
        assert found.offsets[i] % ALIGNMENT == 0
        assert found.offsets[i] + a.bytes <= found.peak or a.bytes == 0
        for j, b in enumerate(lives[:i]):
            apart = found.offsets[i] + a.bytes <= found.offsets[j] or found.offsets[j] + b.bytes <= found.offsets[i]
            disjoint = a.last < b.first or b.last < a.first
            taken = found.in_place[i] == j or found.in_place[j] == i
            assert apart or disjoint or taken or 0 in (a.bytes, b.bytes)
    for i, j in enumerate(found.in_place):
        if j is not None:
            new, old = lives[i], lives[j]
            assert j in new.takes_over
            assert old.first < new.first
            assert old.last <= new.until, "the old value is read after the step that overwrites it"
            assert found.offsets[i] == found.offsets[j]
            assert found.in_place.count(j) == 1, "two buffers cannot both take over one"


@settings(max_examples=60)
@given(lives=lifetimes())
def test_peak_is_between_what_must_live_and_everything(lives: list[Lifetime]) -> None:
    alone = [Lifetime(life.bytes, life.first, life.last) for life in lives]
    peak = place(alone).peak
    sizes = [-(-life.bytes // ALIGNMENT) * ALIGNMENT for life in alone]
    live = [sum(s for s, life in zip(sizes, alone, strict=True) if life.first <= t <= life.last) for t in range(13)]
    assert max(live) <= peak <= sum(sizes)


def test_a_chain_of_takeovers_is_one_block() -> None:
    lives = [
        Lifetime(256, 0, 1),
        Lifetime(256, 1, 2, (0,), 1),
        Lifetime(128, 2, 3, (1,), 2),
        Lifetime(256, 3, 4, (2,), 3),
    ]
    found = place(lives)
    assert found.offsets == (0, 0, 0, 0)
    assert found.in_place == (None, 0, 1, 2)
    assert found.peak == 256


def test_a_smaller_block_is_not_taken_over() -> None:
    assert place([Lifetime(64, 0, 1), Lifetime(256, 1, 2, (0,), 1)]).in_place == (None, None)


def check(program: Program) -> None:
    """Arena buffers that live at once are apart, unless one begins in the step where the other ends."""
    lives = program.lifetimes()
    for i, (first, last) in lives.items():
        a = program.buffers[i]
        assert a.offset + a.bytes <= program.arena_bytes
        for j, (begin, end) in lives.items():
            b = program.buffers[j]
            if (
                i == j
                or last < begin
                or end < first
                or a.offset + a.bytes <= b.offset
                or b.offset + b.bytes <= a.offset
            ):
                continue
            (early, stop), (late, start) = (
                ((i, last), (j, begin)) if (first, i) < (begin, j) else ((j, end), (i, first))
            )
            assert program.calls[stop].step == program.calls[start].step, (early, late)
            assert a.offset == b.offset


@pytest.mark.parametrize("function", ["predict", "gradients", "train_step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_programs_of_networks(monkeypatch: pytest.MonkeyPatch, name: str, function: str) -> None:
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)
    program = lower(NETWORKS[name](), function, batch_size=5)[1]
    check(program)
    total = sum(buffer.bytes for buffer in program.buffers if buffer.kind == "arena")
    assert program.arena_bytes < 0.8 * total
    assert Program.from_dict(program.to_dict()) == program


HEAD = """builtin.module {
  kern.kernel @k {
    op = "o", template = "t", target = "cpu", family = "cpu", dtype = "float32", layout = "l", shape = {}, tiles = {}}
  func.func @f(%x: memref<64xf32> {gn.kind = "input", gn.name = "x"}) {"""
THREE = "(memref<64xf32>, memref<64xf32>, memref<64xf32>) -> ()"
KINDS = "(memref<64xf32>, memref<64xf32>) -> ()"


def placed(body: str) -> str:
    return run_pipeline(f"{HEAD}\n{body}\nfunc.return }} }}", "memory")


def test_reading_what_nothing_wrote_is_refused() -> None:
    body = f"""%a = kern.alloc() : () -> memref<64xf32>
        kern.launch @k(%a, %x) {{grid = 1, writes = [1], step = 0}} : {KINDS}"""
    with pytest.raises(CompileError, match="@k reads a buffer that no launch has written"):
        placed(body)


def test_a_buffer_seen_twice_by_its_reader_is_not_taken_over() -> None:
    body = f"""%a = kern.alloc() : () -> memref<64xf32>
        kern.launch @k(%x, %a) {{grid = 1, writes = [1], step = 0}} : {KINDS}
        %b = kern.alloc(%a) : (memref<64xf32>) -> memref<64xf32>
        kern.launch @k(%a, %a, %b) {{grid = 1, writes = [2], step = 1}} : {THREE}
        kern.launch @k(%b, %x) {{grid = 1, writes = [1], step = 2}} : {KINDS}"""
    assert "kern.arena_bytes = 512" in placed(body)
    assert "kern.arena_bytes = 256" in placed(body.replace("@k(%a, %a, %b)", "@k(%a, %x, %b)"))


def test_a_view_keeps_its_buffer_alive() -> None:
    body = f"""%a = kern.alloc() : () -> memref<64xf32>
        %v = kern.view(%a) : (memref<64xf32>) -> memref<8x8xf32>
        kern.launch @k(%x, %a) {{grid = 1, writes = [1], step = 0}} : {KINDS}
        %b = kern.alloc(%a) : (memref<64xf32>) -> memref<64xf32>
        kern.launch @k(%a, %b) {{grid = 1, writes = [1], step = 1}} : {KINDS}
        kern.launch @k(%v, %b, %x) {{grid = 1, writes = [2], step = 2}} : {THREE.replace("64", "8x8", 1)}"""
    assert "kern.arena_bytes = 512" in placed(body)


def test_unused_buffers_take_no_place() -> None:
    text = placed("%a = kern.alloc() : () -> memref<64xf32>")
    assert "kern.arena_bytes = 0" in text
    assert "kern.alloc" not in text
