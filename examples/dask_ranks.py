"""Trains over the workers of a Dask cluster: python examples/dask_ranks.py RANKS train.py [SCHEDULER].

Each worker starts its share of the ranks of one MPI job; train.py says execution_environment="parallel", as under
mpiexec. Without SCHEDULER a cluster of this machine is made. Workers need the same files, and MPICH as `mpiexec`.
"""

import subprocess
import sys

from distributed import Client, LocalCluster

from gncodegen.parallel.launching import launch


def main(ranks: int, script: str, *scheduler: str) -> int:
    """Runs the script in so many ranks; the exit code of the job."""
    with Client(*scheduler or [LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)]) as client:
        workers = list(client.scheduler_info()["workers"])
        hosts = [worker.partition("://")[2].rpartition(":")[0] for worker in workers]
        started = []

        def start(place: int, command: list[str]) -> None:
            started.append(client.submit(subprocess.call, command, workers=[workers[place]], pure=False))

        return launch(hosts, ranks, [sys.executable, script], start)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
