"""The node tests of the package onnx itself: every case of an operator in our table, or the reason why not."""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx_models import in_onnx_runtime, interpreted

import gncodegen as gnc
from gncodegen.errors import NetworkError
from gncodegen.exchange.onnx.exporting import model
from gncodegen.exchange.operators import OPERATORS
from gncodegen.layers.network import Network

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


SKIPPED = {
    r"maxpool_with_argmax": "the indices of the maxima are no output of a pool",
    r"dropout.*mask": "the mask is no output of dropout",
    r"training_dropout(_default)?$": "a network drops in training steps alone, with random numbers of its own",
    r"batchnorm_.*training_mode": "the running statistics are no outputs",
    r"_empty_set": "an extent of 0 is no shape of a layer",
    r"attention_.*(past|nonpad|ext_cache|padded_kv)": "keys and values of earlier calls are no inputs",
    r"attention_.*gqa_rank4_mask": "a constant mask is the same for all observations",
    r"attention_.*qk_matmul": "scores are no output of attention",
    r"reshape_allowzero": "an extent of 0 is no shape of a layer",
    r"gridsample_bicubic": "samples are of the nearest elements, or linear",
    r"resize_.*tf_crop": "Resize has no crop",
    r"slice_start_out_of_bounds|split_zero_size": "an extent of 0 is no shape of a layer",
    r"einsum_(sum|batch_diagonal|inner_prod)": "letters are distinct, and stand in the result or in both terms",
}
"""Pattern of names → why a case is not run."""


COUNTS = (602, 72)
"""Cases that run and that are skipped, with onnx 1.23; newer versions have more."""


def onnx_version() -> tuple[int, ...]:
    """Major and minor version of the installed package."""
    import onnx

    return tuple(int(part) for part in onnx.__version__.split(".")[:2])


def reason(name: str) -> str:
    """Why a case is not run; "" where it is."""
    return next((text for pattern, text in SKIPPED.items() if re.search(pattern, name)), "")


@cache
def cases(module: str = "") -> dict[str, Any]:
    """Name → case, of models whose nodes are all in the table and that take and give floats.

    Args:
        module: of `onnx.backend.test.case.node`, whose cases are asked for: all take ten seconds to make.
    """
    from onnx.backend.test.case import node

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        if module:
            patch.setattr(node, "import_recursive", lambda package: import_module(f"{package.__name__}.{module}"))
        found = node.collect_testcases(None)
    return {
        case.name: case
        for case in found
        if all(node.op_type in OPERATORS for node in case.model.graph.node)
        and any(map(of_floats, case.data_sets[0][0][: 3 if case.model.graph.node[-1].op_type == "Where" else 1]))
        and all(of_floats(given) or of_conditions(given) for given in case.data_sets[0][1])
    }


def array_of(given) -> np.ndarray:
    """Cases hold arrays, or tensors of ONNX."""
    return numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)


def of_floats(given) -> bool:
    """Whether it is an array of a type that networks have."""
    return isinstance(given, (np.ndarray, np.generic, onnx.TensorProto)) and array_of(given).dtype in FLOATS


def of_conditions(given) -> bool:
    """Whether it is an array of booleans, which a network gives as 1 and 0."""
    return isinstance(given, (np.ndarray, np.generic, onnx.TensorProto)) and array_of(given).dtype == bool


def of_operator(operator: str) -> dict[str, Any]:
    """The cases whose last node is this operator."""
    return {name: case for name, case in cases().items() if case.model.graph.node[-1].op_type == operator}


