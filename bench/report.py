"""The recorded results of every CPU as a picture, docs/results.svg, and a page, docs/results.md."""

from __future__ import annotations

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


def table(record: dict[str, Any]) -> list[str]:
    """The rows of one CPU, in milliseconds."""
    rows = record["results"]["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["milliseconds"]))
    lines = ["| ms | | " + " | ".join(names) + " | best peer ÷ ours |", "|" + "---|" * (len(names) + 3)]
    for row in rows:
        cells = " | ".join(f"{row['milliseconds'][n]:.3g}" if n in row["milliseconds"] else "" for n in names)
        lines.append(f"| {row['net']} | {CALLS[row['what']]}, {row['batch']} | {cells} | {row['ratio']:.2f} × |")
    return lines


def page(records: dict[str, Any]) -> None:
    """All figures, with versions, command and date."""
    lines = ["# Networks against PyTorch and ONNX Runtime", "", "Written by `python bench/report.py`.", ""]
    for cpu, record in records.items():
        where = record["environment"]
        versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
        lines += [
            f"## {cpu}",
            "",
            f"{where['cpu']}, {where['cores']} cores. `{where['command']}`, {where['date'][:10]}.",
        ]
        lines += [f"Python {where['python']}, {versions}.", "", *table(record), ""]
    (DOCS / "results.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    found = recorded("networks")
    picture(found)
    page(found)
