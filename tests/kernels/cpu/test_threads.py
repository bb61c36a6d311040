"""The same bits for any number of threads."""

import numba
import numpy as np
import reference
from support.execution import problem_of
from support.targets import machine

from gncodegen.kernels import catalog


def test_sums_of_a_loss_do_not_depend_on_the_threads(execute):
    z = (np.random.default_rng(0).standard_normal((1500, 9)) * 3).astype(np.float32)
    t = reference.one_hot(np.random.default_rng(1).integers(0, 9, 1500), 9).astype(np.float32)
    results, threads = [((), "float64"), (z.shape, "float32")], numba.get_num_threads()
    losses = set()
    for count in {1, threads}:
        numba.set_num_threads(count)
        losses.add(float(execute("softmax_cross_entropy", [z, t], results, {"class_weights": ()})[0]))
    numba.set_num_threads(threads)
    assert len(losses) == 1


def test_plans_for_more_cores_have_more_tiles_and_the_same_bits(execute):
    """Few patches of many channels: a tile takes fewer channels and filters."""
    x, dy = (np.random.default_rng(seed).standard_normal((32, 8, 8, 64)).astype(np.float32) for seed in range(2))
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1), "groups": 1, "bias": False}
    op, results = "convolution_weight_gradient", [((3, 3, 64, 64), "float32")]
    tiles, found = [], []
    for cores in (1, 2, 16):
        problem = problem_of(op, [(x.shape, "float32")] * 2, results, attributes, machine("cpu", cores=cores))
        launch, _ = catalog.plan(problem).launches
        assert launch.schedule.template == "winograd_weight_gradient"
        tiles.append(launch.grid)
        found.append(execute(op, [x, dy], results, attributes, cores=cores)[0])
    assert tiles == sorted(set(tiles))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