def bound(model, arrays, kept):
    """The model with its inputs from number `kept` on, and those that are no floats, as initializers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.graph.output:
        if entry.type.tensor_type.elem_type == onnx.TensorProto.BOOL:  # a network gives 1 and 0
            copy.graph.node.append(onnx.helper.make_node("Cast", [entry.name], [f"{entry.name}/number"], to=1))
            entry.name, entry.type.tensor_type.elem_type = f"{entry.name}/number", onnx.TensorProto.FLOAT
    entries = list(copy.graph.input)
    del copy.graph.input[:]
    given = {}
    for number, (entry, array) in enumerate(zip(entries, arrays, strict=False)):
        if number < kept and array.dtype in FLOATS:
            copy.graph.input.append(entry)
            given[entry.name] = array
        else:
            copy.graph.initializer.append(numpy_helper.from_array(array, entry.name))
    return copy, given


def imported(case):
    """The graph, and the arrays it takes: with all inputs at run time, else with three, else with the first alone."""
    arrays = [array_of(array) for array in case.data_sets[0][0]]
    for kept in sorted({len(arrays), min(3, len(arrays)), 1}, reverse=True):
        model, given = bound(case.model, arrays, kept)
        try:
            return gnc.from_onnx(model), given
        except NetworkError as error:
            if kept == 1:
                raise
            del error
    raise AssertionError


def check(case) -> None:
    """What comes in is right, and what goes out again, in ONNX Runtime, too."""
    graph, given = imported(case)
    expected = [array_of(array) for array in case.data_sets[0][1]]
    network = Network.build(graph, require_output=False)
    exported = model(network, network.initial_values(np.random.default_rng(0)))
    onnx.checker.check_model(exported, full_check=True)
    again = in_onnx_runtime(exported, {name: array.astype(np.float32) for name, array in given.items()})
    for got, least in ((interpreted(graph, given), 1e-6), (again, 1e-5)):
        assert len(got) == len(expected)
        for found, wanted in zip(got, expected, strict=True):
            close = {"rtol": max(case.rtol, least), "atol": max(case.atol, least)}
            np.testing.assert_allclose(found.reshape(wanted.shape), wanted, **close)


@pytest.mark.full(like="exchange/test_onnx_backend.py::test_some_of_them")
@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_cases_of_an_operator(operator: str) -> None:
    for name, case in of_operator(operator).items():
        if not reason(name):
            check(case)


@pytest.mark.full(like="exchange/test_onnx_backend.py::test_some_of_them")
def test_skipped_cases_are_refused_with_a_sentence() -> None:
    skipped = {name: case for name, case in cases().items() if "random" not in (reason(name) or "random")}
    assert skipped
    for case in skipped.values():
        with pytest.raises(NetworkError, match="from_onnx: "):
            imported(case)


@pytest.mark.full(like="exchange/test_onnx_backend.py::test_some_of_them")
def test_counts() -> None:
    """Neither a change of the table nor one of the importer may lose cases unseen."""
    skipped = [name for name in cases() if reason(name)]
    run, left = len(cases()) - len(skipped), len(skipped)
    assert (run, left) == COUNTS or (run >= COUNTS[0] and onnx_version() > (1, 23))


@pytest.mark.few
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("conv", "test_conv_with_strides_and_asymmetric_padding"),
        ("groupnormalization", "test_group_normalization_example"),
        ("averagepool", "test_averagepool_2d_same_lower"),
        ("prelu", "test_prelu_broadcast"),
        ("pow", "test_pow_bcast_array"),
        ("reducemean", "test_reduce_mean_do_not_keepdims_example"),
        ("logsoftmax", "test_logsoftmax_axis_1"),
        ("lrn", "test_lrn"),
        ("resize", "test_resize_upsample_scales_linear_align_corners"),
    ],
)
def test_some_of_them(module: str, name: str) -> None:
    check(cases(module)[name])


@pytest.mark.parametrize(
    ("module", "name"),
    [("lrn", "test_lrn"), ("convtranspose", "test_convtranspose_dilations"), ("pad", "test_constant_pad")],
)
def test_compiled(module: str, name: str) -> None:
    """Some of them all the way, with float32 kernels."""
    case = cases(module)[name]
    graph, given = imported(case)
    compiled = gnc.compile(graph, batch_size=2)
    np.testing.assert_allclose(compiled.predict(*given.values()), case.data_sets[0][1][0], rtol=1e-4, atol=1e-6)
