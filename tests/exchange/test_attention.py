"""Attention as PyTorch's users write it: its functions and modules, small networks of it, trained and exported."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
F = torch.nn.functional
nn = torch.nn

from support.onnx_models import in_onnx_runtime  # noqa: E402
from support.torch_models import Call, differences, drawn, seeded  # noqa: E402  needs torch

import gncodegen as gnc  # noqa: E402

SEQUENCE, HEADS, KEYS = (3, 5, 8), (2, 6, 5, 4), (2, 6, 7, 4)
sdpa = F.scaled_dot_product_attention


class SelfAttention(nn.Module):
    """One module's attention, by its weights too, or with time in front."""

    def __init__(self, weights: bool, batch_first: bool):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.weights = weights

    def forward(self, x):
        x = x if self.attention.batch_first else x.transpose(0, 1)
        y, shares = self.attention(x, x, x, need_weights=self.weights)
        y = y if self.attention.batch_first else y.transpose(0, 1)
        return (y, shares) if self.weights else y


class Queries(nn.Module):
    """Learned queries, as detection has them, and a mask."""

    def __init__(self):
        super().__init__()
        self.attention, self.queries = nn.MultiheadAttention(8, 2, batch_first=True), nn.Parameter(torch.randn(1, 3, 8))

    def forward(self, x):
        mask = torch.triu(torch.full((3, 5), -torch.inf, dtype=x.dtype), 1)
        return self.attention(self.queries.expand(x.shape[0], -1, -1), x, x, attn_mask=mask)[0]


class TimeFirst(nn.Module):
    """A model that works on (T, N, C), with the axes of heads and observations as one."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear, self.end = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, x):
        x = x.flatten(2).permute(2, 0, 1)
        t, n, c = x.shape
        x = x + torch.arange(t * c, dtype=x.dtype).view(t, 1, c) / 40
        q, k, v = (each.reshape(t, n * 2, c // 2).transpose(0, 1) for each in self.linear(self.norm(x)).chunk(3, -1))
        y = torch.bmm((q @ k.mT * 0.5).softmax(-1), v)
        y = torch.cat([y, y * 2], 1)[:, 1 : t + 1]
        y = self.end(y.transpose(0, 1).reshape(t * n, c)).view(t, n, -1).mean(0)
        return y + x[0, :, :4] + x.unbind(0)[1].unflatten(1, (2, 4)).sum(1)


class Windows(nn.Module):
    """Attention inside windows of an image, which are observations of their own."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(6), nn.Linear(6, 18)

    def forward(self, x):
        n, h, w, c = x.shape
        windows = x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.linear(self.norm(windows)).reshape(-1, 4, 3, 2, 3).permute(2, 0, 3, 1, 4)
        found = sdpa(q, k, v).transpose(1, 2).reshape(-1, 4, c) + windows
        return found.view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


class Vision(nn.Module):
    """A small vision transformer: patches, class token, positions, blocks, head."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
        self.blocks = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Denoiser(nn.Module):
    """A U-Net with attention at its bottom and squeeze-and-excite, as diffusion models have."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 2, 2, stride=2)
        self.norm, self.linear, self.out = nn.GroupNorm(2, 8), nn.Conv2d(8, 24, 1), nn.Conv2d(8, 8, 1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        a = F.silu(self.down(x))
        a = a * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(a, 1)))))
        n, c, h, w = a.shape
        q, k, v = self.linear(self.norm(a)).view(n, 3, c, h * w).unbind(1)
        shares = torch.einsum("nci,ncj->nij", q * c**-0.5, k).softmax(-1)
        a = a + self.out(torch.einsum("nij,ncj->nci", shares, v).view(n, c, h, w))
        return self.up(a) + x


def masked(q, k, m):
    fixed = torch.ones(5, 7).tril().bool()
    padding = (m[:, :1, :1] > 0) | (m[:, :1, :1] == m[:, :1, :1, :1])
    return (
        sdpa(q, k, k, m), sdpa(q, k, k, m > -9), sdpa(q, k, k, padding), sdpa(q, k, k, fixed),
        sdpa(q, k, k, is_causal=True, scale=0.3), sdpa(q, k[:, :2], k[:, 4:], enable_gqa=True),
        sdpa(q[:, 0], k[:, 1], k[:, 2]),
    )  # fmt: skip


