"""The picture of a training."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_compiled import FakeCompiled
from train.test_loop import samples, train

from gncodegen.train import plot
from gncodegen.train.targets import ResponseTargets

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")


def course(**options):
    return train(FakeCompiled(losses=[2.5, 2.0, 1.5, 1.0]), 4, max_epochs=3, shuffle="never", **options)


def test_two_panels():
    info = course(validation_data=(0, 0), validation=samples(4), validation_frequency=2)
    upper, lower = info.plot()
    assert upper.get_ylabel() == "Accuracy (%)"
    assert lower.get_ylabel() == "Loss"
    training, _, validation = lower.lines
    np.testing.assert_array_equal(training.get_ydata(), info.training_loss)
    known = np.isfinite(info.validation_loss)
    np.testing.assert_array_equal(validation.get_xdata(), np.flatnonzero(known) + 1)
    np.testing.assert_array_equal(validation.get_ydata(), info.validation_loss[known])
    assert info.epoch.tolist() == [1, 2, 3]
    assert len(lower.patches) == 1, "the second of three epochs is shaded"
    plot.pyplot().close("all")


def test_one_panel_of_the_callers_and_rmse():
    info = train(FakeCompiled(losses=[8.0]), targets=ResponseTargets(np.zeros((10, 1), np.float32)))
    _, ax = plot.pyplot().subplots()
    assert info.plot(ax) is ax
    assert ax.get_ylabel() == "Loss"
    upper, _ = info.plot()
    assert upper.get_ylabel() == "RMSE"
    plot.pyplot().close("all")


def test_a_file_where_there_is_no_display(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    course(plots="training-progress")
    picture = (tmp_path / plot.FILE).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert plot.FILE in capsys.readouterr().err
    assert not plot.pyplot().get_fignums()


def test_smoothing_keeps_a_constant():
    np.testing.assert_allclose(plot._smooth(np.full(100, 3.0)), 3.0)
