"""Every option: its default, what it takes, and how it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gncodegen.errors import OptionsError
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.train.options import training_options

DEFAULTS = {
    "momentum": 0.9,
    "initial_learn_rate": 0.01,
    "learn_rate_schedule": "none",
    "learn_rate_drop_factor": 0.1,
    "learn_rate_drop_period": 10,
    "l2_regularization": 1e-4,
    "gradient_threshold": math.inf,
    "gradient_threshold_method": "l2norm",
    "max_epochs": 30,
    "mini_batch_size": 128,
    "shuffle": "once",
    "verbose": True,
    "verbose_frequency": 50,
    "validation_data": None,
    "validation_frequency": 50,
    "validation_patience": math.inf,
    "output_network": "last-iteration",
    "checkpoint_path": None,
    "checkpoint_frequency": 1,
    "checkpoint_frequency_unit": "epoch",
    "checkpoints_kept": 3,
    "execution_environment": "auto",
    "bucket_size": None,
    "synchronize_batch_normalization": False,
    "rank_timeout": 600.0,
    "reset_input_normalization": True,
    "batch_normalization_statistics": "population",
    "output_fcn": (),
    "detect_anomaly": False,
    "plots": "none",
    "seed": None,
}

REFUSED = {
    "momentum": [-0.1, 1.1, math.nan, True, "0.9", None],
    "initial_learn_rate": [0, -1, math.inf, math.nan, "fast"],
    "learn_rate_schedule": ["step", None, 1],
    "learn_rate_drop_factor": [-0.1, 1.5],
    "learn_rate_drop_period": [0, 1.5, True],
    "l2_regularization": [-1e-9, math.inf],
    "gradient_threshold": [0, -1, math.nan, -math.inf],
    "gradient_threshold_method": ["norm", None],
    "max_epochs": [0, -1, 2.0, True],
    "mini_batch_size": [0, 0.5, "all"],
    "shuffle": ["always", True],
    "verbose": [1, "yes"],
    "verbose_frequency": [0],
    "validation_data": [(1,), (1, 2, 3), 7],
    "validation_frequency": [0, math.inf],
    "validation_patience": [0, 1.5, math.nan],
    "output_network": ["best", None],
    "checkpoint_path": ["", 3, True],
    "checkpoint_frequency": [0, 1.5],
    "checkpoint_frequency_unit": ["hour", None],
    "checkpoints_kept": [0, math.inf],
    "execution_environment": ["several", "tpu"],
    "bucket_size": [0, 1.5, True],
    "synchronize_batch_normalization": [1, "yes"],
    "rank_timeout": [0, -1, math.inf, "long"],
    "reset_input_normalization": ["yes"],
    "batch_normalization_statistics": ["batch"],
    "detect_anomaly": [1, "yes"],
    "output_fcn": [3, [print, 3]],
    "plots": ["everything"],
    "seed": [-1, 0.5, True],
}


def test_defaults():
    options = training_options("sgdm")
    assert {name: getattr(options, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(("name", "given"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_refused_with_name_allowed_and_cure(name, given):
    with pytest.raises(OptionsError) as error:
        training_options("sgdm", **{name: given})
    message = str(error.value)
    assert message.startswith(f"{name} = ")
    assert message.count("; ") >= 2
    assert "allowed: " in message


def test_every_option_has_a_refusal():
    assert REFUSED.keys() == DEFAULTS.keys()


def test_numpy_numbers_are_numbers():
    options = training_options(
        "sgdm", max_epochs=np.int64(3), momentum=np.float32(0.5), gradient_threshold=np.float64("inf"), seed=np.uint8(1)
    )
    assert (options.max_epochs, options.momentum, options.seed) == (3, 0.5, 1)
    assert type(options.max_epochs) is int


def test_the_ends_of_ranges():
    training_options("sgdm", momentum=0, l2_regularization=0, learn_rate_drop_factor=1, validation_patience=1)
    training_options("sgdm", momentum=1, gradient_threshold=1e-300)


def test_unknown_options_and_solvers():
    with pytest.raises(OptionsError, match="write mini_batch_size="):
        training_options("sgdm", minibatchsize=3)
    with pytest.raises(OptionsError, match="no such option"):
        training_options("sgdm", zzz=3)
    with pytest.raises(OptionsError, match='allowed: "sgdm", "adam", "rmsprop"'):
        training_options("lion")
    with pytest.raises(OptionsError, match="solver = None"):
        training_options(None)  # pyright: ignore[reportArgumentType]


OWN = {
    "sgdm": {"momentum": 0.9},
    "adam": {"gradient_decay_factor": 0.9, "squared_gradient_decay_factor": 0.999, "epsilon": 1e-8},
    "rmsprop": {"squared_gradient_decay_factor": 0.9, "epsilon": 1e-8},
}
"""The reference's defaults."""


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_has_the_references_defaults(solver):
    options = training_options(solver)
    assert (options.solver, options.hyperparameters) == (solver, OWN[solver])
    assert options.initial_learn_rate == {"sgdm": 0.01, "adam": 0.001, "rmsprop": 0.001}[solver]
    for name, value in OWN[solver].items():
        assert getattr(options, name) == value
    common = DEFAULTS.keys() - {"momentum", "initial_learn_rate"}
    assert {name: getattr(options, name) for name in common} == {name: DEFAULTS[name] for name in common}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gradient_decay_factor", [-0.1, 1, 1.5, math.nan, "0.9", True]),
        ("squared_gradient_decay_factor", [-0.1, 1, None]),
        ("epsilon", [0, -1e-8, math.inf]),
        ("initial_learn_rate", [0, "fast"]),
    ],
)
def test_a_solvers_numbers_are_checked(name, values):
    for value in values:
        with pytest.raises(OptionsError, match=rf"^{name} = .*; allowed: a .*number.*; write {name}="):
            training_options("adam", **{name: value})


