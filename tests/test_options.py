"""CompileOptions: one field is one option, everywhere by name."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace

import pytest

import gncodegen as gnc
from gncodegen import compiler
from gncodegen.cli import _parser
from gncodegen.errors import OptionsError
from gncodegen.options import CompileOptions, chosen_by, option

NAMES = [each.name for each in chosen_by("caller")]


@pytest.mark.parametrize("function", [gnc.compile, gnc.load, gnc.train_network, compiler.load, compiler.last])
def test_functions_name_every_option(function):
    parameters = inspect.signature(function).parameters
    for each in chosen_by("caller"):
        assert parameters[each.name].default == each.default
        assert f"        {each.name}: {option(each).help.split()[0]}" in function.__doc__
    assert "choices" not in function.__doc__
    with pytest.raises(OptionsError, match=r"precis: no such option; allowed: .*precise.*; write precise=…"):
        function(precis=True)
    with pytest.raises(OptionsError, match="clip: no such option"):
        function(clip="l2norm")


@pytest.mark.parametrize("command", ["compile", "inspect", "train", "run", "demo"])
def test_commands_take_every_option(command, capsys):
    with pytest.raises(SystemExit):
        _parser().parse_args([command, "--help"])
    shown = capsys.readouterr().out
    for name in NAMES:
        assert f"--{name.replace('_', '-')}" in shown


def test_options_are_frozen_checked_and_hashed():
    options = CompileOptions(precise=True)
    assert hash(options) == hash(CompileOptions(precise=True)) != hash(CompileOptions())
    with pytest.raises(OptionsError, match="seed = -1; allowed: an int, 0 or more; write seed=0"):
        replace(options, seed=-1)
    assert {each.name for each in fields(CompileOptions)} - options.deciding.keys() == {"seed", "emulate", "override"}
    assert options.of_machine == {"math": "float32", "precise": True}


def test_functions_without_a_step_do_not_depend_on_its_options():
    ways = [CompileOptions(clip=clip).of_function("predict", 4, "BSSC") for clip in ("none", "l2norm")]
    assert ways[0] == ways[1]
    assert CompileOptions(clip="l2norm").of_function("train_step", 4, "BSSC").clip == "l2norm"
    assert not CompileOptions(tune=True).of_function("predict", 4, "BSSC").tune
