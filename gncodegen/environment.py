"""Settings of the process: the one place that reads GNCODEGEN_* environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gncodegen.errors import OptionsError


@dataclass(frozen=True)
class Environment:
    """Process-wide settings, each read from GNCODEGEN_<NAME>.

    Args:
        cache_dir: where generated sources and objects lie (GNCODEGEN_CACHE_DIR; default: the user's cache directory).
        cache_shared: a folder that somebody else owns may be used where only its owner can write to it
            (GNCODEGEN_CACHE_SHARED).
        cache_limit: megabytes that the cache may take (GNCODEGEN_CACHE_LIMIT; 0 = 2048).
        cpu: LLVM's name of the CPU that kernels are compiled for, "" = this machine's (GNCODEGEN_CPU).
        threads: CPU threads, 0 = all cores (GNCODEGEN_THREADS).
        compile_workers: processes that compile kernels, 0 = one per core (GNCODEGEN_COMPILE_WORKERS).
        vector_bytes: vector width in bytes, 0 = the CPU's widest (GNCODEGEN_VECTOR_BYTES).
        check: run CPU kernels one by one on poisoned memory between guards, and look at both (GNCODEGEN_CHECK).
        debug: what the compiler tells on stderr, 0 = nothing, 1 to 4 as process/trace.py says (GNCODEGEN_DEBUG).
        override: a folder of edited kernels, which are used where they are right (GNCODEGEN_OVERRIDE).
        templates: a folder of edited templates, likewise (GNCODEGEN_TEMPLATES).
        verify: verify the IR after every pass (GNCODEGEN_VERIFY).
    """

    cache_dir: Path
    cache_shared: bool = False
    cache_limit: int = 2048
    cpu: str = ""
    threads: int = 0
    compile_workers: int = 0
    vector_bytes: int = 0
    check: bool = False
    debug: int = 0
    override: str = ""
    templates: str = ""
    verify: bool = True


def _integer(name: str, allowed: str) -> int:
    text = os.environ.get(f"GNCODEGEN_{name}", "0")
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise OptionsError(f"GNCODEGEN_{name}={text!r}; allowed: {allowed}; unset it or write GNCODEGEN_{name}=0")
    return value


def _cache_dir() -> Path:
    given = os.environ.get("GNCODEGEN_CACHE_DIR")
    if given:
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError as error:
            raise OptionsError(
                f"GNCODEGEN_CACHE_DIR={given!r}: there is no such user's home; allowed: a folder; write its whole path"
            ) from error
    from platformdirs import user_cache_path  # noqa: PLC0415  a folder that was named needs no search

    return user_cache_path("gncodegen", appauthor=False)


@cache
def environment() -> Environment:
    """The settings of this process, read once."""
    return Environment(
        cache_dir=_cache_dir(),
        cache_shared=os.environ.get("GNCODEGEN_CACHE_SHARED", "0") == "1",
        cache_limit=_integer("CACHE_LIMIT", "megabytes, 0 (2048) or a positive int") or 2048,
        cpu=os.environ.get("GNCODEGEN_CPU", "").strip(),
        threads=_integer("THREADS", "0 (all cores) or a positive int"),
        compile_workers=_integer("COMPILE_WORKERS", "0 (one per core) or a positive int"),
        vector_bytes=_integer("VECTOR_BYTES", "0 (the CPU's widest), 16, 32 or 64"),
        check=os.environ.get("GNCODEGEN_CHECK", "0") == "1",
        override=os.environ.get("GNCODEGEN_OVERRIDE", ""),
        templates=os.environ.get("GNCODEGEN_TEMPLATES", ""),
        debug=_integer("DEBUG", "0 (nothing) to 4 (all)"),
        verify=os.environ.get("GNCODEGEN_VERIFY", "1") != "0",
    )
