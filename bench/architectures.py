"""Convolutional architectures that others published, each brought in by one `from_torch` call: layers, kernels, errors.

pip install --no-deps timm segmentation-models-pytorch torchvision==0.28.* && pip install huggingface_hub pyyaml
python bench/architectures.py [--only TEXT] [--save NAME]

Weights are drawn, running statistics too; one image. Errors are parts of the largest score, against PyTorch in float64.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from record import save

SEGMENTATION = ("FPN", "PSPNet", "Unet")
TIMM = (
    "convnext_atto", "convnextv2_pico", "ese_vovnet19b_slim", "focalnet_tiny_lrf", "ghostnet_050",
    "inception_next_atto", "lcnetv2_small", "legacy_xception", "mambaout_femto", "mobilenetv3_small_050",
    "nf_resnet26", "poolformer_s12", "regnety_002", "repvgg_a0", "resnest26d", "resnetv2_18", "rexnet_150",
    "skresnet18", "starnet_s050",
)  # fmt: skip
TORCHVISION = ("densenet121", "efficientnet_b0", "shufflenet_v2_x0_5")
EXTENT = 128


def without_operators(torch: Any) -> None:
    """Lets torchvision be imported where its library does not fit torch's build: no model here calls its operators."""
    register = torch.library.register_fake

    def registered(name: str, *given: Any, **options: Any) -> Callable[[Any], Any]:
        def decorated(function: Any) -> Any:
            try:
                return register(name, *given, **options)(function)
            except RuntimeError:
                return function

        return decorated

    torch.library.register_fake = registered


def _made(kind: str, name: str) -> tuple[Any, tuple[int, ...]]:
    """A module and the shape of its images."""
    if kind == "timm":
        import timm

        module = timm.create_model(name)
        channels, height, width = module.default_cfg["input_size"]
        fixed = module.default_cfg.get("fixed_input_size")
        return module, (channels, height, width) if fixed else (channels, EXTENT, EXTENT)
    if kind == "segmentation-models-pytorch":
        import segmentation_models_pytorch as segmentation

        return getattr(segmentation, name)("resnet18", encoder_weights=None, classes=3), (3, EXTENT, EXTENT)
    import torchvision

    return torchvision.models.get_model(name, weights=None), (3, EXTENT, EXTENT)


def with_statistics(module: Any) -> Any:
    """The module in evaluation mode, with drawn running statistics, as a trained network has them."""
    import torch

    for part in module.eval().modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module


def row(kind: str, name: str) -> dict[str, Any]:
    """What one architecture becomes."""
    import torch

    import gncodegen as gnc

    torch.manual_seed(0)
    module, shape = _made(kind, name)
    with_statistics(module)
    x = torch.randn(1, *shape)
    start = perf_counter()
    graph = gnc.from_torch(module, (x,))
    imported = perf_counter()
    compiled = gnc.compile(graph, training=False, batch_size=1)
    y = compiled.predict(x.numpy())
    ready = perf_counter()
    with torch.inference_mode():
        eager = module(x).numpy()
        wanted = module.double()(x.double()).numpy()
    largest = np.abs(wanted).max()
    return {
        "package": kind, "name": name, "layers": len(graph), "kernels": len(compiled.kernels),
        "error": float(np.abs(y - wanted).max() / largest),
        "error of PyTorch": float(np.abs(eager - wanted).max() / largest),
        "import: s": imported - start, "compilation and first run: s": ready - imported,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of a name")
    parser.add_argument("--save", default="")
    given = parser.parse_args()
    import torch

    without_operators(torch)
    rows: list[dict[str, Any]] = []
    for kind, names in (("torchvision", TORCHVISION), ("timm", TIMM), ("segmentation-models-pytorch", SEGMENTATION)):
        for name in names:
            if given.only in name:
                rows.append(row(kind, name))
                print(
                    "{package} {name}: {layers} layers, {kernels} kernels, {error:.1e}".format(**rows[-1]), flush=True
                )
                gc.collect()
    if given.save:
        print(save(given.save, rows))
    sys.exit(any(each["error"] > 1e-5 for each in rows))


if __name__ == "__main__":
    main()
