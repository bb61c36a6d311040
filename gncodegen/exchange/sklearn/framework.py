"""The classes of scikit-learn that estimators are made from, where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gncodegen.errors import NetworkError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
else:
    try:
        from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    except ImportError:

        class BaseEstimator:
            """Stands in its place, so that estimators can be named where scikit-learn is missing, and not made."""

            def __new__(cls, *_: Any, **__: Any) -> BaseEstimator:
                """Refuses.

                Raises:
                    NetworkError: always.
                """
                issue = (
                    f"{cls.__name__} needs the package scikit-learn; allowed: scikit-learn 1.6 or newer; "
                    "pip install 'gncodegen[sklearn]'"
                )
                raise NetworkError([issue])

        class ClassifierMixin:
            """Likewise."""

        class RegressorMixin:
            """Likewise."""


__all__ = ["BaseEstimator", "ClassifierMixin", "RegressorMixin"]
