"""The options that say where and how a network runs: `--target`, `--emulate`, `--math`, `--precise`, `--tune`."""

from __future__ import annotations

from argparse import BooleanOptionalAction, Namespace
from typing import Any


def add_target(parser: Any, default: str | None = "cpu") -> None:
    """Adds the options to a command's parser; a default of None stands for what was chosen before."""
    shown = f" (default {default})" if default else " (default: as saved)"
    parser.add_argument("--target", default=default, metavar="T", help=f"cpu, cuda or sm_75 … sm_120{shown}")
    parser.add_argument(
        "--emulate", action="store_true", default=None, help="run the kernels of an sm_… target in the PTX emulator"
    )
    parser.add_argument("--math", default=None, metavar="M", help="on a GPU: float32 (default), tf32 or bf16")
    switch: dict[str, Any] = {"action": BooleanOptionalAction, "default": None}
    parser.add_argument("--precise", **switch, help="on a CPU: convolutions that round less and take longer")
    parser.add_argument("--tune", **switch, help="on a CPU: time the best kernels once and remember the fastest")


def chosen(given: Namespace) -> dict[str, Any]:
    """The keyword arguments of `gncodegen.compile` for what was typed; nothing for what was not."""
    typed = {name: getattr(given, name) for name in ("target", "emulate", "math", "precise", "tune")}
    return {name: value for name, value in typed.items() if value is not None}
