"""One operation on all ranks, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest
from support.ranks import needs_mpi, run

from gncodegen.parallel.averaging import Averaging, bucket_size
from gncodegen.parallel.collective import ALONE, Alone, everyone, gathered, share


@pytest.mark.parametrize(("count", "ranks"), [(10, 3), (3, 3), (2, 3), (0, 2), (128, 1)])
def test_shares_are_all_observations_once_and_alike(count: int, ranks: int) -> None:
    shares = [share(count, Alone(rank, ranks)) for rank in range(ranks)]
    assert [index for part in shares for index in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in shares]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_has_its_own() -> None:
    assert everyone({"a": 1}, ALONE) == [{"a": 1}]
    np.testing.assert_array_equal(gathered([1, 2], ALONE), [[1, 2]])
    buffer, averaging = np.array([1.0, np.nan]), Averaging()
    averaging.begin(buffer)
    averaging.finish()
    averaging.average(buffer)
    np.testing.assert_array_equal(buffer, [1, np.nan])


@pytest.mark.parametrize(("gradients", "size"), [(0, 1), (7, 1), (2**20, 2**17), (100 * 2**20, 2**20)])
def test_buckets_that_nobody_chose_are_an_eighth(gradients: int, size: int) -> None:
    assert bucket_size(gradients) == size


SUMS = """
    import numpy as np
    from gncodegen.parallel.averaging import Averaging
    from gncodegen.parallel.collective import everyone, gathered
    from gncodegen.parallel.launching import started
    from gncodegen.parallel.mpi import MpiCollective, communicator

    ranks = MpiCollective(communicator(), 60)
    assert started() == ranks.ranks
    def drawn(size, rank, dtype):
        return (np.random.default_rng([size, rank]).normal(size=size) * 10.0 ** rank).astype(dtype)
    for size in (1, 2, 5, 100, 4099, 300_001):
        for dtype in ("float32", "float64"):
            wanted = drawn(size, 0, dtype)
            for rank in range(1, ranks.ranks):
                wanted = wanted + drawn(size, rank, dtype)
            found = drawn(size, ranks.rank, dtype)
            ranks.allreduce(found)
            assert np.array_equal(found, wanted), (size, dtype)
    assert everyone("x" * 5000 * ranks.rank, ranks) == ["x" * 5000 * rank for rank in range(ranks.ranks)]
    assert np.array_equal(gathered([ranks.rank, 7], ranks), [[rank, 7] for rank in range(ranks.ranks)])
    averaging = Averaging(ranks)
    averaging.share = [0.25, 0.5, 0.25][ranks.rank] if ranks.ranks == 3 else [0.25, 0.75][ranks.rank]
    buckets = [np.full(size, float(ranks.rank), np.float32) for size in (3, 50_000, 7)]
    for bucket in buckets:
        averaging.begin(bucket)
    averaging.finish()
    for bucket in buckets:
        assert np.array_equal(bucket, np.full_like(bucket, 1.0 if ranks.ranks == 3 else 0.75))
    print("alike")
"""


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_sums_are_made_in_the_order_of_ranks(ranks: int) -> None:
    assert run(ranks, SUMS)[0].count("alike") == ranks
