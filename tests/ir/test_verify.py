"""The verifier refuses planted faults, and its messages say both numbers."""

from __future__ import annotations

import pytest

from gncodegen.errors import CompileError
from gncodegen.ir.text import parse_module

X, Y, V = "tensor<2x4x4x6xf32>", "tensor<2x3xf32>", "tensor<6xf32>"
S = "tensor<2x3x3xf32>"
W = "stride = [1, 1], dilation = [1, 1], padding = [0, 0, 0, 0]"
UP = "extents = [8, 8], stride = [2, 2], dilation = [1, 1], padding = [0, 0, 0, 0]"
H = "tensor<16xf64>"
SGDM = 'names = ["a"], solver = "sgdm", learn_rate_factors = [1.0], l2_factors = [1.0]'
NORM = "groups = 3, epsilon = 1.0e-5"


def module(op: str, attributes: str, operands: list[str], results: list[str]) -> str:
    values = ", ".join(f"%a{i}" for i in range(len(operands)))
    typed = ", ".join(f"%a{i}: {kind}" for i, kind in enumerate(operands))
    names = ", ".join(f"%r{i}" for i in range(len(results)))
    types = f"({', '.join(operands)}) -> ({', '.join(results)})"
    line = f"{names} = {op}({values}) {{{attributes}}} : {types}"
    return f"builtin.module {{ func.func @f({typed}) {{ {line} func.return }} }}"


ADDS = NORM + ", residual = true"

GOOD = [
    ("gn.group_norm", NORM, [X, V, V], [X, S]),
    ("gn.group_norm", 'groups = "channel-wise", epsilon = 1.0e-5', [X, V, V], [X, "tensor<2x6x3xf32>"]),
    ("gn.group_norm", 'groups = 6, epsilon = 1.0e-5, reduced = "batch-spatial"', [X, V, V], [X, "tensor<1x6x3xf32>"]),
    ("gn.group_norm", 'groups = 2, epsilon = 1.0e-5, reduced = "channel"', [X, V, V], [X, "tensor<32x2x3xf32>"]),
    ("gn.group_norm", NORM, ["tensor<2x6xf64>", *["tensor<6xf64>"] * 2],
     ["tensor<2x6xf64>", "tensor<2x3x3xf64>"]),
    ("gn.group_norm", ADDS + ', activation = "relu"', [X, V, V, X], [X, S]),
    ("gn.group_norm_gradient", ADDS + ', activation = "relu"', [X, X, V, V, S, X], [X, V, V, X]),
    ("gn.convolution", W, [X, "tensor<3x2x6x5xf32>"], ["tensor<2x2x3x5xf32>"]),
    ("gn.convolution", W + ", groups = 3", [X, "tensor<1x1x2x9xf32>"], ["tensor<2x4x4x9xf32>"]),
    ("gn.convolution", "stride = [2], dilation = [2], padding = [1, 1]", ["tensor<1x9x2xf32>", "tensor<3x2x4xf32>"],
     ["tensor<1x4x4xf32>"]),
    ("gn.transposed_convolution", "extents = [6, 5], " + W, [X, "tensor<3x2x5x6xf32>"], ["tensor<2x6x5x5xf32>"]),
    ("gn.transposed_convolution", UP + ', activation = "relu"', [X, "tensor<2x1x5x6xf32>", "tensor<5xf32>"],
     ["tensor<2x8x8x5xf32>"]),
    ("gn.fully_connected", 'activation = "relu"', [X, "tensor<3x96xf32>", "tensor<3xf32>"], [Y]),
    ("gn.concatenate", "", [X, "tensor<2x4x4x1xf32>"], ["tensor<2x4x4x7xf32>"]),
    ("gn.transpose", "permutation = [0, 3, 1, 2]", [X], ["tensor<2x6x4x4xf32>"]),
    ("gn.cross_entropy", "class_weights = [1.0, 2.0, 3.0]", [Y, Y], ["tensor<f64>"]),
    ("gn.pad", 'padding = [1, 1, 2, 0], mode = "symmetric-exclude-edge"', [X], ["tensor<2x6x6x6xf32>"]),
]  # fmt: skip

