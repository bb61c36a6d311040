"""The recorded results of every CPU as a picture, docs/results.svg, and a page, docs/results.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from record import ROOT, recorded

CALLS = {"step": "training step", "predict": "prediction"}
COLOURS = {"step": "#2a6f97", "predict": "#e07a3f"}
DOCS = ROOT / "docs"


def picture(records: dict[str, Any]) -> None:
    """One panel per CPU: how many times as long the best peer takes."""
    mpl.rcParams |= {"svg.hashsalt": "gncodegen", "font.size": 9, "svg.fonttype": "none"}
    figure, panels = plt.subplots(1, len(records), figsize=(4.6 * len(records) + 2, 3.8), sharey=True, squeeze=False)
    for panel, (cpu, record) in zip(panels[0], records.items(), strict=True):
        rows = record["results"]["rows"]
        labels = [f"{row['net'].split(':')[0]}, {row['batch']}" for row in rows]
        places = list(range(len(rows)))[::-1]
        bars = panel.barh(places, [row["ratio"] for row in rows], color=[COLOURS[row["what"]] for row in rows])
        panel.bar_label(bars, fmt="%.1f ×", padding=2)
        panel.axvline(1, color="black", linewidth=0.8)
        panel.set_yticks(places, labels)
        panel.set_xlim(0, 1.15 * max(row["ratio"] for row in rows))
        panel.set_title(f"{cpu}, {record['environment']['cores']} cores")
        panel.spines[["top", "right"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    figure.legend(handles, CALLS.values(), loc="lower right", ncols=2, frameon=False)
    figure.suptitle("time of the best of PyTorch (both formats) and ONNX Runtime ÷ time of gncodegen", fontsize=10)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(DOCS / "results.svg", metadata={"Date": None})


Row = tuple[str, str, dict[str, float]]
"""A network, a call, and contender → milliseconds."""


def networks(results: Any) -> list[Row]:
    """Rows of bench/networks.py."""
    return [(row["net"], f"{CALLS[row['what']]}, {row['batch']}", row["milliseconds"]) for row in results["rows"]]


def published(cpu: str) -> list[tuple[dict[str, Any], list[Row]]]:
    """(record, rows) of networks that others published, as far as they were measured on a CPU."""
    readers: dict[str, Callable[[Any], Row]] = {
        "large-networks": lambda row: (row["network"], f"{CALLS[row['what']]}, {row['batch']}", row["milliseconds"]),
        "light-models": lambda row: (row["model"], f"prediction, {row['batch']}", row["milliseconds"]),
        "clients": lambda row: ("cosmic-conn", f"prediction, 1 of {row['size']}²", row["milliseconds"]),
    }
    found = [(recorded(name).get(cpu), read) for name, read in readers.items()]
    return [(record, list(map(read, record["results"]["rows"]))) for record, read in found if record]


def table(rows: list[Row]) -> list[str]:
    """Milliseconds, and how many times as long the best peer takes."""
    names = list(dict.fromkeys(name for _, _, times in rows for name in times))
    lines = ["| ms | | " + " | ".join(names) + " | best peer ÷ ours |", "|" + "---|" * (len(names) + 3)]
    for net, call, times in rows:
        cells = " | ".join(f"{times[name]:.3g}" if name in times else "" for name in names)
        best = min(time for name, time in times.items() if not name.startswith("gncodegen"))
        lines.append(f"| {net} | {call} | {cells} | {best / times['gncodegen']:.2f} × |")
    return lines


def starts(rows: list[dict[str, Any]]) -> list[str]:
    """Seconds of a process until its first result."""
    lines = ["| s | | empty cache | full cache | of it: import | compile | first call |", "|" + "---|" * 7]
    for row in rows:
        cells = " | ".join(f"{row[part]:.2f}" for part in ("cold", "warm", "import", "compile", "first"))
        lines.append(f"| {row['network']} | {row['function']} | {cells} |")
    return lines


def exported(results: dict[str, Any]) -> list[str]:
    """Exported files beside their originals."""
    lines = ["| ms | | original | exported file | exported ÷ original |", "|" + "---|" * 5]
    for row in results["rows"]:
        cells = " | ".join(f"{row['milliseconds'][who]:.3g}" for who in ("original", "exported"))
        call = CALLS[row["what"]]
        lines.append(f"| {row['net'].split(':')[0]} | {call}, {row['batch']} | {cells} | {row['ratio']:.2f} × |")
    return lines


def section(record: dict[str, Any], lines: list[str]) -> list[str]:
    """Where and how something was measured, and its table."""
    where = record["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return [
        f"{where['cpu']}, {where['cores']} cores. `{where['command']}`, {where['date'][:10]}.",
        f"Python {where['python']}, {versions}.",
        "",
        *lines,
        "",
    ]


def page(records: dict[str, Any]) -> None:
    """All figures, with versions, command and date."""
    lines = ["# Networks against PyTorch and ONNX Runtime", "", "Written by `python bench/report.py`.", ""]
    for cpu, record in records.items():
        lines += [f"## {cpu}", "", *section(record, table(networks(record["results"])))]
        if others := published(cpu):
            lines += ["### Networks that others published", ""]
        for record_of_others, rows in others:
            lines += section(record_of_others, table(rows))
        if started := recorded("startup").get(cpu):
            lines += ["### From the first line of a process to its first result", ""]
            lines += section(started, starts(started["results"]))
        if alone := recorded("standalone").get(cpu):
            lines += ["### Exported Python files, which compute the same bits", ""]
            lines += section(alone, exported(alone["results"]))
    (DOCS / "results.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    found = recorded("networks")
    picture(found)
    page(found)
