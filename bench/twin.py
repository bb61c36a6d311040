"""Fifty training steps next to a PyTorch twin started from the same weights: the losses must stay together.

python bench/twin.py [--steps 50]
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from record import save
from torch import nn
from translate import Model

import gncodegen as gnc

RATES = (0.01, 0.001)
"""The default rate, where rounding grows as ReLU and pooling flip, and a smaller one, where it hardly does."""
L2, BATCH = 1e-4, 64
TOLERANCE = 1e-4


def ours(rate: float) -> gnc.Compiled:
    """Convolution2d(3→20, 5×5) → GN(4) → relu → max pooling → FC(10) → softmax → classification on 28×28×3."""
    layers = [
        gnc.ImageInputLayer((28, 28, 3), normalization="none"),
        gnc.Convolution2dLayer(5, 20),
        gnc.GroupNormalizationLayer(4),
        gnc.ReluLayer(),
        gnc.MaxPooling2dLayer(2, stride=2),
        gnc.FullyConnectedLayer(10),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]
    options = gnc.training_options("sgdm", initial_learn_rate=rate, l2_regularization=L2)
    return gnc.compile(layers, batch_size=BATCH, options=options, seed=1)


def torch_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: np.ndarray, labels: np.ndarray) -> float:
    """One step of PyTorch in the type of the model's weights."""
    kind = next(model.parameters()).dtype
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(torch.tensor(x, dtype=kind).permute(0, 3, 1, 2)), torch.tensor(labels))
    loss.backward()
    optimizer.step()
    return loss.item()


def trajectories(rate: float, steps: int) -> np.ndarray:
    """Losses (steps, 3) of gncodegen, PyTorch in float32 and PyTorch in float64, on the same data."""
    compiled = ours(rate)
    models = [Model(compiled), Model(compiled)]
    models[1].double()
    optimizers = [model.optimizer(rate, L2) for model in models]
    generator = np.random.default_rng(0)
    losses = np.empty((steps, 3))
    for step in range(steps):
        x = generator.normal(size=(BATCH, 28, 28, 3)).astype(np.float32)
        # A rule that can be learned: which tenth of the image is the brightest.
        labels = np.argmax(x[:, :, :20].reshape(BATCH, 28, 10, 6).sum(axis=(1, 3)), axis=1)
        losses[step, 0] = compiled.train_step(x, labels)
        losses[step, 1:] = [torch_step(m, o, x, labels) for m, o in zip(models, optimizers, strict=True)]
    return losses


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    steps = parser.parse_args().steps
    results = []
    for rate in RATES:
        losses = trajectories(rate, steps)
        pairs = {"PyTorch": (0, 1), "float64": (0, 2), "PyTorch to float64": (1, 2)}
        worst = {name: float(np.max(np.abs(losses[:, a] / losses[:, b] - 1))) for name, (a, b) in pairs.items()}
        results.append({"rate": rate, "largest relative difference to": worst, "losses": losses.tolist()})
        print(
            f"rate {rate}: loss {losses[0, 0]:.6f} → {losses[-1, 0]:.6f}; largest relative difference of {steps} losses"
        )
        print(*(f"  {name:18} {value:.1e}" for name, value in worst.items()), sep="\n")
    print(save("twin", results))
    return 0 if all(r["largest relative difference to"]["PyTorch"] <= TOLERANCE for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
