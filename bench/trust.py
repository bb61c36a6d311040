"""Attacks in their long forms, counted: threads, forks, damaged caches, kills, saves that break off.

    python bench/trust.py            # what docs/trust.md states; hours on two cores
    python bench/trust.py --short    # minutes
    python bench/trust.py --only forks saves --share 0.1

Each attack runs in processes of its own, in parts, so that a crash or a hang is a count too: a process hangs where it
takes too much CPU, or where it and all that it waits for want none, however long a busy machine lets it wait. Counts
are added up in bench/results/<cpu>/trust.json, over all runs of all sessions.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from secrets import randbelow

from record import cpu_name, recorded, save
from trust_attacks import ATTACKS, Attack, Watch

COUNTS = ("cases", "wrong", "crashes", "hangs")


def run_part(attack: Attack, cases: int, seed: int) -> Counter[str]:
    """Some cases in a process of their own: {"cases", "wrong", "crashes", "hangs"}."""
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
                    return Counter(cases=cases, hangs=1)
    if process.returncode or not said.strip():
        print(f"{attack.name}: a part of {cases} cases, seed {seed}, ended with {process.returncode}", file=sys.stderr)
        return Counter(cases=cases, crashes=1)
    return Counter(json.loads(said.splitlines()[-1]))


def run(attack: Attack, cases: int) -> Counter[str]:
    """All cases of an attack; each part's counts are kept."""
    total: Counter[str] = Counter()
    while total["cases"] < cases:
        part = run_part(attack, min(attack.part, cases - total["cases"]), randbelow(1 << 31))
        keep(attack.name, part)  # so that a run that is stopped counts
        total += part
    return total


def keep(name: str, found: Counter[str]) -> Path:
    """Adds counts to those of earlier runs."""
    before = recorded("trust").get(cpu_name(), {}).get("results", {})
    rows = {row["attack"]: row for row in before} if isinstance(before, list) else {}
    row = rows.setdefault(name, {"attack": name})
    row |= {key: row.get(key, 0) + found[key] for key in COUNTS}
    return save("trust", list(rows.values()))


def main() -> None:
    """Runs the attacks, prints a row each, and keeps the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a hundredth of the cases, at least one part")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases")
    parser.add_argument("--only", nargs="+", choices=[attack.name for attack in ATTACKS], help="these attacks")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
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
