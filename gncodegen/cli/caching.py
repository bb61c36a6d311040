"""`gncodegen cache list · check · clear`: what lies in the cache folder."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gncodegen.tables import Table


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "cache",
        help="list, check or clear what is kept on disk",
        description="Lists what is kept on disk, checks that every file is what was written, or removes everything.",
    )
    parser.add_argument("action", choices=("list", "check", "clear"), nargs="?", default="list")
    parser.add_argument("--json", action="store_true", help="of list: print it as JSON")
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Does one of the three."""
    if given.action == "list":
        _list(given.json)
    else:
        {"check": _check, "clear": _clear}[given.action]()


def _list(as_json: bool) -> None:
    from gncodegen.cache.cleaning import entries
    from gncodegen.cache.folder import root
    from gncodegen.environment import environment

    kinds: dict[str, list[int]] = {}
    for entry in entries():
        kinds.setdefault(entry.kind, []).append(entry.bytes)
    if as_json:
        folders = {kind or ".": {"entries": len(sizes), "bytes": sum(sizes)} for kind, sizes in sorted(kinds.items())}
        print(json.dumps({"root": str(root()), "folders": folders}, indent=1))
        return
    rows = [(kind or ".", f"{len(sizes):,}", f"{sum(sizes) / 2**20:.1f}") for kind, sizes in sorted(kinds.items())]
    print(Table(("Folder", "Entries", "MB"), tuple(rows), frozenset({1, 2})))
    total = sum(map(sum, kinds.values())) / 2**20
    print(f"{total:.1f} of {environment().cache_limit} MB (GNCODEGEN_CACHE_LIMIT) in {root()}")


def _check() -> None:
    from gncodegen.cache.cleaning import damaged

    found = damaged()
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(found)} damaged files" + ("; each is made anew when it is used" if found else ""))


def _clear() -> None:
    from gncodegen.cache.cleaning import clear
    from gncodegen.cache.folder import root

    clear()
    print(f"Removed everything in {root()}")