BAD = [
    ("gn.group_norm", "groups = 5, epsilon = 1.0e-5", [X, V, V], [X, S], "6 channels do not split into 5 groups"),
    ("gn.group_norm", "groups = 3, epsilon = 0.0", [X, V, V], [X, S], r"epsilon = 0\.0; it must be > 0"),
    ("gn.group_norm", "groups = 3", [X, V, V], [X, S], "lacks the attribute epsilon"),
    ("gn.group_norm", "groups = 2.5, epsilon = 1.0e-5", [X, V, V], [X, S], r"groups = 2\.5; allowed: int or text"),
    ("gn.group_norm", "groups = true, epsilon = 1.0e-5", [X, V, V], [X, S], "groups = True; allowed: int or text"),
    ("gn.group_norm", 'groups = "all", epsilon = 1.0e-5', [X, V, V], [X, S], "groups = 'all'; allowed"),
    ("gn.group_norm", NORM + ", foo = 1", [X, V, V], [X, S], "no attribute foo; allowed"),
    ("gn.group_norm", NORM, [X, "tensor<5xf32>", V], [X, S], r"scale has shape \[5\].*\[6\]"),
    ("gn.group_norm", NORM, [X, V, V], [X, "tensor<2x6x3xf32>"], "result 1 is 2×6×3.*gives 2×3×3"),
    ("gn.group_norm", NORM, [X, V], [X, S], "2 operands; allowed: 3"),
    ("gn.group_norm", NORM, [X, V, V], [X], "has 1 results; its shape rule gives 2"),
    ("gn.group_norm", NORM + ', reduced = "batch-spatial"', [X, V, V], [X, S], "it must be 6"),
    ("gn.convolution", W, [X, "tensor<3x2x5x5xf32>"], [X], "6 channels with groups = 1 do not fit weights for 5"),
    ("gn.convolution", W, [X, "tensor<5x2x6x5xf32>"], [X], r"window \[5, 2\].*larger than the input \[4, 4\]"),
    ("gn.convolution", W, [X, "tensor<6x5xf32>"], [X], "weights have 2 axes and x has 4"),
    ("gn.convolution", W, [X, "tensor<2x2x2x6x5xf32>"], [X], "weights have 5 axes and x has 4"),
    ("gn.convolution", W, [X, "tensor<2x6x5xf32>"], [X], r"stride = \[1, 1\] has 2 entries; the window \[2\] needs 1"),
    ("gn.convolution", "stride = [1], dilation = [1, 1], padding = [0, 0, 0, 0]", [X, "tensor<1x1x6x5xf32>"], [X],
     r"stride = \[1\] has 1 entries.*needs 2"),
    ("gn.convolution", W, [X, "tensor<1x1x6x5xf32>"], ["tensor<2x4x4x7xf32>"], "2×4×4×7.*gives 2×4×4×5"),
    ("gn.convolution", W + ", groups = 4", [X, "tensor<1x1x2x9xf32>"], [X], "6 channels with groups = 4"),
    ("gn.transposed_convolution", UP, [X, "tensor<2x2x6x5xf32>"], [X], "6 channels do not fit weights for 5"),
    ("gn.transposed_convolution", UP, [X, "tensor<5x6xf32>"], [X], "weights have 2 axes and x has 4"),
    ("gn.transposed_convolution", UP, [X, "tensor<2x5x6xf32>"], [X], r"extents = \[8, 8\]; the window has 1 axes"),
    ("gn.transposed_convolution", UP, [X, "tensor<4x2x5x6xf32>"], [X], r"x has shape \[2, 4, 4, 6\].*\[2, 3, 4, 6\]"),
    ("gn.transposed_convolution", UP.replace("8, 8", "8"), [X, "tensor<2x2x5x6xf32>"], [X], "the window has 2 axes"),
    ("gn.transposed_convolution", UP, [X, "tensor<2x2x5x6xf32>", V], [X], r"bias has shape \[6\].*\[5\]"),
    ("gn.fully_connected", "", [X, "tensor<3x95xf32>"], [Y], "weights take 95 inputs; x has 96"),
    ("gn.activation", 'function = "bend"', [X], [X], "function = 'bend'; allowed: 'relu'"),
    ("gn.activation", 'function = "relu", alpha = [1.0]', [X], [X], "alpha = .*; allowed: float"),
    ("gn.activation", 'function = "relu", layers = [1]', [X], [X], r"layers = \(1,\); allowed: texts"),
    ("gn.max_pool", "window = [2, 2], stride = [0, 1], padding = [0, 0, 0, 0]", [X], [X], "entries must be ≥ 1"),
    ("gn.add", "", [X, Y], [X], "summands differ: 2×4×4×6 float32 and 2×3 float32"),
    ("gn.concatenate", "", [X, Y], [X], "all but axis 3 must agree"),
    ("gn.slice", "start = 5, length = 2", [X], [X], "slice of 2 from 5 leaves the 6 elements of axis 3"),
    ("gn.reshape", "shape = [2, 95]", [X], ["tensor<2x95xf32>"], "has 192 elements.*has 190"),
    ("gn.transpose", "permutation = [0, 1, 1, 2]", [X], [X], r"\[0, 1, 1, 2\] does not reorder the 4 axes"),
    ("gn.dropout", "probability = 1.0, index = 0", [X, H], [X], "probability = 1.0"),
    ("gn.dropout", "probability = 0.5, index = 0", [X, V], [X], "hyperparameters.*6 float32.*16 float64"),
    ("gn.cross_entropy", "class_weights = [1.0]", [Y, Y], ["tensor<f64>"], "1 class_weights for 3 classes"),
    ("gn.cross_entropy", "", [Y, "tensor<2x4xf32>"], ["tensor<f64>"], "output and target differ: 2×3.*2×4"),
    ("gn.pad", 'padding = [4, 0, 0, 0], mode = "symmetric-exclude-edge"', [X], [X], "padding 4 mirrors more"),
    ("gn.input_normalization", 'method = "zscore"', [X, V], [X], "2 operands; allowed: 3"),
    ("gn.input_normalization", 'method = "zerocenter"', [X, "tensor<4xf32>"], [X], r"\[4\]; allowed: \[1\], \[6\]"),
    ("gn.update", SGDM, [V, V, H], [V, V], "3 operands"),
    ("gn.update", SGDM.replace("sgdm", "adam"), [V, V, V, H], [V, V], "4 operands; allowed: 5"),
    ("gn.update", SGDM.replace("sgdm", "lion"), [V, V, V, H], [V, V], "solver = 'lion'; allowed: 'sgdm'"),
    ("gn.update", SGDM.replace("1.0", "1.0, 1.0", 1), [V, V, V, H], [V, V],
     "learn_rate_factors has 2 entries; it needs 1"),
    ("gn.update", SGDM + ', clip = "norm"', [V, V, V, H], [V, V], "clip = 'norm'; allowed"),
    ("gn.convolution_weight_gradient", "weights_shape = [1, 1, 6, 5], " + W, [X, X], [V], "cotangent has shape"),
    ("gn.group_norm_gradient", NORM, [X, Y, V, V, S], [X, V, V], "x and its cotangent differ"),
    ("gn.group_norm", ADDS, [X, V, V], [X, S], "3 operands; allowed: 4"),
    ("gn.group_norm", NORM, [X, V, V, X], [X, S], "4 operands; allowed: 3"),
    ("gn.group_norm", ADDS, [X, V, V, Y], [X, S], "x and the residual differ: 2×4×4×6 float32 and 2×3 float32"),
    ("gn.group_norm", NORM + ", residual = 1", [X, V, V, X], [X, S], "residual = 1; allowed: bool"),
    ("gn.group_norm_gradient", ADDS, [X, X, V, V, S], [X, V, V, X], "5 operands; allowed: 6"),
    ("gn.group_norm_gradient", ADDS, [X, X, V, V, S, Y], [X, V, V, Y], "x and the residual differ"),
    ("gn.group_norm_gradient", ADDS, [X, X, V, V, S, X], [X, V, V], "has 3 results; its shape rule gives 4"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes", "operands", "results"), GOOD)
def test_accepts(op: str, attributes: str, operands: list[str], results: list[str]) -> None:
    parse_module(module(op, attributes, operands, results))


@pytest.mark.parametrize(("op", "attributes", "operands", "results", "message"), BAD)
def test_refuses(op: str, attributes: str, operands: list[str], results: list[str], message: str) -> None:
    with pytest.raises(CompileError, match=message) as caught:
        parse_module(module(op, attributes, operands, results))
    assert "^^^" in str(caught.value), "the faulty op is underlined"


KERNEL = (
    'kern.kernel @k {op = "o", template = "t", target = "cpu", family = "cpu", dtype = "float32", layout = "l", '
    "shape = {}, tiles = {}}"
)
BUFFERS = "%a: memref<4xf32>, %b: memref<4xf32>"
KERN_FAULTS = [
    ("kern.launch @q(%a) {grid = 1, writes = [], step = 0} : (memref<4xf32>) -> ()", "there is no kern.kernel @q"),
    ("kern.launch @k(%a) {grid = 1, writes = [1], step = 0} : (memref<4xf32>) -> ()", "writes operand 1; it has 1"),
    ("kern.launch @k(%a) {grid = -1, writes = [0], step = 0} : (memref<4xf32>) -> ()", "grid = -1"),
    ("kern.launch @k(%a) {grid = 1, writes = [0]} : (memref<4xf32>) -> ()", "lacks the attribute step"),
    ("%v = kern.view(%a) : (memref<4xf32>) -> memref<2x3xf32>", "4 float32 elements seen as 6"),
    ("%v = kern.view(%a) : (memref<4xf32>) -> memref<2xf64>", "4 float32 elements seen as 2 float64"),
    ("%v = kern.alloc() {offset = 0, bytes = 8} : () -> memref<4xf32>", "bytes = 8; its type needs 16"),
]


@pytest.mark.parametrize(("line", "message"), KERN_FAULTS)
def test_kern_refuses(line: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        parse_module(f"builtin.module {{ {KERNEL} func.func @f({BUFFERS}) {{ {line} func.return }} }}")
