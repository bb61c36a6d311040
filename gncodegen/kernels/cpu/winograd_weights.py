"""Plan of a 3×3 convolution's weight gradient by Winograd's algorithm, the adjoint of the forward one.

Points of patches of x times points of patches of dy, summed over patches, are the gradient of the filters there.
The patches are cut into a number of parts that depends on the shapes only, and the parts are added in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import inf

from gncodegen.kernels.cpu.bias import column_sums
from gncodegen.kernels.cpu.correlation import Correlation
from gncodegen.kernels.cpu.register_tiles import block_vectors, row_counts, step_cycles
from gncodegen.kernels.cpu.winograd import MOST_SCRATCH, STEP_PADDING, count_patches, patch_output, scratch
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Plan, Problem, Tensor
from gncodegen.kernels.window_axis import extents, per_axis
from gncodegen.kernels.window_problem import WindowProblem

SHARE = 64
"""About how many channels, and filters, a tile does at most: more repeat fewer transforms, but need more of L2."""

SMALLER_SHARES: tuple[int, ...] = (SHARE, SHARE // 2, SHARE // 4)
"""About how many they may be, so that there is a tile for each core."""

TRANSFORM_CYCLES, SUM_CYCLES = 4, 1
"""Of a vector of points that a tile makes, and of one of sums that it adds to in L2."""

POINTS_SHARE = 0.6
"""Share of L2 for the points of x and dy."""

PART_PATCHES = 96
"""Fewest patches of a part; each part has sums of its own."""

MOST_PARTS = 16
"""Most parts."""

BENEFIT = 0.85
"""Smaller shares must be estimated to take less than this part of the time of the largest."""

MOST_CHOICES = 4
"""Plans that are worth a measurement."""

REDUCE_SHAPE = ("channels", "filters")
REDUCE_TILES = (
    *("output", "lanes", "vectors", "width", "tile_rows"),
    *("partial", "sum_step", "share_channels", "channel_shares"),
)
"""Constants that the launch that adds the parts shares with the first."""


def weight_output(window: WindowProblem, machine: Machine) -> int:
    """Outputs per axis of a patch for the weight gradient, or 0 where the direct algorithm is to be used."""
    # Without a patch nothing would be written; the direct algorithm clears its sums. A product of fewer rows than a
    # vector has lanes keeps a core waiting: of 8 channels the direct algorithm is 2.4 times as fast with AVX-512.
    few = min(window.group_channels, window.group_filters) < machine.lanes(window.dtype)
    return 0 if few or not window.batch else patch_output(_forward(window), machine)


def _forward(window: WindowProblem) -> Correlation:
    facts = (window.group_channels, window.group_filters, window.groups, window.dtype)
    return Correlation(window.batch, window.forward_axes, *facts)


def winograd_weight_gradient(
    problem: Problem, window: WindowProblem, model: WindowProblem, output: int
) -> Iterator[Plan]:
    """Plans of the weight gradient in patches of output × output, best first.

    All take as many patches at a time, since the sums of those are summed in turn. `model` is the problem's model.
    """
    machine, largest = problem.machine, (SHARE, SHARE)
    _, tiles = _constants(machine, model, output, largest)
    room = _number(tiles, "room")
    at_once = min(-(-_patches(window, output) // _parts(window, output)), room)
    choices: dict[tuple[int, int], tuple[float, dict[str, Constant], dict[str, Constant]]] = {}
    for shares in (*product(SMALLER_SHARES, SMALLER_SHARES), (2 * SHARE, 2 * SHARE)):
        shape, tiles = _constants(machine, model, output, shares)
        tiles |= {"room": room}
        size = _size(tiles)
        if size not in choices and (output + 2) ** 2 * room * sum(size) * ITEM_SIZE[window.dtype] <= MOST_SCRATCH:
            cycles = _cycles(machine, model, tiles) if max(shares) <= SHARE else inf
            choices[size] = cycles * (BENEFIT if shares == largest else 1.0), shape, tiles
    for _, shape, tiles in sorted(choices.values(), key=lambda choice: choice[0])[:MOST_CHOICES]:
        yield _plan(problem, window, shape, tiles, at_once)


def _cycles(machine: Machine, window: WindowProblem, tiles: dict[str, Constant]) -> float:
    """Estimated cycles of the products and transforms, on all cores."""
    output, lanes, rows = _number(tiles, "output"), _number(tiles, "lanes"), _number(tiles, "tile_rows")
    vectors, room = _number(tiles, "vectors"), _number(tiles, "room")
    channels, filters = _size(tiles)
    parts = _parts(window, output)
    count = parts * _number(tiles, "channel_shares") * _number(tiles, "filter_shares")
    patches = -(-_patches(window, output) // parts)
    blocks = -(-channels // rows) * -(-filters // (vectors * lanes))
    each = (
        patches * blocks * (step_cycles(rows, vectors, machine) + 0.5)
        + patches * TRANSFORM_CYCLES * (channels + filters) / lanes
        + -(-patches // room) * SUM_CYCLES * blocks * rows * vectors
    )
    return -(-count // machine.cores) * (output + 2) ** 2 * each


def _number(tiles: dict[str, Constant], name: str) -> int:
    """A constant that is a number."""
    found = tiles[name]
    assert isinstance(found, int)
    return found


def _size(tiles: dict[str, Constant]) -> tuple[int, int]:
    """Channels and filters of a tile."""
    return _number(tiles, "share_channels"), _number(tiles, "share_filters")


def _plan(
    problem: Problem, window: WindowProblem, shape: dict[str, Constant], tiles: dict[str, Constant], at_once: int
) -> Plan:
    """The launches of one choice of constants, for so many patches at once."""
    parts, partial = _parts(window, _number(tiles, "output")), _number(tiles, "partial")
    shares = _number(tiles, "channel_shares") * _number(tiles, "filter_shares")
    dtype = window.dtype
    numbers = {"batch": window.batch, "parts": parts, "at_once": at_once}
    x = problem.operands[0]
    main = problem.schedule("winograd_weight_gradient", x.dtype, shape=shape, tiles=tiles, numbers=numbers)
    values = tuple(numbers.values())
    sums = Tensor((parts * partial,), dtype)
    moved = problem.operands[0].bytes + problem.operands[1].bytes + sums.bytes
    gradient = problem.results[0].bytes
    fewer_shape = {name: shape[name] for name in REDUCE_SHAPE}
    fewer_tiles = {name: tiles[name] for name in REDUCE_TILES} | {"tiles": window.channels}
    template, names = "winograd_weight_reduce", ("parts",)
    reduce = problem.schedule(template, dtype, shape=fewer_shape, tiles=fewer_tiles, numbers=names)
    slots, arguments = ("operand0", "operand1", "workspace0"), ("workspace0", "result0")
    launches = (
        Launch(main, slots, parts * shares, (2,), moved, window.flops, numbers=values),
        Launch(reduce, arguments, window.channels, (1,), sums.bytes + gradient, numbers=(parts,)),
    )
    if not problem.flag("bias"):
        return Plan(launches, (sums,))
    more, workspaces = column_sums(problem, "operand1", problem.operands[1], "result1", 1)
    return Plan((*launches, *more), (sums, *workspaces))


def _constants(
    machine: Machine, window: WindowProblem, output: int, shares: tuple[int, int]
) -> tuple[dict[str, Constant], dict[str, Constant]]:
    """Shape and tile constants, for tiles of about so many channels and filters."""
    lanes, work = machine.lanes(window.dtype), _forward(window)
    vectors = block_vectors(window.filters, machine, window.dtype)
    width, points = vectors * lanes, (output + 2) ** 2
    channel_shares, share_channels = _shares(window.channels, lanes, shares[0])
    filter_shares, share_filters = _shares(window.filters, width, shares[1])
    patch_bytes = points * (share_channels + share_filters) * ITEM_SIZE[window.dtype]
    room = max(8, int(POINTS_SHARE * scratch(machine)) // patch_bytes)  # for those of any number of observations
    tile_rows = min(
        row_counts(vectors, machine),
        key=lambda rows: -(-share_channels // rows) * (step_cycles(rows, vectors, machine) + 0.5),
    )
    filter_blocks, channel_blocks = -(-window.filters // width), channel_shares * -(-share_channels // tile_rows)
    sum_step = filter_blocks * channel_blocks * tile_rows * width + STEP_PADDING
    shape: dict[str, Constant] = {
        **extents(work.axes),
        "channels": window.channels,
        "filters": window.filters,
        **per_axis(work.axes, "low"),
    }
    tiles: dict[str, Constant] = {
        "output": output,
        "lanes": lanes,
        "vectors": vectors,
        "width": width,
        "tile_rows": tile_rows,
        "room": room,
        "channel_shares": channel_shares,
        "filter_shares": filter_shares,
        "share_channels": share_channels,
        "share_filters": share_filters,
        "sum_step": sum_step,
        "partial": points * sum_step,
    }
    return shape, tiles


def _patches(window: WindowProblem, output: int) -> int:
    """Patches of all observations."""
    return window.batch * count_patches(_forward(window), output)


def _parts(window: WindowProblem, output: int) -> int:
    """The parts that patches are summed in."""
    return max(1, min(MOST_PARTS, _patches(window, output) // PART_PATCHES))


def _shares(extent: int, multiple: int, share: int) -> tuple[int, int]:
    """(number of shares, size of a share): near even, about `share`, of a multiple of `multiple`."""
    wanted = -(-extent // share)
    size = -(-extent // (wanted * multiple)) * multiple
    return -(-extent // size), size
