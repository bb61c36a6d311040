"""The loop against a scripted network: order, counts, patience, best weights, output functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.fake_compiled import FakeCompiled

from gncodegen.errors import OptionsError
from gncodegen.train.batches import ArraySource, Samples
from gncodegen.train.loop import Training
from gncodegen.train.options import training_options
from gncodegen.train.targets import ClassTargets, ResponseTargets


def samples(count, targets=None):
    x = np.arange(count, dtype=np.float32)[:, None]
    return Samples(x, targets or ClassTargets(np.arange(count) % 2, (0, 1)))


def train(compiled, count=10, *, seed=0, validation=None, finalize=lambda: None, targets=None, **options):
    options = training_options("sgdm", **{"verbose": False, "mini_batch_size": 4, "max_epochs": 2} | options)
    data = samples(count, targets)
    return Training(compiled, ArraySource(data, options, seed), validation, options, finalize).run()


def seen(compiled):
    return [step.x[:, 0].astype(int).tolist() for step in compiled.steps]


class TestBatches:
    def test_the_last_incomplete_mini_batch_is_dropped(self):
        compiled = FakeCompiled()
        info = train(compiled, 10, shuffle="never")
        assert seen(compiled) == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2
        assert len(info.training_loss) == 4

    def test_a_mini_batch_larger_than_the_data_is_one_batch_of_all(self):
        compiled = FakeCompiled()
        train(compiled, 3, shuffle="never", mini_batch_size=128)
        assert seen(compiled) == [[0, 1, 2]] * 2

    def test_shuffled_once_repeats_its_order(self):
        compiled = FakeCompiled()
        train(compiled, 8)
        first, second = seen(compiled)[:2], seen(compiled)[2:]
        assert first == second
        assert sorted([*first[0], *first[1]]) == list(range(8))
        assert [*first[0], *first[1]] != list(range(8))

    def test_shuffled_every_epoch_changes_its_order(self):
        compiled = FakeCompiled()
        train(compiled, 8, shuffle="every-epoch")
        assert seen(compiled)[:2] != seen(compiled)[2:]
        assert sorted(np.concatenate(seen(compiled)[2:])) == list(range(8))

    @pytest.mark.parametrize("shuffle", ["once", "every-epoch", "never"])
    def test_a_seed_fixes_the_order(self, shuffle):
        runs = [FakeCompiled(), FakeCompiled(), FakeCompiled()]
        for compiled, seed in zip(runs, (5, 5, 6), strict=True):
            train(compiled, 30, shuffle=shuffle, seed=seed)
        assert seen(runs[0]) == seen(runs[1])
        assert (seen(runs[0]) == seen(runs[2])) == (shuffle == "never")

    def test_targets_follow_their_inputs(self):
        compiled = FakeCompiled()
        train(compiled, 9)
        for step in compiled.steps:
            assert np.array_equal(np.argmax(step.t, axis=1), step.x[:, 0].astype(int) % 2)
            assert np.array_equal(step.t.sum(axis=1), np.ones(4))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float16, bool])
    def test_batches_are_float32_where_that_can_hold_the_data(self, dtype):
        x = np.arange(6).reshape(6, 1).astype(dtype)
        batch, _ = Samples(x, ClassTargets(np.zeros(6, np.int64), (0, 1))).gather(np.array([4, 2]))
        assert batch.dtype == (dtype if dtype in (np.int64, np.float64) else np.float32)
        assert np.array_equal(batch, x[[4, 2]])

    def test_gathers_along_the_batch_axis(self):
        x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        batch, _ = Samples(x, ClassTargets(np.zeros(3, np.int64), (0, 1)), batch_axis=1).gather(np.array([2, 0]))
        assert np.array_equal(batch, x[:, [2, 0]])


class TestSchedule:
    def test_constant_rate(self):
        info = train(FakeCompiled(), initial_learn_rate=0.3)
        assert info.base_learn_rate.tolist() == [0.3] * 4

    def test_piecewise_rate_drops_every_period(self):
        info = train(
            FakeCompiled(),
            4,
            max_epochs=5,
            learn_rate_schedule="piecewise",
            learn_rate_drop_period=2,
            learn_rate_drop_factor=0.5,
            initial_learn_rate=1.0,
        )
        assert info.base_learn_rate.tolist() == [1, 1, 0.5, 0.5, 0.25]

    def test_a_callable_of_epoch_and_iteration(self):
        info = train(FakeCompiled(), learn_rate_schedule=lambda epoch, iteration: epoch + iteration / 8)
        assert info.base_learn_rate.tolist() == [1.125, 1.25, 2.375, 2.5]

    @pytest.mark.parametrize("given", [-1, math.nan, math.inf, None, "fast"])
    def test_what_a_callable_gives_is_checked(self, given):
        with pytest.raises(OptionsError, match=r"learn_rate_schedule: .*epoch 1, iteration 2 is .*; allowed: a finite"):
            train(FakeCompiled(), learn_rate_schedule=lambda epoch, iteration: 0.1 if iteration < 2 else given)

    def test_the_step_reads_every_hyperparameter(self):
        compiled = FakeCompiled()
        train(compiled, momentum=0.5, l2_regularization=0.25, gradient_threshold=3.0, initial_learn_rate=0.125)
        step = compiled.steps[-1]
        assert (step.momentum, step.l2_regularization, step.gradient_threshold) == (0.5, 0.25, 3.0)
        assert step.learn_rate == 0.125
        assert [step.iteration for step in compiled.steps] == [1, 2, 3, 4]


class TestValidation:
    def test_first_every_nth_and_last(self):
        compiled = FakeCompiled(validation_losses=[5.0, 4.0, 3.0, 2.0])
        info = train(compiled, 4, max_epochs=7, validation_frequency=3, validation_data=(0, 0), validation=samples(4))
        assert np.flatnonzero(~np.isnan(info.validation_loss)).tolist() == [0, 2, 5, 6]
        assert info.validation_loss[[0, 2, 5, 6]].tolist() == [5, 4, 3, 2]
        assert info.validation_accuracy[0] == 50
        assert info.final_validation_loss == 2

    def test_without_data_everything_is_nan(self):
        info = train(FakeCompiled())
        assert np.isnan(info.validation_loss).all()
        assert math.isnan(info.final_validation_loss)

    @pytest.mark.parametrize(
        ("losses", "patience", "stops_after"),
        [
            ([3, 2, 1, 1, 1, 1], 2, 5),  # equal counts as not lower
            ([1, 2, 0.5, 2, 2, 2], 2, 5),  # a lower loss starts the count again
            ([1, 2, 2, 2, 2, 2], 1, 2),
            ([6, 5, 4, 3, 2, 1], 1, 6),
            ([1, math.nan, math.nan, 0, 0, 0], 2, 3),
        ],
    )
    def test_patience(self, losses, patience, stops_after):
        compiled = FakeCompiled(validation_losses=losses)
        info = train(
            compiled,
            4,
            max_epochs=6,
            validation_frequency=1,
            validation_patience=patience,
            validation_data=(0, 0),
            validation=samples(4),
        )
        assert len(info.training_loss) == stops_after
        assert info.stop_reason == ("max-epochs-completed" if stops_after == 6 else "validation-patience")
        assert info.output_network_iteration == stops_after

    def test_best_weights_come_back(self):
        compiled = FakeCompiled(validation_losses=[5, 2, 3, 2, 4])
        finalized = []
        info = train(
            compiled,
            4,
            max_epochs=4,
            validation_frequency=1,
            output_network="best-validation-loss",
            validation_data=(0, 0),
            validation=samples(4),
            finalize=lambda: finalized.append(compiled.parameters["w"][0]),
        )
        assert info.output_network_iteration == 2
        assert compiled.parameters["w"].tolist() == [2]
        assert finalized == [2], "finalize sees the weights that are returned"
        assert compiled.evaluations[-1] == 2, "the final validation is of the weights that are returned"

    def test_last_weights_stay_by_default(self):
        compiled = FakeCompiled(validation_losses=[1, 2, 3, 4])
        info = train(compiled, 4, max_epochs=4, validation_frequency=1, validation_data=(0, 0), validation=samples(4))
        assert info.output_network_iteration == 4
        assert compiled.parameters["w"].tolist() == [4]


class TestOutputFcn:
    def test_called_iterations_plus_two_times(self):
        states = []
        train(FakeCompiled(losses=[4.0, 3.0, 2.0, 1.0]), output_fcn=states.append)
        assert [s.state for s in states] == ["start", "iteration", "iteration", "iteration", "iteration", "done"]
        assert [s.iteration for s in states] == [0, 1, 2, 3, 4, 4]
        assert [s.epoch for s in states] == [0, 1, 1, 2, 2, 2]
        assert [s.training_loss for s in states] == [None, 4, 3, 2, 1, 1]
        assert states[0].training_accuracy is None
        assert states[1].training_rmse is None
        assert all(s.iterations == 4 and s.time_since_start >= 0 and s.base_learn_rate == 0.01 for s in states)

    def test_true_stops_and_keeps_the_latest_weights(self):
        compiled, calls = FakeCompiled(), []

        def stop(state):
            calls.append(state.state)
            return state.iteration == 3 and state.state == "iteration"

        info = train(compiled, output_fcn=stop, validation_frequency=1)
        assert calls == ["start", "iteration", "iteration", "iteration", "done"]
        assert info.stop_reason == "output-fcn"
        assert info.output_network_iteration == 3
        assert len(info.training_loss) == 3

    def test_true_at_the_start_trains_nothing(self):
        compiled = FakeCompiled()
        info = train(compiled, output_fcn=lambda state: True)
        assert compiled.steps == []
        assert len(info.training_loss) == 0
        assert (info.stop_reason, info.output_network_iteration) == ("output-fcn", 0)

    def test_every_function_of_a_list_is_called(self):
        first, second = [], []
        info = train(FakeCompiled(), output_fcn=[lambda s: first.append(s) or s.iteration == 2, second.append])
        assert len(first) == len(second) == 4
        assert info.stop_reason == "output-fcn"

    def test_validation_fields(self):
        states = []
        compiled = FakeCompiled(validation_losses=[5.0, 4.0])
        train(compiled, output_fcn=states.append, validation_frequency=3, validation_data=(0, 0), validation=samples(4))
        assert [s.validation_loss for s in states[:5]] == [None, 5, None, 4, 4]
        assert states[1].validation_accuracy == 50


class TestInfo:
    def test_accuracy_in_percent(self):
        info = train(FakeCompiled(), shuffle="never")
        assert info.training_accuracy.tolist() == [100] * 4
        assert info.training_rmse is None
        assert info.validation_rmse is None

    def test_rmse_is_the_root_of_twice_the_loss(self):
        targets = ResponseTargets(np.zeros((10, 1), np.float32))
        info = train(FakeCompiled(losses=[8.0]), targets=targets)
        assert info.training_rmse.tolist() == [4] * 4
        assert info.training_accuracy is None

    def test_a_nan_loss_stops(self):
        info = train(FakeCompiled(losses=[1.0, math.nan, 1.0]))
        assert len(info.training_loss) == 2
        assert info.stop_reason == "training-loss-is-nan"


class TestTable:
    def test_columns_and_rows(self, capsys):
        compiled = FakeCompiled(losses=[2.5], validation_losses=[1.25])
        train(
            compiled,
            4,
            max_epochs=7,
            verbose=True,
            verbose_frequency=3,
            shuffle="never",
            validation_data=(0, 0),
            validation=samples(4),
            validation_frequency=5,
        )
        lines = capsys.readouterr().out.splitlines()
        assert {len(line) for line in lines[:-1]} == {80}, "all lines are as wide as a terminal"
        heads = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:4]]
        assert [" ".join(filter(None, column)) for column in zip(*heads, strict=True)] == [
            "Epoch", "Iteration", "Time Elapsed", "Mini-batch Accuracy", "Validation Accuracy",
            "Mini-batch Loss", "Validation Loss", "Base Learning Rate",
        ]  # fmt: skip
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[5:-2]]
        assert [row[1] for row in rows] == ["1", "3", "5", "6", "7"]
        assert rows[0] == ["1", "1", "00:00:00", "100.00%", "50.00%", "2.5000", "1.2500", "0.0100"]
        assert rows[1][4] == rows[1][6] == ""
        assert lines[-1] == "Training finished: all epochs completed."

    def test_regression_shows_rmse(self, capsys):
        train(FakeCompiled(losses=[8.0]), verbose=True, targets=ResponseTargets(np.zeros((10, 1), np.float32)))
        out = capsys.readouterr().out
        assert "RMSE" in out
        assert "Accuracy" not in out
        assert " 4.00 |" in out

    def test_quiet(self, capsys):
        train(FakeCompiled(), verbose=False)
        assert capsys.readouterr().out == ""
