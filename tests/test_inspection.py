"""What compiled networks, kernels, memory plans, networks and numbers show of themselves."""

from __future__ import annotations

import inspect

import pytest
from cli.test_main import NETWORK

import gncodegen as gnc
from gncodegen.errors import CompileError


@pytest.fixture(scope="module")
def compiled():
    names: dict = {}
    exec(NETWORK, names)
    return gnc.compile(names["layers"], batch_size=4)


def test_short(compiled):
    assert repr(compiled).startswith("Compiled(cpu, float32, batch size 4, train_step: 6 layers, 33 learnables, ")
    assert repr(compiled.network) == "Network(6 layers, 33 learnables: 6 (C) → 3 (C))"
    for shown in (
        compiled,
        compiled.network,
        compiled.graph,
        compiled.program,
        compiled.memory,
        compiled.kernels["group_norm_1"],
    ):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 250
    assert max(map(len, repr(compiled.kernels).splitlines())) <= 80
    assert "momentum=0.9" in repr(compiled.hyperparameters)


def test_html(compiled):
    for shown in (compiled, compiled.network, compiled.graph, compiled.kernels, compiled.memory):
        assert "<table>" in shown._repr_html_()
    assert "def kernel(tile, argv)" in compiled.kernels["group_norm_1"]._repr_html_()


def test_a_kernel_that_is_not_there(compiled):
    with pytest.raises(KeyError, match="write 'group_norm_1' or 'group_norm_gradient_1'"):
        compiled.kernels["group_norm"]
    with pytest.raises(KeyError, match="there is no kernel 0; write 'group_norm_1'"):
        compiled.kernels[0]
    assert "group_norm" not in compiled.kernels


def test_misspelled_numbers(compiled):
    numbers = compiled.hyperparameters
    with pytest.raises(KeyError, match="write 'momentum'"):
        numbers["momentun"] = 0.5
    with pytest.raises(AttributeError, match="write 'learn_rate'"):
        numbers.lern_rate = 0.5
    with pytest.raises(AttributeError, match=r"write 'learn_rate'; numbers are read by name: hyperparameters\[name\]"):
        _ = numbers.lern_rate
    with pytest.raises(KeyError, match=r"there is no parameter 'gn.scael'; write 'gn.scale'"):
        compiled.parameters["gn.scael"]
    with pytest.raises(CompileError, match="write 'gradients'"):
        compiled.ir("gradient_s")
    assert "momentum" in numbers._ipython_key_completions_()


def test_options_complete():
    assert inspect.signature(gnc.training_options).parameters["momentum"].default == 0.9
    options = gnc.training_options("adam")
    assert "gradient_decay_factor" in dir(options)
    with pytest.raises(AttributeError, match="write max_epochs"):
        _ = options.max_epoch
