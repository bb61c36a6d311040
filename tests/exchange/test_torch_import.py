"""PyTorch modules become layer graphs with their weights; what cannot is listed, all of it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from support.torch_models import Call, Encoding, Residual, differences, drawn, seeded  # noqa: E402  needs torch

import gncodegen as gnc  # noqa: E402
from gncodegen.errors import NetworkError  # noqa: E402


def test_names_weights_and_a_module_in_two_places() -> None:
    graph, errors = differences(Residual(), (2, 3, 6, 6))
    assert max(errors) < 1e-12
    network = gnc.Network.build(graph, require_output=False)
    assert sorted(network.parameters) == [
        "again.bias", "again.weights", "head.bias", "head.weights", "norm.offset", "norm.scale", "stem.bias",
        "stem.weights",
    ]  # fmt: skip
    assert dict(graph["norm_2"].shared) == {"scale": "norm.scale", "offset": "norm.offset"}
    assert graph["again"].bias_learn_rate_factor == 0
    assert graph["stem"].weights.shape == (3, 3, 3, 8)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_batch_of_the_example_is_not_kept(size) -> None:
    """A view to the batch's size, however it is said, leaves the number of observations free."""
    module = Call(lambda x: x.view(x.size(0), -1) + x.reshape(x.shape[0], 12) + x.flatten(1) + x.view(size, -1))
    graph = gnc.from_torch(module, torch.zeros(size, 3, 4))
    x = np.arange(36.0).reshape(3, 3, 4)
    from support.onnx_models import interpreted

    assert np.array_equal(interpreted(graph, {graph.layers[0].name: x})[0], 4 * x.reshape(3, 12))


def test_predictions_in_the_modules_own_order_of_axes() -> None:
    module, (x,) = seeded(Encoding()), drawn((5, 2, 8, 8), dtype=torch.float32)
    compiled = gnc.compile(gnc.from_torch(module, x[:1]), training=False, batch_size=2)
    with torch.no_grad():
        wanted = module.double()(x.double()).numpy()
    found = compiled.predict(x)
    assert found.shape == (5, 1, 8, 8)
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


def test_training_mode_keeps_dropout_and_running_statistics() -> None:
    module = nn.Sequential(nn.BatchNorm1d(4, momentum=0.25), nn.Dropout(0.3), nn.Linear(4, 2))
    trained = gnc.from_torch(seeded(module).train(), torch.zeros(3, 4))
    still = gnc.from_torch(module.eval(), torch.zeros(3, 4))
    assert [type(layer).__name__ for layer in trained][1:] == [
        "BatchNormalizationLayer", "DropoutLayer", "FullyConnectedLayer",
    ]  # fmt: skip
    assert [type(layer).__name__ for layer in still][1:] == ["BatchNormalizationLayer", "FullyConnectedLayer"]
    norm = trained["0"]
    assert norm.mean_decay == pytest.approx(0.25)
    assert np.array_equal(norm.trained_variance, module[0].running_var.numpy())


def test_what_is_learned_and_what_is_not() -> None:
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.rand(3, 1, 1))
            self.register_buffer("shift", torch.rand(3, 1, 1))
            self.convolution = nn.Conv2d(3, 3, 1).requires_grad_(False)

        def forward(self, x):
            return self.convolution(x * self.gain + self.shift)

    graph = gnc.from_torch(Scaled(), torch.zeros(2, 3, 4, 4))
    assert graph["mul"].constant_learn_rate_factor == 1
    assert graph["add"].constant_learn_rate_factor == 0
    assert graph["convolution"].weight_learn_rate_factor == 0


