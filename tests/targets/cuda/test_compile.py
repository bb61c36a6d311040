"""`compile` for CUDA targets: what it accepts, what it refuses, what is saved and remembered."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen import compiler
from gncodegen.errors import CompileError, OptionsError, TargetError
from gncodegen.options import CompileOptions
from gncodegen.targets.cuda import architectures
from gncodegen.targets.cuda.compile import assemble
from gncodegen.targets.registry import row_of

LAYERS = [gnc.ImageInputLayer((4, 4, 4), normalization="none"), gnc.ReluLayer()]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"math": "fp8"}, r"math = 'fp8'; allowed: float32, tf32, bf16; write math='float32'"),
        ({"math": "tf32"}, r"target 'cpu'; allowed: .*'cuda' or 'sm_80'.*write math='float32'"),
        ({"math": "bf16", "target": "sm_75"}, r"target 'sm_75'.*'sm_80' and later.*write math='float32'"),
        ({"math": "tf32", "target": "sm_90", "dtype": "float64"}, r"dtype 'float64'.*write math='float32'"),
        ({"emulate": True}, r"emulate = True with target 'cpu'.*write target='sm_90', emulate=True"),
        ({"emulate": True, "target": "cuda"}, r"target 'cuda'.*write target='sm_90', emulate=True"),
    ],
)
def test_choices_that_do_not_go_together(choice, said):
    with pytest.raises(OptionsError, match=said):
        gnc.compile(LAYERS, **choice)


@pytest.mark.parametrize("target", ["gpu", "sm_90a", "metal"])
def test_unknown_targets(target):
    with pytest.raises(
        TargetError, match=rf"target = '{target}'; allowed: 'cpu', 'cuda', sm_75, .*write target='sm_90'"
    ):
        gnc.compile(LAYERS, target)


@pytest.mark.parametrize("target", ["sm_91", "sm_70", "sm_61", "sm_130"])
def test_unknown_architectures(target):
    with pytest.raises(TargetError, match=rf"target = '{target}' is no architecture; allowed: sm_75, .*sm_121"):
        gnc.compile(LAYERS, target)


@pytest.mark.parametrize("target", [*architectures.ARCHITECTURES, *architectures.RELATIVES])
def test_known_targets(target):
    options = CompileOptions(target=target, dtype="float64", emulate=True)
    assert row_of(target).open(options).target.machine.target == target
    ptx = ".version 8.0\n.target sm_75\n.address_size 64\n.visible .entry nothing()\n{\nret;\n}\n"
    assert assemble(ptx, target, "nothing")[0].startswith(b"\x7fELF")


class TestInspectionOnly:
    def test_everything_but_running(self):
        compiled = gnc.compile(LAYERS, "sm_90", batch_size=2)
        assert compiled.target == "sm_90"
        assert "kern.launch" in compiled.ir("memory")
        assert compiled.memory.peak_bytes >= 0
        assert ".target sm_90" in next(iter(compiled.kernels.values())).ptx

    @pytest.mark.parametrize("function", ["predict", "activations"])
    def test_running_names_the_cure(self, function):
        compiled = gnc.compile(LAYERS, "sm_90", batch_size=2)
        more = ("relu_1",) if function == "activations" else ()
        with pytest.raises(TargetError, match=r"target='cuda' on a machine with a GPU.*'sm_90', emulate=True"):
            getattr(compiled, function)(np.zeros((2, 4, 4, 4)), *more)
        with pytest.raises(TargetError, match="emulate=True"), compiled.stream(0):
            pass

    def test_parameters_can_be_changed_and_saved(self, tmp_path):
        compiled = gnc.compile([*LAYERS, gnc.GroupNormalizationLayer(2)], "sm_90", batch_size=2)
        compiled.parameters["groupnorm_1.offset"] = [1, 2, 3, 4]
        compiled.save(tmp_path)
        assert gnc.load(tmp_path, target="cpu").parameters["groupnorm_1.offset"].tolist() == [1, 2, 3, 4]


class TestOptions:
    def test_are_saved_and_can_be_changed_on_load(self, tmp_path):
        gnc.compile(LAYERS, "sm_80", batch_size=2, emulate=True, math="tf32").save(tmp_path)
        options = gnc.load(tmp_path).options
        assert (options.target, options.emulate, options.math) == ("sm_80", True, "tf32")
        moved = gnc.load(tmp_path, target="cpu", emulate=False, math="float32")
        x = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
        np.testing.assert_array_equal(moved.predict(x), gnc.load(tmp_path).predict(x))

    def test_changes_are_checked(self, tmp_path):
        gnc.compile(LAYERS, "sm_80", batch_size=2, emulate=True, math="tf32").save(tmp_path)
        with pytest.raises(OptionsError, match="tf32"):
            gnc.load(tmp_path, target="cpu", emulate=False)

    def test_of_a_folder_from_before_cuda(self, tmp_path):
        gnc.compile(LAYERS, batch_size=2).save(tmp_path)
        record = json.loads((tmp_path / "network.json").read_text())
        del record["options"]["emulate"], record["options"]["math"]
        (tmp_path / "network.json").write_text(json.dumps(record))
        assert gnc.load(tmp_path).options.math == "float32"

    def test_are_remembered(self, tmp_path, monkeypatch):
        monkeypatch.setattr(compiler, "_record", lambda: tmp_path / "last.json")
        gnc.compile(LAYERS, "sm_90", batch_size=2)
        assert compiler.last().target == "sm_90"
        assert compiler.last(target="sm_80").target == "sm_80"

    def test_programs_of_two_architectures_are_two(self):
        keys = {
            gnc.compile(LAYERS, target, batch_size=2)._main.specification.key for target in ("cpu", "sm_80", "sm_90")
        }
        assert len(keys) == 3


def test_an_op_without_a_kernel_names_layer_and_op(monkeypatch):
    from gncodegen.kernels import cuda

    monkeypatch.setattr(cuda, "PLANS", {op: plan for op, plan in cuda.PLANS.items() if op != "activation"})
    layers = [gnc.ImageInputLayer((5, 4, 3), normalization="none"), gnc.TanhLayer()]
    with pytest.raises(CompileError, match=r"tanh.*op 'activation' has no cuda kernel"):
        gnc.compile(layers, "sm_90", batch_size=1)
