"""What the assembler makes of every op's kernels: no spills, no float64 where none is stored, accesses of 16 bytes."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda_kernels import check_static
from support.execution import problem_of
from support.sets import few
from support.targets import ON_ARCHITECTURES, machine

from gncodegen.kernels import catalog
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.targets.cuda.disassemble import sass

LARGE, MOVED, ROWS, POOLED = (64, 56, 56, 64), (16, 56, 56, 64), (4096, 1000), (3, 3, 4, 8)
RELU, WEIGHTED = {"function": "relu", "alpha": 0.0}, {"class_weights": tuple(np.linspace(1, 2, 1000))}
EDGES = {"padding": (1, 1, 1, 1), "mode": "replicate"}
SMALL_WINDOW = {"window": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0)}
WHOLE_WINDOW = {"window": (30, 40), "stride": (1, 1), "padding": (0, 0, 0, 0)}
UNEVEN_WINDOW = {"window": (6, 7), "stride": (2, 2), "padding": (3, 1, 2, 3)}
PARAMETERS = [(3, 3, 64, 64), (64,)] * 3
FACTORS = {"l2_factors": (1.0,) * 6}
TRANSPOSED = {
    "extents": (16, 16), "stride": (2, 2), "dilation": (1, 1), "padding": (0, 0, 0, 0), "activation": "relu",
    "alpha": 0.0,
}  # fmt: skip

LOADS, STORES = "LDG.E.128", "STG.E.128"
BOTH = (LOADS, STORES)
CASES = [
    # op, operands, results, attributes, dtype, 16-byte accesses that must be there
    ("activation", [LARGE], [LARGE], RELU, "float32", BOTH),
    ("activation", [LARGE], [LARGE], {"function": "gelu", "alpha": 0.0}, "bfloat16", BOTH),
    ("activation_gradient", [LARGE] * 2, [LARGE], {**RELU, "from": "output"}, "float32", BOTH),
    ("add", [LARGE] * 3, [LARGE], {"activation": "relu", "alpha": 0.0}, "float32", BOTH),
    ("dropout", [LARGE], [LARGE], {"probability": 0.5, "index": 0}, "float32", BOTH),
    ("bias", [LARGE, (64,)], [LARGE], {}, "float32", BOTH),
    ("bias", [(64, 20, 20, 3), (3,)], [(64, 20, 20, 3)], {}, "float32", BOTH),
    ("bias_gradient", [LARGE], [(64,)], {}, "float32", (LOADS,)),
    ("input_normalization", [LARGE, (64,), (64,)], [LARGE], {"method": "zscore"}, "float32", BOTH),
    ("statistics_gradient", [LARGE] * 2 + [(64,)] * 5, [LARGE], {"epsilon": 1e-5}, "float32", BOTH),
    ("statistics_gradient", [LARGE] * 2 + [(64,)] * 5 + [(64, 1), (1,)], [LARGE], {"epsilon": 1e-5}, "float32", BOTH),
    ("transpose", [MOVED], [(16, 64, 56, 56)], {"permutation": (0, 3, 1, 2)}, "float32", BOTH),
    ("transpose", [MOVED], [(56, 16, 56, 64)], {"permutation": (1, 0, 2, 3)}, "float32", BOTH),
    ("transpose", [MOVED], [MOVED], {"permutation": (0, 1, 2, 3)}, "float32", BOTH),
    ("concatenate", [MOVED] * 2, [(16, 56, 56, 128)], {}, "float32", BOTH),
    ("slice", [MOVED], [(16, 56, 56, 32)], {"start": 32, "length": 32}, "float32", BOTH),
    ("pad", [MOVED], [(16, 58, 58, 64)], EDGES, "float32", BOTH),
    ("pad_gradient", [(16, 58, 58, 64)], [MOVED], EDGES, "float32", BOTH),
    ("softmax", [ROWS], [ROWS], {}, "float32", ()),
    ("softmax_gradient", [ROWS] * 2, [ROWS], {}, "float32", ()),
    ("softmax_cross_entropy", [ROWS] * 2, [(), ROWS], WEIGHTED, "float32", ()),
    ("softmax_cross_entropy_gradient", [ROWS] * 2, [ROWS], WEIGHTED, "float32", ()),
    ("cross_entropy", [ROWS] * 2, [()], WEIGHTED, "float32", ()),
    ("cross_entropy_gradient", [ROWS] * 2, [ROWS], WEIGHTED, "float32", ()),
    ("half_squared_error", [ROWS] * 2, [()], {}, "float32", ()),
    ("half_squared_error_gradient", [ROWS] * 2, [ROWS], {}, "float32", ()),
    ("softmax_cross_entropy", [ROWS] * 2, [(), ROWS], {}, "float32", ()),
    ("softmax_cross_entropy_gradient", [ROWS] * 2, [ROWS], {}, "float32", ()),
    ("cross_entropy", [ROWS] * 2, [()], {}, "float32", ()),
    ("cross_entropy_gradient", [ROWS] * 2, [ROWS], {}, "float32", ()),
    *(
        (op, [shapes[name] for name in operands], [shapes[result]], window, "float32", loads)
        for shapes, window, loads in (
            ({"x": (3, 6, 8, 8), "y": (3, 3, 4, 8)}, SMALL_WINDOW, (LOADS,)),
            ({"x": (1, 30, 40, 44), "y": (1, 1, 1, 44)}, WHOLE_WINDOW, (LOADS,)),
            ({"x": (2, 9, 8, 6), "y": (2, 4, 4, 6)}, UNEVEN_WINDOW, ()),
        )
        for op, operands, result in (
            ("max_pool", "x", "y"),
            ("max_pool_gradient", "xyy", "x"),
            ("average_pool", "x", "y"),
            ("average_pool_gradient", "y", "x"),
        )
    ),
    *(
        ("update", PARAMETERS * (2 + len(solver.state)), PARAMETERS * (1 + len(solver.state)),
         {**FACTORS, "learn_rate_factors": (1.0,) * 6, "clip": "none", "solver": solver.name}, "float32", BOTH)
        for solver in SOLVERS.values()
    ),
    ("gradient_norms", PARAMETERS * 2, [(6,)], FACTORS, "float32", (LOADS,)),
    ("transposed_convolution", [(4, 8, 8, 32), (2, 2, 16, 32), (16,)], [(4, 16, 16, 16)], TRANSPOSED, "float32", ()),
]  # fmt: skip
NAMES = [f"{number}-{case[0]}" for number, case in enumerate(CASES)]


@pytest.mark.few
@pytest.mark.parametrize("target", ON_ARCHITECTURES)
@pytest.mark.parametrize(("op", "operands", "results", "attributes", "dtype", "accesses"), few(CASES, 9), ids=NAMES)
def test_kernels_assemble_clean(op, operands, results, attributes, dtype, accesses, target):
    stored = [(shape, "float64" if not shape or op == "gradient_norms" else dtype) for shape in results]
    problem = problem_of(op, [(shape, dtype) for shape in operands], stored, attributes, machine(target))
    sources = check_static(problem, catalog.plan(problem))
    # Pooling checks each of its kernels; the first is the one that meets the large tensors elsewhere.
    for source in sources if "pool" in op else sources[:1]:
        text = sass(source.beside(".cubin"))
        assert all(access in text for access in accesses), (source.path, accesses)
