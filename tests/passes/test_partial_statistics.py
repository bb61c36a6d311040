"""partials: a convolution leaves statistics for the norm behind it, where the kernels say that it should."""

from __future__ import annotations

import pytest
from passes.test_meaning import test_every_stage_computes_the_same as require_the_same
from support import numpy_gn
from support.mlir import CONVOLUTION, IMAGE, STATISTICS, VECTOR, WEIGHTS, after
from support.networks import NETWORKS

from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Machine, Problem, Tensor

CONVOLVED = f"%c = gn.convolution(%x, %w, %b) {{{CONVOLUTION}}} : ({IMAGE}, {WEIGHTS}, {VECTOR}) -> {IMAGE}"
KINDS = f"({IMAGE}, {VECTOR}, {VECTOR}) -> ({IMAGE}, {STATISTICS})"


def norm(x: str = "%c", more: str = "") -> str:
    return f"%y, %s = gn.group_norm({x}, %scale, %offset) {{groups = 3, epsilon = 1.0e-05{more}}} : {KINDS}"


@pytest.fixture
def _three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "parts", lambda problem: 3)


@pytest.mark.usefixtures("_three")
def test_both_ops_know_the_parts() -> None:
    assert after("partial-statistics", f"{CONVOLVED}\n{norm()}") == [
        f"convolution {{{CONVOLUTION}, parts = 3}}",
        "group_norm {groups = 3, epsilon = 1.0e-05, parts = 3}",
    ]


@pytest.mark.usefixtures("_three")
@pytest.mark.parametrize(
    "body",
    [
        norm("%x"),
        f'{CONVOLVED}\n%a = gn.activation(%c) {{function = "relu"}} : ({IMAGE}) -> {IMAGE}\n{norm("%a")}',
        "\n".join((CONVOLVED, norm(more=', reduced = "channel"').replace(STATISTICS, "tensor<32x3x3xf32>"))),
    ],
    ids=["no convolution", "something between", "per position"],
)
def test_other_norms_stay_as_they_are(body: str) -> None:
    assert not any("parts" in op for op in after("partial-statistics", body))


def test_the_kernels_decide() -> None:
    assert not any("parts" in op for op in after("partial-statistics", f"{CONVOLVED}\n{norm()}"))


@pytest.mark.few
@pytest.mark.parametrize("function", ["predict", "train_step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_meaning(name: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of every pass, with partials wherever they can be; numpy_gn compares them with those of x."""
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)
    monkeypatch.setattr(catalog, "parts", lambda problem: min(2, problem.results[0].shape[1]))
    require_the_same(name, function)


def problem(extent: int, channels: int, filters: int, *, batch: int = 2, window: int = 1, **machine: object) -> Problem:
    x, w = (batch, extent, extent, channels), (window, window, channels, filters)
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (window // 2,) * 4, "groups": 1}
    tensors = (Tensor(x, "float32"), Tensor(w, "float32")), (Tensor((*x[:3], filters), "float32"),)
    return Problem("convolution", *tensors, attributes, Machine(**{"l2": 512 << 10} | machine))  # type: ignore[arg-type]


def test_only_where_y_is_far_beyond_l2() -> None:
    assert catalog.parts(problem(56, 64, 256)) > 0
    assert catalog.parts(problem(56, 256, 64)) == 0
    assert catalog.parts(problem(56, 64, 256, l2=1 << 20)) == 0
    assert catalog.parts(problem(56, 64, 256, batch=0)) == 0


def test_not_from_winograd_kernels_nor_on_a_gpu() -> None:
    assert catalog.parts(problem(112, 64, 64, window=3)) == 0
    assert catalog.parts(problem(56, 64, 256, target="sm_90", family="cuda")) == 0


def test_the_number_does_not_depend_on_the_batch_or_the_cores() -> None:
    assert len({catalog.parts(problem(56, 64, 256, batch=n, cores=c)) for n in (1, 2, 64) for c in (1, 16)}) == 1
