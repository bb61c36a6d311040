"""Trained models that others published, brought in by one call: their rounding error and their time.

python bench/clients.py [--sizes 256,1024] [--rounds 10] [--threads 2] [--save NAME]

cosmic-conn (Xu et al., ApJ 2023): a U-Net with GroupNorm(8) that finds cosmic rays in images of telescopes. Its package
is GPL: it is downloaded by pip into a temporary folder, where no installed one is found, and used from outside only.
Errors are parts of the largest score, against PyTorch in float64. The images have tracks of cosmic rays, so that some
scores are near 1: those of noise alone are below 2e-5, parts of which say nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from networks import Call, measure, onnx_session, torch_prediction
from record import save

PACKAGE = "cosmic-conn==0.6.1"
WEIGHTS = "trained_models/cosmic-conn_ground_imaging_v0.2.8.pth"
CHOICES = {"norm": "group", "norm_setting": (8, 0, False), "conv_type": "unet", "down_type": "maxpool"}


@contextmanager
def folder() -> Iterator[Path]:
    """Where the package's files lie; its own __init__ asks for telescope software that the model does not need."""
    found = find_spec("cosmic_conn")
    if found is not None and found.submodule_search_locations:
        yield Path(found.submodule_search_locations[0])
        return
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, PACKAGE]
        subprocess.run(command, check=True)
        yield Path(place) / "cosmic_conn"


def trained() -> Any:
    """The trained U-Net, in evaluation mode."""
    import torch

    with folder() as place:
        spec = spec_from_file_location("cosmic_conn_unet", place / "dl_framework" / "unet.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        model = module.UNet_module(n_channels=1, n_classes=1, hidden=32, up_type="deconv", deeper=False, **CHOICES)
        model.load_state_dict(torch.load(place / WEIGHTS, map_location="cpu", weights_only=True))
    return model.eval()


def image(size: int) -> Any:
    """Noise of a deviation of 1, and tracks of a few bright pixels in a row."""
    import numpy as np

    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, (1, 1, size, size)).astype(np.float32)
    for _ in range(size * size // 1600):
        row, column = draw.integers(4, size - 12, 2)
        for step in range(draw.integers(2, 9)):
            x[0, 0, row + step, column + step // 2] += draw.uniform(20, 200)
    return x


def contenders(model: Any, size: int, threads: int) -> tuple[dict[str, dict[str, Call]], dict[str, float]]:
    """Contender → its calls, and the error of each; that of float64 shows what is no rounding."""
    import numpy as np
    import torch

    import gncodegen as gnc

    x = torch.from_numpy(image(size))
    graph, array, calls = gnc.from_torch(model, x), x.numpy(), dict[str, Call]()
    for name, precise in (("gncodegen", False), ("gncodegen precise", True)):
        compiled = gnc.compile(graph, training=False, batch_size=1, precise=precise)
        calls[name] = lambda compiled=compiled: compiled.predict(array)
    for kind in (torch.contiguous_format, torch.channels_last):
        name = "PyTorch NCHW" if kind == torch.contiguous_format else "PyTorch channels-last"
        own, images = model.to(memory_format=kind), x.contiguous(memory_format=kind)
        calls[name] = torch_prediction(own, images)
        model = trained()
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        calls["ONNX Runtime"] = _in_onnx_runtime(torch, model, x, threads)
    with torch.inference_mode():
        wanted = trained().double()(x.double()).numpy()
    errors = {
        name: float(np.abs(np.asarray(call()).reshape(wanted.shape) - wanted).max() / np.abs(wanted).max())
        for name, call in calls.items()
    }
    wide = gnc.compile(graph, training=False, batch_size=1, dtype="float64").predict(array.astype(np.float64))
    errors["gncodegen float64"] = float(np.abs(wide.reshape(wanted.shape) - wanted).max() / np.abs(wanted).max())
    return {name: {"predict": call} for name, call in calls.items()}, errors


def _in_onnx_runtime(torch: Any, model: Any, x: Any, threads: int) -> Call:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "net.onnx"
        torch.onnx.export(model, (x,), str(path), input_names=["x"], dynamo=True, verbose=False)
        session = onnx_session(str(path), threads)
    given = {"x": x.numpy()}
    return lambda: session.run(None, given)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="256,1024", help="extents of the square images (default 256,1024)")
    parser.add_argument("--rounds", type=int, default=10, help="measured rounds (default 10)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every contender")
    parser.add_argument("--save", default="clients", help="name of the file in bench/results/<cpu> (default clients)")
    given = parser.parse_args()
    os.environ["GNCODEGEN_THREADS"] = str(given.threads)
    import torch

    torch.set_num_threads(given.threads)
    rows: list[dict[str, Any]] = []
    for size in map(int, given.sizes.split(",")):
        calls, errors = contenders(trained(), size, given.threads)
        times = measure(calls, "predict", given.rounds)
        ratio = min(t for name, t in times.items() if name.startswith("PyTorch")) / times["gncodegen"]
        load = os.getloadavg()[0]
        rows.append({"size": size, "milliseconds": times, "errors": errors, "ratio": ratio, "load": load})
        shown = "  ".join(f"{name} {times[name]:.1f} ms, {errors[name]:.1e}" for name in times)
        shown += f"  in float64 {errors['gncodegen float64']:.1e}"
        print(f"cosmic-conn {size}²  {ratio:.2f} × PyTorch's best  {shown}  (load {load:.1f})", flush=True)
    print(save(given.save, {"threads": given.threads, "rounds": given.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
