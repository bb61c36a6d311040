"""The peers of bench/gpu.py without a GPU: torch's lines on the CPU, with specifications for its streams and graphs."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from unittest.mock import create_autospec, patch

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from reference import activation, convolution, group_norm  # noqa: E402  needs torch

from bench import gpu_peers  # noqa: E402
from bench.gpu_rows import Session  # noqa: E402


class Peers(gpu_peers.Torch):
    """PyTorch on the CPU, whose graphs are the captured calls."""

    def __init__(self, tf32=False):
        with patch.object(torch.cuda, "is_available", return_value=True):
            super().__init__(tf32, device="cpu")

    def graphed(self, call):
        super().graphed(call)
        return call


@pytest.fixture(autouse=True)
def stream(monkeypatch):
    """The streams that torch works in, the last one first; what is called has the signature that torch's has."""
    entered = []

    @contextmanager
    def within(stream):
        entered.insert(0, stream)
        yield
        entered.remove(stream)

    def graph(*given, stream):
        create_autospec(torch.cuda.graph)(*given, stream=stream)
        return within(stream)

    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    for name in ("Stream", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, create_autospec(getattr(torch.cuda, name)))
    flags = [(torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32"),
             (torch.backends.cudnn, "benchmark")]  # fmt: skip
    kept = [getattr(module, name) for module, name in flags]
    yield entered
    for (module, name), value in zip(flags, kept, strict=True):
        setattr(module, name, value)


@pytest.fixture
def drawn(monkeypatch):
    """What torch.randn and randn_like gave."""
    arrays = []

    def keeping(function):
        def draw(*given, **named):
            arrays.append(function(*given, **named))
            return arrays[-1]

        return draw

    for name in ("randn", "randn_like"):
        monkeypatch.setattr(torch, name, keeping(getattr(torch, name)))
    return arrays


def ours(tensor):
    """An array with axes in the order of ours; filters are the last."""
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim > 1 else array


def of_one(make):
    """What a peer's call gives for its one set of arrays."""
    ((found,),) = (make()(),)
    return [one for one in (found if isinstance(found, tuple) else (found,)) if one is not None]


@pytest.mark.parametrize("direction", ["forward", "input gradient", "weight gradient"])
def test_convolutions(drawn, direction):
    peers = dict(Peers(tf32=True).convolutions((2, 4, 6, 8), 3, 3, 2, direction, copies=1))
    assert list(peers) == ["NCHW", "channels-last"]
    assert torch.backends.cudnn.allow_tf32
    for make, kind in zip(peers.values(), (torch.contiguous_format, torch.channels_last), strict=True):
        drawn.clear()
        (found,) = of_one(make)
        x, weights, *dy = (one.detach().double().numpy() for one in drawn)
        y, backward = convolution(
            np.moveaxis(x, 1, -1), weights.transpose(2, 3, 1, 0), np.zeros(3), stride=2, padding=1
        )
        if direction == "forward":
            wanted = y
        else:
            dx, dw, _ = backward(np.moveaxis(dy[0], 1, -1))
            wanted = dx if direction == "input gradient" else dw.transpose(3, 0, 1, 2)
        np.testing.assert_allclose(ours(found), wanted, rtol=1e-4, atol=1e-4)
        assert found.is_contiguous(memory_format=kind)


def check_norms(drawn, mode, backward):
    peers = dict(Peers().group_norms((2, 3, 4, 8), 4, backward, copies=1))
    assert list(peers) == [f"{kind}, {order}" for kind in ("eager", "compiled") for order in ("NCHW", "channels-last")]
    for order in ("NCHW", "channels-last"):
        drawn.clear()
        found = of_one(peers[f"{mode}, {order}"])
        x, scale, offset, *dy = map(ours, drawn)
        y, of_norm = group_norm(x, scale, offset, groups=4)
        z, of_relu = activation(y, "relu")
        for one, wanted in zip(found, of_norm(*of_relu(*dy)) if backward else [z], strict=True):
            np.testing.assert_allclose(ours(one), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backward", [False, True])
def test_norms(drawn, backward):
    check_norms(drawn, "eager", backward)


@pytest.mark.full(like="test_gpu_peers.py::test_norms")
@pytest.mark.parametrize("backward", [False, True])
def test_compiled_norms(drawn, backward, monkeypatch):
    """All of torch.compile but the C++ that a GPU does not meet."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    check_norms(drawn, "compiled", backward)


def test_a_graph_is_captured_where_its_forward_pass_ran(stream):
    """Autograd works in the stream of the forward pass, whatever the current one is."""
    seen = []

    def make():
        seen.append(stream[0])
        return lambda: seen.append(stream[0])

    peers = Peers()
    peers._rotating_graph(make, copies=2)
    assert len(seen) == 2 + 2 * (3 + 1)
    assert set(seen) == {peers.stream}


def test_steps_of_the_demo_network():
    torch.manual_seed(0)  # of other starts, the loss may rise on its way down
    calls, failed = gpu_peers.made(Peers().train_steps(4), lambda: None)
    assert not failed
    assert list(calls) == [
        f"{kind}, {order}" for order in ("NCHW", "channels-last") for kind in ("CUDA graph", "eager")
    ]
    for order in ("NCHW", "channels-last"):
        losses = [calls[f"{kind}, {order}"]().item() for _ in range(4) for kind in ("eager", "CUDA graph")]
        assert losses == sorted(losses, reverse=True), "both train one model"
        assert losses[-1] < losses[0]


def test_a_peer_that_fails_costs_its_cell(monkeypatch):
    session = object.__new__(Session)
    session.peers = True
    monkeypatch.setattr("bench.gpu_rows.Torch", Peers)
    monkeypatch.setattr("bench.gpu_rows.synchronize", lambda: None)

    def peers(torch):
        yield "cannot be made", lambda: torch.nothing
        yield "cannot run", lambda: lambda: 1 // 0
        yield "good", lambda: lambda: 1

    calls, failed = session.beside(peers)
    assert list(calls) == ["good"]
    assert list(failed) == ["cannot be made", "cannot run"]
    assert failed["cannot run"].startswith("ZeroDivisionError: ")
    monkeypatch.setattr("bench.gpu_rows.Torch", gpu_peers.Torch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert session.beside(peers) == ({}, {}), "no GPU for torch"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: 1 // 0)
    assert session.beside(peers)[1]["PyTorch"].startswith("ZeroDivisionError: ")
