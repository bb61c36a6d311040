"""Plans of the normalization kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.schedule import Plan, Problem

PLANS: Mapping[str, Callable[[Problem], Plan]] = {}
