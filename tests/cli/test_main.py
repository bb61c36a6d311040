"""The command line: what commands print, and how they refuse."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gncodegen
import gncodegen as gnc
from gncodegen import compiler
from gncodegen.cli import main
from gncodegen.cli.data import observations
from gncodegen.errors import ArrayError

NETWORK = """
import numpy as np
import gncodegen as gnc

layers = [
    gnc.FeatureInputLayer(6),
    gnc.GroupNormalizationLayer(2, name="gn"),
    gnc.ReluLayer(name="relu"),
    gnc.FullyConnectedLayer(3, name="fc"),
    gnc.SoftmaxLayer(),
    gnc.ClassificationLayer(classes=("a", "b", "c")),
]
x = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
y = np.argmax(x[:, ::2], axis=1)
options = gnc.training_options("sgdm", max_epochs=2, mini_batch_size=8, verbose=False, seed=0)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "network.py"
    path.write_text(NETWORK, encoding="utf-8")
    return str(path)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"gncodegen {gncodegen.__version__}\n"


def test_python_dash_m():
    result = subprocess.run([sys.executable, "-m", "gncodegen", "--help"], capture_output=True, text=True, check=True)
    for command in ("demo", "compile", "train", "run", "inspect", "opt"):
        assert f"\n    {command} " in result.stdout


def test_every_help_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        run("--help")
    commands = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            run(command, "--help")
        assert stop.value.code == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80, command


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("bench --josn", "gncodegen bench: --josn is no option; allowed: --json;"),
        ("compile net.py --bach-size=4", "gncodegen compile: --bach-size is no option; allowed: --batch-size;"),
        ("train net.py x --ouptut out", "gncodegen train: --ouptut is no option; allowed: --output;"),
        ("inspect --lvel asm", "gncodegen inspect: --lvel is no option; allowed: --level, "),
        ("opt -q x", "gncodegen opt: -q is no option; allowed: --generic, --help, --passes;"),
        ("inspect a b", "gncodegen inspect: 'b' is one word too many;"),
        ("bencj", "gncodegen: 'bencj' is no command; allowed: bench;"),
        ("--versoin", "gncodegen: --versoin is no option; allowed: --version;"),
        ("cache lst", "gncodegen cache: error: argument action: 'lst' is no choice; allowed: list"),
        ("inspect x --level ams", "--level: 'ams' is no choice; allowed: asm"),
    ],
)
def test_what_is_misspelled_is_told_with_what_is_most_like_it(capsys, typed, said):
    with pytest.raises(SystemExit) as stop:
        run(*typed.split())
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_every_option_of_every_command_is_suggested(capsys):
    """The last letter is typed twice."""
    with pytest.raises(SystemExit):
        run("--help")
    commands = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    for command in commands:
        with pytest.raises(SystemExit):
            run(command, "--help")
        for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)):
            with pytest.raises(SystemExit):
                run(command, option + option[-1])
            assert re.search(rf"allowed: .*{option}\b", capsys.readouterr().err), (command, option)


