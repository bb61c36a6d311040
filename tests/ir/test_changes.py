"""The difference between two stages, as lines."""

from __future__ import annotations

from gncodegen.ir.changes import about, changes
from gncodegen.ir.printing import Line


def lines(*texts):
    return [Line(text) for text in texts]


def test_numbers_of_values_do_not_count():
    before = lines("%0 = gn.a(%x)", "%1 = gn.b(%0)", "func.return %1")
    after = lines("%0 = gn.a(%x)", "%1 = gn.new(%0)", "%2 = gn.b(%1)", "func.return %2")
    assert [(mark, line.text) for mark, line in changes(before, after)] == [
        (" ", "%0 = gn.a(%x)"), ("+", "%1 = gn.new(%0)"), (" ", "%2 = gn.b(%1)"), (" ", "func.return %2")
    ]  # fmt: skip


def test_only_what_is_near_a_change_is_shown():
    before = lines(*(f"op{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"))
    found = [(mark, line.text) for mark, line in changes(before, before[:-1], 1)]
    assert found == [(" ", "opy"), ("-", "opz")]
    assert not list(changes(before, before))


def test_a_part_begins_with_the_aliases_that_it_names():
    text = [
        Line('#layers1 = ["a", "b"]'), Line("#shape1 = {rows = 1,"), Line("    columns = 2}"), Line("module {"),
        Line("one {shape = #shape1}", ("a",)), Line("two {layers = #layers1}", ("b",)),
    ]  # fmt: skip
    assert [line.text for line in about(text, "a")] == [
        "#shape1 = {rows = 1,",
        "    columns = 2}",
        "one {shape = #shape1}",
    ]
