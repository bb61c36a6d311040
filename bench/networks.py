"""Training steps and predictions of two networks: gncodegen against PyTorch eager, in turn in one process, medians.

python bench/networks.py [--rounds 40] [--threads 2] [--readme]
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from time import perf_counter

from record import fill_readme, save

RATE, L2 = 0.01, 1e-4


def contenders(net, threads: int) -> dict[str, dict[str, Callable[[], object]]]:
    """Contender → {"step", "predict"}: calls that do one of either on the same data from the same weights."""
    import torch
    from nets import copy_weights, torch_optimizer

    import gncodegen as gnc

    torch.set_num_threads(threads)
    options = gnc.training_options("sgdm", initial_learn_rate=RATE, l2_regularization=L2)
    compiled = gnc.compile(net.layers(), batch_size=net.batch, options=options)
    x, labels = net.data()
    found = {"gncodegen": {"step": lambda: compiled.train_step(x, labels), "predict": lambda: compiled.predict(x)}}
    for name, memory_format in (("nchw", torch.contiguous_format), ("channels-last", torch.channels_last)):
        model = net.torch()
        copy_weights(compiled, model)
        model = model.to(memory_format=memory_format)
        images = torch.tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
        found[name] = _torch_calls(model, torch_optimizer(model, RATE, L2), images, torch.tensor(labels))
    return found


def _torch_calls(model, optimizer, images, targets) -> dict[str, Callable[[], object]]:
    import torch

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    def predict() -> object:
        with torch.inference_mode():
            return torch.softmax(model(images), dim=1)

    return {"step": step, "predict": predict}


def measure(calls: dict[str, dict[str, Callable[[], object]]], kind: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of each contender, all of them once per round, so that what disturbs one disturbs all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 3):
        for name, of in calls.items():
            began = perf_counter()
            of[kind]()
            if turn >= 3:  # the first rounds warm up
                times[name].append(1e3 * (perf_counter() - began))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="measured rounds (default 40)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every contender")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    given = parser.parse_args()
    os.environ["GNCODEGEN_THREADS"] = str(given.threads)
    from nets import DEMO, WIDE

    results = []
    rows = [
        f"| {given.threads} cores | | gncodegen | PyTorch eager, NCHW | PyTorch eager, channels-last | to the better |",
        "|---|---|---|---|---|---|",
    ]
    print(f"{'':38} {'gncodegen':>10} {'NCHW':>10} {'ch.-last':>10}   PyTorch / gncodegen")
    for net in (DEMO, WIDE):
        calls = contenders(net, given.threads)
        for kind in ("step", "predict"):
            times = measure(calls, kind, given.rounds)
            ours, nchw, last = times["gncodegen"], times["nchw"], times["channels-last"]
            results.append({"net": net.name, "what": kind, "milliseconds": times})
            print(
                f"{net.name:38} {ours:8.2f}ms {nchw:8.2f}ms {last:8.2f}ms   {nchw / ours:.2f} {last / ours:.2f}  {kind}"
            )
            what = {"step": "training step", "predict": "prediction"}[kind]
            best = min(nchw, last) / ours
            rows.append(f"| {net.name} | {what} | {ours:.1f} ms | {nchw:.1f} ms | {last:.1f} ms | {best:.2f} × |")
    print(save("networks", {"threads": given.threads, "rounds": given.rounds, "rows": results}))
    if given.readme:
        fill_readme(rows)


if __name__ == "__main__":
    main()