CASES = {
    "function": (Call(masked), HEADS, KEYS, (2, 1, 5, 7)),
    "module": (SelfAttention(weights=False, batch_first=True), SEQUENCE),
    "module, weights": (SelfAttention(weights=True, batch_first=True), SEQUENCE),
    "module, time first": (SelfAttention(weights=True, batch_first=False), SEQUENCE),
    "queries": (Queries(), SEQUENCE),
    "encoder": (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), SEQUENCE),
    "transformer": (nn.Transformer(8, 2, 1, 1, 16, batch_first=True), (3, 4, 8), SEQUENCE),
    "time first": (TimeFirst(), (3, 8, 2, 3)),
    "windows": (Windows(), (3, 4, 6, 6)),
    "vision": (Vision(), (2, 3, 8, 8)),
    "denoiser": (Denoiser(), (2, 2, 8, 6)),
}  # fmt: skip
KEPT = ("function", "module, time first", "time first", "windows")


@pytest.mark.parametrize("name", KEPT)
def test_attention(name) -> None:
    module, *shapes = CASES[name]
    _, errors = differences(module, *shapes)
    assert max(errors) < 1e-12


@pytest.mark.full(like="exchange/test_attention.py::test_attention")
@pytest.mark.parametrize("name", [name for name in CASES if name not in KEPT])
def test_more_attention(name) -> None:
    module, *shapes = CASES[name]
    _, errors = differences(module, *shapes)
    assert max(errors) < 1e-12


@pytest.mark.full(like="exchange/test_attention.py::test_attention")
def test_a_training_step_is_that_of_torch_and_the_network_goes_out(tmp_path) -> None:
    check_step(SelfAttention(weights=False, batch_first=True), (5, 8), (5, 8), tmp_path)


@pytest.mark.full(like="exchange/test_attention.py::test_attention")
@pytest.mark.parametrize(
    ("module", "size", "result"), [(Vision(), (3, 8, 8), (3,)), (Denoiser(), (2, 8, 6), (2, 8, 6))]
)
def test_more_training_steps(module, size, result, tmp_path) -> None:
    check_step(module, size, result, tmp_path)


def check_step(module, size, result, tmp_path) -> None:
    """Prediction of any number of observations, the way out to ONNX Runtime, and every gradient are those of torch."""
    module = seeded(copy.deepcopy(module)).float()
    x, t = drawn((4, *size), (4, *result), dtype=torch.float32)
    graph = gnc.from_torch(module, x)
    compiled = gnc.compile(graph, training=False, batch_size=4)
    wanted = module(x).detach().numpy()
    np.testing.assert_allclose(compiled.predict(x.numpy()), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(compiled.predict(x.numpy()[:3]), compiled.predict(x.numpy())[:3])
    compiled.export(tmp_path / "net.onnx")
    (found,) = in_onnx_runtime(onnx.load(tmp_path / "net.onnx"), {compiled.network.input.name: x.numpy()})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    options = gnc.training_options("sgdm", initial_learn_rate=0.1, momentum=0, l2_regularization=0)
    trained = gnc.compile(graph.append(gnc.RegressionLayer()), batch_size=4, options=options)
    trained.train_step(x.numpy(), t.numpy())
    own = copy.deepcopy(module)
    gnc.to_state_dict(trained, own)
    (((module(x) - t) ** 2).sum() / 8).backward()
    for (name, parameter), after in zip(module.named_parameters(), own.parameters(), strict=True):
        step = (parameter - after).detach().numpy() / 0.1
        bound = 1e-4 * max(parameter.grad.abs().max().item(), 0.1)
        np.testing.assert_allclose(step, parameter.grad.numpy(), rtol=0, atol=bound, err_msg=name)


def test_what_mixes_observations_is_one_observation() -> None:
    for function in (lambda x: x.transpose(0, 1).softmax(1), lambda x: x.transpose(0, 1) @ x.permute(1, 2, 0)):
        with pytest.warns(UserWarning, match="one observation of the example's shapes, since .* observations"):
            _, errors = differences(Call(function), (3, 5, 6))
        assert max(errors) < 1e-12
