"""Fifty training steps next to a PyTorch twin started from the same weights: the losses must stay together.

python bench/twin.py [--steps 50]
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from nets import copy_weights, torch_optimizer
from record import save
from torch import nn

import gncodegen as gnc

RATE, L2, BATCH = 0.002, 1e-4, 64
TOLERANCE = 1e-4


def ours() -> gnc.Compiled:
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
    options = gnc.training_options("sgdm", initial_learn_rate=RATE, l2_regularization=L2)
    return gnc.compile(layers, batch_size=BATCH, options=options, seed=1)


def theirs() -> nn.Sequential:
    """The same network in PyTorch."""
    return nn.Sequential(
        nn.Conv2d(3, 20, 5),
        nn.GroupNorm(4, 20),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Linear(20 * 12 * 12, 10),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    steps = parser.parse_args().steps
    compiled, model = ours(), theirs()
    copy_weights(compiled, model)
    optimizer = torch_optimizer(model, RATE, L2)
    generator = np.random.default_rng(0)
    losses = np.empty((steps, 2))
    for step in range(steps):
        x = generator.normal(size=(BATCH, 28, 28, 3)).astype(np.float32)
        # A rule that can be learned: which tenth of the image is the brightest.
        labels = np.argmax(x[:, :, :20].reshape(BATCH, 28, 10, 6).sum(axis=(1, 3)), axis=1)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.tensor(x).permute(0, 3, 1, 2)), torch.tensor(labels))
        loss.backward()
        optimizer.step()
        losses[step] = compiled.train_step(x, labels), loss.item()
    worst = float(np.max(np.abs(losses[:, 0] / losses[:, 1] - 1)))
    for step in sorted({0, 1, steps // 4, steps // 2, steps - 1}):
        print(f"step {step + 1:3}  gncodegen {losses[step, 0]:.7f}  PyTorch {losses[step, 1]:.7f}")
    print(f"largest relative difference of {steps} losses: {worst:.2e} (allowed {TOLERANCE:.0e})")
    print(save("twin", {"steps": steps, "largest relative difference": worst, "losses": losses.tolist()}))
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