def test_help_imports_no_compiler():
    code = (
        "import sys; from gncodegen.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('numba', 'xdsl', 'jinja2') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_compile(file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert run("compile", file, "--batch-size", 4) == 0
    out = capsys.readouterr().out
    assert " GroupNormalization " in out
    assert "6 layers, 33 learnables, " in out
    assert "no issues" in out
    assert "group_norm" in out
    assert "Memory of a step" in out


def test_compile_exports_and_takes_onnx_models(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert run("compile", file, "--batch-size", 4, "--export", tmp_path / "net.onnx") == 0
    assert "Exported to" in capsys.readouterr().out
    assert run("compile", tmp_path / "net.onnx", "--batch-size", 4) == 0
    assert " TensorInput " in capsys.readouterr().out
    assert run("compile", tmp_path / "net.onnx", "--export", tmp_path / "net.h5") == 2
    assert "'.h5'; allowed: .onnx" in capsys.readouterr().err
    assert run("compile", file, "--export", tmp_path / "old.onnx", "opset=22") == 0
    assert b"\x10\x16" in (tmp_path / "old.onnx").read_bytes()
    assert run("compile", file, "--export", tmp_path / "net.onnx", "opset") == 2
    assert "allowed: NAME=VALUE behind the file" in capsys.readouterr().err


def test_inspect_the_last_compilation(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiler, "_record", lambda: tmp_path / "last.json")  # not another test's last one
    run("compile", file)
    capsys.readouterr()
    assert run("inspect") == 0
    listing = capsys.readouterr().out
    assert listing.startswith("Stages: gn, shapes, canonicalize")
    assert run("inspect", "gn") == 0
    text = capsys.readouterr().out
    assert "gn.group_norm" in text
    kernel = next(line.split()[0] for line in listing.splitlines() if line.startswith("group_norm"))
    for level, words in (("source", "def kernel(tile, argv):"), ("llvm", "define "), ("asm", "ret")):
        assert run("inspect", kernel, "--level", level) == 0
        assert words in capsys.readouterr().out


def test_inspect_a_file(file, capsys):
    assert run("inspect", "fuse", "--file", file, "--function", "predict") == 0
    out = capsys.readouterr().out
    assert 'activation = "relu"' in out or "relu" in out
    assert "gradient" not in out


def test_opt_reads_what_inspect_prints(file, tmp_path, capsys):
    run("inspect", "gn", "--file", file)
    path = tmp_path / "net.mlir"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert run("opt", path, "-p", "shapes,canonicalize,gradients,dce,fuse") == 0
    assert "gn.group_norm_gradient" in capsys.readouterr().out


def test_opt_reads_standard_input(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("builtin.module { }"))
    assert run("opt") == 0
    assert "builtin.module" in capsys.readouterr().out


def test_train_and_run(file, tmp_path, capsys):
    assert run("train", file, "--output", tmp_path / "net") == 0
    assert "Saved in" in capsys.readouterr().out
    x = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert run("run", tmp_path / "net", tmp_path / "x.npy") == 0
    labels = capsys.readouterr().out.split()
    assert len(labels) == 5
    assert set(labels) <= {"a", "b", "c"}
    assert run("run", tmp_path / "net", tmp_path / "x.npy", "--output", tmp_path / "y.npy") == 0
    assert np.array_equal(np.array(["a", "b", "c"])[np.load(tmp_path / "y.npy").argmax(1)], labels)


INTERRUPTED = """
import os, signal

def interrupt(state):
    if (state.state, state.iteration) == ("iteration", 2):
        {what}

options = gnc.training_options("sgdm", max_epochs=50, verbose=False, output_fcn=interrupt)
"""


@pytest.mark.parametrize("what", ["SIGINT", "SIGTERM", "1 / 0"])
def test_an_interrupted_training_is_saved(file, tmp_path, capsys, what):
    text = Path(file).read_text(encoding="utf-8")
    line = f"os.kill(os.getpid(), signal.{what})" if what.startswith("SIG") else what
    (tmp_path / "interrupted.py").write_text(text + INTERRUPTED.format(what=line), encoding="utf-8")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    if what.startswith("SIG"):
        assert run("train", tmp_path / "interrupted.py", "--output", tmp_path / "net") == 130
    else:
        with pytest.raises(ZeroDivisionError):
            run("train", tmp_path / "interrupted.py", "--output", tmp_path / "net")
    assert f"Saved in {tmp_path / 'net'}." in capsys.readouterr().out
    assert gnc.load(tmp_path / "net").compiled.hyperparameters.steps == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_place_that_cannot_be_written_to_is_refused_before_the_training(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "net.py").write_text("raise AssertionError('trained')")
    for place in (tmp_path / "file", tmp_path / "file" / "net", tmp_path / ("x" * 300)):
        assert run("train", tmp_path / "net.py", "--output", place) == 2
        assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compile", "nothing.py"), "'nothing.py' is not a file"),
        (("compile", "EMPTY"), "does not define `layers`"),
        (("compile", "FILE", "--batch-size", "0"), "batch_size = 0"),
        (("compile", "FILE", "--dtype", "int8"), "dtype = 'int8'"),
        (("train", "BARE", "--output", "x"), "does not define `x`"),
        (("inspect", "nothing", "--file", "FILE"), "NAME = 'nothing'; allowed: a stage or a kernel; write"),
        (("opt", "nothing.mlir"), "cannot be read"),
        (("opt", "FILE"), "parse"),
        (("opt", "-p", "frobnicate", "MODULE"), "frobnicate"),
        (("run", "nothing", "nothing.npy"), "nothing"),
        (("demo", "--epochs", "0"), "max_epochs = 0"),
    ],
)
def test_refusals_are_one_message_and_exit_code_2(arguments, words, file, tmp_path, capsys):
    texts = {"EMPTY": "x = 1", "BARE": "layers = []", "MODULE": "builtin.module { }"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    places = {name: str(tmp_path / name) for name in texts} | {"FILE": file}
    assert run(*(places.get(argument, argument) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"gncodegen {arguments[0]}: ")
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_bugs_keep_their_traceback(file, monkeypatch):
    monkeypatch.setattr(compiler, "compile", None)
    with pytest.raises(TypeError):
        run("compile", file)


def test_a_closed_pipe_is_no_error(file):
    command = f"{sys.executable} -m gncodegen inspect memory --file {file} | head -1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.returncode == 0


def test_letters_that_a_terminal_lacks(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert run("cache", "list") == 0
    assert b"Folder" in written.getvalue()
    assert b"????" in written.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_an_output_that_has_no_room(monkeypatch, capsys):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run("cache", "list") == 2
    assert "standard output cannot be written: No space left on device; allowed: a place" in capsys.readouterr().err


def test_an_output_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert run("cache", "list") == 0


def test_options_of_compiling_reach_the_network(file, tmp_path, monkeypatch):
    monkeypatch.setattr(compiler, "_record", lambda: tmp_path / "last.json")  # other workers compile meanwhile
    assert run("compile", file, "--precise", "--tune", "--no-training") == 0
    options = compiler.last().options
    assert options.precise
    assert options.tune
    assert run("inspect", "gn", "--no-tune", "--file", file) == 0
    assert not compiler.last().options.tune


BROKEN_ARRAYS = {
    "empty": b"",
    "not an array": b"hello",
    "a header that is cut off": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'",
    "a header that lies": b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 6), }".ljust(117) + b"\n" + b"\0" * 96,
    "a header that overflows": b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999, 6), }".ljust(117) + b"\n" + b"\0" * 96,
    "a header of code": b"\x93NUMPY\x01\x00v\x00" + b"__import__('os').system('true')".ljust(117) + b"\n",
    "pickled": b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n" + b"\x80\x04N.",
    "several arrays": b"PK\x05\x06" + b"\0" * 18,
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_ARRAYS)
def test_broken_arrays_are_refused(tmp_path, case):
    path = tmp_path / "x.npy"
    path.write_bytes(BROKEN_ARRAYS[case])
    with pytest.raises(ArrayError, match=r"X = .*x.npy'.*; allowed: a .npy or .npz file"):
        observations(str(path))


