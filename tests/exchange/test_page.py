"""docs/exchange.md is written from the importer's own tables; `pytest --update-golden` writes it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from gncodegen.exchange.onnx.reading import FLOATS, OLDEST_OPSET
from gncodegen.exchange.operators import OPERATORS
from gncodegen.exchange.patterns import PATTERNS

PAGE = Path(__file__).parents[2] / "docs" / "exchange.md"


def written() -> str:
    """The page."""
    patterns = ", ".join(sorted({pattern.becomes for pattern in PATTERNS}))
    lines = [
        "# Models of other frameworks",
        "",
        "## ONNX in: `gnc.from_onnx(model, shapes=None)`",
        "",
        f"Opset {OLDEST_OPSET} and newer, arrays of {' and '.join(FLOATS)}.",
        "The first axis is that of observations, and prediction takes any number of them.",
        "Weights must be constants of the model. What follows from constants is computed when the model is imported.",
        "An operator or an attribute that no layer covers is an error that lists every such node.",
        "",
        f"Subgraphs that exporters write for one layer become that layer again: {patterns}.",
        "",
        "| operator | becomes |",
        "|---|---|",
        *(f"| {name} | {row.becomes} |" for name, row in sorted(OPERATORS.items())),
        "",
    ]
    return "\n".join(lines)


def test_the_page_is_that_of_the_tables(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PAGE.write_text(written(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == written()
