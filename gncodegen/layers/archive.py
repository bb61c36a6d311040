"""A layer as JSON-able data plus arrays, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import numpy as np

from gncodegen.errors import NetworkError
from gncodegen.layers.base import Layer

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from numpy.typing import NDArray


@cache
def layer_types() -> Mapping[str, type[Layer]]:
    """Every public layer type, by name."""
    package = import_module("gncodegen")
    types = (getattr(package, name) for name in package.__all__ if name.endswith("Layer"))
    return {t.__name__: t for t in types if isinstance(t, type) and issubclass(t, Layer)}


def layer_to_json(layer: Layer) -> dict[str, Any]:
    """The layer's type and properties, without arrays and callables."""
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    return {"type": type(layer).__name__} | {
        name: _written(value)
        for name, value in values.items()
        if not isinstance(value, np.ndarray) and not callable(value)
    }


def _written_duration(value: np.timedelta64) -> str:
    unit, count = np.datetime_data(value)
    return f"{value.astype(np.int64)} {count}{unit}"


def _read_duration(text: str) -> np.timedelta64:
    number, unit = text.split()
    return np.timedelta64(int(number), unit)


_MICROSECOND = timedelta(microseconds=1)

_KINDS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "decimal": (Decimal, str, Decimal),
    "fraction": (Fraction, str, Fraction),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "datetime64": (np.datetime64, str, np.datetime64),
    "timedelta64": (np.timedelta64, _written_duration, _read_duration),
    "timedelta": (timedelta, lambda value: str(value // _MICROSECOND), lambda text: int(text) * _MICROSECOND),
    "uuid": (UUID, str, UUID),
}
"""Labels that JSON has no form for: kind → type, to text, from text. The first type that fits is taken."""


def _written(value: Any) -> Any:
    """A property as JSON has it; labels of other kinds become {"kind": …, "text": …}."""
    if isinstance(value, tuple):
        return [_written(each) for each in cast("tuple[Any, ...]", value)]
    for kind, (type_, write, _) in _KINDS.items():
        if isinstance(value, type_):
            return {"kind": kind, "text": write(value)}
    return value


def _read(value: Any) -> Any:
    """What `_written` wrote."""
    if isinstance(value, list):
        return tuple(_read(each) for each in cast("list[Any]", value))
    return _KINDS[value["kind"]][2](value["text"]) if isinstance(value, dict) and "kind" in value else value


def layer_arrays(layer: Layer) -> dict[str, NDArray[Any]]:
    """The layer's arrays, by key "conv_1.weights"."""
    values = {f"{layer.name}.{field.name}": getattr(layer, field.name) for field in fields(layer)}
    return {key: value for key, value in values.items() if isinstance(value, np.ndarray)}


def layer_from_json(data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Layer:
    """The layer `layer_to_json` wrote, with those arrays that are its own.

    Raises:
        NetworkError: the type or a property is unknown.
        LayerError: a property is out of range.
    """
    properties = dict(data)
    type_name, name = properties.pop("type", None), properties.get("name", "")
    types = layer_types()
    if type_name not in types:
        raise NetworkError(
            [f"layer {name!r} is of type {type_name!r}; allowed: {', '.join(sorted(types))}; save the network again"]
        )
    known = {field.name for field in fields(types[type_name])}
    unknown = sorted(set(properties) - known)
    if unknown:
        fault = f"{type_name} {name!r} has properties {', '.join(unknown)}"
        raise NetworkError([f"{fault}; allowed: {', '.join(sorted(known))}; save the network again"])
    properties = {field: _read(value) for field, value in properties.items()}
    properties |= {field: arrays[f"{name}.{field}"] for field in known if f"{name}.{field}" in arrays}
    return types[type_name](**properties)


def shaping_names(layers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The names of arrays that what `layer_to_json` wrote cannot be read without: they give layers their shapes."""
    for data in layers:
        found = layer_types().get(data.get("type", ""))
        yield from (f"{data.get('name', '')}.{field}" for field in (found.shaping if found else ()))


def unwritable(layer: Layer, arrays: Container[str]) -> Iterator[str]:
    """What of the layer cannot be written: foreign types, and callables unless an array stands for their result."""
    if type(layer) is not layer_types().get(type(layer).__name__):
        yield (
            f"{type(layer).__name__} is not a layer of gncodegen, so it cannot be saved; allowed: layers of "
            "gncodegen; build the network in Python and assign the parameters"
        )
    for field in fields(layer):
        stands_for = f"{layer.name}.{field.name.removesuffix('_initializer')}"
        if callable(getattr(layer, field.name)) and stands_for not in arrays:
            default = None if field.default is MISSING else field.default
            yield (
                f"{field.name} is a callable, which cannot be saved; allowed: a name, or values for the parameter; "
                f"write {field.name}={default!r}"
            )
