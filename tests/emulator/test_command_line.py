"""`python -m gncodegen.emulator`, by the examples of docs/emulator.md: each prints what the document says."""

import re
from pathlib import Path

import numpy as np
import pytest
from emulator.ptx import kernel

from gncodegen.emulator.__main__ import main

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "emulator.md"
EXAMPLES = re.findall(
    r"^## (.*?)\n.*?```ptx\n(.*?)```\n\n```console\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S | re.M
)


def console(text):
    """(command line, printed text) of each `$ …` in a console block."""
    return re.findall(r"^\$ python -m gncodegen\.emulator (.*?)\n(.*?)(?=^\$|\Z)", text, re.S | re.M)


@pytest.mark.parametrize(("ptx", "text"), [one[1:] for one in EXAMPLES], ids=[one[0] for one in EXAMPLES])
def test_the_document_says_what_is_printed(ptx, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("kernel.ptx").write_text(ptx)
    for command, printed in console(text):
        assert main(command.split()) == printed.startswith("fault")
        shown = capsys.readouterr()
        assert shown.out + shown.err == printed


def test_three_faults_are_shown():
    assert len(EXAMPLES) == 3
    assert sum(printed.startswith("fault") for *_, text in EXAMPLES for _, printed in console(text)) == 3


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """A file that holds y = a·x."""
    monkeypatch.chdir(tmp_path)
    body = """
    ld.param.u64 %rd1, [x];\nld.param.u64 %rd2, [y];\nld.param.f32 %f1, [a];
    mul.wide.u32 %rd3, %i, 4;\nadd.u64 %rd1, %rd1, %rd3;\nadd.u64 %rd2, %rd2, %rd3;
    ld.global.f32 %f2, [%rd1];\nmul.f32 %f2, %f2, %f1;\nst.global.f32 [%rd2], %f2;
    """
    Path("scale.ptx").write_text(kernel(body, [("u64", "x"), ("u64", "y"), ("f32", "a")], name="scale"))
    np.save("x.npy", np.arange(64, dtype="f4").reshape(8, 8))
    return ["scale.ptx", "--grid", "2", "--block", "32"]


def test_arrays_come_from_files_and_go_to_files(scale):
    assert main([*scale, "x.npy", "empty:float32:8x8", "2.5", "--out", "after"]) == 0
    np.testing.assert_array_equal(np.load("after/y.npy"), np.load("x.npy") * np.float32(2.5))
    np.testing.assert_array_equal(np.load("after/x.npy"), np.load("x.npy"))


@pytest.mark.parametrize("wrong", ["missing.npy", "empty:float32", "ones:float32:3", "empty:float33:3"])
def test_a_wrong_argument_is_a_sentence(scale, wrong, capsys):
    assert main([*scale, "x.npy", wrong, "2"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_wrong_count_of_arguments_is_a_fault(scale, capsys):
    assert main([*scale, "x.npy"]) == 1
    assert "1 arguments for 3 parameters" in capsys.readouterr().err


def test_the_kernel_can_be_named(scale, capsys):
    assert main([*scale, "--entry", "other", "x.npy", "empty:float32:8x8", "2"]) == 1
    assert "has no .entry other; it has scale" in capsys.readouterr().err
    assert main([*scale, "--entry", "scale", "x.npy", "empty:float32:8x8", "2"]) == 0


def test_unknown_instructions_are_listed_by_name(tmp_path, capsys):
    path = tmp_path / "unknown.ptx"
    path.write_text(kernel("wgmma.fence.sync.aligned;\nmbarrier.init.shared.b64 [%rd1], 1;\nadd.u32 %r1, %r1, %r1;"))
    assert main([str(path), "--grid", "1", "--block", "32"]) == 1
    shown = capsys.readouterr().err
    assert "does not know these instructions: wgmma.fence.sync.aligned, mbarrier.init.shared.b64" in shown