def test_options_of_another_solver_are_refused_with_those_it_takes():
    with pytest.raises(OptionsError) as error:
        training_options("adam", momentum=0.5)
    assert str(error.value) == (
        'momentum: no option of solver "adam"; allowed: gradient_decay_factor, squared_gradient_decay_factor, epsilon, '
        'and what all solvers take; leave it out, or write training_options("sgdm", momentum=…)'
    )
    with pytest.raises(OptionsError, match=r'"adam", epsilon=…\) or training_options\("rmsprop"'):
        training_options("sgdm", epsilon=1e-3)
    with pytest.raises(OptionsError, match="write squared_gradient_decay_factor="):
        training_options("rmsprop", squared_gradient_decay=0.5)
    with pytest.raises(AttributeError, match="momentum"):
        training_options("rmsprop").momentum  # noqa: B018


def test_best_validation_loss_needs_validation_data():
    with pytest.raises(OptionsError, match="validation_data"):
        training_options("sgdm", output_network="best-validation-loss")
    training_options("sgdm", output_network="best-validation-loss", validation_data=(np.zeros(1), np.zeros(1)))


@pytest.mark.parametrize("functions", [print, [print], (print, repr)])
def test_output_functions_become_a_tuple(functions):
    options = training_options("sgdm", output_fcn=functions)
    assert isinstance(options.output_fcn, tuple)
    assert options.output_fcn[0] is print


def test_options_are_frozen():
    options = training_options("sgdm")
    with pytest.raises(
        OptionsError, match=r"momentum = 0.5 set on training options; .* training_options\(…, momentum=0.5\)"
    ):
        options.momentum = 0.5  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(OptionsError, match=r"max_epoch = 3 .* training_options\(…, max_epochs=3\)"):
        options.max_epoch = 3  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(OptionsError, match="seed deleted from training options"):
        del options.seed
