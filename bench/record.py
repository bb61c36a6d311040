"""Where and how a benchmark ran, and its results as JSON and in the README."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llvmlite import binding

ROOT = Path(__file__).resolve().parents[1]


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE))
    simd = "AVX-512" if " avx512f" in text else "AVX2" if " avx2" in text else "no AVX2"
    name = found.get("model name", platform.machine())
    return f"{name} (family {found.get('cpu family')}, model {found.get('model')}), {simd}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "checkout"


def environment() -> dict[str, object]:
    """CPU, core count, versions, command and date."""
    packages = ("gncodegen", "numba", "llvmlite", "numpy", "torch", "jax", "onnxruntime")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
        "command": " ".join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cpu_name() -> str:
    """LLVM's name of this CPU, such as "znver3": results of one kind of CPU lie in a folder of their own."""
    return binding.get_host_cpu_name()


def save(name: str, results: object) -> Path:
    """Writes bench/results/<cpu>/<name>.json; results of other CPUs stay."""
    path = ROOT / "bench" / "results" / cpu_name() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"environment": environment(), "results": results}
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def recorded(name: str) -> dict[str, dict[str, object]]:
    """CPU → what bench/results/<cpu>/<name>.json holds."""
    files = sorted((ROOT / "bench" / "results").glob(f"*/{name}.json"))
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in files}
