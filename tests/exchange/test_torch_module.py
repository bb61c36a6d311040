"""A compiled network as a torch module: gradients, optimizers, modes, and the way back into the module it came from."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from support.torch_models import Call, drawn, seeded  # noqa: E402  needs torch

import gncodegen as gnc  # noqa: E402
from gncodegen.errors import ArrayError, NetworkError  # noqa: E402


class Flat(nn.Module):
    """One norm in two places, no kernels of convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(torch.tanh(self.norm(self.first(x))))))


class Moded(nn.Module):
    """Layers that training and prediction tell apart."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4, momentum=0.25), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(x))


@pytest.fixture(scope="module")
def flat():
    """(the torch module, the same compiled, as a torch module), in float64."""
    module = seeded(Flat().double())
    graph = gnc.from_torch(module, drawn((3, 4))[0])
    return module, gnc.compile(graph, training=False, batch_size=3, dtype="float64").as_torch_module()


def assert_close(found, wanted, bound=1e-12):
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= bound * wanted.abs().max()


def test_one_number_for_each_observation_has_no_axis_of_its_own(tmp_path) -> None:
    module, (x,) = seeded(Call(lambda x, layer: layer(x).sum(1) * 2, nn.Linear(4, 6))), drawn((3, 4))
    x = x.float()
    compiled = gnc.compile(gnc.from_torch(module, (x,)), training=False, batch_size=3)
    wanted, out = module(x).detach().numpy(), np.empty(3, np.float32)
    np.testing.assert_allclose(compiled.predict(x.numpy(), out=out), wanted, rtol=1e-6)
    assert compiled.predict(x.numpy()[:2]).shape == (2,)
    np.testing.assert_array_equal(compiled.predict(x.numpy()), out)
    given, taken = x.clone().requires_grad_(), x.clone().requires_grad_()
    module(given).backward(torch.ones(3))
    compiled.as_torch_module()(taken).backward(torch.ones(3))
    assert_close(taken.grad, given.grad, 1e-6)
    compiled.export(tmp_path / "net.onnx")
    again = gnc.from_onnx(tmp_path / "net.onnx")
    np.testing.assert_array_equal(gnc.compile(again, training=False, batch_size=3).predict(x.numpy()), out)


def test_gradients_are_those_of_torch_and_of_one_shared_parameter(flat) -> None:
    module, own = flat
    x, dy = drawn((3, 4), (3, 3))
    given, taken = x.clone().requires_grad_(), x.clone().requires_grad_()
    module.zero_grad(), own.zero_grad()
    module(given).backward(dy)
    own(taken).backward(dy)
    assert_close(taken.grad, given.grad)
    assert_close(own.get_parameter("norm/scale").grad, module.norm.weight.grad)
    assert_close(own.get_parameter("first/weights").grad, module.first.weight.grad)
    assert len(list(own.parameters())) == len(list(module.parameters())) + 1  # a bias of zeros, which stays so


def test_gradcheck(flat) -> None:
    assert torch.autograd.gradcheck(flat[1], (drawn((3, 4))[0].requires_grad_(),))


def test_a_part_of_a_larger_module_and_its_optimizer(flat) -> None:
    module, own = (copy.deepcopy(each) for each in flat)
    head = nn.Linear(3, 2).double()
    pair = [nn.Sequential(part, nn.ReLU(), copy.deepcopy(head)) for part in (module, own)]
    (x,) = drawn((3, 4))
    for whole in pair:
        optimizer = torch.optim.Adam([p for p in whole.parameters() if p.requires_grad], 0.01)
        for _ in range(3):
            optimizer.zero_grad()
            whole(x).square().sum().backward()
            optimizer.step()
    assert_close(pair[1](x), pair[0](x), 1e-9)
    with torch.no_grad():
        assert not pair[1](x).requires_grad


def test_values_are_seen_on_both_sides(flat) -> None:
    own = copy.deepcopy(flat[1])
    (x,) = drawn((3, 4))
    name = "last/weights"
    own.compiled.parameters["last.weights"] = np.zeros((3, 6))
    assert not own(x).any()
    with torch.no_grad():
        own.get_parameter(name).fill_(1.0)
    assert own(x).any()
    own.get_parameter(name).data = torch.zeros(3, 6, dtype=torch.float64)  # in other memory
    assert not own(x).any()
    stream = io.BytesIO()
    torch.save(flat[1].state_dict(), stream)
    stream.seek(0)
    own.load_state_dict(torch.load(stream))
    assert_close(own(x), flat[1](x))


def test_tensors_that_do_not_fit_are_refused(flat) -> None:
    with pytest.raises(ArrayError, match=r"input 1 is torch.float32 on cpu; allowed: torch.float64 tensors on the CPU"):
        flat[1](torch.zeros(3, 4))
    with pytest.raises(ArrayError, match="input 1 is ndarray"):
        flat[1](np.zeros((3, 4)))


def test_training_and_evaluation_mode() -> None:
    module = seeded(Moded())
    own = gnc.compile(gnc.from_torch(module.train(), torch.zeros(8, 4)), training=False, batch_size=8).as_torch_module()
    (x,) = drawn((8, 4), dtype=torch.float32)
    assert_close(own.eval()(x), module.eval()(x), 1e-6)
    own.train()
    x.requires_grad_()
    y = own(x)
    dropped = (y == 0).numpy()
    assert 0 < dropped.sum() < dropped.size
    assert (y == 0).ne(own(x) == 0).any()  # another mask
    module.norm.train()(x), module.norm(x)
    assert_close(own.get_buffer("norm/trained_mean"), module.norm.running_mean, 1e-6)
    # Ours is the variance of the population, torch's that of a sample; both saw x twice.
    sample = module.norm.running_var - seeded(Moded()).norm.running_var * 0.75**2
    population = own.get_buffer("norm/trained_variance") - seeded(Moded()).norm.running_var * 0.75**2
    assert_close(population, sample * 7 / 8, 1e-5)
    y.sum().backward()  # with the mask of its own forward pass
    wanted = x.detach().clone().requires_grad_()
    masked = nn.functional.batch_norm(wanted, None, None, module.norm.weight, module.norm.bias, training=True)
    (masked * torch.from_numpy(~dropped) * 2).sum().backward()
    assert_close(x.grad, wanted.grad, 1e-4)


def test_several_outputs_and_inputs_that_are_handed_on() -> None:
    graph = gnc.from_torch(Call(lambda x, y: (x + y, x - y)), (torch.zeros(2, 3), torch.zeros(2, 3)))
    own = gnc.compile(graph, training=False, batch_size=2, dtype="float64").as_torch_module()
    x, y, a, b = drawn(*[(2, 3)] * 4)
    x.requires_grad_(), y.requires_grad_()
    sums, differences = own(x, y)
    ((sums * a).sum() + (differences * b).sum()).backward()
    assert_close(x.grad, a + b)
    assert_close(y.grad, a - b)


def test_the_way_back_is_exact() -> None:
    module, fresh = (seeded(nn.Sequential(nn.BatchNorm1d(4), Flat()).double(), seed) for seed in (0, 5))
    graph = gnc.from_torch(module, drawn((1, 4))[0])
    compiled = gnc.compile(graph, training=False, batch_size=3, dtype="float64")
    written, own = gnc.to_state_dict(compiled, fresh), module.state_dict()
    assert list(written) == list(own)
    assert all(torch.equal(written[name], tensor) for name, tensor in own.items())
    assert torch.equal(fresh[1].norm.weight, module[1].norm.weight)
    compiled.parameters["1.norm.scale"] = np.arange(6.0)
    assert gnc.to_state_dict(compiled, fresh)["1.norm.weight"].tolist() == list(range(6))


def test_what_has_no_place_in_the_module(flat) -> None:
    module, _ = flat
    graph = gnc.from_torch(module, drawn((3, 4))[0]).append(gnc.FullyConnectedLayer(2, name="new"))
    compiled = gnc.compile(graph, training=False, batch_size=3, dtype="float64")
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(NetworkError, match=r"'new.weights' is no tensor of the module") as caught:
        gnc.to_state_dict(compiled, module)
    assert len(caught.value.issues) == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    layers = [gnc.FeatureInputLayer(4), gnc.FullyConnectedLayer(2)]
    other = gnc.compile(layers, training=False, batch_size=3, dtype="float64")
    with pytest.raises(NetworkError, match="is no input of an imported graph"):
        gnc.to_state_dict(other, module)


class Words(nn.Module):
    """The mean of rows of a table, and its products with all rows; a gain in two places."""

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(9, 4), nn.Linear(4, 9)
        self.last.weight, self.gain = self.table.weight, nn.Parameter(torch.rand(4))

    def forward(self, places):
        return self.last(torch.tanh(self.table(places).mean(1) * self.gain) * self.gain)


def test_places_are_whole_numbers_and_their_table_is_learned() -> None:
    module, places = seeded(Words()).float(), torch.tensor([[0, 8, 3], [3, 3, 1]])
    compiled = gnc.compile(gnc.from_torch(module, places), training=False, batch_size=2)
    assert sum(each.learn_rate_factor > 0 for each in compiled.network.parameters.values()) == 3
    own = compiled.as_torch_module()
    for given in (places, places.float()):
        torch.testing.assert_close(own(given), module(places))
    for each in (own, module):
        (each(places) ** 2).sum().backward()
        torch.optim.SGD(each.parameters(), 0.5).step()
    assert torch.allclose(module(places), own(places), atol=1e-6)
    back = Words()
    gnc.to_state_dict(compiled, back)
    torch.testing.assert_close(back.state_dict(), module.state_dict())
