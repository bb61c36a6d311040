"""What lies in memory in 16 bits: every op of the table gives what it gives in float32, rounded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import reference as ref
from support.cuda_kernels import from_bfloat16, to_bfloat16
from support.sets import in_full
from support.targets import machine

from gncodegen.ir.gn import OPERATIONS
from gncodegen.kernels.storage import STORED

IMAGE, SMALL, C = (2, 6, 5, 9), (2, 3, 3, 9), (9,)
SAME = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1)}
POOL = {"window": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 1)}
OVERLAPPING = {"window": (4, 3), "stride": (1, 1), "padding": (0, 0, 0, 0)}
PAD = {"padding": (1, 0, 0, 2), "mode": "replicate", "value": 0.0}
NORM = {"groups": 3, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}
BY_CHANNEL = {"epsilon": 1e-5, "activation": "relu", "alpha": 0.0}
FUNCTION = {"function": "swish", "alpha": 0.0, "beta": 0.0}
HAT = {"axis": 1, "starts": (0, 2, 3, 5), "columns": (0, 1, 2, 4, 5), "weights": (0.5, 0.25, 2.0, 1.5, -1.0)}
STATISTICS = (2, 3, 3)


@dataclass(frozen=True)
class Case:
    """An op: operands and results, those in front of the numbers being stored, and its attributes."""

    operands: tuple[tuple[int, ...], ...]
    stored: int
    results: tuple[tuple[int, ...], ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])


CASES = {
    "convolution": Case((IMAGE, (3, 3, 9, 12), (12,)), 1, ((2, 6, 5, 12),), SAME | {"activation": "relu"}),
    "transposed_convolution": Case(
        (SMALL, (2, 2, 7, 9), (7,)), 1, ((2, 6, 6, 7),), POOL | {"dilation": (1, 1), "padding": (0,) * 4}
    ),
    "convolution_input_gradient": Case(((2, 6, 5, 12), (3, 3, 9, 12)), 1, (IMAGE,), SAME),
    "convolution_weight_gradient": Case((IMAGE, (2, 6, 5, 12)), 2, ((3, 3, 9, 12), (12,)), SAME | {"bias": True}),
    "convolution: channelwise": Case((IMAGE, (3, 3, 1, 9), C), 1, (IMAGE,), SAME | {"groups": 9}),
    "convolution_weight_gradient: channelwise": Case(
        (IMAGE, IMAGE), 2, ((3, 3, 1, 9), C), SAME | {"groups": 9, "bias": True}
    ),
    "convolution: pointwise": Case((IMAGE, (1, 1, 9, 12)), 1, ((2, 6, 5, 12),), SAME | {"padding": (0,) * 4}),
    "fully_connected": Case((IMAGE, (11, 270), (11,)), 1, ((2, 11),)),
    "fully_connected: deep": Case(((2, 9000), (5, 9000)), 1, ((2, 5),)),
    "fully_connected_input_gradient: deep": Case(((2, 9000), (9000, 5)), 1, ((2, 5),), {"input_shape": (2, 5)}),
    "fully_connected_input_gradient": Case(((2, 11), (11, 270)), 1, (IMAGE,)),
    "fully_connected_weight_gradient": Case((IMAGE, (2, 11)), 2, ((11, 270), (11,)), {"bias": True}),
    "bias": Case((IMAGE, C), 1, (IMAGE,)),
    "bias_gradient": Case((IMAGE,), 1, (C,)),
    "group_norm": Case((IMAGE, C, C), 1, (IMAGE, STATISTICS), NORM),
    "group_statistics": Case((IMAGE,), 1, (STATISTICS,), NORM),
    "group_norm_gradient": Case((IMAGE, IMAGE, C, C, STATISTICS), 2, (IMAGE, C, C), NORM),
    "channel_normalize": Case((IMAGE, C, C, C, C), 1, (IMAGE,), BY_CHANNEL),
    "channel_normalize_gradient": Case((IMAGE, IMAGE, C, C, C, C), 2, (IMAGE, C, C), BY_CHANNEL),
    "statistics_gradient": Case((IMAGE, IMAGE, C, C, C, C, C), 2, (IMAGE,), BY_CHANNEL),
    "max_pool": Case((IMAGE,), 1, (SMALL,), POOL),
    "max_pool_gradient": Case((IMAGE, SMALL, SMALL), 3, (IMAGE,), POOL),
    "average_pool": Case((IMAGE,), 1, (SMALL,), POOL),
    "average_pool_gradient": Case((SMALL,), 1, (IMAGE,), POOL),
    "average_pool_gradient: overlapping": Case((SMALL,), 1, (IMAGE,), OVERLAPPING),
    "activation": Case((IMAGE,), 1, (IMAGE,), FUNCTION),
    "activation_gradient": Case((IMAGE, IMAGE), 2, (IMAGE,), FUNCTION | {"from": "input"}),
    "dropout": Case((IMAGE,), 1, (IMAGE,), {"probability": 0.5, "index": 1}),
    "add": Case((IMAGE, IMAGE), 2, (IMAGE,), {"activation": "relu", "alpha": 0.0}),
    "elementwise": Case((IMAGE, (2, 1, 5, 9)), 2, (IMAGE,), {"function": "maximum"}),
    "elementwise_gradient": Case((IMAGE, IMAGE, IMAGE), 3, (IMAGE,), {"function": "multiply", "operand": 0}),
    "matrix_product": Case(
        ((2, 3, 5, 9), (2, 3, 20, 9)), 2, ((2, 3, 5, 20),), {"left_crosswise": False, "right_crosswise": True}
    ),
    "sparse_product": Case((IMAGE,), 1, (SMALL[:2] + IMAGE[2:],), HAT),
    "concatenate": Case((IMAGE, (2, 6, 5, 3)), 2, ((2, 6, 5, 12),), {"axis": -1}),
    "slice": Case((IMAGE,), 1, ((2, 6, 5, 4),), {"axis": -1, "start": 3, "length": 4}),
    "pad": Case((IMAGE,), 1, ((2, 7, 7, 9),), PAD),
    "pad_gradient": Case(((2, 7, 7, 9),), 1, (IMAGE,), PAD),
    "transpose": Case((IMAGE,), 1, ((2, 9, 6, 5),), {"permutation": (0, 3, 1, 2)}),
}
FEW = ("convolution", "fully_connected", "group_norm", "group_norm_gradient", "max_pool")
"""Ops of the default run."""


def _cases() -> list[Any]:
    """Each name with a type, in turn."""
    named = [(("bfloat16", "float16")[number % 2], name) for number, name in enumerate(CASES)]
    return [each if each[1] in FEW else in_full([each])[0] for each in named]


def bits(x: np.ndarray, dtype: str) -> np.ndarray:
    return to_bfloat16(x) if dtype == "bfloat16" else np.asarray(x, np.float16)


def values(stored: np.ndarray, dtype: str) -> np.ndarray:
    return from_bfloat16(stored) if dtype == "bfloat16" else stored.astype(np.float32)


def test_every_op_has_a_row_and_every_row_a_case() -> None:
    assert set(OPERATIONS) >= set(STORED)
    # An op without a kernel of its own is neither read nor written.
    assert {op for op, row in STORED.items() if row.families or row.disjoint} - {"reshape"} == {
        name.partition(":")[0] for name in CASES
    }


@pytest.mark.few
@pytest.mark.parametrize(("dtype", "name"), _cases())
def test_16_bits_are_float32_rounded_once(execute: Any, target: str, name: str, dtype: str) -> None:
    op, case = name.partition(":")[0], CASES[name]
    row = STORED[op]
    families = row.families if case.attributes == OVERLAPPING else row.families + row.disjoint
    if machine(target).family not in families:
        pytest.skip(f"{op} on {target} reads and writes float32")
    random = np.random.default_rng(0)
    drawn = [random.normal(size=shape).astype(np.float32) for shape in case.operands]
    # Variances, reciprocal deviations and the like.
    drawn[case.stored :] = [np.abs(a) + 0.5 if op.startswith(("channel", "stat")) else a for a in drawn[case.stored :]]
    given = [bits(a, dtype) if i < case.stored else a for i, a in enumerate(drawn)]
    wide = [values(a, dtype) if i < case.stored else a for i, a in enumerate(given)]
    if op == "max_pool_gradient":
        (wide[1],) = execute("max_pool", wide[:1], [(SMALL, "float32")], case.attributes)
        given[1] = bits(wide[1], dtype)
    expected = execute(op, wide, [(shape, "float32") for shape in case.results], case.attributes)
    kinds = [dtype if i in row.results else "float32" for i in range(len(case.results))]
    operands = [dtype if i < case.stored else "float32" for i in range(len(given))]
    results = list(zip(case.results, kinds, strict=True))
    found = execute(op, given, results, case.attributes, dtypes=operands)
    for kind, y, wanted in zip(kinds, found, expected, strict=True):
        if kind == "float32":
            np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
        else:  # tiles may be others, and sums then run in another order
            step = 1.01 * ref.STEP[kind]
            np.testing.assert_allclose(values(y, kind), wanted, rtol=step, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_casts_round_to_nearest_even(execute: Any, dtype: str) -> None:
    """Every number of the type comes back; halves between two go to the even one; NaN and infinities stay."""
    every = np.arange(1 << 16, dtype=np.uint16)
    stored = every if dtype == "bfloat16" else every.view(np.float16)
    with np.errstate(invalid="ignore"):
        wide = values(stored, dtype)
    (back,) = execute("cast", [stored], [(stored.shape, "float32")], {"dtype": "float32"}, dtypes=[dtype])
    np.testing.assert_array_equal(back, wide)
    finite = np.unique(wide[np.isfinite(wide)].astype(np.float64))
    x = np.concatenate(
        [(finite[1:] + finite[:-1]) / 2, finite * (1 + 0.3 * ref.STEP[dtype]), [np.inf, -np.inf, np.nan]]
    )
    x = x.astype(np.float32)
    (y,) = execute("cast", [x], [(x.shape, dtype)], {"dtype": dtype})
    kept = np.isfinite(x)
    np.testing.assert_array_equal(values(y, dtype)[kept], ref.rounded(x[kept], dtype).astype(np.float32))
    np.testing.assert_array_equal(values(y, dtype)[~kept], x[~kept])
