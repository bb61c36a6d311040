"""Gradients of GPUs are averaged by NCCL: on a stub of nccl4py, whose signatures are those of the installed one."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support import nccl_stub
from support.nccl_stub import Communicator
from support.ranks import needs_mpi, run
from support.sets import in_full

import gncodegen as gnc
from gncodegen.compiler import compiled
from gncodegen.errors import OptionsError, RankError, TargetError
from gncodegen.parallel.collective import ALONE, Alone
from gncodegen.parallel.environments import ENVIRONMENTS
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.targets.cuda.device import cuda_python, nccl
from gncodegen.targets.cuda.device.gpu import Gpu
from gncodegen.targets.cuda.device.nccl import NcclAveraging

LAYERS = [
    gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.FullyConnectedLayer(4), gnc.FullyConnectedLayer(3),
    gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
]  # fmt: skip
X = np.random.default_rng(0).normal(size=(16, 3, 3, 4)).astype(np.float32)
Y = np.arange(16) % 3


@pytest.fixture
def communicator(stub: Any, monkeypatch: pytest.MonkeyPatch) -> type[Communicator]:
    return nccl_stub.install(stub, monkeypatch)


def network(averaging: NcclAveraging | None) -> gnc.Compiled:
    """Of one rank, whose gradients are averaged in a bucket of their own each, where they are."""
    choices = {"target": "cuda", "batch_size": 4, "bucket_size": 8 if averaging else 0}
    return compiled(LAYERS, choices, gnc.training_options("sgdm", initial_learn_rate=0.1), averaging)


def parameters_after(net: gnc.Compiled, steps: int) -> dict[str, np.ndarray]:
    for step in range(steps):
        rows = slice(4 * step, 4 * step + 4)
        net.train_step(X[rows], Y[rows])
    return {name: np.array(value) for name, value in net.parameters.items()}


def parameters(function: Any) -> list[tuple[Any, ...]]:
    """Names, kinds and defaults; annotations are nccl4py's own."""
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


@pytest.mark.parametrize(
    "name",
    [
        "Communicator.allreduce", "Communicator.create_pre_mul_sum", "Communicator.destroy",
        "Communicator.get_async_error", "Communicator.init", "CustomRedOp.close", "UniqueId.__bytes__",
        "UniqueId.from_bytes", "get_error_string", "get_unique_id",
    ],
)  # fmt: skip
def test_signatures_are_those_of_the_installed_nccl4py(name: str) -> None:
    there: Any = pytest.importorskip("nccl.core")
    here: Any = nccl_stub
    for part in name.split("."):
        there, here = getattr(there, part), getattr(here, part)
    assert parameters(here) == parameters(there)


def test_constants_are_those_of_the_installed_nccl4py() -> None:
    core = pytest.importorskip("nccl.core")
    assert core.NcclDataType(np.dtype("float32")) == core.FLOAT32
    bindings = pytest.importorskip("nccl.bindings.nccl")
    assert (int(bindings.Result.Success), int(bindings.Result.InProgress)) == (0, nccl._IN_PROGRESS)


def test_the_installed_nccl4py_reads_device_arrays_where_they_are(stub: Any) -> None:
    kind: Any = pytest.importorskip("nccl.core.buffer").NcclBuffer
    array = DeviceArray.empty(Gpu(), (5,), "float32")
    stub.calls.clear()
    found = kind(array)
    assert (found.ptr, found.count, found.device_id) == (array.address, 5, 0)
    assert found.dtype.numpy_dtype == np.float32
    assert not stub.count("cuStreamWaitEvent", "cuStreamSynchronize")


def one_rank() -> None:
    """NCCL's averages over one rank change no bit."""
    averaging = NcclAveraging(ALONE)
    assert averaging.target == "cuda"
    found, wanted = parameters_after(network(averaging), 4), parameters_after(network(None), 4)
    averaging.close()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_on_a_gpu_that_is_here() -> None:
    if not cuda_python.count():
        pytest.skip("no GPU is here")
    pytest.importorskip("nccl.core")
    one_rank()


