"""mma and ldmatrix: fragments laid out as the PTX manual's figures say, against a full product."""

import numpy as np
import pytest
from emulator.ptx import compute, launch

from gncodegen.emulator import EmulationFault

RNG = np.random.default_rng(0)


def floats(values, kind):
    """Small integers as the words of a type, so that every product and sum is exact."""
    if kind == "tf32":
        return values.astype(np.float32).view(np.uint32)
    if kind == "f16":
        return values.astype(np.float16).view(np.uint16)
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def fragments(kind, depth):
    """A (16, depth), B (depth, 8), C (16, 8), and the words of A's and B's registers by the manual's tables."""
    a, b, c = (RNG.integers(-8, 8, shape) for shape in ((16, depth), (depth, 8), (16, 8)))
    words = floats(a, kind), floats(b, kind)
    left, right = [], []
    for lane in range(32):
        group, member = lane >> 2, lane % 4
        if kind == "tf32":
            # a0: (group, member); a1: row + 8; a2: column + 4; a3: both. b0: (member, group); b1: row + 4.
            places = [(group, member), (group + 8, member), (group, member + 4), (group + 8, member + 4)]
            left.append([words[0][row, column] for row, column in places[: depth // 2]])
            right.append([words[1][row, group] for row in (member, member + 4)[: depth // 4]])
            continue
        # a_i: row group for i in {0, 1, 4, 5}, else group + 8; column 2·member + (i & 1), + 8 for i ≥ 4.
        rows = [group if i in {0, 1, 4, 5} else group + 8 for i in range(8)]
        columns = [2 * member + (i & 1) + (8 if i >= 4 else 0) for i in range(8)]
        half = [words[0][row, column] for row, column in zip(rows, columns, strict=True) if column < depth]
        left.append(np.array(half, np.uint16).view(np.uint32))
        below = [2 * member + (i & 1) + (8 if i >= 2 else 0) for i in range(4)]
        right.append(np.array([words[1][row, group] for row in below if row < depth], np.uint16).view(np.uint32))
    return a, b, c, np.array(left, np.uint32).T, np.array(right, np.uint32).T


@pytest.mark.parametrize(
    ("kind", "depth"), [("tf32", 4), ("tf32", 8), ("f16", 8), ("f16", 16), ("bf16", 8), ("bf16", 16)]
)
def test_mma(kind, depth):
    a, b, c, left, right = fragments(kind, depth)
    # c0, c1: (group, 2·member + 0 or 1); c2, c3: row + 8.
    start = [[c[(lane >> 2) + 8 * (i >> 1), 2 * (lane % 4) + (i & 1)] for lane in range(32)] for i in range(4)]
    start = np.array(start, np.float32)
    names = [f"%a{i}" for i in range(len(left) + len(right) + 4)]
    parts = [names[: len(left)], names[len(left) : len(left) + len(right)], names[-4:]]
    text = ", ".join("{" + ", ".join(part) + "}" for part in parts)
    body = f"mma.sync.aligned.m16n8k{depth}.row.col.f32.{kind}.{kind}.f32 {{%d0, %d1, %d2, %d3}}, {text};"
    found = np.array(compute(body, [*left, *right, *start], "f4", "f4", "f4", "f4"))
    product = a @ b + c
    wanted = [[product[(lane >> 2) + 8 * (i >> 1), 2 * (lane % 4) + (i & 1)] for lane in range(32)] for i in range(4)]
    np.testing.assert_array_equal(found, np.array(wanted))


def test_divergent_mma():
    names = ["%a0"] * 4, ["%a0"] * 2, ["%d0"] * 4
    text = ", ".join("{" + ", ".join(part) + "}" for part in names)
    body = "mov.f32 %d0, 0f00000000;\nsetp.ne.u32 %p1, %t, 9;\n@%p1 mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
    with pytest.raises(EmulationFault, match="divergent mma: 1 lanes"):
        compute(body + "{%d0, %d0, %d0, %d0}, " + text + ";", [np.zeros(32, np.uint32)], "f4")


@pytest.mark.parametrize("transposed", ["", ".trans"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix(count, transposed):
    values = RNG.integers(0, 2**16, (4, 8, 8)).astype(np.uint16)
    registers = ", ".join(f"%r{i + 10}" for i in range(count))
    stores = "\n".join(f"st.global.u32 [%rd3+{4 * i}], %r{i + 10};" for i in range(count))
    body = f"""mul.wide.u32 %rd1, %t, 16;
    add.s64 %rd2, %rd1, %x0;
    add.s64 %rd3, %rd1, %x1;
    ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%rd2];
    mov.u32 %r5, tile;
    mad.lo.u32 %r5, %t, 16, %r5;
    st.shared.v4.u32 [%r5], {{%r1, %r2, %r3, %r4}};
    bar.sync 0;
    ldmatrix.sync.aligned.m8n8.x{count}{transposed}.shared.b16 {{{registers}}}, [%r5];
    {stores}"""
    tile = ".shared .align 16 .b8 tile[512];"
    found = launch(body, values, np.zeros((32, 4), np.uint32), variables=tile)[1]
    for i in range(count):
        matrix = values[i].T if transposed else values[i]
        # Lane ℓ gets elements 2·(ℓ % 4) and the next of row ℓ / 4.
        wanted = np.ascontiguousarray(matrix).reshape(32, 2).view(np.uint32)[:, 0]
        np.testing.assert_array_equal(found[:, i], wanted)
