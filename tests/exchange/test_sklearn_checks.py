"""scikit-learn's own checks of estimators: every one of them, of both."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import gncodegen as gnc

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.utils.estimator_checks import estimator_checks_generator

HIDDEN = (gnc.FullyConnectedLayer(8), gnc.ReluLayer())
ESTIMATORS = (gnc.NetworkClassifier(HIDDEN, random_state=0), gnc.NetworkRegressor(HIDDEN, random_state=0))

APART = {"check_array_api_input": "SciPy reads SCIPY_ARRAY_API when it is loaded: runs in a process of its own"}
"""Checks that are skipped here, and why."""

DEFAULT = (
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_estimators_unfitted",
    "check_fit_idempotent",
    "check_requires_y_none",
)
"""Checks of the default run; the others differ from them in sizes, each of which is compiled."""


def cases():
    for given in ESTIMATORS:
        for estimator, check in estimator_checks_generator(given, mark=None):
            name = getattr(check, "func", check).__name__
            marks = [] if name in DEFAULT else [pytest.mark.full]
            options = "-".join(map(str, getattr(check, "keywords", {}).values()))
            reason = APART.get(name)
            marks += [pytest.mark.skip(reason=reason)] if reason else []
            yield pytest.param(estimator, check, marks=marks, id=f"{type(given).__name__}-{name}-{options}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(cases()))
def test_check(estimator, check):
    check(estimator)


@pytest.mark.full(like="exchange/test_sklearn_checks.py::test_check")
def test_checks_of_the_array_api():
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from exchange.test_sklearn_checks import APART, ESTIMATORS\n"
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        "found = [(e, c) for g in ESTIMATORS for e, c in estimator_checks_generator(g, mark=None)\n"
        "         if getattr(c, 'func', c).__name__ in APART]\n"
        "for estimator, check in found: check(estimator)\n"
        "print(len(found))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == len(ESTIMATORS)