class TestOneRank:
    def test_has_the_bits_of_a_process_without_ranks(self, stub: Any, communicator: type[Communicator]) -> None:
        one_rank()
        begin = ["get_unique_id", "init 0 of 1 on GPU 0", "create_pre_mul_sum 1"]
        assert communicator.log == [*begin, *["allreduce"] * 16, "destroy"]

    def test_counts_by_its_share(self, communicator: type[Communicator], monkeypatch: pytest.MonkeyPatch) -> None:
        # The other rank has the same gradients: a quarter of them and three quarters are the whole.
        averaging, shares = NcclAveraging(ALONE), []

        def joined(values: np.ndarray) -> np.ndarray:
            shares.append(averaging.share)
            return values / averaging.share

        monkeypatch.setattr(communicator, "joined", staticmethod(joined))
        net = network(averaging)
        for step, share in enumerate((0.25, 0.5, 0.5)):
            averaging.share = share
            net.train_step(X[4 * step : 4 * step + 4], Y[4 * step : 4 * step + 4])
        for name, value in parameters_after(network(None), 3).items():
            np.testing.assert_array_equal(net.parameters[name], value, err_msg=name)
        assert shares == [0.25] * 4 + [0.5] * 8
        assert [call for call in communicator.log if "mul" in call] == [
            "create_pre_mul_sum 0.25",
            "create_pre_mul_sum 0.5",
        ]

    def test_averages_beside_the_backward_pass(
        self, stub: Any, communicator: type[Communicator], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        net = network(NcclAveraging(ALONE))
        parameters_after(net, 2)
        began = Communicator.allreduce

        def allreduce(self: Communicator, *arguments: Any, **named: Any) -> None:
            stub.calls.append(("allreduce", ()))
            began(self, *arguments, **named)

        monkeypatch.setattr(Communicator, "allreduce", allreduce)
        stub.calls.clear()
        parameters_after(net, 1)
        order = ("cuGraphLaunch", "allreduce", "cuStreamWaitEvent")
        asked = [name for name, _ in stub.calls if name in order]
        bucket = ["cuStreamWaitEvent", "allreduce"]
        before, beside, behind = ["cuGraphLaunch", *bucket * 2], ["cuGraphLaunch", *bucket * 2], ["cuGraphLaunch"]
        assert asked == [*before, *beside, "cuStreamWaitEvent", *behind, "cuStreamWaitEvent"]

    def test_that_has_ended_averages_no_more(self, communicator: type[Communicator]) -> None:
        averaging = NcclAveraging(ALONE)
        net = network(averaging)
        parameters_after(net, 1)
        averaging.close()
        with pytest.raises(RankError, match="the ranks of this training have ended; allowed: averages within it"):
            parameters_after(net, 1)


def norms_of_a_batch(masked: bool) -> list[Any]:
    """A batch norm of features, or of sequences of which each has its own steps."""
    entrance: Any = gnc.FeatureInputLayer(4, normalization="none")
    if masked:
        entrance = gnc.SequenceInputLayer(4, min_length=3, padding="mask", normalization="none")
    output = gnc.FullyConnectedLayer(3)
    middle = [gnc.GlobalAveragePooling1dLayer(), output] if masked else [output]
    return [entrance, gnc.BatchNormalizationLayer(), *middle, gnc.SoftmaxLayer(), gnc.ClassificationLayer()]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", *in_full(["float16"])])
def test_statistics_of_all_ranks(communicator: type[Communicator], masked: bool, dtype: str) -> None:
    """With one rank they are those of a batch norm alone; what is stored in 16 bits may round to a neighbour."""
    rate, nets = 0.1, list[Any]()
    bound = 2e-6 if dtype == "float32" else 2 * rate * 2.0**-11
    for averaging in (NcclAveraging(ALONE), None):
        choices = {"target": "cuda", "batch_size": 4, "bucket_size": 8 if averaging else 0, "dtype": dtype}
        choices["synchronize_batch_normalization"] = averaging is not None
        options = gnc.training_options("sgdm", initial_learn_rate=rate)
        nets.append(compiled(norms_of_a_batch(masked), choices, options, averaging))
    for start in (0, 4):
        x = [X[i, i % 3, : 1 + i % 3] if masked else X[i, 0, 0] for i in range(start, start + 4)]
        for net in nets:
            net.train_step(x if masked else np.stack(x), Y[start : start + 4])
    for name, value in nets[1].parameters.items():
        np.testing.assert_allclose(nets[0].parameters[name], value, bound, bound, err_msg=name)


class TestFaults:
    def test_nccl4py_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "nccl.core", None)
        with pytest.raises(TargetError, match=r"multi-gpu\" needs nccl4py.*pip install 'gncodegen\[nccl\]'"):
            NcclAveraging(ALONE)

    def test_of_nccl_itself(self, communicator: type[Communicator], monkeypatch: pytest.MonkeyPatch) -> None:
        def init(*_: Any) -> None:
            raise RuntimeError("Invalid usage (5)")

        monkeypatch.setattr(communicator, "init", init)
        with pytest.raises(TargetError, match=r"NCCL reports Invalid usage \(5\); allowed: .* a GPU for each rank"):
            parameters_after(network(NcclAveraging(ALONE)), 1)

    @pytest.mark.parametrize(
        ("status", "said"), [(7, "rank 0 waited 0.01 s for others' GPUs"), (6, "NCCL reports the stub says 6")]
    )
    def test_a_rank_that_does_not_come(
        self, communicator: type[Communicator], monkeypatch: pytest.MonkeyPatch, status: int, said: str
    ) -> None:
        averaging = NcclAveraging(Alone(timeout=0.01))
        monkeypatch.setattr(communicator, "status", status)
        net = network(averaging)
        parameters_after(net, 1)
        averaging._passed = lambda: False
        with pytest.raises(RankError, match=said):
            averaging.wait()

    def test_two_ranks_on_one_gpu(self, stub: Any, communicator: type[Communicator]) -> None:
        class Twins(Alone):
            """Two ranks that say the same."""

            def allreduce(self, buffer: Any) -> None:
                halves = buffer.reshape(2, -1)
                halves[1 - self.rank] = halves[self.rank]

        assert NcclAveraging(Twins(1, 2)).target == "cuda:1"
        stub.devices.gpus[1:] = []
        assert NcclAveraging(Twins(1, 2)).target == "cuda"
        with pytest.raises(TargetError, match=r"2 ranks on .* have 1 GPU; allowed: one for each rank"):
            network(NcclAveraging(Twins(0, 2))).train_step(X[:4], Y[:4])

    def test_the_emulator_has_no_ranks(self, communicator: type[Communicator]) -> None:
        choices = {"target": "sm_90", "emulate": True, "batch_size": 4, "bucket_size": 8}
        for averaging, said in ((NcclAveraging(ALONE), "the emulator has no ranks"), (None, "ranks under MPI average")):
            with pytest.raises(TargetError, match=said):
                compiled(LAYERS, choices, gnc.training_options("sgdm"), averaging).train_step(X[:4], Y[:4])

    @pytest.mark.parametrize(("environment", "target"), [("multi-gpu", "cpu"), ("parallel", "cuda")])
    def test_targets_of_another_kind(
        self, communicator: type[Communicator], monkeypatch: pytest.MonkeyPatch, environment: str, target: str
    ) -> None:
        alone(environment, monkeypatch)
        with pytest.raises(OptionsError, match=f"'{environment}' with target = '{target}'; allowed: one of both"):
            train(environment, target=target)