@pytest.mark.parametrize("shape", [(0, 6), (3, 6), ()])
def test_arrays_are_read(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape, np.float32))
    assert observations(str(tmp_path / "x.npy")).shape == shape


def test_an_output_that_cannot_be_written_is_refused(file, tmp_path, capsys):
    assert run("compile", file, "--output", tmp_path / "saved") == 0
    np.save(tmp_path / "x.npy", np.ones((2, 6), np.float32))
    assert run("run", tmp_path / "saved", tmp_path / "x.npy", "--output", tmp_path / "none" / "y.npy") == 2
    assert "cannot be written: No such file or directory; allowed: a place with room" in capsys.readouterr().err


@pytest.mark.parametrize("record", [b"[]", b"{", b"null", b'{"network": 5, "options": {}}', b"[" * 10**5])
def test_a_damaged_record_is_as_none(record, monkeypatch, capsys):
    monkeypatch.setattr(compiler.files, "read", lambda path: record)
    assert run("inspect") == 2
    assert "nothing was compiled yet" in capsys.readouterr().err


def test_json(file, tmp_path, capsys):
    for command in (("compile", file), ("inspect", "--file", file)):
        assert run(*command, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert [layer["name"] for layer in found["layers"]][1:4] == ["gn", "relu", "fc"]
        assert all(Path(kernel["path"]).is_file() for kernel in found["kernels"])
    assert run("cache", "--json") == 0
    assert json.loads(capsys.readouterr().out)["folders"]
    run("train", file, "--output", tmp_path / "net")
    capsys.readouterr()
    np.savez(tmp_path / "x.npz", featureinput=np.ones((2, 6), np.float32))
    assert run("run", tmp_path / "net", tmp_path / "x.npz", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_inspect_names_what_is_meant(file, capsys):
    assert run("inspect", "group_norm", "--file", file) == 2
    assert "write 'group_norm_1' or" in capsys.readouterr().err
    assert run("inspect", "group_norm_1", "--file", file, "--level", "path") == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


def test_a_network_file_imports_its_neighbours(tmp_path, capsys):
    (tmp_path / "parts.py").write_text(
        "import gncodegen as gnc\nlayers = [gnc.FeatureInputLayer(6), gnc.ReluLayer()]\n"
    )
    (tmp_path / "net.py").write_text("from parts import layers\n")
    assert run("compile", tmp_path / "net.py") == 0
    assert " Relu " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [("1 / 0", ":2: ZeroDivisionError: division by zero\n  1 / 0"), ("gnc.ReluLayer(", ":2: SyntaxError"),
     ("gnc.GroupNormalizationLayer(0)", ":2: GroupNormalizationLayer: num_groups = 0")],
)  # fmt: skip
def test_an_error_of_a_network_file_names_its_line(tmp_path, capsys, line, said):
    path = tmp_path / "net.py"
    path.write_text(f"import gncodegen as gnc\n{line}\n")
    assert run("compile", path) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_an_error_of_a_neighbour_names_the_neighbours_line(tmp_path, capsys):
    (tmp_path / "wrong_parts.py").write_text("layers = []\nlayers[0]\n")
    (tmp_path / "net.py").write_text("from wrong_parts import layers\n")
    assert run("compile", tmp_path / "net.py") == 2
    said = f"{tmp_path / 'wrong_parts.py'}:2: IndexError: list index out of range\n  layers[0]"
    assert said in capsys.readouterr().err
