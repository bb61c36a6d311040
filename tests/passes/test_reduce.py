"""reduce: gradients are averaged over ranks in buckets, as soon as they are there; they lie side by side."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from math import prod

import pytest
from support import numpy_gn
from support.mlir import VECTOR, function, whole
from support.networks import plain, residual

from gncodegen.errors import CompileError
from gncodegen.kernels import catalog
from gncodegen.kernels.program import Program
from gncodegen.layers.network import Network
from gncodegen.passes.lower import Stages, lower
from gncodegen.passes.pipeline import run_pipeline


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)


def lowered(network: Network, bucket_size: int, **options: str) -> tuple[Stages, Program]:
    return lower(network, "train_step", batch_size=2, bucket_size=bucket_size, **options)


def test_one_rank_has_nothing_to_average() -> None:
    stages, program = lowered(plain(), 0)
    assert stages["reduce"] == stages["prologue"]
    assert (program.reductions, program.stops) == ((), ())


@pytest.mark.parametrize("clip", ["none", "global-l2norm"])
def test_every_gradient_is_averaged_once_in_the_order_of_the_backward_pass(clip: str) -> None:
    stages, _ = lowered(plain(), 1, clip=clip)
    text = stages["reduce"]
    names = re.findall(r"gn.all_reduce\(%(\S+)\)", text)
    assert [name.partition(".")[0] for name in names] == ["fc_1"] * 2 + ["groupnorm_1"] * 2 + ["conv_1"] * 2
    assert len(set(names)) == 6
    readers = re.findall(r"gn.(?:update|gradient_norms)\(.*?\)", whole(text))
    assert len(readers) == 1 + (clip != "none")
    for line in readers:
        assert not any(re.search(rf"%{re.escape(name)}[,)]", line) for name in names), "the average is read"


def test_buckets_end_where_they_are_full() -> None:
    sizes = [4 * prod(parameter.shape) for parameter in plain().parameters.values() if parameter.learnable]
    for bucket in (1, 200, 10**9):
        _, program = lowered(plain(), bucket)
        found = [sum(program.buffers[index].bytes for index in each.buffers) for each in program.reductions]
        assert sum(found) == sum(sizes)
        assert all(size >= bucket for size in found[:-1])


def test_buckets_lie_side_by_side_and_are_not_touched_until_they_are_read() -> None:
    _, program = lowered(residual(), 100)
    places = [program.buffers[program.root(index)] for each in program.reductions for index in each.buffers]
    assert all(buffer.kind == "arena" for buffer in places)
    for before, behind in pairwise(places):
        assert behind.offset == before.offset + -(-before.bytes // 64) * 64
    begin, end = places[0].offset, places[-1].offset + places[-1].bytes
    members = {program.root(index) for each in program.reductions for index in each.buffers}
    for index, (first, last) in program.lifetimes().items():
        buffer = program.buffers[index]
        if index not in members and buffer.offset < end and buffer.offset + buffer.bytes > begin:
            alive = [program.lifetimes()[member] for member in members]
            assert last < min(life[0] for life in alive) or first > max(life[1] for life in alive)
    for reduction in program.reductions:
        for index in map(program.root, reduction.buffers):
            users = [i for i, call in enumerate(program.calls) if index in map(program.root, call.arguments)]
            behind = [user for user in users if user >= reduction.begin]
            assert behind
            assert any(reduction.begin <= stop.place <= behind[0] and stop.finish for stop in program.stops)


def test_running_statistics_are_averaged_before_they_are_kept() -> None:
    stages, program = lowered(residual(), 10**9)
    assert "gn.update_statistics" in stages["reduce"]
    names = {buffer.name for buffer in program.buffers if buffer.kind == "state"}
    reduced = [index for each in program.reductions for index in map(program.root, each.buffers)]
    written = {
        program.buffers[program.root(call.arguments[slot])].name: [program.root(index) for index in call.arguments]
        for call in program.calls
        for slot in call.writes
        if program.buffers[program.root(call.arguments[slot])].kind == "state"
    }
    assert {name for name in names if "trained" in name} == set(written)
    assert all(set(arguments) & set(reduced) for arguments in written.values())


def test_a_program_with_reductions_survives_json() -> None:
    _, program = lowered(plain(), 100)
    assert Program.from_dict(json.loads(json.dumps(program.to_dict()))) == program


def test_a_gradient_that_is_read_as_it_is_too_keeps_a_copy() -> None:
    body = f"""
        %a = gn.all_reduce(%b) : ({VECTOR}) -> {VECTOR}
        %y = gn.add(%a, %b) : ({VECTOR}, {VECTOR}) -> {VECTOR}"""
    text = run_pipeline(function(body, f"%y : {VECTOR}"), "select,hoist,memory")
    assert "kern.all_reduce" in text
    copy = next(line for line in text.splitlines() if "kern.launch" in line)
    assert "transpose" in copy


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(CompileError, match="bucket_size = -1; allowed: bytes, 0 or more"):
        run_pipeline(
            function(f"%y = gn.add(%b, %b) : ({VECTOR}, {VECTOR}) -> {VECTOR}", f"%y : {VECTOR}"),
            "reduce{bucket_size=-1}",
        )
