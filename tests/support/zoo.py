"""What the networks of the zoo become on a machine that need not be here."""

from __future__ import annotations

from collections.abc import Iterator

from bench.zoo import ZOO
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Machine
from gncodegen.layers.network import Network
from gncodegen.passes.lower import lower


def programs(machine: Machine) -> Iterator[Program]:
    """The Program of every function of every network, and of the last part of a step of the first."""
    for specimen in ZOO:
        network = Network.build(specimen.layers(), require_output=False)
        clip = specimen.options.get("gradient_threshold_method", "l2norm")
        parts = ("train_last_part",) if specimen is ZOO[0] else ()
        for function in (*specimen.functions, *parts):
            clips = function == "train_step" and "gradient_threshold" in specimen.options
            yield lower(
                network, function, batch_size=specimen.batch, dtype=specimen.dtype, training=specimen.training,
                data_format=specimen.data_format, machine=machine, clip=clip if clips else "none",
            )[1]  # fmt: skip
