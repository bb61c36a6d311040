"""ResNet-50 and MobileNetV2 of torchvision beside PyTorch and ONNX Runtime: predictions, and a training step with GN.

pip install --no-deps torchvision==0.28.*
python bench/large_networks.py [--only TEXT] [--rounds 5] [--threads 2] [--save NAME]

Each comes in by `from_torch`. Weights are drawn, running statistics too: what a network costs does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from architectures import with_statistics, without_operators
from networks import L2, RATE, Call, measure, onnx_session, torch_prediction, torch_step
from record import save

BATCHES = (1, 8)
TOLERANCE = 1e-5
"""Largest difference between contenders, as a part of the largest score."""


def predictions(module: Any, images: Any, threads: int) -> tuple[Any, dict[str, dict[str, Call]]]:
    """Our network, and contender → its call, of images (N, 3, 224, 224)."""
    import torch
    from translate import onnx_file

    import gncodegen as gnc

    graph = gnc.from_torch(with_statistics(module), (images[:1],))
    compiled = gnc.compile(graph, training=False, batch_size=len(images))
    x = images.numpy()
    calls: dict[str, Call] = {"gncodegen": lambda: compiled.predict(x)}
    with tempfile.TemporaryDirectory() as folder:
        path = onnx_file(module, images, Path(folder) / "net.onnx")
        session = onnx_session(str(path), threads)
    calls["ONNX Runtime"] = lambda: session.run(None, {"x": x})[0]
    for name, kind in (("NCHW", torch.contiguous_format), ("channels-last", torch.channels_last)):
        twin, inputs = deepcopy(module).to(memory_format=kind), images.to(memory_format=kind)
        calls[f"PyTorch {name}"] = torch_prediction(twin, inputs)
    wanted = np.asarray(calls["gncodegen"]())
    for name, call in calls.items():
        difference = np.abs(np.asarray(call()) - wanted).max() / np.abs(wanted).max()
        assert difference <= TOLERANCE, f"{name} predicts other scores: off by {difference:.1e}"
    return compiled, {name: {"predict": call} for name, call in calls.items()}


def steps(module: Any, images: Any) -> tuple[Any, dict[str, dict[str, Call]]]:
    """Our network, and contender → its step of SGDM with L2, of images (N, 3, H, W)."""
    import torch

    import gncodegen as gnc

    labels = np.random.default_rng(0).integers(1000, size=len(images))
    graph = gnc.from_torch(module, (images[:1],)).append([gnc.SoftmaxLayer(), gnc.ClassificationLayer()])
    options = gnc.training_options("sgdm", initial_learn_rate=RATE, l2_regularization=L2)
    compiled = gnc.compile(graph, batch_size=len(images), options=options)
    x, targets = images.numpy(), torch.tensor(labels)
    calls: dict[str, Call] = {"gncodegen": lambda: compiled.train_step(x, labels)}

    for layout, kind in (("NCHW", torch.contiguous_format), ("channels-last", torch.channels_last)):
        twin, inputs = deepcopy(module).to(memory_format=kind).train(), images.to(memory_format=kind)
        optimizer = torch.optim.SGD(twin.parameters(), lr=RATE, momentum=0.9, weight_decay=L2)
        calls[f"PyTorch {layout}"] = torch_step(twin, optimizer, inputs, targets)
    first = {name: call() for name, call in calls.items()}
    assert np.ptp(list(first.values())) <= 1e-4, f"other losses: {first}"
    return compiled, {name: {"step": call} for name, call in calls.items()}


def row(name: str, what: str, batch: int, given: argparse.Namespace) -> dict[str, Any]:
    """One network and call, measured in turn with the others'."""
    import torch
    import torchvision

    torch.manual_seed(0)
    norm = {"norm_layer": lambda channels: torch.nn.GroupNorm(32, channels)} if what == "step" else {}
    module = torchvision.models.get_model(name, weights=None, **norm).eval()
    images = torch.randn(batch, 3, *((128, 128) if what == "step" else (224, 224)))
    began = perf_counter()
    compiled, calls = steps(module, images) if what == "step" else predictions(module, images, given.threads)
    ready = perf_counter() - began
    times = measure(calls, what, given.rounds)
    ratios = {contender: time / times["gncodegen"] for contender, time in times.items() if contender != "gncodegen"}
    shown = "  ".join(f"{contender} {times[contender]:.1f} ms, {ratio:.2f} ×" for contender, ratio in ratios.items())
    kernels = sum(1 for _ in compiled.kernels)
    print(f"{name} {what} {batch}: {times['gncodegen']:.1f} ms, {kernels} kernels  {shown}", flush=True)
    return {
        "network": name, "what": what, "batch": batch, "kernels": kernels, "seconds until ready": ready,
        "milliseconds": times, "ratios": ratios,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of a network's name and call, such as 'resnet50 step'")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every contender")
    parser.add_argument("--save", default="large-networks", help="name of the file in bench/results/<cpu>")
    given = parser.parse_args()
    os.environ["GNCODEGEN_THREADS"] = str(given.threads)
    import torch

    torch.set_num_threads(given.threads)
    without_operators(torch)
    cases = [(name, "predict", batch) for name in ("resnet50", "mobilenet_v2") for batch in BATCHES]
    cases.append(("resnet50", "step", 4))
    rows = [row(*case, given) for case in cases if given.only in f"{case[0]} {case[1]}"]
    if given.save:
        print(save(given.save, {"threads": given.threads, "rounds": given.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