class Computed(nn.Module):
    """Weights and a factor that are computed from parameters alone, parts of others; some are not read."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        self.rate, self.unread = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
        self.halves, self.places = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(9, 3))

    def forward(self, x):
        y = self.first(x) * nn.functional.softplus(self.rate)
        return y + self.halves[0] + self.halves[1].exp() + self.places[7]


def test_what_is_computed_from_parameters_alone_is_told() -> None:
    module, x = Computed(), torch.zeros(2, 4)
    with pytest.warns(UserWarning, match="these tensors are not learned") as told:
        gnc.from_torch(module, x)
    (warning,) = told
    assert warning.filename == __file__
    names = "'rate', 'halves', 'first.parametrizations.weight.original0' and 1 more: what"
    assert names in str(warning.message)
    torch.nn.utils.parametrize.remove_parametrizations(module.first, "weight")
    module.rate.requires_grad_(False)
    module.halves.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gnc.from_torch(module, x)


def test_every_unsupported_node_is_listed() -> None:
    module = Call(lambda x: (torch.linalg.det(x) + 1, torch.special.bessel_j0(torch.relu(x)), torch.logcumsumexp(x, 1)))
    with pytest.raises(NetworkError) as caught:
        gnc.from_torch(module, torch.zeros(2, 4, 4))
    text = "\n".join(caught.value.issues)
    assert len(caught.value.issues) == 3
    for operator in ("aten.linalg_det.default", "aten.special_bessel_j0.default", "aten.logcumsumexp.default"):
        assert operator in text
    assert "write the module with those" in text


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (3, torch.zeros(2), "the module is int; allowed: an nn.Module"),
        (nn.ReLU(), np.zeros(2), "example input 1 is float64; allowed: tensors of float32 or float64"),
        (nn.ReLU(), torch.zeros(2, dtype=torch.int16), "example input 1 is torch.int16"),
        (nn.ReLU(), (), "no example input; allowed: one tensor for each input"),
        (Call(lambda x: x if x.sum() > 0 else -x), torch.zeros(2, 2), "torch.export cannot trace the module"),
        (Call(lambda x: torch.ones(2)), torch.zeros(2, 2), "is a constant; allowed: outputs of the inputs"),
        (Call(lambda x: x > 0), torch.zeros(2, 4), "is a condition; allowed: floats; return x.float()"),
        (Call(lambda x: ((x > 0) + (x < 1)).float()), torch.zeros(2, 4), "a sum of conditions; allowed: one of floats"),
        (nn.BatchNorm1d(4, track_running_stats=False), torch.zeros(2, 4), "allowed: track_running_stats=True"),
    ],
)
def test_what_is_refused(module, example, message) -> None:
    with pytest.raises(NetworkError, match=message):
        gnc.from_torch(module, example)


class Cut(nn.Module):
    """Reads a tensor as a whole and in part."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 4))

    def forward(self, x):
        return x @ self.weight @ self.weight[:, :2]


def test_a_tensor_read_as_a_whole_and_in_part_is_no_parameter() -> None:
    with pytest.raises(NetworkError, match=r"'weight' is read by .* in part.*requires_grad_\(False\)"):
        gnc.from_torch(Cut(), torch.zeros(2, 4))
    graph = gnc.from_torch(Cut().requires_grad_(False), torch.zeros(2, 4))
    assert [layer.weight_learn_rate_factor for layer in list(graph)[1:]] == [0, 0]


def test_several_inputs_and_outputs() -> None:
    graph, errors = differences(Call(lambda x, y: (x + y, (x * y).flatten(1))), (2, 3, 4), (2, 3, 4))
    assert max(errors) < 1e-12
    assert len([layer for layer in graph if layer.is_input]) == 2


class TimeFirst(nn.Module):
    """Attention over the first axis."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x):
        return self.attention(x, x, x)[0]


def test_what_a_module_made_from_numbers_and_parameters_is_of_any_type_inside() -> None:
    """A number of the module's goes through a layer of its own when it is read; outputs that are None are left out."""
    step = nn.Linear(2, 3)
    module = Call(lambda x, step: (x + step(torch.tensor([[10.0, 1.0]])), None), step)
    with pytest.warns(UserWarning, match="computed once"):
        graph = gnc.from_torch(module, torch.zeros(2, 3))
    assert len(graph.outputs) == 1


def test_a_module_that_computes_along_its_first_axis_is_one_observation() -> None:
    with pytest.warns(UserWarning, match="taken as one observation of the example's shapes, since .*observations"):
        graph, errors = differences(TimeFirst(), (5, 3, 4))
    assert max(errors) < 1e-12
    assert graph.layers[0].shape == (5, 3, 4)
    assert not graph.layers[0].batched
    module = seeded(Call(lambda x: (x @ x, torch.addbmm(x[0], x[1:], x[:-1], alpha=2))), 1)
    with pytest.warns(UserWarning, match="taken as one observation"):
        _, errors = differences(module, (3, 4, 4))
    assert max(errors) < 1e-12
