"""What ONNX has no words for: how fast a layer learns. A node keeps it as metadata, from export to import."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

from gncodegen.errors import LayerError
from gncodegen.exchange.construction import Unsupported
from gncodegen.layers.base import Layer

KEY = "gncodegen.factors"
"""Of the metadata: a JSON object of property → number."""


def _factors(layer: Layer) -> dict[str, Any]:
    """The properties that are factors of rates, with their defaults."""
    return {each.name: each.default for each in fields(layer) if each.name.endswith("_factor")}


def keep_factors(layer: Layer, proto: Any) -> None:
    """Notes at a node which of its layer's factors are not the defaults."""
    given = {name: getattr(layer, name) for name, default in _factors(layer).items() if getattr(layer, name) != default}
    if given:
        proto.metadata_props.add(key=KEY, value=json.dumps(given))


def with_factors(layer: Layer, proto: Any) -> Layer:
    """The layer with the factors that are noted at its node.

    Raises:
        Unsupported: what is noted are none.
    """
    texts = [entry.value for entry in getattr(proto, "metadata_props", ()) if entry.key == KEY]
    if not texts:
        return layer
    try:
        given = dict(json.loads(texts[0]))
        return replace(layer, **{name: given[name] for name in _factors(layer) if name in given})
    except (ValueError, TypeError, RecursionError, LayerError) as error:
        raise Unsupported(f"its metadata {KEY} = {texts[0][:80]!r}; allowed: factors of learning") from error
