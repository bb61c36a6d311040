"""hoist: what depends on parameters alone is computed first and once."""

from __future__ import annotations

from gncodegen.passes.pipeline import run_pipeline

HEAD = """builtin.module {
  kern.kernel @k {
    op = "o", template = "t", target = "cpu", family = "cpu", dtype = "float32", layout = "l", shape = {}, tiles = {}}
  func.func @f(
    %x: memref<64xf32> {gn.kind = "input", gn.name = "x"}, %w: memref<64xf32> {gn.kind = "parameter", gn.name = "w"},
    %y: memref<64xf32> {gn.kind = "output", gn.name = "y"}
  ) {"""
ALLOC = "kern.alloc() : () -> memref<64xf32>"


def launch(operands: str, write: int) -> str:
    types = ", ".join(["memref<64xf32>"] * (operands.count(",") + 1))
    return f"kern.launch @k({operands}) {{grid = 1, writes = [{write}], step = 0}} : ({types}) -> ()"


def hoisted(*body: str) -> list[str]:
    """The lines of the function's body after the pass."""
    lines = "\n".join(body)
    text = run_pipeline(f"{HEAD}\n{lines}\nfunc.return }} }}", "hoist")
    return [line.strip() for line in text.splitlines() if "kern.alloc" in line or "kern.launch" in line]


def test_packed_weights_come_first_and_stay() -> None:
    packs = (f"%p = {ALLOC}", launch("%w, %p", 1))
    found = hoisted(f"%a = {ALLOC}", launch("%x, %a", 1), *packs, launch("%a, %p, %y", 2))
    assert [("constant" in line, "%w, %p" in line) for line in found[:2]] == [(True, False), (False, True)]
    assert sum("constant" in line for line in found) == 1
    assert "%x, %a" in found[3]


def test_what_follows_from_constants_is_constant_and_what_only_leads_to_them_is_not_kept() -> None:
    found = hoisted(
        f"%a = {ALLOC}", f"%b = {ALLOC}", launch("%w, %a", 1), launch("%x, %y", 1), launch("%a, %b", 1),
        launch("%b, %y", 1),
    )  # fmt: skip
    assert [line for line in found if "constant" in line] == [line for line in found[:3] if line.startswith("%b = ")]
    assert ["%x, %y" in line or "%b, %y" in line for line in found] == [False] * 4 + [True] * 2


def test_a_parameter_that_changes_is_no_constant() -> None:
    found = hoisted(f"%a = {ALLOC}", launch("%w, %a", 1), launch("%x, %w", 1), launch("%a, %y", 1))
    assert not any("constant" in line for line in found)


def test_a_buffer_that_others_write_too_is_no_constant() -> None:
    found = hoisted(f"%a = {ALLOC}", launch("%w, %a", 1), launch("%x, %a", 1), launch("%a, %y", 1))
    assert not any("constant" in line for line in found)


def test_an_output_is_written_in_every_run() -> None:
    assert hoisted(launch("%w, %y", 1)) == hoisted(launch("%w, %y", 1), "")
    assert "constant" not in hoisted(launch("%w, %y", 1))[0]


def test_no_memory_of_a_constant_is_taken_over() -> None:
    taker = "%b = kern.alloc(%a) : (memref<64xf32>) -> memref<64xf32>"
    found = hoisted(f"%a = {ALLOC}", launch("%w, %a", 1), taker, launch("%a, %x, %b", 2), launch("%b, %y", 1))
    assert [line for line in found if "kern.alloc(%" in line] == []
