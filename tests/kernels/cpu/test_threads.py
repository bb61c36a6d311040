"""The same bits for any number of threads."""

import numba
import numpy as np
import reference


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
