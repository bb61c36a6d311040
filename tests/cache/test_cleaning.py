"""The cache is bounded: what was not used for the longest time goes, files of one name together."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from gncodegen import environment as settings
from gncodegen.cache import cleaning, files, folder, locks
from gncodegen.cli import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    own = replace(settings.environment(), cache_dir=tmp_path / "cache", cache_limit=1)
    monkeypatch.setattr(folder, "environment", lambda: own)
    monkeypatch.setattr(cleaning, "environment", lambda: own)
    monkeypatch.setattr(settings, "environment", lambda: own)
    for module in (cleaning, locks, folder):
        monkeypatch.setattr(module, "root", lambda: own.cache_dir)
    own.cache_dir.mkdir(mode=0o700)
    return own.cache_dir


def fill(place, count, size):
    for number in range(count):
        for suffix in (".py", ".o"):
            path = place / "kernels" / f"k{number}{suffix}"
            files.write(path, bytes(size))
            os.utime(path, (1000 + number, 1000 + number))


def names(place):
    return sorted(path.name for path in (place / "kernels").iterdir())


def test_the_longest_unused_goes_first(place):
    fill(place, 10, 1000)
    assert files.read(place / "kernels" / "k0.o") is not None  # used now
    size = sum(entry.bytes for entry in cleaning.entries())
    assert cleaning.clean(size) == 0
    assert cleaning.clean(size // 2) > size // 2
    left = {name.partition(".")[0] for name in names(place)}
    assert left == {"k0", "k9", "k8", "k7"}
    assert all(f"{name}{suffix}" in names(place) for name in left for suffix in (".py", ".o"))


def test_a_file_that_goes_meanwhile_is_none(place):
    fill(place, 1, 10)
    (place / "kernels" / "gone.py").symlink_to("nowhere")
    assert [len(entry.paths) for entry in cleaning.entries()] == [2]


def test_links_to_folders_are_not_followed(place, tmp_path):
    fill(place, 1, 10)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    (place / "kernels" / "away").symlink_to(elsewhere)
    assert [(entry.kind, sorted(entry.names)) for entry in cleaning.entries()] == [("kernels", ["k0.o", "k0.py"])]
    cleaning.clean(0)
    assert names(place) == ["away"]
    assert (elsewhere / "mine.txt").exists()


def test_cleaning_is_done_at_most_once_an_hour(place):
    fill(place, 3, 400_000)
    cleaning.clean_sometimes()
    kept = names(place)
    assert 0 < len(kept) < 6
    fill(place, 3, 400_000)
    cleaning.clean_sometimes()
    assert len(names(place)) == 6


def test_the_command(place, capsys):
    fill(place, 3, 1000)
    (place / "kernels" / "k1.o").write_bytes(b"damaged")
    assert main(["cache"]) == 0
    assert "of 1 MB" in capsys.readouterr().out
    assert main(["cache", "check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(place / "kernels" / "k1.o"), "1 damaged files; each is made anew when it is used",
    ]  # fmt: skip
    assert main(["cache", "clear"]) == 0
    assert list(place.iterdir()) == []
