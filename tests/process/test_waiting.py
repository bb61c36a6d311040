"""The line on stderr while something takes long."""

from __future__ import annotations

import io
import sys
import time

from gncodegen.process import waiting
from gncodegen.process.waiting import Waiting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, seconds):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(waiting, "PATIENCE", 0.01)
    with Waiting("compiling", 3) as line:
        time.sleep(seconds)
        line.advance()
    return stream.getvalue()


def test_on_a_terminal_after_a_while(monkeypatch):
    text = shown(monkeypatch, Terminal(), 0.2)
    assert "compiling: 0 of 3" in text
    assert "compiling: 1 of 3" in text
    assert text.endswith("\r\x1b[K")


def test_nothing_where_it_is_short(monkeypatch):
    assert not shown(monkeypatch, Terminal(), 0)


def test_nothing_where_there_is_no_terminal(monkeypatch):
    assert not shown(monkeypatch, io.StringIO(), 0.05)
