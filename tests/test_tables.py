"""Tables as text and HTML, and the names that a mistyped one may mean."""

from __future__ import annotations

from pathlib import Path

import gncodegen
from gncodegen.tables import Table, alike, keyword_cure, near, scaled

TABLE = Table(("Name", "Count"), (("a long name of several words", "1"), ("b", "1,000")), frozenset({1}))


def test_a_table_that_fits():
    assert TABLE.text(80).splitlines() == [
        "Name                          Count",
        "────────────────────────────  ─────",
        "a long name of several words      1",
        "b                             1,000",
    ]


def test_words_stay_whole_where_others_can_be_parted():
    table = Table(("Type", "Arrays"), (("GroupNormalizationLayer", "scale 8, offset 8"),))
    assert table.text(35).splitlines()[2:] == [
        "GroupNormalizationLayer  scale 8,  ",
        "                         offset 8  ",
    ]


def test_a_cell_that_is_too_wide_goes_on_in_the_next_line():
    lines = TABLE.text(20).splitlines()
    assert max(map(len, lines)) <= 20
    assert [line.rstrip() for line in lines[2:5]] == ["a long name        1", "of several", "words"]


def test_numbers_stay_whole():
    table = Table(("Type", "Bytes"), (("two words", "8.19 kB"),), frozenset({1}))
    assert [line.rstrip() for line in table.text(14).splitlines()[2:]] == ["two    8.19 kB", "words"]


def test_html_is_escaped():
    table = Table(("<b>",), (("a & b",),))
    assert "&lt;b&gt;" in table.html
    assert "a &amp; b" in table.html


def test_numbers_with_units():
    assert [scaled(n, "B") for n in (0, 999, 1500, 2.5e6, 3e9)] == ["0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB"]


def test_names_that_are_meant():
    names = ["group_norm_1", "group_norm_2", "pool_1"]
    assert near("group_norm", names) == names[:2]
    assert near("pol_1", names) == ["pool_1"]
    assert near("", names) == names
    assert alike("zzz", names) == []
    assert near("zzz", names) == names


def test_capitals_do_not_hide_what_is_meant():
    assert alike("NumGroups", ["name", "num_groups"]) == ["num_groups"]
    assert alike("adamsolver", ["AdamSolver"]) == ["AdamSolver"]


def test_the_shortest_name_that_contains_it_comes_first():
    assert alike("rate", ["learn_rate_drop_factor", "learn_rate"]) == ["learn_rate", "learn_rate_drop_factor"]


def test_what_to_do_about_a_mistyped_argument():
    assert keyword_cure("epsilom", ["epsilon", "name"]) == "write epsilon=…"
    assert keyword_cure("zzz", ["epsilon", "name"]) == "leave it out"


def test_likeness_is_decided_in_one_place():
    folder = Path(gncodegen.__file__).parent
    deciding = [path.name for path in folder.rglob("*.py") if "get_close_matches" in path.read_text(encoding="utf-8")]
    assert deciding == ["tables.py"]
