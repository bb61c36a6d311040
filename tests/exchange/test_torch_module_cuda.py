"""A network on a GPU as a torch module: cuda.core on the stub's driver, torch's tensors in its memory."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from support.cuda_stub.arrays import OtherStream  # noqa: E402  needs torch
from support.torch_models import Call, drawn, seeded  # noqa: E402

import gncodegen as gnc  # noqa: E402
from gncodegen.errors import ArrayError, NetworkError  # noqa: E402


@pytest.fixture
def gpu(stub, monkeypatch):
    """What torch sees of the stub's GPU."""
    from support.cuda_stub.tensors import Gpu

    return Gpu(stub).lend(monkeypatch)


def flat():
    norm = nn.GroupNorm(2, 6)
    return seeded(nn.Sequential(nn.Linear(4, 6), norm, nn.Tanh(), norm, nn.Linear(6, 3)))


def compiled_of(module, *shapes, **options):
    graph = gnc.from_torch(module, drawn(*shapes, dtype=torch.float32))
    return gnc.compile(graph, "cuda", training=False, batch_size=3, **options)


def assert_close(found, wanted, bound=1e-5):
    found = found.cpu() if found.device.type == "cuda" else found
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= bound * wanted.abs().max()


def test_gradients_are_those_of_torch(gpu) -> None:
    module, (x, dy) = flat(), drawn((3, 4), (3, 3), dtype=torch.float32)
    own = compiled_of(module, (3, 4)).as_torch_module()
    given, taken = x.clone().requires_grad_(), gpu.tensor(x).requires_grad_()
    module(given).backward(dy)
    y = own(taken)
    assert y.is_cuda
    assert_close(y.detach(), module(x).detach())
    y.backward(gpu.tensor(dy))
    assert_close(taken.grad, given.grad)
    assert_close(own.get_parameter("1/scale").grad, module[1].weight.grad)
    assert_close(own.get_parameter("0/weights").grad, module[0].weight.grad)


def test_memory_is_torchs_and_work_is_in_its_stream(gpu, stub) -> None:
    """The stub says where work on the same memory is in no order."""
    module, (x, dy) = flat(), drawn((3, 4), (3, 3), dtype=torch.float32)
    own = compiled_of(module, (3, 4)).as_torch_module()
    theirs = OtherStream(stub)
    gpu.stream = theirs.handle
    taken, cotangent = gpu.tensor(x).requires_grad_(), gpu.tensor(dy)
    stub.calls.clear(), stub.kernels.launches.clear()
    own(taken).backward(cotangent)
    assert {launch.stream for launch in stub.kernels.launches} == {theirs.handle}
    for _ in range(2):  # in which a graph may be captured, elsewhere
        own(taken).backward(cotangent)
    assert {arguments[1] for name, arguments in stub.calls if name == "cuGraphLaunch"} <= {theirs.handle}
    values = own.compiled.parameters.stored
    assert all(own._tensor(name).data_ptr() == values.address(name) for name in values.shapes)
    assert not stub.count("cuMemcpyDtoHAsync")  # nothing passes through the host but the numbers of a step
    arrays = [arguments for name, arguments in stub.calls if name == "cuMemcpyHtoDAsync"]
    assert {size for _, _, size, _ in arrays} <= {own.compiled.hyperparameters.array.nbytes}
    module(x).backward(3 * dy)
    assert_close(own.get_parameter("4/weights").grad, module[4].weight.grad)


def test_a_part_of_a_larger_module_and_its_optimizer(gpu) -> None:
    module, (x,) = flat(), drawn((3, 4), dtype=torch.float32)
    own = compiled_of(module, (3, 4)).as_torch_module()
    weights = drawn((2, 3), dtype=torch.float32)[0]
    here, there = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    here.weight, there.weight = nn.Parameter(weights.clone()), nn.Parameter(gpu.tensor(weights))
    pair = [nn.Sequential(module, nn.ReLU(), here), nn.Sequential(own, nn.ReLU(), there)]
    for whole, images in zip(pair, (x, gpu.tensor(x)), strict=True):
        optimizer = torch.optim.Adam([p for p in whole.parameters() if p.requires_grad], 0.01, foreach=False)
        for _ in range(2):
            optimizer.zero_grad()
            whole(images).square().sum().backward()
            optimizer.step()
    assert_close(pair[1](gpu.tensor(x)).detach(), pair[0](x).detach(), 1e-4)


