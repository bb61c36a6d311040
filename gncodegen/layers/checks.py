"""What a layer's property may be: checks that turn the given value into its canonical form or refuse it.

A property states its check in its annotation: `epsilon: Annotated[float, positive_number] = 1e-5`.
`Layer` runs it at construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import unchanging
from gncodegen.errors import OptionsError


@dataclass(frozen=True)
class Check:
    """One rule for a property.

    Args:
        accept: given value → canonical value; raises ValueError or TypeError where it is not allowed.
        allowed: what is allowed, in words.
        example: a value that is, as Python text; the cure of the error message.
    """

    accept: Callable[[Any], Any]
    allowed: str
    example: str

    def allowed_instead_of(self, value: object) -> str:
        """What is allowed, in words, where `value` is not."""
        return self.allowed + (", below 2⁶³" if _is_beyond(value) else "")

    def __or__(self, other: Check) -> Check:
        def either(value: Any) -> Any:
            try:
                return self.accept(value)
            except (ValueError, TypeError, OverflowError):
                return other.accept(value)

        return Check(either, f"{self.allowed} or {other.allowed}", self.example)


MOST_LETTERS = 10_000
"""Of a name: names of files' parts hold 65,535 bytes."""


def shown(value: object) -> str:
    """The value as an error message shows it: short, and of a large array the shape and type only."""
    if isinstance(value, np.ndarray) and cast("NDArray[Any]", value).size > 8:
        array = cast("NDArray[Any]", value)
        return f"<array of shape {array.shape}, {array.dtype}>"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def require(condition: bool) -> None:
    """Refuse the value unless the condition holds."""
    if not condition:
        raise ValueError


def path(value: Any) -> Path:
    """A path as a user gives it; `~` is his home folder.

    Raises:
        ValueError: it is none.
    """
    require(isinstance(value, (str, PathLike)))
    text = fspath(cast("str | PathLike[str]", value))
    require(isinstance(text, str) and bool(text) and "\0" not in text)  # pyright: ignore[reportUnnecessaryIsInstance]
    return Path(text).expanduser()


def required_path(value: Any, what: str, example: str) -> Path:
    """The same of an argument of a call.

    Args:
        value: what was given.
        what: how the message names it.
        example: the call as it should be.

    Raises:
        OptionsError: it is no path.
    """
    try:
        return path(value)
    except (ValueError, RuntimeError) as error:  # RuntimeError: nobody's home folder
        raise OptionsError(f"{what} = {shown(value)}; allowed: a path, as text or pathlib.Path; {example}") from error


LARGEST = 2**63 - 1
"""The largest int that a property, an extent or an address may be."""


