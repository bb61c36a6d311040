"""The cache's folder: who may write to it is checked before anything in it is believed."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

from gncodegen.environment import environment
from gncodegen.errors import CacheError

log = logging.getLogger("gncodegen.cache")


@cache
def root() -> Path:
    """The cache's folder; one of this process alone where it cannot be made.

    Raises:
        CacheError: it is no folder, or somebody else could have written what lies in it.
    """
    wanted = environment().cache_dir
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise CacheError(
            f"the cache folder {str(wanted)!r} is a file, or lies in one; allowed: a folder; "
            "set GNCODEGEN_CACHE_DIR to another path"
        ) from error
    except OSError as error:
        return _instead(wanted, str(error.strerror))
    check(wanted)
    return wanted


@cache
def private() -> Path:
    """A folder of this process, removed at its end: for what cannot be written to the cache's.

    Raises:
        CacheError: there is no place for it.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="gncodegen-"))
    except OSError as error:
        raise CacheError(
            f"neither {str(environment().cache_dir)!r} nor a temporary folder can be written ({error.strerror}); "
            "allowed: one of them; set GNCODEGEN_CACHE_DIR or TMPDIR to a folder with room"
        ) from error
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves it to its parent
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _instead(wanted: Path, reason: str) -> Path:
    log.warning(
        "the cache folder %s cannot be written (%s): kernels of this process are kept in %s until it ends",
        wanted, reason, private(),
    )  # fmt: skip
    return private()


def instead_of(path: Path, error: OSError | None = None) -> Path | None:
    """Where a file lies that cannot be written in its place; None where none had to.

    Args:
        path: the file's own place.
        error: why it cannot be written there; None = to read it.
    """
    if error is not None:
        _instead(path.parent, str(error.strerror))
    elif not private.cache_info().currsize:
        return None
    place = private() / path.parent.name
    place.mkdir(mode=0o700, exist_ok=True)
    return place / path.name


def is_private(path: Path) -> bool:
    """Whether a file lies in the folder of this process, where no other process looks for it."""
    return bool(private.cache_info().currsize) and path.is_relative_to(private())


@cache
def check(folder: Path) -> None:
    """Checks that nobody but this user, or the administrator, could have written to a folder.

    Raises:
        CacheError: somebody else owns it or may write to it, or to a folder on the way to it; names the cure.
    """
    real = folder.resolve()
    base = environment().cache_dir
    if folder.is_relative_to(base) and not real.is_relative_to(base.resolve()):
        raise CacheError(
            f"{folder} in the cache leads to {real}; allowed: folders; remove the link, or set GNCODEGEN_CACHE_DIR"
        )
    for place in (real, *real.parents):
        own = place == real or place.is_relative_to(base.resolve())
        if found := fault(place.stat(), own):
            wrong, cure = found
            raise CacheError(
                f"the cache folder {str(folder)!r} is not believed: {str(place)!r} {wrong}; allowed: folders that only "
                f"you can write to; {cure.format(str(place))}set GNCODEGEN_CACHE_DIR to a folder of your own"
            )


def fault(facts: os.stat_result, own: bool = True) -> tuple[str, str] | None:
    """What is wrong with a folder or file, and a cure; `own`: it is the cache's or in it, and not on the way to it."""
    if not hasattr(os, "geteuid"):
        return None
    me, cure = os.geteuid(), "run `chmod go-w {!r}`, or "
    if facts.st_uid not in (me, 0) and not (own and environment().cache_shared):
        trusted = "set GNCODEGEN_CACHE_SHARED=1 if you trust its owner, or " if own else ""
        return f"belongs to user {facts.st_uid}, not to you ({me})", trusted
    sticky = not own and facts.st_mode & stat.S_ISVTX
    if facts.st_mode & stat.S_IWOTH and not sticky:
        return "can be written by everybody", cure
    if facts.st_mode & stat.S_IWGRP and not sticky and not _only_me(facts.st_gid):
        return f"can be written by group {facts.st_gid}", cure
    return None


def _only_me(group: int) -> bool:
    """Whether a group is this user's own, as many systems make one for each user."""
    import grp  # noqa: PLC0415  POSIX only
    import pwd  # noqa: PLC0415

    try:
        name, found = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}
