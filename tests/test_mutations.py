"""Mutated IR text and ONNX models: a result or an error of the family, in bounded time and memory."""

from __future__ import annotations

import pytest
from support import mutations


@pytest.mark.parametrize("count", [15, pytest.param(300, marks=pytest.mark.full)])
def test_ir_text(count: int) -> None:
    assert not mutations.run(mutations.ATTACKS["ir"], count)[1]


def test_onnx_bytes() -> None:
    pytest.importorskip("onnx", reason="the importer's package is not here")
    assert not mutations.run(mutations.ATTACKS["onnx"], 40)[1]


def test_findings_are_counted() -> None:
    def attack(draw: object) -> None:
        raise KeyError("x")

    ends, findings = mutations.run(attack, 3, seed=7)
    assert ends == {"bare": 3}
    assert findings == {"bare: KeyError: 'x'": 7}
