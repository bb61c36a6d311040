"""prologue: a norm is done in the convolution that alone reads its result, where the kernels say that it should."""

from __future__ import annotations

import pytest
from passes.test_meaning import test_every_stage_computes_the_same as require_the_same
from support import numpy_gn
from support.mlir import CONVOLUTION, IMAGE, STATISTICS, VECTOR, WEIGHTS, after
from support.networks import NETWORKS

from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Machine, Problem, Tensor

EPILOGUE = 'activation = "relu"'


def norm(x: str = "%x", more: str = "") -> str:
    kinds = f"({IMAGE}, {VECTOR}, {VECTOR}) -> ({IMAGE}, {STATISTICS})"
    return f"%n, %s = gn.group_norm({x}, %scale, %offset) {{groups = 3, epsilon = 1.0e-05, {EPILOGUE}{more}}} : {kinds}"


def convolution(x: str = "%n") -> str:
    return f"%y = gn.convolution({x}, %w, %b) {{{CONVOLUTION}}} : ({IMAGE}, {WEIGHTS}, {VECTOR}) -> {IMAGE}"


@pytest.fixture
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "takes_norm", lambda problem: True)


@pytest.mark.usefixtures("_always")
def test_the_convolution_normalizes_what_it_reads() -> None:
    assert after("prologue", f"{norm()}\n{convolution()}") == [
        "group_statistics {groups = 3, epsilon = 1.0e-05}",
        f'convolution {{{CONVOLUTION}, norm_groups = 3, norm_activation = "relu"}}',
    ]


@pytest.mark.usefixtures("_always")
def test_with_partials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "parts", lambda problem: 2)
    body = "\n".join((convolution("%x").replace("%y", "%c"), norm("%c"), convolution()))
    found = after("partial-statistics,prologue", body)
    assert [op.split()[0] for op in found] == ["convolution", "group_statistics", "convolution"]
    assert "parts = 2" in found[0]
    assert "parts = 2" in found[1]
    assert "parts" not in found[2]


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize(
    ("body", "returned"),
    [
        (f"{norm()}\n{convolution()}", f"%y, %n : {IMAGE}, {IMAGE}"),
        (f"{norm()}\n%y = gn.add(%n, %n) : ({IMAGE}, {IMAGE}) -> {IMAGE}", f"%y : {IMAGE}"),
        (
            f"{norm()}\n{convolution()}".replace("%scale, %offset)", "%scale, %offset, %x)")
            .replace(EPILOGUE, "residual = true").replace(f"{VECTOR}, {VECTOR})", f"{VECTOR}, {VECTOR}, {IMAGE})"),
            f"%y : {IMAGE}",
        ),
    ],
    ids=["another reader", "no convolution", "a residual"],
)  # fmt: skip
def test_other_norms_stay_as_they_are(body: str, returned: str) -> None:
    assert not any("group_statistics" in op for op in after("prologue", body, returned))


def test_the_kernels_decide() -> None:
    assert not any("norm_groups" in op for op in after("prologue", f"{norm()}\n{convolution()}"))


@pytest.mark.few
@pytest.mark.parametrize("function", ["predict", "loss", "train_step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_meaning(name: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of every pass, wherever it can be done."""
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)
    monkeypatch.setattr(catalog, "parts", lambda problem: min(2, problem.results[0].shape[1]))
    monkeypatch.setattr(catalog, "takes_norm", lambda problem: True)
    require_the_same(name, function)


def problem(extent: int, channels: int, *, window: int = 1, groups: int = 1, **machine: object) -> Problem:
    x, w = (2, extent, extent, channels), (window, window, channels // groups, channels)
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (window // 2,) * 4, "groups": groups}
    tensors = (Tensor(x, "float32"), Tensor(w, "float32")), (Tensor(x, "float32"),)
    return Problem("convolution", *tensors, attributes, Machine(**{"l2": 512 << 10} | machine))  # type: ignore[arg-type]


def test_where_x_is_beyond_l2_and_copied() -> None:
    assert catalog.takes_norm(problem(56, 64))
    assert not catalog.takes_norm(problem(14, 64))
    assert not catalog.takes_norm(problem(7, 4096))
    assert not catalog.takes_norm(problem(56, 64, window=3))
    assert not catalog.takes_norm(problem(56, 64, window=3, groups=64))
    assert not catalog.takes_norm(problem(56, 64, target="sm_90", family="cuda"))
