"""storage: activations become 16 bits; casts stand where kernels read or write float32."""

from __future__ import annotations

import pytest
from support.mlir import IMAGE, STATISTICS, VECTOR, after

from gncodegen.kernels import storage
from gncodegen.kernels.storage import STORED

NORM = f"""%n, %s = gn.group_norm(%x, %scale, %offset) {{groups = 3, epsilon = 1.0e-05}}
    : ({IMAGE}, {VECTOR}, {VECTOR}) -> ({IMAGE}, {STATISTICS})"""
RELU = f'%y = gn.activation(%n) {{function = "relu"}} : ({IMAGE}) -> {IMAGE}'
HALF = "storage{dtype=bfloat16 family=cpu}"


def stages(body: str, spec: str = HALF) -> list[str]:
    return [op.split(" {")[0] + ("" if "dtype" not in op else f" {op.split(chr(34))[1]}") for op in after(spec, body)]


def test_the_input_is_cast_once_and_what_is_returned_stays_float32() -> None:
    """Only the caller reads y, so its op reads and writes float32."""
    assert stages(f"{NORM}\n{RELU}") == ["cast bfloat16", "group_norm", "cast float32", "activation"]


def test_float32_and_float64_stay_as_they_are() -> None:
    for dtype in ("float32", "float64"):
        assert stages(f"{NORM}\n{RELU}", f"storage{{dtype={dtype}}}") == ["group_norm", "activation"]


def test_an_op_without_such_kernels_stands_between_casts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "STORED", {name: row for name, row in STORED.items() if name != "group_norm"})
    # x is read as it is; what the norm leaves is stored, and read by an op that writes what is returned.
    assert stages(f"{NORM}\n{RELU}") == ["group_norm", "cast bfloat16", "cast float32", "activation"]


def test_operands_that_must_be_alike() -> None:
    """A parameter beside an activation: all in float32."""
    body = f"""%e = gn.elementwise(%n, %scale) {{function = "add"}} : ({IMAGE}, {VECTOR}) -> {IMAGE}
    {RELU.replace("%n", "%e")}"""
    assert stages(f"{NORM}\n{body}") == [
        "cast bfloat16", "group_norm", "cast float32", "elementwise", "cast bfloat16", "cast float32", "activation",
    ]  # fmt: skip
