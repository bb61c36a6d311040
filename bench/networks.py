"""Training steps and predictions of five networks against PyTorch, torch.compile, JAX and ONNX Runtime: medians.

python bench/networks.py [--only TEXT] [--rounds 20] [--peers eager,compiled,jax,onnx] [--kinds step,predict]
    [--threads 2] [--save NAME]

All contenders start from the same weights, see the same data, must predict the same, and take turns in one process;
predictions are timed for batches of 1 and 32 too, and of 1 by our network that is tuned for the step's. `--memory`
measures the peak memory of a step instead, one process per contender.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median
from time import perf_counter, sleep
from typing import Any

from record import save

RATE, L2 = 0.01, 1e-4
TOLERANCE = 1e-4
"""Largest difference of a score between contenders."""

PAUSE, TURN = 0.2, 0.1
"""Seconds between contenders, and of calls of each."""

Call = Callable[[], object]


def ours(net: Any, batch: int, training: bool = True, tuned: int = 0) -> tuple[Any, dict[str, Call]]:
    """Our network, compiled for `tuned` or `batch` observations, and its calls for `batch`: "step" and "predict"."""
    import gncodegen as gnc

    options = gnc.training_options("sgdm", initial_learn_rate=RATE, l2_regularization=L2)
    compiled = gnc.compile(net.layers(), batch_size=tuned or batch, options=options, training=training)
    x, labels = net.data(batch)
    calls: dict[str, Call] = {"predict": lambda: compiled.predict(x)}
    if training:
        calls["step"] = lambda: compiled.train_step(x, labels)
    return compiled, calls


def in_torch(compiled: Any, net: Any, batch: int, channels_last: bool, compiles: bool = False) -> dict[str, Call]:
    """PyTorch's calls, eager or compiled."""
    import torch
    from translate import Model

    kind = torch.channels_last if channels_last else torch.contiguous_format
    model = Model(compiled)
    optimizer = model.optimizer(RATE, L2)
    model = model.to(memory_format=kind)
    x, labels = net.data(batch)
    images = torch.tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=kind)
    targets = torch.tensor(labels)
    run = torch.compile(model) if compiles else model
    predict = torch_prediction(lambda x: torch.softmax(run(x), dim=1), images)
    return {"step": torch_step(run, optimizer, images, targets), "predict": predict}


