"""What a network compiled for a GPU shows of itself: PTX, SASS, registers, occupancy; also on the command line."""

from __future__ import annotations

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.cli import main
from gncodegen.targets.cuda.occupancy import resident_blocks

NETWORK = """
import gncodegen as gnc
layers = [gnc.ImageInputLayer((4, 4, 4), normalization="none"), gnc.ReluLayer()]
"""


@pytest.fixture(scope="module")
def kernel():
    layers = [gnc.ImageInputLayer((4, 4, 4), normalization="none"), gnc.ReluLayer()]
    return gnc.compile(layers, "sm_90", batch_size=8).kernels["activation_1"]


def test_every_level(kernel):
    assert ".target sm_90" in kernel.ptx
    assert "EXIT" in kernel.sass
    assert kernel.asm == kernel.sass
    assert "define" in kernel.llvm
    assert "def kernel(" in kernel.source


def test_report(kernel):
    report = kernel.report
    assert report.registers == kernel.registers > 0
    assert (report.spills, report.stack, report.threads) == (0, 0, kernel.schedule.tiles["threads"])
    assert report.blocks * report.threads <= 2048
    assert f"{report.registers} registers" in str(report)


def test_a_cpu_kernel_has_none_of_it():
    layers = [gnc.ImageInputLayer((4, 4, 4), normalization="none"), gnc.ReluLayer()]
    kernel = gnc.compile(layers, batch_size=8).kernels["activation_1"]
    assert (kernel.ptx, kernel.sass, kernel.report, kernel.registers) == (None,) * 4


@pytest.mark.parametrize(
    ("target", "threads", "registers", "shared", "blocks"),
    [
        ("sm_90", 256, 32, 0, 8),  # 2048 threads
        ("sm_90", 32, 16, 0, 32),  # 32 blocks
        ("sm_120", 32, 16, 0, 24),
        ("sm_75", 32, 16, 0, 16),
        ("sm_86", 256, 32, 0, 6),  # 1536 threads
        ("sm_90", 256, 65, 0, 3),  # 72 registers: 28 warps
        ("sm_90", 256, 255, 0, 1),
        ("sm_90", 128, 32, 100 << 10, 2),  # 228 KiB, 1 KiB of each block is the system's
        ("sm_90", 128, 32, 227 << 10, 1),
        ("sm_80", 128, 32, 40 << 10, 4),  # 164 KiB
        ("sm_75", 128, 32, 32 << 10, 2),  # 64 KiB, none reserved
    ],
)
def test_occupancy(target, threads, registers, shared, blocks):
    assert resident_blocks(target, threads, registers, shared) == blocks


class TestCommandLine:
    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "net.py"
        path.write_text(NETWORK)
        return str(path)

    def test_compile_lists_registers_and_occupancy(self, file, capsys):
        assert main(["compile", file, "--target", "sm_90", "--batch-size", "8"]) == 0
        listed = capsys.readouterr().out
        assert "Registers" in listed
        assert "Occupancy" in listed
        assert "8 × 256" in listed

    @pytest.mark.parametrize(("level", "sign"), [("ptx", ".target sm_80"), ("sass", "EXIT"), ("asm", "EXIT")])
    def test_inspect(self, file, capsys, level, sign):
        assert main(["inspect", "activation_1", "--level", level, "--target", "sm_80", "--file", file]) == 0
        assert sign in capsys.readouterr().out

    def test_inspect_ptx_of_a_cpu_kernel_names_the_cure(self, file, capsys):
        assert main(["inspect", "activation_1", "--level", "ptx", "--file", file]) == 2
        assert "add --target sm_90" in capsys.readouterr().err

    def test_run_in_the_emulator(self, file, capsys, tmp_path):
        x = np.random.default_rng(0).normal(size=(3, 4, 4, 4)).astype(np.float32)
        np.save(tmp_path / "x.npy", x)
        folder, y = str(tmp_path / "saved"), str(tmp_path / "y.npy")
        assert main(["compile", file, "--output", folder, "--batch-size", "8"]) == 0
        place = ["--target", "sm_90", "--emulate"]
        assert main(["run", folder, str(tmp_path / "x.npy"), "--output", y, *place]) == 0
        np.testing.assert_array_equal(np.load(y), np.maximum(x, 0))

    def test_without_a_gpu_the_text_says_so(self, file, capsys):
        assert main(["compile", file, "--target", "cuda"]) == 2
        assert "target='sm_90'" in capsys.readouterr().err
