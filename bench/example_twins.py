"""The examples beside PyTorch twins: the same start and mini-batches, where they end, and what they cost.

    python bench/example_twins.py [NAME …] [--short]

An example is trained as its user does; each of its mini-batches is kept. Its twin begins with the same weights, learns
from the same mini-batches at the same rates, and validates where the example does. Dropout draws masks of its own.
Both have one thread, and their CPU seconds are counted, so that other work on the machine does not matter.
Sequences go through the twin one by one: torch's group norm has no mask.
Without --short it writes bench/results and the table in docs/examples.md; rows of other examples stay.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import replace
from importlib import import_module
from time import process_time
from typing import Any

import numpy as np
import torch
from record import ROOT, cpu_name, recorded, save
from torch import nn
from translate import Model

import gncodegen as gnc

EXAMPLES = {"digits": "% right", "angles": "° off", "speakers": "% right", "pixels": "% found", "volumes": "% right"}
"""Name → what its score counts."""

TOLERANCE = 1.0
"""By how much the two scores may differ."""


class Trained:
    """An example after its training, and what its twin needs: the network at the start and every mini-batch.

    Args:
        name: of the example.
        short: as its option.
    """

    def __init__(self, name: str, short: bool) -> None:
        self.example: Any = import_module(name)
        self.format = getattr(self.example, "FORMAT", "")
        train, self.validation, self.held_out = self.example.splits(short)
        self.batches: list[tuple[np.ndarray, np.ndarray]] = []
        self._keeping = 0.0
        options = self.example.options(self.validation, short)
        self.options = replace(options, output_fcn=self._note, verbose=False)
        own = {"data_format": self.format} if self.format else {}
        layers = self.example.layers()
        net, self.info = gnc.train_network(*train, layers, self.options, augment=self._keep, **own)
        self.score = float(self.example.score(net.predict(self.held_out[0]), self.held_out[1]))

    def _note(self, state: Any) -> None:
        if state.state == "start":
            self.output = state.network.compiled.network.output_layer
            self.start = Model(state.network.compiled)
            self._begin = process_time()
        self.seconds = process_time() - self._begin - self._keeping

    def _keep(self, x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        begin = process_time()
        if augment := getattr(self.example, "augment", None):
            x, y = augment(x, y, generator)
        self.batches.append((x.copy(), y.copy()))
        self._keeping += process_time() - begin
        return x, y


class Twin:
    """A PyTorch module that learns what an example has learned from.

    Args:
        trained: the example.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained, self.model = trained, trained.start
        options, groups = trained.options, trained.start.groups(trained.options.l2_regularization)
        kinds = {"sgdm": lambda: torch.optim.SGD(groups, momentum=0.9), "adam": lambda: torch.optim.Adam(groups)}
        self.optimizer = kinds[options.solver]()
        begin = process_time()
        rates, validated = trained.info.base_learn_rate, ~np.isnan(trained.info.validation_loss)
        # A training that its validation ends may have asked for a mini-batch more.
        for (x, y), rate, validate in zip(trained.batches, rates, validated, strict=False):
            self._learn(x, y, rate)
            if validate:
                self.predict(trained.validation[0])
        self.seconds = process_time() - begin
        x, y = trained.held_out
        self.score = float(trained.example.score(self.predict(x), y))

    def _outputs(self, x: Any) -> torch.Tensor:
        """Those of observations; of sequences, which are a list or an array of objects, one by one."""
        if isinstance(x, list) or x.dtype == object:
            return torch.cat([self.model(self._tensor(each[None])) for each in x])
        return self.model(self._tensor(x))

    def _tensor(self, x: np.ndarray) -> torch.Tensor:
        tensor = torch.tensor(x, dtype=torch.float32)
        return tensor if self.trained.format == "BCT" else tensor.movedim(-1, 1)

    def _learn(self, x: np.ndarray, y: np.ndarray, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        self.model.train()
        outputs = self._outputs(x)
        if isinstance(self.trained.output, gnc.RegressionLayer):
            loss = 0.5 * nn.functional.mse_loss(outputs, torch.tensor(y, dtype=outputs.dtype), reduction="sum")
        else:
            weights = self.trained.output.class_weights
            weights = None if weights is None else torch.tensor(weights, dtype=outputs.dtype)
            loss = nn.functional.cross_entropy(outputs, torch.tensor(y), weight=weights, reduction="sum")
        (loss / len(x)).backward()
        self.optimizer.step()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Logits or responses, channels last."""
        self.model.eval()
        with torch.no_grad():
            parts = [self._outputs(x[i : i + 128]) for i in range(0, len(x), 128)]
        return torch.cat(parts).movedim(1, -1).numpy()


def compared(name: str, short: bool) -> dict[str, Any]:
    """Scores and seconds of an example and its twin."""
    trained = Trained(name, short)
    twin = Twin(trained)
    row = {
        "name": name,
        "score": trained.score,
        "twin": twin.score,
        "seconds": trained.seconds,
        "twin seconds": twin.seconds,
        "iterations": len(trained.info.base_learn_rate),
    }
    print(row, flush=True)
    return row


def page(record: dict[str, Any]) -> None:
    """Writes the table between the marks in docs/examples.md."""
    path, about = ROOT / "docs" / "examples.md", record["environment"]
    lines = ["| example | ours | PyTorch twin | CPU seconds, ours | twin | mini-batches |", "|---|---|---|---|---|---|"]
    for row in record["results"]:
        unit = EXAMPLES[row["name"]]
        lines.append(
            f"| [{row['name']}](../examples/{row['name']}.py) | {row['score']:.1f} {unit} | {row['twin']:.1f} {unit} | "
            f"{row['seconds']:.1f} | {row['twin seconds']:.1f} | {row['iterations']} |"
        )
    versions = ", ".join(f"{package} {about['versions'][package]}" for package in ("torch", "numba", "numpy"))
    lines += ["", f"`{about['command']}` on {about['date'][:10]}: {about['cpu']}; {versions}."]
    text = path.read_text(encoding="utf-8")
    marks = "<!-- bench/example_twins.py -->\n", "\n<!-- end -->"
    text = re.sub(f"(?<={marks[0]}).*?(?={marks[1]})", lambda _: "\n".join(lines), text, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(EXAMPLES))
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "examples"))
    os.environ["GNCODEGEN_THREADS"] = "1"
    torch.set_num_threads(1)
    rows = [compared(name, given.short) for name in given.names]
    if not given.short:
        known = recorded("examples").get(cpu_name(), {}).get("results", [])
        newest: dict[str, Any] = {row["name"]: row for row in [*known, *rows]}
        save("examples", [newest[name] for name in EXAMPLES if name in newest])
        page(recorded("examples")[cpu_name()])
    return 0 if all(abs(row["score"] - row["twin"]) <= TOLERANCE for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