def torch_step(run: Any, optimizer: Any, images: Any, targets: Any) -> Call:
    """A training step of a module in PyTorch; it gives the loss."""
    import torch

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(run(images), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_prediction(run: Any, images: Any) -> Call:
    """A prediction of a module in PyTorch."""
    import torch

    def predict() -> object:
        with torch.inference_mode():
            return run(images)

    return predict


def onnx_session(model: str | bytes, threads: int) -> Any:
    """ONNX Runtime's session of a file or of a model's bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def in_jax(compiled: Any, net: Any, batch: int) -> dict[str, Call]:
    """JAX's calls, jitted."""
    import jax
    import jax.numpy as jnp
    from translate import jax_network

    function, parameters = jax_network(compiled)
    x, labels = map(jnp.asarray, net.data(batch))
    state = {"p": parameters, "v": jax.tree.map(jnp.zeros_like, parameters)}

    def loss(p: Any, x: Any, t: Any) -> Any:
        scores = jax.nn.log_softmax(function(p, x))
        return -jnp.take_along_axis(scores, t[:, None], 1).mean()

    @jax.jit
    def update(p: Any, v: Any, x: Any, t: Any) -> Any:
        value, g = jax.value_and_grad(loss)(p, x, t)
        v = {k: 0.9 * v[k] - RATE * (g[k] + (0 if k.endswith("bias") else L2) * p[k]) for k in p}
        return {k: p[k] + v[k] for k in p}, v, value

    def step() -> float:
        state["p"], state["v"], value = update(state["p"], state["v"], x, labels)
        return float(value)

    scores = jax.jit(lambda p, x: jax.nn.softmax(function(p, x)))
    return {"step": step, "predict": lambda: jax.block_until_ready(scores(parameters, x))}


def in_onnx(compiled: Any, net: Any, batch: int, threads: int) -> dict[str, Call]:
    """ONNX Runtime's prediction."""
    import torch
    from translate import Model, onnx_file

    images = torch.tensor(net.data(batch)[0]).permute(0, 3, 1, 2).contiguous()
    with tempfile.TemporaryDirectory() as folder:
        model = torch.nn.Sequential(Model(compiled), torch.nn.Softmax(1)).eval()
        path = onnx_file(model, images, Path(folder) / "net.onnx")
        session = onnx_session(str(path), threads)
    given = {"x": images.numpy()}
    return {"predict": lambda: session.run(None, given)}


def contenders(
    net: Any, batch: int, peers: set[str], threads: int, training: bool, tuned: int = 0
) -> dict[str, dict[str, Call]]:
    """Contender → its calls."""
    compiled, calls = ours(net, batch, training, tuned)
    found = {"gncodegen": calls}
    if "eager" in peers:
        for layout in ("NCHW", "channels-last"):
            found[f"PyTorch {layout}"] = in_torch(compiled, net, batch, layout == "channels-last")
    if "compiled" in peers:
        for layout in ("NCHW", "channels-last"):
            found[f"torch.compile {layout}"] = in_torch(compiled, net, batch, layout == "channels-last", True)
    if "jax" in peers:
        found["JAX"] = in_jax(compiled, net, batch)
    if "onnx" in peers:
        found["ONNX Runtime"] = in_onnx(compiled, net, batch, threads)
    _require_agreement(found)
    return found


def _require_agreement(calls: dict[str, dict[str, Call]]) -> None:
    """Stops where a contender's first prediction is not ours: then it is another network."""
    import numpy as np

    wanted = np.asarray(calls["gncodegen"]["predict"]())
    for name, of in calls.items():
        scores = of["predict"]()
        found = np.asarray(scores[0] if isinstance(scores, list) else scores)
        difference = float(np.max(np.abs(found - wanted)))
        assert difference <= TOLERANCE, f"{name} predicts other scores: off by {difference:.1e}"


def measure(calls: dict[str, dict[str, Call]], kind: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of each contender, all of them once per round, so that what disturbs one disturbs all.

    A contender's turn begins when the threads of the one before have stopped waiting for work on a core of their own
    (ONNX Runtime's do for a while), with a call that is not measured; then come calls in a loop for TURN seconds.
    """
    times: dict[str, list[float]] = {name: [] for name, of in calls.items() if kind in of}
    for _ in range(rounds):
        for name, taken in times.items():
            sleep(PAUSE)
            call = calls[name][kind]
            call()
            began, count, passed = perf_counter(), 0, 0.0
            while passed < TURN:
                call()
                count, passed = count + 1, perf_counter() - began
            taken.append(1e3 * passed / count)
    return {name: median(taken) for name, taken in times.items()}


def peak_memory(name: str, contender: str) -> float:
    """MB that ten training steps need over what the process has after its imports, measured in a process of its own."""
    command = [sys.executable, __file__, "--one", name, contender]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def _one(name: str, contender: str) -> None:
    """Prints the memory of one contender's steps; the weights come from a network compiled before the baseline."""
    import resource

    import nets
    import torch  # noqa: F401  part of every baseline
    import translate  # noqa: F401

    import gncodegen.targets.cpu.runner  # noqa: F401  and Numba, which gncodegen imports when it first runs something

    net = next(net for net in nets.NETS if net.name == name)
    compiled, calls = ours(net, net.batch)
    if contender != "gncodegen":
        calls = in_torch(compiled, net, net.batch, contender == "channels-last")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10):
        calls["step"]()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def _rows(given: argparse.Namespace, net: Any) -> list[dict[str, Any]]:
    """Step, predictions of the step's batch, of 1 and of 32, and of 1 by the network that is tuned for the step."""
    rows: list[dict[str, Any]] = []
    kinds = given.kinds.split(",")
    sizes = [(net.batch, net.batch), *([(1, 1), (32, 32), (1, net.batch)] if "predict" in kinds else [])]
    for batch, tuned in dict.fromkeys(sizes):
        calls = contenders(net, batch, set(given.peers.split(",")), given.threads, batch == net.batch, tuned)
        label = batch if batch == tuned else f"{batch} of {tuned}"
        for kind in kinds if batch == net.batch else ("predict",):
            times = measure(calls, kind, given.rounds)
            best = min((t for name, t in times.items() if name != "gncodegen"), default=float("nan"))
            ratio = best / times["gncodegen"]
            rows.append({"net": net.name, "what": kind, "batch": label, "milliseconds": times, "ratio": ratio})
            shown = "  ".join(f"{name} {value:.2f}" for name, value in times.items())
            print(f"{net.name:42} {kind:8} batch {label:>8}  {ratio:5.2f} ×  {shown}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--rounds", type=int, default=20, help="measured rounds (default 20)")
    parser.add_argument("--peers", default="eager,compiled,jax,onnx", help="which (default all)")
    parser.add_argument("--kinds", default="step,predict", help="what to measure (default both)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every contender")
    parser.add_argument("--memory", action="store_true", help="peak memory of a step instead")
    parser.add_argument("--save", default="networks", help="name of the file in bench/results/<cpu> (default networks)")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ["GNCODEGEN_THREADS"] = str(given.threads)
    if given.one:
        _one(*given.one)
        return
    import torch
    from nets import NETS

    torch.set_num_threads(given.threads)
    chosen = [net for net in NETS if given.only in net.name]
    if given.memory:
        for net in chosen:
            used = {who: peak_memory(net.name, who) for who in ("gncodegen", "NCHW", "channels-last")}
            print(net.name, "  ".join(f"{who} {value:.1f} MB" for who, value in used.items()))
        return
    rows = [row for net in chosen for row in _rows(given, net)]
    for kind in ("step", "predict"):
        ratios = [row["ratio"] for row in rows if row["what"] == kind] or [float("nan")]
        print(f"{kind}: geomean {geometric_mean(ratios):.2f} ×, worst {min(ratios):.2f} ×")
    print(save(given.save, {"threads": given.threads, "rounds": given.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