def test_values_are_seen_on_both_sides(gpu) -> None:
    own = compiled_of(flat(), (3, 4)).as_torch_module()
    x = gpu.tensor(drawn((3, 4), dtype=torch.float32)[0])
    other = copy.deepcopy(own)
    with torch.no_grad():
        before = own(x).cpu()
        own.get_parameter("4/weights").fill_(0.0)
        own.get_parameter("4/bias").fill_(2.0)
        assert (own.compiled.parameters["4.bias"] == 2).all()
        assert (own(x).cpu() == 2).all()
        own.compiled.parameters["4.bias"] = np.zeros(3)
        assert not own(x).cpu().any()
        own.get_parameter("4/bias").data = gpu.tensor(torch.ones(3))  # in other memory
        assert (own(x).cpu() == 1).all()
        assert own.get_parameter("4/bias").data_ptr() == own.compiled.parameters.stored.address("4.bias")
        assert torch.equal(other(x).cpu(), before)  # a copy has a network of its own


@pytest.mark.full(like="exchange/test_torch_module_cuda.py::test_gradients_are_those_of_torch")
def test_the_gradient_is_the_slope(gpu) -> None:
    own = compiled_of(nn.Sequential(nn.GroupNorm(2, 4), nn.Tanh()).double(), (2, 4), dtype="float64").as_torch_module()
    (x, dy), step = drawn((2, 4), (2, 4)), 1e-6
    taken = gpu.tensor(x).requires_grad_()
    own(taken).backward(gpu.tensor(dy))
    slopes = torch.zeros(2, 4, dtype=torch.float64)
    with torch.no_grad():
        for place in np.ndindex(2, 4):
            change = torch.zeros(2, 4, dtype=torch.float64)
            change[place] = step
            ahead, behind = (own(gpu.tensor(x + sign * change)).cpu() for sign in (1, -1))
            slopes[place] = ((ahead - behind) * dy).sum() / (2 * step)
    assert_close(taken.grad, slopes, 1e-7)


def test_training_mode_and_several_arrays(gpu) -> None:
    function = Call(lambda x, y, norm, drop: (drop(norm(x)) + y, x.sum(1)), nn.BatchNorm1d(4), nn.Dropout(0.5))
    module = seeded(function).train()
    own = compiled_of(module, (8, 4), (8, 4)).as_torch_module().train()
    x, y = (gpu.tensor(each).requires_grad_() for each in drawn((8, 4), (8, 4), dtype=torch.float32))
    found, sums = own(x, y)
    assert sums.shape == (8,)
    kept = (found.detach().cpu() != y.detach().cpu()).float()
    assert 0 < kept.sum() < kept.numel()
    (found.sum() + sums.sum()).backward()
    given = x.detach().cpu().requires_grad_()
    norm = module.parts[0]
    masked = nn.functional.batch_norm(given, None, None, norm.weight, norm.bias, training=True) * kept * 2
    (masked.sum() + given.sum()).backward()
    assert_close(x.grad, given.grad, 1e-4)
    assert (y.grad.cpu() == 1).all()


def test_tensors_that_do_not_fit_are_refused(gpu) -> None:
    module = flat()
    own = compiled_of(module, (3, 4)).as_torch_module()
    with pytest.raises(ArrayError, match=r"input 1 is torch.float32 on cpu; allowed: torch.float32 tensors on cuda:0"):
        own(torch.zeros(3, 4))
    graph = gnc.from_torch(module, torch.zeros(3, 4))
    with pytest.raises(ArrayError, match=r"float32 on cuda:0; allowed: torch.float32 tensors on the CPU"):
        gnc.compile(graph, training=False, batch_size=3).as_torch_module()(gpu.tensor(torch.zeros(3, 4)))
    emulated = gnc.compile(graph, "sm_90", emulate=True, training=False, batch_size=3)
    with pytest.raises(NetworkError, match=r"target 'sm_90', whose arrays lie in the emulator; allowed: 'cpu' and 'cu"):
        emulated.as_torch_module()
