"""Trains over the nodes of a Ray cluster: python examples/ray_ranks.py RANKS train.py [ADDRESS].

Each node starts its share of the ranks of one MPI job; train.py says execution_environment="parallel", as under
mpiexec. Without ADDRESS a cluster of this machine is made. Nodes need the same files, and MPICH as `mpiexec`.
"""

import subprocess
import sys

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gncodegen.parallel.launching import launch


def main(ranks: int, script: str, address: str = "local") -> int:
    """Runs the script in so many ranks; the exit code of the job."""
    ray.init(address, include_dashboard=False)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    call, started = ray.remote(num_cpus=0)(subprocess.call), []

    def start(place: int, command: list[str]) -> None:
        where = NodeAffinitySchedulingStrategy(nodes[place]["NodeID"], soft=False)
        started.append(call.options(scheduling_strategy=where).remote(command))

    return launch([node["NodeManagerAddress"] for node in nodes], ranks, [sys.executable, script], start)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
