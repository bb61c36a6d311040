"""How blocks share the work of a group normalization: several observations of a block, blocks that meet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.execution import problem_of
from support.normalization import Execute, check, forward
from support.sets import diagonal, few
from support.targets import machine

from gncodegen.errors import EmulationFault
from gncodegen.kernels import catalog, render
from gncodegen.kernels.cuda import normalization, normalization_tiers

SMALL = [
    # (shape, groups): sums by shuffles alone, tables, mixed lanes, wide rows over the ends of rows, one row
    ((16, 4, 4, 32), 8),
    ((8, 4, 4, 32), 1),
    ((16, 4, 5, 10), 2),
    ((8, 4, 3, 7), 1),
    ((16, 3, 3, 12), 12),
    ((32, 24), 3),
]


@pytest.mark.parametrize(("shape", "groups", "members"), few(diagonal(SMALL, [2, 4, 8]), 2))
def test_several_observations_of_a_block(execute: Execute, monkeypatch, shape, groups, members):
    def fixed(view, batch, item, held, on, counted):
        found = (replace(cut, members=members) for cut in normalization_tiers.panels(*view[1:], item, held, on, 1))
        cut = next(cut for cut in found if cut.fits and cut.threads <= 256).of(*view[:2])
        return normalization_tiers.Tier("resident", cut, cut.panels)

    monkeypatch.setattr(normalization, "choose_tier", fixed)
    check(execute, shape, groups, "float32", "relu", machine("sm_80"))


def test_the_planner_gives_a_block_several_small_observations():
    x, parameter, statistics = ((64, 128, 64), "float32"), ((64,), "float32"), ((64 * 128, 1, 3), "float32")
    given = {"groups": 1, "epsilon": 1e-5, "activation": "", "alpha": 0.0, "reduced": "channel"}
    problem = problem_of("group_norm", [x, parameter, parameter], [x, statistics], given, machine("sm_90"))
    (launch,) = catalog.plan(problem).launches
    assert launch.schedule.tiles["members"] == 4


@pytest.mark.parametrize(
    ("kind", "target", "meeting"),
    [
        ("cluster", "sm_90", "    cluster_barrier()\n"),
        ("flags", "sm_80", "        await_flag(flags, tile - share + other)\n"),
    ],
)
def test_a_missing_meeting_is_found(execute: Execute, monkeypatch, kind, target, meeting):
    """Blocks that read the partials of others before these are known to be written."""

    def fixed(view, batch, item, held, on, counted):
        cut = next(normalization_tiers.panels(*view[1:], item, held, on, 3)).of(*view[:2])
        return normalization_tiers.Tier(kind, cut, cut.panels)

    whole = render.render

    def broken(schedule):
        text = whole(schedule)
        if schedule.template == "group_norm":
            assert text.count(meeting) == 1
            text = text.replace(meeting, "")
        return text

    monkeypatch.setattr(normalization, "choose_tier", fixed)
    monkeypatch.setattr(render, "render", broken)
    x, scale = np.random.default_rng(7).standard_normal((2, 6, 7, 32)).astype(np.float32), np.ones(32, np.float32)
    with pytest.raises(EmulationFault, match="race"):
        forward(execute, x, 8, scale, scale, machine(target))
