"""Plans of convolution and its input gradient: one kernel over register tiles of pixels × channels, weights packed.

The input gradient is the same kernel on dy with flipped, transposed weights; a stride becomes phases (window_axis).
Every output sums its products in an order that depends on the filter's shape only, so a batch slice keeps its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, product
from math import prod

from gncodegen.errors import CompileError
from gncodegen.kernels.cpu import convolution_weights, partials
from gncodegen.kernels.cpu.convolution_channelwise import correlate_channelwise, is_channelwise
from gncodegen.kernels.cpu.correlation import (
    LONGEST_SUM,
    Blocking,
    Correlation,
    bands_of,
    blockings,
    few_filters,
    flattened,
    inside,
    is_pointwise,
    panels_of,
)
from gncodegen.kernels.cpu.register_tiles import even_parts, prefetching
from gncodegen.kernels.cpu.winograd import correlate_winograd, patch_output
from gncodegen.kernels.epilogue import added_slots, product_epilogue, residual_in_place
from gncodegen.kernels.schedule import (
    COMPUTED_IN,
    ITEM_SIZE,
    STACK_BYTES,
    Constant,
    Launch,
    Order,
    Plan,
    Plans,
    Problem,
    Tensor,
)
from gncodegen.kernels.window_axis import extents, named, per_axis
from gncodegen.kernels.window_problem import WindowProblem, describe

FEWEST_PIXELS = 128
"""Of an observation that a convolution normalizes: on a Zen 3, 56²×256 became 1.13 times as fast, 7²×512 0.82 times."""


def modelled(problem: Problem, work: Correlation) -> Correlation:
    """The correlation of the problem's model, which has another number of observations."""
    x, model = problem.operands[0], problem.modelled.operands[0]
    return replace(work, batch=work.batch * model.count // x.count) if x.count else work


def _pieces(work: Correlation) -> int:
    """Products per partial sum, where the sum is long; 0 where it is one sum."""
    if work.products <= LONGEST_SUM:
        return 0
    return -(-work.run // -(-work.run // LONGEST_SUM))


def _shape(work: Correlation) -> dict[str, Constant]:
    single = work.phases == 1
    return {
        **extents(work.axes),
        "channels": work.channels,
        "filters": work.filters,
        "groups": work.groups,
        "phases": work.phases,
        **per_axis(work.axes, "step"),
        **named("taps", work.axes, [axis.taps[0] if single else axis.taps for axis in work.axes]),
        **per_axis(work.axes, "low", "span", "stride", "dilation"),
        **({} if single else per_axis(work.axes, "offsets")),
    }


def _phase_starts(work: Correlation) -> tuple[int, ...]:
    """Where the packed weights of each phase start, in filter taps."""
    taps = (prod(of_phase) for of_phase in product(*(axis.taps for axis in work.axes)))
    return tuple(accumulate(taps, initial=0))


def correlate(
    problem: Problem, work: Correlation, weights: WindowProblem, transposed: bool, epilogue: dict[str, Constant]
) -> Iterator[Plan]:
    """Plans of a correlation of operand 0 with operand 1, best first."""
    model = modelled(problem, work)
    output = patch_output(model, problem.machine)
    if output:
        yield from correlate_winograd(problem, work, model, weights, transposed, epilogue, output)
        return
    parts = problem.integer("parts")
    flat = not parts and not problem.integer("norm_groups") and not _converts(problem) and is_pointwise(work)
    if flat:
        work, model = flattened(work), flattened(model)
    for blocking in blockings(model, problem.machine, parts):
        yield _blocked(problem, work, model, flat, blocking, weights, transposed, epilogue)


def _blocked(
    problem: Problem,
    given: Correlation,
    work: Correlation,
    flat: bool,
    blocking: Blocking,
    weights: WindowProblem,
    transposed: bool,
    epilogue: dict[str, Constant],
) -> Plan:
    """The launches of a correlation of operand 0 with operand 1, packed first unless it lies right already.

    Args:
        problem: the op.
        given: its correlation.
        work: that of the problem's model, from which constants follow.
        flat: whether both are one column of the pixels of all observations.
        blocking: of `work`.
        weights: of operand 1.
        transposed: whether filters and channels change places.
        epilogue: what is done to results.
    """
    machine, dots, item = problem.machine, few_filters(work, problem.machine), ITEM_SIZE[work.dtype]
    lanes = machine.lanes(work.dtype, None if dots else work.filters)
    width = work.filters if dots else blocking.vectors * lanes
    group_blocks = blocking.group_blocks(work, lanes)
    starts = _phase_starts(work)
    packed = transposed or dots or work.groups * group_blocks > 1 or work.filters != width
    norm = _norm_constants(problem)
    copies = bool(norm["norm_groups"]) or _converts(problem) or not inside(work)
    whole = blocking.whole(work)
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "vectors": blocking.vectors,
        "width": width,
        "group_blocks": group_blocks,
        "tile_rows": blocking.tile_rows,
        "tile_columns": blocking.tile_columns,
        "bands": blocking.bands,
        "panels": blocking.panels,
        "shares": blocking.shares,
        "contiguous": work.contiguous,
        "vector": machine.lanes(work.dtype),
        "piece": 0 if dots else _pieces(work),
        "dots": dots,
        "copies": copies,
        "flat": flat,
        "whole": whole,
        **prefetching(width, item, dots or work.products * width * item <= machine.l1 // 2),
        **({} if work.phases == 1 else {"phase_starts": starts}),
        **partials.constants(problem),
    }
    if copies:
        columns = work.columns.read(max(even_parts(work.columns.positions, blocking.panels), default=1))
        rows = work.rows.read(max(even_parts(work.rows.positions, blocking.bands), default=1))
        volume: dict[str, Constant] = {} if work.depth.absent else {"scratch_rows": rows}
        scratch = work.depth.span * rows * columns * work.pixel
        if scratch * item > STACK_BYTES:
            raise CompileError(
                f"its windows span {work.depth.span}×{work.rows.span}×{work.columns.span} pixels of {work.pixel} "
                f"channels, and one row of them needs {scratch * item:,} bytes beside the padding; "
                f"allowed: up to {STACK_BYTES:,}; make filter_size, dilation_factor or the channels smaller"
            )
        tiles |= {**volume, "scratch_columns": columns, "scratch": scratch}
    numbers = {"pixels": given.rows.positions} if flat else {"batch": given.batch}
    shape = _shape(work) | epilogue | norm
    schedule = problem.schedule("convolution", problem.operands[0].dtype, shape=shape, tiles=tiles, numbers=numbers)
    results = tuple(f"result{i}" for i in range(len(problem.results)))
    normalizing = tuple(f"operand{i}" for i in range(len(problem.operands) - 3, len(problem.operands)))
    slots = (
        "operand0", "workspace0" if packed else "operand1", *added_slots(epilogue), *results,
        *(normalizing if norm["norm_groups"] else ()),
    )  # fmt: skip
    batch, tiles_of_image = problem.modelled.observations, blocking.bands * blocking.panels
    if flat:
        units = -(-given.rows.positions * blocking.bands // max(1, work.rows.positions))
        order, grid = Order(batch, blocking.bands, 1, blocking.shares), units * blocking.shares
    else:
        order = Order(1, 1, work.images // batch * tiles_of_image, blocking.shares)
        grid = given.images * tiles_of_image * blocking.shares
    reads = (*problem.operands[:2], *(problem.results[:1] if "residual" in epilogue else ()))
    moved = sum(tensor.bytes for tensor in (*reads, problem.results[0]))
    in_place = residual_in_place(epilogue, whole)
    empty = prod(problem.results[0].shape) == 0
    writes = tuple(slots.index(result) for result in results)
    values = tuple(numbers.values())
    main = Launch(schedule, slots, 0 if empty else grid, writes, moved, given.flops, order=order, numbers=values)
    if not packed:
        return Plan((main,), in_place=in_place)
    blocks = work.groups * group_blocks
    buffer = Tensor((starts[-1] * work.channels * blocks * width,), work.dtype)
    return Plan((_pack(problem, work, weights, transposed, tiles, buffer), main), (buffer,), in_place)


def _pack(
    problem: Problem,
    work: Correlation,
    weights: WindowProblem,
    transposed: bool,
    tiles: dict[str, Constant],
    buffer: Tensor,
) -> Launch:
    """The launch that packs the weights as [phase][group][block][tap][channel][width].

    For dot products it is [phase][tap][output][channel]: outputs and channels change places.
    """
    channels, filters, width = work.channels, work.filters, tiles["width"]
    channel_stride, filter_stride = (1, weights.filters) if transposed else (weights.filters, 1)
    if tiles["dots"]:
        channels, filters, width = filters, channels, channels
        channel_stride, filter_stride = filter_stride, channel_stride
    shape: dict[str, Constant] = {
        "phases": work.phases,
        **per_axis(work.axes, "taps", "first", "tap_step"),
        **({} if work.depth.absent else {"window_rows": weights.window[1]}),
        "window_columns": weights.window[2],
        "tap_size": weights.group_channels * weights.filters,
        "channels": channels,
        "filters": filters,
        "groups": work.groups,
        "group_stride": weights.group_filters,
        "channel_stride": channel_stride,
        "filter_stride": filter_stride,
    }
    blocking = {"width": width, "group_blocks": tiles["group_blocks"], "vector": problem.machine.lanes(work.dtype)}
    schedule = problem.schedule("convolution_pack", work.dtype, shape=shape, tiles=blocking)
    grid = work.groups * int(tiles["group_blocks"])  # pyright: ignore[reportArgumentType]
    return Launch(schedule, ("operand1", "workspace0"), grid, (1,), problem.operands[1].bytes + buffer.bytes)


def _converts(problem: Problem) -> bool:
    """Whether x is converted as it is copied, once instead of for each product that reads it."""
    return problem.operands[0].dtype in COMPUTED_IN


def _norm_constants(problem: Problem) -> dict[str, Constant]:
    """The constants of the norm that a convolution applies to what it reads, if it does."""
    groups = problem.integer("norm_groups")
    if not groups:
        return {"norm_groups": 0}
    return {
        "norm_groups": groups,
        "norm_activation": problem.text("norm_activation"),
        "norm_alpha": problem.number("norm_alpha"),
        "norm_slot": len(problem.operands) - 3 + len(problem.results),
    }


def takes_norm(problem: Problem) -> bool:
    """Whether a convolution should normalize x as it copies it, which saves writing the result and reading it again.

    Not where x stays in L2, nor where an observation is few pixels: there a norm is cheap, and 1×1 convolutions of all
    pixels in a row are faster. Nor where patches are transformed: their edges are met several times.
    """
    x = problem.operands[0]
    if not _plane(problem) or x.bytes <= 2 * problem.machine.l2 or x.shape[1] * x.shape[2] < FEWEST_PIXELS:
        return False
    window, work = _forward(problem)
    return not is_channelwise(window) and not patch_output(work, problem.machine)


def _plane(problem: Problem) -> bool:
    """Whether an observation is one image, over both axes of which the window slides."""
    return len(problem.operands[0].shape) == len(problem.operands[1].shape) == 4


def _forward(problem: Problem) -> tuple[WindowProblem, Correlation]:
    """A convolution, as windows and as a correlation."""
    window = describe(problem, problem.operands[0], problem.operands[1], problem.results[0])
    facts = (window.group_channels, window.group_filters, window.groups, window.dtype)
    return window, Correlation(window.batch, window.forward_axes, *facts)


def parts(problem: Problem) -> int:
    """The bands of one observation whose partials the epilogue should leave; 0 where a pass of its own is cheaper.

    None where patches are transformed: their blocks are no bands, and sums of 16 values per patch cost more there.
    """
    if not _plane(problem):
        return 0
    _, work = _forward(problem)
    if work.batch == 0 or not partials.worthwhile(problem) or patch_output(work, problem.machine):
        return 0
    alone = replace(work, batch=1)
    panels = panels_of(alone, problem.machine)
    return partials.bands(problem, bands_of(alone, problem.machine, panels)[0]) if panels == 1 else 0


def convolution(problem: Problem) -> Plans:
    """Convolution: y = activation(x ⋆ weights + bias + residual)[, its partials]."""
    window, work = _forward(problem)
    epilogue = product_epilogue(problem)
    if is_channelwise(window):
        return correlate_channelwise(problem, work, modelled(problem, work), window, epilogue)
    return correlate(problem, work, window, False, epilogue)


def convolution_input_gradient(problem: Problem) -> Plans:
    """The input gradient of y = x ⋆ weights: dx = dy ⋆ flipped, transposed weights.

    A transposed convolution is this with other names and a forward op's epilogue: activation(dx + bias + residual).
    """
    window = describe(problem, problem.results[0], problem.operands[1], problem.operands[0])
    facts = (window.group_filters, window.group_channels, window.groups, window.dtype)
    work = Correlation(window.batch, window.gradient_axes, *facts)
    epilogue = product_epilogue(problem)
    if is_channelwise(window):
        return correlate_channelwise(problem, work, modelled(problem, work), window, epilogue)
    return correlate(problem, work, window, True, epilogue)


PLANS: Mapping[str, Callable[[Problem], Plans]] = {
    "convolution": convolution,
    "convolution_input_gradient": convolution_input_gradient,
    "convolution_weight_gradient": convolution_weights.convolution_weight_gradient,
    "transposed_convolution": convolution_input_gradient,
}
