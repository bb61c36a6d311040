"""Attacks in their long forms, counted: threads, forks, damaged caches, kills, saves that break off.

    python bench/trust.py            # what docs/trust.md states; hours on two cores
    python bench/trust.py --short    # minutes
    python bench/trust.py --only forks saves --share 0.1
    python bench/trust.py --page     # the counts of all CPUs, into the table of docs/trust.md

Each attack runs in processes of its own, in parts, so that a crash or a hang is a count too: a process hangs where it
takes too much CPU, or where it and all that it waits for want none, however long a busy machine lets it wait. Counts
are added up in bench/results/<cpu>/trust.json, over all runs of all sessions, and each failure is written there with
its date and its seed.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbelow
from typing import Any

from record import ROOT, cpu_name, recorded, save
from trust_attacks import ATTACKS, COUNTS, Attack, Counts, Watch, added


def run_part(attack: Attack, cases: int, seed: int) -> Counts:
    """Some cases in a process of their own."""
    command = [sys.executable, __file__, "--part", attack.name, "--cases", str(cases), "--seed", str(seed)]
    with tempfile.TemporaryDirectory(prefix="trust-") as folder:
        environment = {**os.environ, "TRUST_FOLDER": folder}
        if attack.own_cache:
            environment["GNCODEGEN_CACHE_DIR"] = f"{folder}/cache"
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        watch = Watch(process.pid, most=attack.seconds_a_part, patience=300)
        while True:
            try:
                said, _ = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if watch.hangs():
                    process.send_signal(signal.SIGABRT)  # faulthandler says where it hangs
                    process.communicate()
                    return added({"cases": cases, "hangs": 1, "failures": [f"{cases} cases, seed {seed}: a hang"]})
    if process.returncode or not said.strip():
        failure = f"{cases} cases, seed {seed}: ended with {process.returncode}"
        return added({"cases": cases, "crashes": 1, "failures": [failure]})
    return added(json.loads(said.splitlines()[-1]))


def run(attack: Attack, cases: int) -> Counts:
    """All cases of an attack; each part's counts and failures are kept."""
    total = added()
    while total["cases"] < cases:
        part = run_part(attack, min(attack.part, cases - total["cases"]), randbelow(1 << 31))
        for failure in part["failures"]:
            print(f"{attack.name}, {failure}", file=sys.stderr, flush=True)
        keep(attack.name, part)  # so that a run that is stopped counts
        total = added(total, part)
    return total


def rows_of(record: dict[str, Any]) -> dict[str, Any]:
    """Attack → its row in the record of a CPU."""
    return {row["attack"]: row for row in record.get("results", [])}


def keep(name: str, found: Counts) -> None:
    """Adds counts and failures to those of earlier runs."""
    folder = os.open(ROOT / "bench" / "results", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # several runs write to one file
        rows = rows_of(recorded("trust").get(cpu_name(), {}))
        row = rows.setdefault(name, {"attack": name})
        row |= {key: row.get(key, 0) + found[key] for key in COUNTS}
        today = datetime.now(UTC).date()
        if found["failures"]:
            row["failures"] = [*row.get("failures", []), *(f"{today}: {each}" for each in found["failures"])]
        save("trust", list(rows.values()))
    finally:
        os.close(folder)


def page() -> None:
    """Writes the counts of all CPUs into the table of docs/trust.md; its first three columns are written by hand."""
    path = ROOT / "docs" / "trust.md"
    text = path.read_text(encoding="utf-8")
    begin, end = "<!-- counts -->\n", "<!-- end -->\n"
    head, rest = text.split(begin)
    table, tail = rest.split(end)
    records = {cpu: rows_of(record) for cpu, record in recorded("trust").items()}
    lines = ["| attack | a case | planned | " + " | ".join([*(f"on {cpu}" for cpu in records), *COUNTS[1:]]) + " |"]
    lines.append("|---" * (3 + len(records) + len(COUNTS[1:])) + "|")
    for line in table.splitlines()[2:]:
        name, case, planned = (cell.strip() for cell in line.split("|")[1:4])
        rows = [rows.get(name, {}) for rows in records.values()]
        cells = [row.get("cases", 0) for row in rows] + [sum(row.get(key, 0) for row in rows) for key in COUNTS[1:]]
        lines.append(f"| {name} | {case} | {planned} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    path.write_text(head + begin + "\n".join(lines) + "\n" + end + tail, encoding="utf-8")


def main() -> None:
    """Runs the attacks, prints a row each, and keeps the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a hundredth of the cases, at least one part")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases")
    parser.add_argument("--only", nargs="+", choices=[attack.name for attack in ATTACKS], help="these attacks")
    parser.add_argument("--page", action="store_true", help="write docs/trust.md from what is recorded; runs nothing")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.page:
        page()
        return
    if given.part:
        attack = next(attack for attack in ATTACKS if attack.name == given.part)
        print(json.dumps(attack.run(given.cases, given.seed, Path(os.environ["TRUST_FOLDER"]))))
        return
    share = 0.01 if given.short else given.share
    print("attack", *COUNTS, sep="\t")
    for attack in ATTACKS:
        if not given.only or attack.name in given.only:
            found = run(attack, max(1, round(attack.cases * share)))
            print(attack.name, *(found[key] for key in COUNTS), sep="\t", flush=True)


if __name__ == "__main__":
    main()
