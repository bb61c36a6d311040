"""Every command of the README and of `gncodegen --help`, in a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from cli.test_main import NETWORK, run

README = Path(__file__).resolve().parents[2] / "README.md"

SMALL = "--batch-size 4"

COMMANDS = {
    "demo": "--epochs 1 --images 100",
    "train net.py DATA --output trained": "",
    "compile net.py": SMALL,
    "compile net.onnx --export alone.py --export net.so": SMALL,
    "inspect": f"--file net.py {SMALL}",
    "inspect fuse": "",
    'opt -p "canonicalize,gradients,fuse" net.mlir': "",
    "run --ir net.mlir x.npz": "",
    "diff dce fuse": "",
    "inspect group_norm_1 --target sm_90 --level sass": f"--function predict --no-training {SMALL}",
    "report net.py": SMALL,
    "edit group_norm_1": f"{SMALL} --target cpu",
    "bench net.py": f"{SMALL} --trace trace.json",
    "run trained x.npy": "",
    "cache": "",
}
"""Commands as the README has them, in an order in which each finds what it needs → what makes them short."""

EMULATED = "demo --target sm_90 --emulate"

CODE = ("inspect fuse", "inspect group_norm_1", "opt", "diff")
"""Commands that print code, whose lines are as long as they are."""

CHILD = """
import json, sys
from gncodegen.cli import main
for command in json.loads(sys.argv[1]):
    print("\\x1e" + str(main(command)), flush=True)
"""


def in_terminal(commands, folder):
    """The exit code and the output of each command, run in one process at a terminal of 80 columns."""
    own, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    environment = os.environ | {"PYTHONPATH": str(README.parent)}
    environment.pop("COLUMNS", None)
    arguments = [sys.executable, "-c", CHILD, json.dumps(commands)]
    with subprocess.Popen(arguments, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal):
        os.close(terminal)
        parts = []
        while True:
            try:
                parts.append(os.read(own, 1 << 16))
            except OSError:  # the other side was closed
                break
    os.close(own)
    *outputs, rest = re.split(r"\x1e(\d+|None)\r\n", b"".join(parts).decode())
    assert not rest, rest
    return list(zip(map(int, outputs[1::2]), outputs[::2], strict=True))


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """With what the README's commands read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK, encoding="utf-8")
    random = np.random.default_rng(0)
    x = random.normal(size=(24, 6)).astype(np.float32)
    lines = [",".join([*map(str, row), "abc"[i % 3]]) for i, row in enumerate(x)]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,c,d,e,f,label", *lines]), encoding="utf-8")
    values = {"gn.scale": np.ones(6), "gn.offset": np.zeros(6), "fc.weights": np.ones((3, 6)), "fc.bias": np.zeros(3)}
    np.savez(tmp_path / "x.npz", x=x[:4], **values)
    np.save(tmp_path / "x.npy", x[:4])
    run("compile", "net.py", *SMALL.split(), "--export", "net.onnx")
    capsys.readouterr()
    run("inspect", "gn", "--file", "net.py", "--function", "predict", *SMALL.split())
    (tmp_path / "net.mlir").write_text(capsys.readouterr().out, encoding="utf-8")
    return tmp_path


@pytest.mark.full(like="cli/test_looking.py::test_edit")
def test_every_command_of_the_readme_and_of_the_help(folder, capsys):
    text = README.read_text(encoding="utf-8")
    known = {*COMMANDS, EMULATED}
    found = {each.strip() for each in re.findall(r"(?:`|^|&& )gncodegen ([a-z][^`#\n]*)", text, re.MULTILINE)}
    assert found <= known, found - known
    with pytest.raises(SystemExit):
        run("--help")
    listed = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert {command.split()[0] for command in COMMANDS} == set(listed)
    typed = [shlex.split(f"{command.replace('DATA', 'data.csv')} {more}") for command, more in COMMANDS.items()]
    for command, (code, output) in zip(COMMANDS, in_terminal(typed, folder), strict=True):
        assert code == 0, output
        assert "Traceback" not in output
        if command.startswith("diff"):
            assert "gn.softmax_cross_entropy_gradient(%4, %t) {layers = #layers1} : (tensor<4x3xf32>, " in _plain(
                output
            )
        if not command.startswith(CODE):
            shown = [line for line in _plain(output).split("\n") if os.environ["GNCODEGEN_CACHE_DIR"] not in line]
            assert max(map(len, shown)) <= 80, (command, max(shown, key=len))
        if command.startswith("bench"):
            assert "gn + relu" in output
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert {path.name for path in folder.iterdir()} >= {"trained", "alone.py", "net.so", "gncodegen-overrides"}


@pytest.mark.full(like="cli/test_looking.py::test_edit")
def test_the_demo_in_the_emulator(folder):
    ((code, output),) = in_terminal([[*EMULATED.split(), "--epochs", "1", "--images", "20"]], folder)
    assert code == 0, output
    assert "Held-out accuracy" in output


def _plain(output):
    """What is read in the end: without colours, and without progress that was written over."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output).replace("\r\n", "\n")
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))