def alone(environment: str, patch: pytest.MonkeyPatch) -> None:
    """One process is one rank, without MPI."""
    row = replace(ENVIRONMENTS[environment], collective=lambda timeout: Alone(timeout=timeout))
    patch.setitem(ENVIRONMENTS, environment, row)  # pyright: ignore[reportArgumentType]


def train(environment: str, **choices: Any) -> Any:
    options = gnc.training_options(
        "sgdm", max_epochs=2, mini_batch_size=8, seed=3, verbose=False, bucket_size=8, initial_learn_rate=0.1,
        execution_environment=environment, rank_timeout=60,
    )  # fmt: skip
    return gnc.train_network(X, Y, LAYERS, options, **choices)


def test_a_training_of_one_rank_has_the_bits_of_one_gpu(
    communicator: type[Communicator], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone("multi-gpu", monkeypatch)
    (net, info), (twin, wanted) = train("multi-gpu"), train("gpu")
    np.testing.assert_array_equal(info.training_loss, wanted.training_loss)
    for name, value in twin.compiled.parameters.items():
        np.testing.assert_array_equal(net.compiled.parameters[name], value, err_msg=name)
    assert net.compiled.target == "cuda"
    assert not communicator.log, "one rank has nothing to average"


TRAINING = """
    import sys
    import numpy as np
    import pytest
    from mpi4py import MPI
    from parallel.test_nccl import train
    from support import nccl_stub
    from support.cuda_stub import library
    from support.cuda_stub.devices import GPUS

    driver = library.load()
    driver.begin()
    driver.devices.gpus[:2] = [GPUS[0]] * 2
    communicator, world = nccl_stub.install(driver, pytest.MonkeyPatch()), MPI.COMM_WORLD.Dup()
    communicator.joined = staticmethod(lambda values: sum(world.allgather(values)))
    (net, info), (twin, wanted) = train("multi-gpu"), train("gpu")
    np.testing.assert_allclose(info.training_loss, wanted.training_loss, 1e-5)
    for name, value in twin.compiled.parameters.items():
        found = np.array(net.compiled.parameters[name])
        np.testing.assert_allclose(found, value, 1e-5, 1e-6, err_msg=name)
        assert all(np.array_equal(each, found) for each in world.allgather(found))
    driver.end()
    assert not driver.faults, driver.faults
    sys.stdout.write(f"{net.compiled.target}: {communicator.log}\\n")
"""


@needs_mpi
@pytest.mark.full(like="parallel/test_nccl.py::test_a_training_of_one_rank_has_the_bits_of_one_gpu")
def test_a_training_of_two_ranks_is_that_of_one_process(stub: Any) -> None:
    out, _ = run(2, TRAINING)
    calls = ["create_pre_mul_sum 0.5", *["allreduce"] * 16, "destroy"]
    first, second = ["get_unique_id", "init 0 of 2 on GPU 0", *calls], ["init 1 of 2 on GPU 1", *calls]
    assert sorted(out.splitlines()) == sorted([f"cuda: {first}", f"cuda:1: {second}"])
