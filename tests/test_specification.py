"""The specification line by line: properties with defaults and ranges, numbers on every target, where the rest is."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from support.targets import TARGETS

import gncodegen as gnc
from gncodegen.train.history import TrainingState

TESTS = Path(__file__).parent
FACTORS = [("learn_rate_factor", 1.0), ("l2_factor", 1.0)]


def group_norm(**given):
    return gnc.GroupNormalizationLayer(given.pop("num_groups", 2), **given)


def convolution(**given):
    return gnc.Convolution2dLayer(given.pop("filter_size", 3), 4, **given)


def pooling(**given):
    return gnc.AveragePooling2dLayer(given.pop("pool_size", 3), **given)


def image(**given):
    return gnc.ImageInputLayer((4, 4, 2), **given)


def rank(name, **given):
    """A layer with windows over one to three axes."""

    def make(**more):
        return getattr(gnc, name)(*given.values(), **more)

    make.__name__ = name
    return make


NORMS = (gnc.BatchNormalizationLayer, gnc.LayerNormalizationLayer, gnc.InstanceNormalizationLayer)
WEIGHTED = (
    convolution, rank("Convolution1dLayer", filter_size=3, num_filters=4),
    rank("Convolution3dLayer", filter_size=3, num_filters=4),
    rank("GroupedConvolution2dLayer", filter_size=3, num_filters=4, num_groups=2),
    rank("TransposedConvolution2dLayer", filter_size=3, num_filters=4), rank("FullyConnectedLayer", outputs=3),
)  # fmt: skip
WINDOWS = {
    1: (WEIGHTED[1], rank("MaxPooling1dLayer", pool_size=3), rank("AveragePooling1dLayer", pool_size=3)),
    2: (rank("MaxPooling2dLayer", pool_size=3), WEIGHTED[3]),
    3: (WEIGHTED[2], rank("MaxPooling3dLayer", pool_size=3), rank("AveragePooling3dLayer", pool_size=3)),
}
"""Number of axes → layers."""
INITIALIZERS = ["zeros", "ones", "narrow-normal", np.zeros]
NORMALIZATIONS = ["zerocenter", "zscore", "rescale-symmetric", "rescale-zero-one", "none", abs]
REQUIRED = "required"
PROPERTIES = [
    # Section 1: group normalization.
    (group_norm, "num_groups", REQUIRED, [1, 4, "all-channels", "channel-wise"], [0, -1, 2.5, True, "all"]),
    (group_norm, "num_channels", "auto", ["auto", 4], [0, -4, 2.5, 3]),
    (group_norm, "epsilon", 1e-5, [1e-12, 1e-3], [0, -1e-5, math.nan, math.inf, [1e-5]]),
    (group_norm, "offset_initializer", "zeros", INITIALIZERS, ["he", 0]),
    (group_norm, "scale_initializer", "ones", INITIALIZERS, ["he", 1]),
    (group_norm, "offset", None, [[0.0, 1.0]], ["zeros"]),
    (group_norm, "scale", None, [[0.0, 1.0]], ["ones"]),
    *((group_norm, f"{p}_{factor}", 1, [0, 2.5], [-1, math.inf]) for p in ("scale", "offset") for factor, _ in FACTORS),
    (group_norm, "name", "", ["gn"], [3]),
    # Section 2: its neighbours.
    *((gnc.BatchNormalizationLayer, name, 0.1, [0, 1], [-0.1, 1.1]) for name in ("mean_decay", "variance_decay")),
    (gnc.BatchNormalizationLayer, "trained_mean", None, [[0.5]], ["zeros"]),
    (gnc.BatchNormalizationLayer, "trained_variance", None, [[0.5]], [[-0.5]]),
    (
        gnc.LayerNormalizationLayer, "operation_dimension", "auto",
        ["auto", "channel-only", "spatial-channel", "batch-excluded"], ["space"],
    ),
    (convolution, "stride", (1, 1), [2, (2, 1)], [0, (1, 2, 3)]),
    (convolution, "dilation_factor", (1, 1), [2, (2, 1)], [0, 1.5]),
    (convolution, "padding", (0, 0, 0, 0), ["same", 2, (1, 2), (0, 1, 2, 0)], [-1, "valid", (1, 2, 3)]),
    (
        convolution, "padding_value", 0,
        [1.5, "symmetric-include-edge", "symmetric-exclude-edge", "replicate"], ["mirror", math.nan],
    ),
    *((kind, "epsilon", 1e-5, [1e-12], [0, math.nan, True]) for kind in NORMS),
    *((kind, "num_channels", "auto", [4], [0, 2.5]) for kind in NORMS),
    *((kind, "offset_initializer", "zeros", INITIALIZERS, ["he"]) for kind in NORMS),
    *((kind, "scale_initializer", "ones", INITIALIZERS, ["he"]) for kind in NORMS),
    *((kind, f"{p}_{factor}", 1, [0], [-1]) for kind in NORMS for p in ("scale", "offset") for factor, _ in FACTORS),
    *(
        (kind, f"{p}_{factor}", default, [0, 2], [-1, math.nan])
        for kind in WEIGHTED
        for p, factor, default in (
            ("weight", "learn_rate_factor", 1), ("bias", "learn_rate_factor", 1), ("weight", "l2_factor", 1),
            ("bias", "l2_factor", 0),
        )
    ),
    *((kind, "stride", (1,) * axes, [2], [0, (1,) * (axes + 1)]) for axes, kinds in WINDOWS.items() for kind in kinds),
    *(
        (kind, "padding", (0, 0) * axes, ["same", 1, (1,) * axes, (1, 0) * axes], [-1, "full"])
        for axes, kinds in WINDOWS.items() for kind in kinds[:1] if kind is not WEIGHTED[3]
    ),
    (gnc.GroupedConvolution2dLayer, "num_groups", REQUIRED, [2, "channel-wise"], [0, "all-channels", True]),
    (gnc.FullyConnectedLayer, "outputs", REQUIRED, [1, 10], [0, 2.5, True]),
    (gnc.ClippedReluLayer, "ceiling", REQUIRED, [6, 0.5], [0, -1, math.inf]),
    *((kind, "num_inputs", 2, [2, 3], [1, 0]) for kind in (gnc.AdditionLayer, gnc.MultiplicationLayer)),
    (gnc.DepthConcatenationLayer, "num_inputs", 2, [3], [1]),
    (rank("Image3dInputLayer", size=(4, 4, 4, 2)), "normalization", "zerocenter", NORMALIZATIONS, ["whiten"]),
    (rank("FeatureInputLayer", size=4), "normalization", "none", NORMALIZATIONS, ["whiten"]),
    (rank("SequenceInputLayer", size=4), "normalization", "none", NORMALIZATIONS, ["whiten"]),
    (rank("SequenceInputLayer", size=4), "min_length", 1, [5], [0]),
    (rank("SequenceInputLayer", size=4), "padding", "none", ["none", "include", "mask"], ["zeros"]),
    (
        convolution, "weights_initializer", "glorot",
        ["glorot", "he", "orthogonal", "narrow-normal", "zeros", "ones", np.zeros], ["xavier"],
    ),
    (convolution, "bias_initializer", "zeros", INITIALIZERS, ["glorot"]),
    (gnc.LeakyReluLayer, "scale", 0.01, [0.2], [math.nan]),
    (gnc.EluLayer, "alpha", 1, [0.5], [math.inf]),
    (gnc.GeluLayer, "approximation", "none", ["none", "tanh"], ["fast"]),
    (pooling, "stride", (1, 1), [2, (1, 2)], [0]),
    (pooling, "padding", (0, 0, 0, 0), ["same", 1, (1, 2)], [3, (0, 0, 3, 0)]),
    (pooling, "padding_value", 0, [0, "mean"], [1, "same"]),
    (gnc.DropoutLayer, "probability", 0.5, [0, 0.9], [1, -0.1]),
    (gnc.ClassificationLayer, "classes", "auto", ["auto", ("a", "b"), (1, 2)], [("a", "a"), ()]),
    (gnc.ClassificationLayer, "class_weights", None, [(1, 2.5)], [(0, 1), (-1, 1)]),
    (gnc.ClassificationLayer, "ignore_label", None, ["none", 255], [[1]]),
    (image, "normalization", "zerocenter", NORMALIZATIONS, ["whiten"]),
    (image, "normalization_dimension", "auto", ["auto", "channel", "element", "all"], ["pixel"]),
    (gnc.CrossChannelNormalizationLayer, "window_channel_size", REQUIRED, [1, 5], [0, 2.5]),
    (gnc.Resize2dLayer, "extents", REQUIRED, [4, (4, 8)], [0, (1, 2, 3)]),
    # Section 3: training.
    (gnc.training_options, "momentum", 0.9, [0, 1], [-0.1, 1.1]),
    (gnc.training_options, "initial_learn_rate", 0.01, [1e-6], [0, -1]),
    (gnc.training_options, "learn_rate_schedule", "none", ["none", "piecewise", max], ["cosine"]),
    (gnc.training_options, "learn_rate_drop_factor", 0.1, [0, 1], [-0.1, 2]),
    (gnc.training_options, "learn_rate_drop_period", 10, [1], [0]),
    (gnc.training_options, "l2_regularization", 1e-4, [0], [-1]),
    (gnc.training_options, "gradient_threshold", math.inf, [1], [0, -1]),
    (
        gnc.training_options, "gradient_threshold_method", "l2norm",
        ["l2norm", "global-l2norm", "absolute-value"], ["norm"],
    ),
    (gnc.training_options, "max_epochs", 30, [1], [0, 1.5]),
    (gnc.training_options, "mini_batch_size", 128, [1], [0]),
    (gnc.training_options, "shuffle", "once", ["once", "never", "every-epoch"], ["always"]),
    (gnc.training_options, "verbose", True, [False], [1]),
    (gnc.training_options, "verbose_frequency", 50, [1], [0]),
    (gnc.training_options, "validation_data", None, [([0], [0])], [3]),
    (gnc.training_options, "validation_frequency", 50, [1], [0]),
    (gnc.training_options, "validation_patience", math.inf, [3], [0]),
    (gnc.training_options, "output_network", "last-iteration", ["last-iteration"], ["best"]),
    (gnc.training_options, "checkpoint_path", None, ["folder"], [3]),
    (gnc.training_options, "checkpoint_frequency", 1, [5], [0]),
    (gnc.training_options, "checkpoint_frequency_unit", "epoch", ["epoch", "iteration"], ["hour"]),
    (gnc.training_options, "execution_environment", "auto", ["auto", "gpu", "parallel", "multi-gpu"], ["tpu"]),
    (gnc.training_options, "reset_input_normalization", True, [False], ["no"]),
    (gnc.training_options, "batch_normalization_statistics", "population", ["population", "moving"], ["batch"]),
    (gnc.training_options, "plots", "none", ["none"], ["loss"]),
    (gnc.training_options, "output_fcn", (), [None, print, [print, max]], [3]),
    (gnc.training_options, "seed", None, [0, 7], [-1, 0.5]),
]  # fmt: skip
"""What makes the thing, a property, its default, values that are allowed, and some that are refused."""


def needed(make):
    """What a grouped convolution needs beside its groups."""
    return {"filter_size": 3, "num_filters_per_group": 2} if make is gnc.GroupedConvolution2dLayer else {}


@pytest.mark.parametrize(
    ("make", "name", "default", "allowed", "refused"), PROPERTIES, ids=lambda value: getattr(value, "__name__", None)
)
def test_properties(make, name, default, allowed, refused):
    if default != REQUIRED:
        assert getattr(make(), name) == default
    for value in allowed:
        make(**needed(make) | {name: value})
    for value in refused:
        with pytest.raises((gnc.LayerError, gnc.OptionsError), match=name):
            make(**needed(make) | {name: value})


def test_read_only_properties():
    layer = gnc.GroupNormalizationLayer(2)
    assert (layer.num_inputs, layer.input_names, layer.num_outputs, layer.output_names) == (1, ("in",), 1, ("out",))
    with pytest.raises(gnc.LayerError, match=r"num_inputs = 2 set on a layer; allowed: .*num_groups.*follows from"):
        layer.num_inputs = 2


NAMES = """
GroupNormalizationLayer(8, name="gn1"); BatchNormalizationLayer(); LayerNormalizationLayer()
InstanceNormalizationLayer(); Convolution2dLayer(3, 16, padding="same"); Convolution1dLayer(3, 16)
Convolution3dLayer(3, 16); GroupedConvolution2dLayer(3, 2, 4); TransposedConvolution2dLayer(2, 4)
FullyConnectedLayer(9); ReluLayer(); LeakyReluLayer(); ClippedReluLayer(6); EluLayer(); TanhLayer(); SigmoidLayer()
SwishLayer(); GeluLayer(); SoftplusLayer(); SoftmaxLayer(); MaxPooling1dLayer(2, stride=2)
MaxPooling2dLayer(2, stride=2); MaxPooling3dLayer(2, stride=2); AveragePooling1dLayer(2); AveragePooling2dLayer(2)
AveragePooling3dLayer(2); GlobalAveragePooling1dLayer(); GlobalAveragePooling2dLayer(); GlobalAveragePooling3dLayer()
GlobalMaxPooling1dLayer(); GlobalMaxPooling2dLayer(); GlobalMaxPooling3dLayer(); DropoutLayer(); AdditionLayer(2)
MultiplicationLayer(2); DepthConcatenationLayer(2); FlattenLayer(); ImageInputLayer((28, 28, 1))
Image3dInputLayer((8, 8, 8, 1)); FeatureInputLayer(4); SequenceInputLayer(4); ClassificationLayer(); RegressionLayer()
LayerGraph([gnc.ReluLayer(name="relu_1")]).add([gnc.AdditionLayer(2, name="add")]).connect("relu_1", "add/in2")
training_options("sgdm", momentum=0.9); train_network; analyze_network; set_learn_rate_factor; groupnorm
"""
"""Section 5, as a user writes them."""


@pytest.mark.parametrize("written", [each.strip() for each in NAMES.replace("\n", ";").split(";") if each.strip()])
def test_names(written):
    assert eval(f"gnc.{written}", {"gnc": gnc}) is not None


def test_what_a_training_tells():
    """The fields that section 3 lists of `info` and of what an output_fcn gets."""
    validated = {f"{when}_{what}" for when in ("training", "validation") for what in ("loss", "accuracy", "rmse")}
    assert validated | {"epoch", "iteration", "time_since_start", "base_learn_rate", "state"} <= {
        each.name for each in fields(TrainingState)
    }
    known = {each.name for each in fields(gnc.TrainingInfo)}
    assert validated | {
        "base_learn_rate", "final_validation_loss", "output_network_iteration", "stop_reason"
    } <= known  # fmt: skip


# ---- Section 6, one row of eight channels in one group: two observations, the second always 0 … 7 ------------------

POSITIVE = np.array([0.21821768, 0.65465305, 1.09108841, 1.52752378])
ZERO_TO_SEVEN = np.concatenate([-POSITIVE[::-1], POSITIVE])
UP_AND_DOWN = np.array([1.0, -1.0] * 4)
ROWS = {
    "3: 0 … 7": (np.arange(8.0), ZERO_TO_SEVEN),
    "4: constant": (np.full(8, 5.0), np.zeros(8)),
    "4: 0.1f": (np.full(8, 0.1), np.zeros(8)),
    "5: tiny variance": (1e-30 * UP_AND_DOWN, 1e-30 / math.sqrt(1e-5) * UP_AND_DOWN),
    "6: ±1e20": (1e20 * UP_AND_DOWN, UP_AND_DOWN),
    "6: NaN": (np.array([np.nan, *range(7)]), np.full(8, np.nan)),
    "6: infinity": (np.array([np.inf, *range(7)]), np.full(8, np.nan)),
    "section 1: mean 1e6": (1e6 + np.arange(8.0), ZERO_TO_SEVEN),
}
"""Input and result before scale and offset."""
SCALE, OFFSET = np.linspace(0.5, 2, 8), np.linspace(-1, 1, 8)


@pytest.fixture(scope="module", params=TARGETS)
def one_group(request):
    layers = [
        gnc.TensorInputLayer((8,)), gnc.GroupNormalizationLayer(1, scale=SCALE, offset=OFFSET), gnc.RegressionLayer()
    ]  # fmt: skip
    return gnc.compile(layers, request.param, batch_size=2, emulate=request.param != "cpu")


@pytest.mark.parametrize("row", ROWS)
def test_numbers(one_group, row):
    x, normalized = ROWS[row]
    y = one_group.predict(np.stack([x, np.arange(8.0)]).astype(np.float32))
    expected = normalized * SCALE + OFFSET
    if not normalized.any():
        np.testing.assert_array_equal(y[0], expected.astype(np.float32))
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(y[1], ZERO_TO_SEVEN * SCALE + OFFSET, rtol=0, atol=2e-6)


def test_gradients_of_constant_groups_are_finite(one_group):
    x, t = np.full((2, 8), 0.1, np.float32), np.ones((2, 8), np.float32)
    for gradient in one_group.gradients(x, t).values():
        assert np.isfinite(gradient).all()


# ---- what networks do is tested where the parts are; each line names it --------------------------------------------

LINES = {
    "1: names that layers get": "layers/test_network.py::test_automatic_names",
    "1: initializers, callables of a shape": "layers/test_initializers.py::test_callable_gets_the_shape",
    "1: narrow-normal": "layers/test_initializers.py::test_he_and_narrow_normal",
    "1: a starting value wins": "layers/test_initializers.py::test_value_wins_and_is_copied",
    "1: arrays are channels last": "networks/test_groupnorm_arrays.py::test_the_default_format_is_channels_last",
    "1: dgamma accumulates dy·x̂": "networks/test_groupnorm.py::test_gradients_stay_accurate_at_every_offset",
    "1: sums are float32 or wider": "networks/test_half.py::test_network_rounds_where_it_stores",
    "1: contiguous groups": "networks/test_groupnorm.py::test_groups_are_contiguous_blocks",
    "1: no state": "networks/test_groupnorm.py::test_drawn_shapes_forward_and_gradients",
    "1: formats CB … SSSCBT in any order": "networks/test_groupnorm_arrays.py::test_every_format_and_axis_order",
    "1: learned values stand in the layer": "train/test_train_network.py::test_layers_hold_the_learned_values",
    "1: scale and offset are decayed, biases not": (
        "networks/test_training_step.py::test_by_default_scale_and_offset_decay_and_biases_do_not"
    ),
    "1: errors at construction": "networks/test_groupnorm_arrays.py::test_wrong_properties_are_refused_at_construction",
    "1: errors at network build": (
        "networks/test_groupnorm_arrays.py::test_what_does_not_fit_the_channels_is_refused_at_build"
    ),
    "1: function form": "networks/test_groupnorm_arrays.py::test_offset_comes_before_scale",
    "1: offsets up to 1e6": "networks/test_groupnorm.py::test_error_stays_below_a_millionth_at_every_offset",
    "1: same bits for every thread count": (
        "networks/test_reproducible.py::test_thread_counts_and_repeated_runs_give_the_same_bits"
    ),
    "2: batch normalization": "networks/test_normalizations.py::test_batch_norm_in_training_and_prediction",
    "2: moving": "train/test_train_network.py::test_moving_statistics_of_batch_normalization",
    "2: population": "train/test_train_network.py::test_population_statistics_of_batch_normalization",
    "2: layer normalization's dimensions": "networks/test_normalizations.py::test_layer_norm_dimensions",
    "2: instance normalization": "networks/test_normalizations.py::test_instance_norm",
    "2: local response normalization": "networks/test_resize.py::test_local_response",
    "2: windows of one to three axes, on every target": "networks/test_window_axes.py::test_against_the_twin",
    "2: same": "layers/test_geometry.py::test_same_gives_ceil",
    "2: extents of outputs": "layers/test_geometry.py::test_output_counts_the_positions",
    "2: forms of padding": "layers/test_geometry.py::test_padding_forms",
    "2: padding values": "networks/test_convolution.py::test_padding_values_and_modes",
    "2: glorot": "layers/test_initializers.py::test_glorot_is_uniform_within_its_bound",
    "2: orthogonal": "layers/test_initializers.py::test_orthogonal",
    "2: max pads with −Inf": "networks/test_pooling.py::test_max_pads_with_minus_infinity",
    "2: multiplication": "networks/test_elementwise.py::test_three_inputs",
    "2: one stable log-sum-exp": "networks/test_pointwise.py::test_the_loss_of_extreme_scores_is_finite_and_right",
    "2: half squared errors, mini-batch mean": "networks/test_functional.py::test_losses",
    "2: sequences and volumes": "layers/test_inputs.py::test_sequences_and_volumes_are_normalized",
    "2: one length": "networks/test_sequences.py::test_sequences_that_do_not_fit_are_refused",
    "2: fully connected keeps B and T": "networks/test_formats.py::test_works_over_the_axes_that_the_table_says",
    "2: activations": "networks/test_pointwise.py::test_activations",
    "2: relu(NaN) = NaN": "networks/test_pointwise.py::test_activations_of_special_values",
    "2: dropout": "networks/test_pointwise.py::test_dropout_keeps_the_right_share_and_scales_it",
    "2: addition": "networks/test_pointwise.py::test_addition_of_three",
    "2: depth concatenation": "networks/test_pointwise.py::test_concatenation_of_unequal_depths",
    "2: crop": "networks/test_movement.py::test_crop",
    "2: depth to space and back": "networks/test_movement.py::test_depth_to_space_and_back",
    "2: resize": "networks/test_resize.py::test_resize",
    "2: classification over positions": "networks/test_pixels.py::test_loss_and_gradient",
    "2: cross entropy, class weights": "networks/test_pointwise.py::test_softmax_and_cross_entropy",
    "2: input normalizations": "networks/test_normalizations.py::test_input_normalizations",
    "2: a constant channel gives no NaN": "layers/test_inputs.py::test_constant_channel_deviates_by_exactly_zero",
    "3: update, two steps by hand": "networks/test_training_step.py::test_two_steps_by_hand",
    "3: piecewise": "networks/test_training_step.py::test_a_piecewise_rate_drops_and_velocities_stay",
    "3: L2 comes before the clip": "networks/test_training_step.py::test_l2_comes_before_the_clip",
    "3: factor 0 keeps out of the global norm": (
        "networks/test_training_step.py::test_a_frozen_parameter_counts_in_no_global_norm"
    ),
    "3: last mini-batch": "train/test_loop.py::test_the_last_incomplete_mini_batch_is_dropped",
    "3: table": "train/test_loop.py::test_columns_and_rows",
    "3: output_fcn stops": "train/test_loop.py::test_true_stops_and_keeps_the_latest_weights",
    "3: what an output_fcn sees of validation": "train/test_loop.py::test_validation_fields",
    "3: checkpoints": "train/test_checkpoint.py::test_every_so_many_iterations_and_the_last_few_are_kept",
    "3: reset_input_normalization": "train/test_train_network.py::test_given_statistics_stay_unless_reset",
    "3: training-progress": "train/test_plot.py::test_two_panels",
    "3: one seed": "train/test_train_network.py::test_one_seed_fixes_everything",
    "3: classify": "train/test_train_network.py::test_text_labels_come_back",
    "3: activations": "train/test_train_network.py::test_activations",
    "3: analyze_network's table": "layers/test_analyze.py::test_table",
    "3: resume": "train/test_checkpoint.py::test_a_stopped_training_goes_on_with_the_same_bits",
    "3: analyze_network": "layers/test_analyze.py::test_all_issues_at_once",
    "6.1": "networks/test_groupnorm_arrays.py::test_wrong_group_counts_are_refused_at_construction",
    "6.2": "networks/test_groupnorm.py::test_one_group_is_all_channels_and_c_groups_are_channel_wise",
    "6.4": "networks/test_groupnorm.py::test_a_constant_group_is_exactly_the_offset",
    "6.5": "networks/test_groupnorm.py::test_epsilon_stands_inside_the_root",
    "6.6": "networks/test_groupnorm.py::test_a_bad_value_spoils_its_own_group_and_nothing_else",
    "6.7": "networks/test_training_step.py::test_factor_zero_freezes_bit_for_bit",
    "6.8": "networks/test_training_step.py::test_clipping_below_at_and_above_the_threshold",
    "6.9: batch > N": "train/test_loop.py::test_a_mini_batch_larger_than_the_data_is_one_batch_of_all",
    "6.9: batch 0": "networks/test_groupnorm_arrays.py::test_an_empty_batch_stays_empty",
    "6.9: shuffles": "train/test_loop.py::test_a_seed_fixes_the_order",
    "6.10: patience": "train/test_loop.py::test_patience",
    "6.10: best-validation-loss": "train/test_loop.py::test_best_weights_come_back",
    "6.10: output_fcn": "train/test_loop.py::test_called_iterations_plus_two_times",
    "6.11: any array": "networks/test_groupnorm_arrays.py::test_any_kind_of_array_gives_the_right_result",
    "6.12": "networks/test_groupnorm.py::test_the_input_gradient_sums_to_zero_over_a_group",
    "6.13": "networks/test_groupnorm.py::test_a_batch_slice_alone_has_the_same_bits",
    "6.14": "networks/test_groupnorm.py::test_a_group_larger_than_one_cache",
}
"""Line of the specification → the test that shows it."""


@pytest.mark.parametrize("line", LINES)
def test_a_line_has_its_test_in_the_default_run(line):
    path, _, function = LINES[line].partition("::")
    found = re.search(rf"^((?: *@.*\n)*) *def {function}\(", (TESTS / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, LINES[line]
    assert "mark.full\n" not in found[1]
