"""The demo, as a newcomer runs it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from gncodegen.cli.demo import excerpt


@pytest.mark.full(like="test_readme.py::test_the_tour_runs")
def test_the_demo_reaches_98_percent_and_shows_its_work():
    result = subprocess.run([sys.executable, "-m", "gncodegen", "demo"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    out = result.stdout
    accuracy = float(re.search(r"Held-out accuracy: ([\d.]+) %", out).group(1))
    assert accuracy >= 98
    for part in (
        "12 layers, 14,826 learnables, 365 kFLOP for an observation, no issues",
        "Fused:",
        "Learning",
        "Kernel of groupnorm_1",
        "fma(",
    ):
        assert part in out
    assert "\x1b[" not in out, "no colours where there is no terminal"


def test_the_excerpt_is_ten_lines_around_the_arithmetic():
    lines = [f"a{i}" for i in range(30)]
    lines[20] = "y = fma(a, b, c)"
    start, shown = excerpt("\n".join(lines))
    assert len(shown) == 10
    assert lines[start : start + 10] == shown
    assert lines[20] in shown
