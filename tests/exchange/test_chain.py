"""One trained model through every form: PyTorch, ONNX and its runtime, a Python file, a C program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gncodegen as gnc

SHAPE = (3, 10, 10)
COUNT, CLASSES = 5, 4

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

int main(void) {
    long n = %d;
    float *x = malloc(4 * n * NET_X_SIZE), *y = malloc(4 * n * NET_Y_SIZE);
    void *workspace = malloc(NET_WORKSPACE_SIZE);
    if (fread(x, 4 * NET_X_SIZE, n, stdin) != n) return 1;
    net_predict(x, y, n, workspace);
    return fwrite(y, 4 * NET_Y_SIZE, n, stdout) != n;
}
"""


def trained(torch):
    """A small residual network with group normalization, after a few steps of training."""

    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(SHAPE[0], 8, 3, padding=1)
            self.conv, self.norm = torch.nn.Conv2d(8, 8, 3, padding=1, bias=False), torch.nn.GroupNorm(4, 8)
            self.head = torch.nn.Linear(8, CLASSES)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            x = torch.relu(self.norm(self.conv(x)) + x)
            return self.head(x.mean((2, 3)))

    torch.manual_seed(0)
    module = Residual()
    optimizer = torch.optim.SGD(module.parameters(), 0.1, 0.9)
    x, t = torch.randn(8, *SHAPE), torch.arange(8) % CLASSES
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), t).backward()
        optimizer.step()
    return module.eval()


@pytest.mark.full(like="exchange/test_standalone.py::test_c_computes_the_same_bits")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_all_forms_agree(tmp_path: Path) -> None:
    torch, onnxruntime = pytest.importorskip("torch"), pytest.importorskip("onnxruntime")
    module = trained(torch)
    x = np.random.default_rng(1).standard_normal((COUNT, *SHAPE), np.float32)
    wanted = module(torch.from_numpy(x)).detach().numpy()
    compiled = gnc.compile(gnc.from_torch(module, (torch.from_numpy(x[:1]),)), training=False, batch_size=COUNT)
    ours = compiled.predict(x)
    compiled.export(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x})
    again = gnc.compile(gnc.from_onnx(tmp_path / "net.onnx"), training=False, batch_size=COUNT)
    again.export(tmp_path / "alone.py")
    again.export(tmp_path / "net.o")
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-P", "alone.py", "x.npy", "y.npy"], cwd=tmp_path, check=True)
    (tmp_path / "main.c").write_text(PROGRAM % COUNT)
    subprocess.run(["cc", "-o", "main", "main.c", "net.o", "-lm"], cwd=tmp_path, check=True)
    c = subprocess.run(["./main"], cwd=tmp_path, input=x.tobytes(), capture_output=True, check=True).stdout
    for found in (ours, theirs):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    for found in (again.predict(x), np.load(tmp_path / "y.npy"), np.frombuffer(c, np.float32).reshape(wanted.shape)):
        np.testing.assert_array_equal(found, ours)
