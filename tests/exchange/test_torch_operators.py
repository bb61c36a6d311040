"""Every row of the table of ATen operators, in small modules, against torch in float64; NumPy runs the gn IR."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
F = torch.nn.functional
nn = torch.nn

from support.torch_models import Call, differences  # noqa: E402  needs torch

import gncodegen as gnc  # noqa: E402
from gncodegen.exchange.torch.operators import OPERATORS  # noqa: E402

IMAGES = (2, 6, 8, 8)


def activations(x):
    names = "relu sigmoid tanh silu mish hardswish hardsigmoid elu selu celu gelu softplus softsign logsigmoid relu6"
    found = [getattr(F, name)(x) for name in (names + " leaky_relu hardtanh tanhshrink").split()]
    found += [
        F.rrelu(x),
        F.gelu(x, approximate="tanh"),
        F.threshold(x, 0.5, 0.0),
        F.softplus(x, 2.0),
        F.glu(x, 1).repeat(1, 2, 1),
    ]
    return torch.cat(found[:-1], 1), found[-1]


def arithmetic(x):
    y = 2 - x * 3 + x / 2 - (x - 1) + 1 / (x.abs() + 1) + x.pow(2) + (x.abs() + 0.1) ** 0.5 + 2**x
    y = y + torch.rsqrt(x.abs() + 1) + torch.maximum(x, x * 2) + x.square() + torch.add(x, x, alpha=0.5)
    y = y + torch.log(x.abs() + 1) + torch.exp(-x) + torch.min(x, x * 3) + torch.max(x, x * 3) + torch.sub(1, x)
    y = y + torch.addcmul(x, x, x, value=0.5) + torch.addcdiv(x, x, x.abs() + 1) + torch.lerp(x, x * 2, 0.3)
    return y + x.clamp(-0.5, 0.7) + x.clamp(min=0.1) + torch.clamp_max(x, 0.3) + torch.rsub(x, 2, alpha=3)


def functions(x):
    unit, more = torch.tanh(x), x.abs() + 1.5
    names = "sin cos tan atan sinh cosh asinh erf expm1 floor ceil round sign"
    found = [getattr(torch, name)(x) for name in names.split()]
    found += [getattr(torch, name)(unit) for name in ("asin", "acos", "atanh")]
    found += [getattr(torch, name)(more) for name in ("acosh", "log1p", "log2", "log10")]
    return torch.cat([*found, x.trunc(), x.frac(), torch.exp2(x), torch.special.erf(x)], 1)


def products(x):
    w = torch.arange(15.0, dtype=x.dtype).view(5, 3)
    return (
        w @ x,
        torch.einsum("nab,ca->nbc", x, w),
        torch.einsum("cab,nab->nc", w.view(-1, 3, 1) + w[:1, 0:1], x[..., :1]),
    )


def products_of_arrays(x, y, z):
    """X (N, 2, 4, 3), y (N, 2, 3, 5), z (N, 4, 3)."""
    w = torch.arange(2 * 5 * 3.0, dtype=x.dtype).view(2, 5, 3) / 10
    heads = torch.einsum("nhqd,nhkd->nhqk", x, x.flip(-1)).softmax(-1)
    mixed = torch.einsum("nhqk,nhkd->nqhd", heads, x).flatten(2)
    return (
        x @ y, z @ z.transpose(1, 2), torch.bmm(z.mT, z), y.transpose(-1, -2) @ x.mT, w @ x.mT, x @ w.mT,
        torch.baddbmm(z[:, :, :1], z, z.mT, beta=2, alpha=0.5), mixed, torch.einsum("nab,nb->na", z, z[:, 0]),
        torch.einsum("nhad,hcd->nhac", x, w), x @ w[0, 0], torch.matmul(y.mT.unsqueeze(2), x.mT.unsqueeze(2)),
    )  # fmt: skip


class Places(nn.Module):
    """Rows of tables, and elements of lines, at places that are computed."""

    def __init__(self):
        super().__init__()
        self.table, self.form = nn.Embedding(7, 3), nn.Bilinear(3, 4, 5)

    def forward(self, x, y):
        """X (N, 4), y (N, 5)."""
        places = (x * 3).abs().long().clamp(max=3)
        rows = self.table(places) + self.table.weight[places - 4]
        chosen = y.gather(1, places) + F.one_hot(places, 5).to(x.dtype).sum(1)[:, 1:]
        nearest = (x[:, :, None] - torch.arange(-2.0, 3.0, dtype=x.dtype)).square().argmin(-1)
        last = y.max(1, keepdim=True)[1] + y.argmax(1, keepdim=True)
        return rows, chosen + last, nearest, y[:, torch.tensor([[0, 1], [4, -1]])], self.form(x[:, :3], y[:, 1:])


def conditions(x):
    above, row = x > 0.2, torch.arange(4.0, dtype=x.dtype) - 1
    y = torch.where(above, x, -x * 2) + torch.where(x <= row, 1.5, x) + torch.where(x >= x.flip(-1), x, 0.0)
    y = y + (x < 0.1).to(x.dtype) + above * x + torch.where((0.3 > x) & ~above | (x == row) ^ (x != 0), 2.0, -1.0)
    y = (
        y
        + x.masked_fill(above, 3.0)
        + x.masked_fill(row > 0, 4.0)
        + torch.where(row > 0, x, x * 2)
        + x.tril()
        + x.triu(1)
    )
    y = y + x.clamp(row - 1, row) + x.clamp(min=x * 2) + torch.remainder(x, 0.7) + torch.fmod(x, 0.7) + x % -0.4
    y = (
        y
        + torch.where(torch.isfinite(x / (x * 0)), x, x * 5)
        + torch.nan_to_num(x / x)
        + torch.nan_to_num(torch.where(x > 0, x, -torch.inf), posinf=0.25, neginf=-0.25)
        + F.softshrink(x)
        + F.hardshrink(x)
    )
    y = y + (x * 3).long() + (x > 0.1).int() * x
    return y, torch.exp(x.masked_fill(row > 0, -torch.inf)), above.to(x.dtype).sum(1), F.threshold(x, 0.5, 0.2)


def changed_in_place(x):
    y = x.clone()
    y.add_(x)
    y.relu_()
    z = x * 1
    z[:, 1:2] += y[:, :1]
    return y * x, z


def reductions(x):
    y = x.mean((2, 3), keepdim=True) + x.sum(1, keepdim=True) + x.amax(2, keepdim=True) + x.amin(-1, keepdim=True)
    y = y + x.var((1, 2), keepdim=True) + x.std(1, unbiased=False, keepdim=True) + x.logsumexp(1, keepdim=True)
    y = y + x.norm(dim=1, keepdim=True) + x.max(dim=1, keepdim=True)[0] + torch.var_mean(x, 1, keepdim=True)[0]
    y = y + torch.stack([x, x * 2]).sum(0) + torch.stack([x, x * 3], 1).mean(1) + torch.stack([x, -x]).amax(0)
    y = y + x.prod(2, keepdim=True)
    y = y + x.cumprod(1) + x.sort(1)[0] + x.sort(2, descending=True)[0] + x.argsort(-1)
    y = y + x.topk(2, 1)[0].sum(1, True) + x.topk(3, largest=False)[1].float().sum(-1, True)
    return y + F.normalize(x, dim=1) + F.softmax(x, 1) + F.log_softmax(x, -1), x.mean(-1).flatten(1)


def parts(x):
    y = torch.cat(x.chunk(4, 2)[::-1], 2) + torch.cat(torch.split(x, [1, 2, 3], 1)[::-1], 1) + sum(x.unbind(1))[:, None]
    y = y + x.flip(2, 3) + torch.roll(x, (2, -1), (1, 2)) + x[:, 0, :, 3:4].unsqueeze(1) + x.select(1, -1)[:, None]
    y = y + x.cumsum(1) + x.tile(2, 1)[:, :, :8] + torch.cumsum(x, -1)
    return y, x[:, 1:5:2, :-1, ...], x.narrow(2, 1, 3), torch.stack([x, x * 2], 1), x.permute(0, 2, 3, 1).flatten(1)


def placed(x):
    z = torch.ones(x.size(0), 2, 8, 8, dtype=x.dtype)
    written = torch.zeros(8, 8, dtype=x.dtype)
    written[1:, :-2], written[-3:, 2:4] = 2, 3  # as the masks of shifted windows
    x = x + written
    y = torch.cat([z, x, z * 2, -x, z * 3], 1) + torch.cat([x, x, z, z, z], 1).flip(1)
    y = y[:, torch.tensor([3, 0, 0, -1])] + x.repeat_interleave(2, 1)[:, 3:7] + x.mean((1, 2, 3))[:, None, None, None]
    return y, F.pad(x, (2, 1, 0, 3), mode="circular"), F.cosine_similarity(x[:, :3], x[:, 3:])


def shapes(x, unflatten):
    y = x.view(x.size(0), -1) + x.reshape(-1, 6 * 64) + x.view(2, -1) + unflatten(x).flatten(1)
    return y, x.mean(1, keepdim=True).expand(-1, 6, -1, -1) * x, x.mean(1).squeeze(1).transpose(1, 2).contiguous()


def pads(x):
    sides = (1, 2, 0, 1)
    y = F.pad(x, sides) + F.pad(x, sides, value=1.0) + F.pad(x, sides, mode="reflect")
    return y + F.pad(x, sides, mode="replicate"), F.pad(x, (-1, 2))


def pools(x):
    y = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)[:, :, :4, :4] + F.avg_pool2d(x, 3, 2, 1)
    y = y + F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) + F.avg_pool2d(x, 3, 2, ceil_mode=True)
    y = y + F.adaptive_avg_pool2d(x, (4, 2)).mean((2, 3), keepdim=True) + F.adaptive_avg_pool2d(x, 1)
    y = y + F.avg_pool2d(x, 3, 2, 1, divisor_override=5)
    z = F.max_pool2d(x, 3, 2, 1, dilation=2, ceil_mode=True) + F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)[..., :4, :4]
    return y + F.adaptive_max_pool2d(x, 1), F.max_pool1d(x.flatten(2), 2), z


def sizes(x):
    y = F.interpolate(x, scale_factor=2) + F.interpolate(x, size=(16, 16), mode="bilinear")
    y = y + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    z = F.interpolate(x, size=(5, 3)) + F.interpolate(x, size=(5, 3), mode="bilinear")
    z = z + F.adaptive_avg_pool2d(x, (5, 3)) + F.interpolate(x, size=(5, 3), mode="bicubic")
    corners = F.interpolate(x, scale_factor=1.7, mode="bicubic", align_corners=True)
    # In float arithmetic 7 · (61 / 7) is less than 61.
    for mode in ("bilinear", "bicubic"):
        z = z + F.interpolate(x, size=(5, 3), mode=mode, antialias=True)
    return y, z + F.interpolate(x, size=(5, 3), mode="nearest-exact"), corners, F.interpolate(x[..., :7], (2, 61))


def blocks(x, shuffle, up, down):
    return up(down(shuffle(x)))


def convolutions(x, *modules):
    return tuple(module(x) for module in modules)


def constants(x):
    y = x + torch.zeros(x.size(0), 1, 8, 8, dtype=x.dtype) + torch.arange(8.0, dtype=x.dtype)
    return y + torch.ones_like(x) + x.new_full((8,), 0.5)


def windows(x, norm):
    y = F.fold(F.unfold(x, (3, 2), padding=1, stride=(2, 1), dilation=(1, 2)) * 2, 8, (3, 2), (1, 2), 1, (2, 1))
    distances = torch.cdist(x.flatten(2), x.flatten(2)[:, :2] * 2) + torch.cdist(x[:, :, 0], x[:, :2, 1], p=1)
    distances = distances + torch.cdist(x[:, :, 0], torch.arange(16.0, dtype=x.dtype).view(1, 2, 8))
    flat = x.permute(0, 2, 3, 1).flatten(0, 2)  # of all observations, as a codebook is looked up
    lines = norm(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, 8))
    x = torch.cat([x, torch.empty(x.size(0), 0, 8, 8, dtype=x.dtype)], 1) + lines.transpose(1, 2)
    codes = F.embedding(flat.argmin(1), torch.arange(18.0, dtype=x.dtype).view(6, 3)).view(x.size(0), 8, 8, 3)
    distances = distances + codes.sum((1, 2, 3))[:, None, None] + x.unfold(2, 3, 2).unfold(1, 6, 1)[:, :, 0, 0, 0, :2]
    return y, distances, x[:, [0, 2], [1, -1]], x[:, :, [[0], [1]], [2, 3]], (x * 300).abs().to(torch.uint8) * x


def observed(x, places):
    """As masks of transformers are made, from the number of each observation; the first query may see nothing."""
    own, keys = torch.arange(x.size(0)).view(-1, 1, 1), torch.arange(4)[None, None, :]
    steps = torch.arange(4)[None].expand(x.size(0), -1)[own, keys]
    allowed = (places < 0.9)[own, keys] & (keys >= 1) & (steps <= torch.arange(4)[None, :, None])
    y = F.scaled_dot_product_attention(x, x, x, attn_mask=allowed[:, None])
    return y, x[own[:, 0], [1], 2:, :] * places[own, 1][..., None]


def samples(x, places, theta):
    y = F.grid_sample(x, places * 1.3, align_corners=False)
    y = y + F.grid_sample(x, places * 1.3, padding_mode="border", align_corners=True)
    y = y + F.grid_sample(x, places * 1.3, mode="nearest", align_corners=False)
    y = y + F.grid_sample(x, places * 4, padding_mode="reflection", align_corners=False)
    y = y + F.grid_sample(x, places * 4, padding_mode="reflection", align_corners=True)
    return y, F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=True)


CASES = {
    "activations": (Call(activations), (2, 4, 3)),
    "arithmetic": (Call(arithmetic), (2, 3, 4)),
    "functions": (Call(functions), (2, 3, 4)),
    "conditions": (Call(conditions), (2, 3, 4)),
    "in place": (Call(changed_in_place), (2, 3)),
    "reductions": (Call(reductions), IMAGES),
    "parts": (Call(parts), IMAGES),
    "placed": (Call(placed), IMAGES),
    "shapes": (Call(shapes, nn.Unflatten(1, (2, 3))), IMAGES),
    "pads": (Call(pads), IMAGES),
    "pools": (Call(pools), IMAGES),
    "sizes": (Call(sizes), IMAGES),
    "blocks": (Call(blocks, nn.ChannelShuffle(3), nn.PixelShuffle(2), nn.PixelUnshuffle(2)), IMAGES),
    "constants": (Call(constants), IMAGES),
    "slopes": (Call(convolutions, nn.PReLU(6), nn.PReLU()), IMAGES),
    "windows": (Call(windows, nn.BatchNorm1d(6)), IMAGES),
    "observed": (Call(observed), (2, 2, 4, 3), (2, 4)),
    "samples": (Call(samples), (2, 2, 5, 6), (2, 3, 4, 2), (2, 2, 3)),
    "images": (
        Call(
            convolutions,
            nn.Conv2d(6, 4, 3, stride=2, padding=(1, 2), dilation=2),
            nn.Conv2d(6, 12, 3, groups=3, padding="same", bias=False),
            nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
            nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
            nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2),
        ),
        IMAGES,
    ),
    "sequences": (Call(convolutions, nn.Conv1d(6, 4, 3, padding=1), nn.AdaptiveAvgPool1d(1)), (2, 6, 8)),
    "volumes": (Call(convolutions, nn.Conv3d(2, 3, 3, padding=1), nn.Upsample(scale_factor=2)), (2, 2, 4, 3, 4)),
    "norms": (
        Call(
            convolutions,
            nn.GroupNorm(3, 6),
            nn.GroupNorm(2, 6, affine=False),
            nn.LayerNorm(8),
            nn.LayerNorm([8, 8], elementwise_affine=False),
            nn.InstanceNorm2d(6, affine=True),
            nn.InstanceNorm2d(6),
            nn.BatchNorm2d(6),
            nn.BatchNorm2d(6, affine=False),
            nn.LocalResponseNorm(3),
            nn.RMSNorm(8, eps=1e-6),
        ),
        IMAGES,
    ),
    "products": (
        Call(lambda x, a, b, m: (a(x), b(x.flatten(1)), m(x.flatten(1)), x @ torch.ones(8, 3, dtype=x.dtype)),
             nn.Linear(8, 5), nn.Linear(384, 5, bias=False), nn.Linear(384, 2)),
        IMAGES,
    ),
    "more products": (Call(products), (2, 3, 4)),
    "products of arrays": (Call(products_of_arrays), (2, 2, 4, 3), (2, 2, 3, 5), (2, 4, 3)),
    "places": (Places(), (2, 4), (2, 5)),
    "without effect": (Call(convolutions, nn.Dropout(0.5), nn.Identity(), nn.Softmin(1), nn.Flatten()), (2, 3, 4)),
}  # fmt: skip
KEPT = ("activations", "conditions", "observed", "placed", "parts", "norms", "products of arrays", "places")


@pytest.mark.few
@pytest.mark.parametrize("name", KEPT)
def test_operators(name) -> None:
    module, *shapes = CASES[name]
    _, errors = differences(module, *shapes)
    assert max(errors) < 1e-12


@pytest.mark.full(like="exchange/test_torch_operators.py::test_operators")
@pytest.mark.parametrize("name", [name for name in CASES if name not in KEPT])
def test_more_operators(name) -> None:
    module, *shapes = CASES[name]
    _, errors = differences(module, *shapes)
    assert max(errors) < 1e-12


def test_the_rows_are_operators_of_torch() -> None:
    unknown = [name for name in OPERATORS if not hasattr(torch.ops.aten, name)]
    assert not unknown


def standardized(x, axis, root):
    mean = x.mean(axis, keepdim=True)
    squares = (x - mean).pow(2).mean(axis, keepdim=True)
    return (x - mean) / torch.sqrt(squares + 1e-5) if root else (x - mean) * torch.rsqrt(squares + 1e-5)


def group_norm_by_hand(x):
    return standardized(x.view(x.size(0), 3, -1), 2, True).view(x.shape)


def group_norm_by_variance(x):
    groups = x.reshape(x.size(0), 3, -1)
    deviation = torch.sqrt(groups.var(2, unbiased=False, keepdim=True) + 1e-5)
    return ((groups - groups.mean(2, keepdim=True)) / deviation).reshape(x.shape)


@pytest.mark.few
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (group_norm_by_hand, gnc.GroupNormalizationLayer),
        (group_norm_by_variance, gnc.GroupNormalizationLayer),
        (lambda x: standardized(x, -1, False), gnc.LayerNormalizationLayer),
        (lambda x: x * torch.sigmoid(x), gnc.SwishLayer),
        (lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)), gnc.GeluLayer),
        (lambda x: x * F.relu6(x + 3) / 6, gnc.HardSwishLayer),
        (lambda x: x * torch.tanh(F.softplus(x)), gnc.MishLayer),
    ],
)
def test_what_is_written_by_hand_is_one_layer(function, kind) -> None:
    graph, errors = differences(Call(function), IMAGES)
    own = [layer for layer in graph if not isinstance(layer, (gnc.PermuteLayer, gnc.TensorInputLayer))]
    assert [type(layer) for layer in own] == [kind]
    assert max(errors) < 1e-12
