"""Files of the cache: only what was written is read; only the user's own folders are believed."""

from __future__ import annotations

import logging
import os
import random
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from gncodegen import environment as settings
from gncodegen.cache import files, folder, locks
from gncodegen.errors import CacheError

CONTENT = b"\x7fELF" + bytes(range(256)) * 4


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty cache."""
    own = replace(settings.environment(), cache_dir=tmp_path / "cache")
    monkeypatch.setattr(folder, "environment", lambda: own)
    for known in (folder.root, folder.private, folder.check, folder._instead):
        known.cache_clear()
    yield tmp_path / "cache"
    for known in (folder.root, folder.private, folder.check, folder._instead):
        known.cache_clear()


def drawn_damage(count):
    """Ways to damage a file, each a function of its bytes."""
    draw = random.Random(7)
    yield from (lambda _: b"", lambda whole: bytes(len(whole)), lambda whole: whole + b"\n", lambda whole: whole[:-1])
    for _ in range(count):
        at, bit, end = draw.random(), 1 << draw.randrange(8), draw.random()

        def flip(whole, at=at, bit=bit):
            index = int(at * len(whole))
            return whole[:index] + bytes([whole[index] ^ bit]) + whole[index + 1 :]

        yield flip
        yield lambda whole, end=end: whole[: int(end * len(whole))]


@pytest.mark.parametrize("name", ["a.o", "a.py", "a.ll", "a.ptx", "a.json", "a b\n\u00e9.py"])
def test_what_was_written_is_read(place, name):
    for content in (CONTENT, b"", b"\n# sha256 x\n"):
        assert files.write(place / "kernels" / name, content) == place / "kernels" / name
        assert files.read(place / "kernels" / name) == content
    assert stat.S_IMODE((place / "kernels").stat().st_mode) == 0o700
    assert [each.name for each in (place / "kernels").iterdir()] == [name]
    assert files.read(place / "kernels" / "other") is None


def test_damaged_files_are_not_read(place, caplog):
    path = place / "kernels" / "a.o"
    files.write(path, CONTENT)
    whole = path.read_bytes()
    for number, damage in enumerate(drawn_damage(100)):
        if damage(whole) == whole:
            continue
        path.write_bytes(damage(whole))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert files.read(path) is None, number
        assert len(caplog.records) == 1
    files.write(path, CONTENT)
    assert files.read(path) == CONTENT


def test_a_file_of_another_name_is_not_read(place):
    files.write(place / "a.o", CONTENT)
    (place / "b.o").write_bytes((place / "a.o").read_bytes())
    assert files.read(place / "b.o") is None


def test_what_is_no_file_is_not_read(place):
    place.mkdir(mode=0o700)
    os.mkfifo(place / "fifo.o")
    (place / "folder.o").mkdir()
    files.write(place / "a.o", CONTENT)
    (place / "link.o").symlink_to(place / "a.o")
    for name in ("fifo.o", "folder.o", "link.o"):
        assert files.read(place / name) is None


def test_what_is_larger_than_any_file_is_not_read_into_memory(place):
    path = files.write(place / "a.o", CONTENT)
    os.truncate(path, 1 << 40)  # takes no room on a disk that knows holes
    assert files.read(path) is None


@pytest.mark.parametrize(
    "give",
    [
        lambda path: path.chmod(0o606),
        pytest.param(
            lambda path: os.chown(path, 12345, -1), marks=pytest.mark.skipif(os.geteuid() != 0, reason="root only")
        ),
    ],
)
def test_a_file_that_others_can_write_to_is_made_anew(place, give, caplog):
    path = files.write(place / "a.o", CONTENT)
    give(path)
    assert files.read(path) is None
    assert f"{path} is damaged, was not written by gncodegen, or others can write to it" in caplog.text
    assert files.read(files.write(path, CONTENT)) == CONTENT


@pytest.mark.parametrize("mode", [0o777, 0o722, 0o702])
def test_a_folder_that_others_write_to_is_refused(place, mode):
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(CacheError, match=r"is not believed.*can be written by.*run `chmod go-w .*GNCODEGEN_CACHE_DIR"):
        folder.root()


def test_a_parent_that_others_write_to_is_refused_unless_sticky(place):
    place.parent.chmod(0o777)
    with pytest.raises(CacheError, match="can be written by everybody"):
        folder.root()
    place.parent.chmod(0o1777)
    assert folder.root() == place


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(place, monkeypatch):
    files.write(place / "a.o", CONTENT)
    os.chown(place, 12345, 12345)
    folder.check.cache_clear()
    for use in (folder.root, lambda: files.read(place / "a.o"), lambda: files.write(place / "b.o", b"")):
        with pytest.raises(CacheError, match=r"belongs to user 12345, not to you \(0\)"):
            use()
    shared = replace(folder.environment(), cache_shared=True)
    monkeypatch.setattr(folder, "environment", lambda: shared)
    assert files.read(place / "a.o") == CONTENT
    place.chmod(0o770)
    folder.check.cache_clear()
    with pytest.raises(CacheError, match="can be written by group"):
        files.read(place / "a.o")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_shared_cache_of_somebody_else_is_read_in_all_its_folders(place, monkeypatch):
    files.write(place / "kernels" / "a.o", CONTENT)
    for each in (place, place / "kernels"):
        os.chown(each, 12345, 12345)
    folder.check.cache_clear()
    with pytest.raises(CacheError, match="set GNCODEGEN_CACHE_SHARED=1 if you trust its owner"):
        files.read(place / "kernels" / "a.o")
    shared = replace(folder.environment(), cache_shared=True)
    monkeypatch.setattr(folder, "environment", lambda: shared)
    assert files.read(place / "kernels" / "a.o") == CONTENT
    place.chmod(0o777)
    folder.check.cache_clear()
    with pytest.raises(CacheError, match=r"can be written by everybody.*chmod"):
        files.read(place / "kernels" / "a.o")


def test_a_link_out_of_the_cache_is_refused(place, tmp_path):
    files.write(tmp_path / "elsewhere" / "a.o", CONTENT)
    place.mkdir(mode=0o700)
    (place / "kernels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="leads to"):
        files.read(place / "kernels" / "a.o")


def test_a_file_in_its_place_is_refused(place):
    place.write_text("")
    with pytest.raises(CacheError, match="is a file, or lies in one; allowed: a folder; set GNCODEGEN_CACHE_DIR"):
        folder.root()


def test_what_cannot_be_written_is_kept_by_this_process(place, monkeypatch, caplog):
    files.write(place / "kernels" / "a.o", CONTENT)
    write = files._write

    def full(path, content, flush=True):
        if path.is_relative_to(place):
            raise OSError(28, "No space left on device")
        write(path, content, flush)

    monkeypatch.setattr(files, "_write", full)
    with caplog.at_level(logging.WARNING):
        kept = files.write(place / "kernels" / "b.o", b"b")
        files.write(place / "kernels" / "c.o", b"c")
    assert "No space left on device" in caplog.text
    assert len(caplog.records) == 1
    assert kept != place / "kernels" / "b.o"
    assert folder.is_private(kept)
    assert files.read(place / "kernels" / "b.o") == files.read(kept) == b"b"
    assert files.read(place / "kernels" / "a.o") == CONTENT
    files.keep(place / "last.json", b"")
    assert files.read(place / "last.json") is None


def test_no_place_at_all(place, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(folder.tempfile, "mkdtemp", refuse)
    monkeypatch.setattr(files.disk.os, "open", refuse)
    with pytest.raises(CacheError, match=r"nor a temporary folder can be written .*; allowed: one of them; set"):
        files.write(place / "kernels" / "a.o", CONTENT)


def test_nothing_half_written_stays(place, monkeypatch):
    files.write(place / "a.o", CONTENT)
    monkeypatch.setattr(files.disk.os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        files.write(place / "a.o", b"new")
    monkeypatch.undo()
    assert [each.name for each in place.iterdir()] == ["a.o"]


def test_a_lock_is_held_by_one_process(place, tmp_path):
    path = place / "kernels" / "a.py"
    ask = "from gncodegen.cache.locks import held\nimport sys\nfrom pathlib import Path\n"
    ask += "with held(Path(sys.argv[1]), wait=False) as free: print(free)"
    env = {**os.environ, "GNCODEGEN_CACHE_DIR": str(place)}

    def other():
        return subprocess.run(
            [sys.executable, "-c", ask, str(path)], env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    with locks.held(path, wait=False) as free:
        assert free
        assert other() == "False"
    assert other() == "True"