def _is_beyond(value: object) -> bool:
    """Whether a value is, or lists, an int that no int64 holds."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_beyond, cast("Sequence[object]", value)))
    return isinstance(value, int) and value > LARGEST


def _integer(value: Any) -> int:
    require(isinstance(value, (int, np.integer)) and not isinstance(value, bool))
    require(abs(int(value)) <= LARGEST)
    return int(value)


def _number(value: Any) -> float:
    require(isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool))
    number = float(value)
    require(math.isfinite(number))
    return number


def integer_from(least: int, allowed: str, example: str, most: int = LARGEST) -> Check:
    """Accepts Python and NumPy ints from `least` to `most`; never a bool or a float."""

    def accept(value: Any) -> int:
        number = _integer(value)
        require(least <= number <= most)
        return number

    return Check(accept, allowed, example)


def number_where(holds: Callable[[float], bool], allowed: str, example: str) -> Check:
    """Accepts finite real scalars for which `holds` is true; never a bool, an array or a text."""

    def accept(value: Any) -> float:
        number = _number(value)
        require(holds(number))
        return number

    return Check(accept, allowed, example)


def one_of(*words: str) -> Check:
    """Accepts exactly these texts."""

    def accept(value: Any) -> str:
        require(isinstance(value, str) and value in words)
        return str(value)

    quoted = [f'"{word}"' for word in words]
    return Check(accept, " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]])), quoted[0])


def optional(check: Check) -> Check:
    """Accepts None too."""
    return Check(lambda value: value if value is None else check.accept(value), f"None or {check.allowed}", "None")


def tuple_of(check: Check, counts: Iterable[int], allowed: str, example: str) -> Check:
    """Accepts a list, tuple or vector whose length is one of `counts` and whose every element passes `check`."""
    lengths = tuple(counts)

    def accept(value: Any) -> tuple[Any, ...]:
        require(isinstance(value, (list, tuple, np.ndarray)))
        elements = tuple(check.accept(element) for element in value)
        require(len(elements) in lengths)
        return elements

    return Check(accept, allowed, example)


def per_axis(check: Check, rank: int) -> Check:
    """Accepts one value for all `rank` spatial axes or one for each; canonical is one for each."""
    single = Check(lambda value: (check.accept(value),) * rank, check.allowed, check.example)
    return single | tuple_of(check, (rank,), f"{rank} of them", f"({check.example},)")


MOST_TRIED = 4096
"""Numbers that `divisors` tries; channels are rarely more."""


def divisors(number: int) -> str:
    """The divisors of a number, as messages list them: those up to MOST_TRIED, and the number itself."""
    found = [str(divisor) for divisor in range(1, min(number, MOST_TRIED) + 1) if number % divisor == 0]
    return ", ".join([*found, *(["…", str(number)] if number > MOST_TRIED else [])])


def _callable(value: Any) -> Any:
    require(callable(value) and not isinstance(value, type))
    return value


def _array(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    require(array.dtype.kind in "fiu" and array.size > 0)
    return unchanging(array, array.dtype if array.dtype.kind == "f" else np.float64)


def _vector(value: Any) -> NDArray[Any]:
    array = _array(value)
    require(array.ndim == 1)
    return array


def _variances(value: Any) -> NDArray[Any]:
    array = _vector(value)
    require(not bool(np.any(array < 0)))
    return array


def _statistic(value: Any) -> NDArray[Any]:
    array = _array(value)
    return array.reshape(1) if array.ndim == 0 else array


def _flag(value: Any) -> bool:
    require(isinstance(value, bool | np.bool_))
    return bool(value)


def _text(value: Any) -> str:
    require(isinstance(value, str) and len(value) <= MOST_LETTERS and "\0" not in value)
    value.encode()  # half of a surrogate pair is a ValueError: no file can hold it
    return str(value)


def _shared(value: Any) -> tuple[tuple[str, str], ...]:
    pairs: Any = value.items() if isinstance(value, Mapping) else value
    found = {_text(name): _text(key) for name, key in pairs}
    require(all(0 < key.rfind(".") < len(key) - 1 for key in found.values()))
    return tuple(sorted(found.items()))


LABEL_KINDS = (
    str, bytes, int, float, Decimal, Fraction, date, time, timedelta, UUID, np.datetime64, np.timedelta64
)  # fmt: skip
"""What a class can be called by; a datetime is a date."""


def _label(value: Any) -> Any:
    # Dates and durations stay NumPy's: their Python form depends on the unit.
    numpys = isinstance(value, np.datetime64 | np.timedelta64)
    label = value.item() if isinstance(value, np.generic) and not numpys else value
    require(isinstance(label, LABEL_KINDS) and label == label)  # noqa: PLR0124  NaN is the value unequal to itself
    return label


def _labels(value: Any) -> tuple[Any, ...]:
    require(isinstance(value, (list, tuple, np.ndarray)))
    labels = tuple(map(_label, value))
    require(bool(labels) and len(set(labels)) == len(labels))
    return labels


def _class_weights(value: Any) -> tuple[float, ...]:
    require(isinstance(value, (list, tuple, np.ndarray)))
    weights = tuple(positive_number.accept(weight) for weight in value)
    require(bool(weights))
    return weights


flag = Check(_flag, "True or False", "True")
text = Check(_text, f"text of up to {MOST_LETTERS:,} letters, none of them NUL", '"layer_1"')
positive_int = integer_from(1, "a positive int", "8")
non_negative_int = integer_from(0, "a non-negative int", "0")
positive_number = number_where(lambda x: x > 0, "a finite number > 0", "1e-5")
non_negative_number = number_where(lambda x: x >= 0, "a finite number ≥ 0", "1")
finite_number = number_where(lambda _: True, "a finite number", "0")
decay = number_where(lambda x: 0 <= x <= 1, "a number from 0 to 1", "0.1")
probability = number_where(lambda x: 0 <= x < 1, "a number from 0 up to, not including, 1", "0.5")
function = Check(_callable, "a callable", "lambda x: x")
initializer_function = Check(_callable, "a callable f(shape) -> array", "numpy.zeros")
array = Check(_array, "an array of real numbers", "None")
vector = Check(_vector, "a vector of real numbers, one per channel", "None")
variances = Check(_variances, "a vector of numbers ≥ 0, one per channel", "None")
shared = Check(_shared, "a mapping of learnables to those of other layers", '{"weights": "conv_1.weights"}')
statistic = Check(_statistic, "an array of real numbers", "None")
label = Check(_label, "a text, bytes, number, date, duration or UUID", '"none"')
labels = Check(_labels, "distinct texts, bytes, numbers, dates, durations or UUIDs", '("cat", "dog")')
class_weights = Check(_class_weights, "a vector of finite numbers > 0, one per class", "(1.0, 2.0)")

WEIGHT_INITIALIZERS = ("glorot", "he", "orthogonal", "narrow-normal", "zeros", "ones")
VECTOR_INITIALIZERS = ("zeros", "ones", "narrow-normal")

PositiveInt = Annotated[int, positive_int]
Epsilon = Annotated[float, positive_number]
Factor = Annotated[float, non_negative_number]
FiniteNumber = Annotated[float, finite_number]
Decay = Annotated[float, decay]
Probability = Annotated[float, probability]
Channels = Annotated[int | str, positive_int | one_of("auto")]
Initializer = str | Callable[[tuple[int, ...]], Any]
"""The name of an initializer, or a callable `f(shape) -> array`."""
VectorInitializer = Annotated[Initializer, one_of(*VECTOR_INITIALIZERS) | initializer_function]
WeightInitializer = Annotated[Initializer, one_of(*WEIGHT_INITIALIZERS) | initializer_function]
Array = Annotated[NDArray[Any] | None, optional(array)]
Vector = Annotated[NDArray[Any] | None, optional(vector)]
ClassWeights = Annotated[Sequence[float] | None, optional(class_weights)]
Variances = Annotated[NDArray[Any] | None, optional(variances)]
Shared = Annotated[tuple[tuple[str, str], ...], shared]
Statistic = Annotated[NDArray[Any] | float | None, optional(statistic)]
