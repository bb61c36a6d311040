"""What tests take for a hang: attacks on a machine that has much else to do must not find any."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from support.hangs import Watch

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def taken_for_hanging(code: str, seconds: float = 30, stopped: bool = False, **limits: float) -> bool:
    """Whether a process that runs some code is taken for hanging within some seconds."""
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        try:
            if stopped:
                os.kill(process.pid, signal.SIGSTOP)
            watch = Watch(process.pid, **limits)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if watch.hangs():
                    return True
                time.sleep(0.05)
            return False
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # what it has started, too


SLEEPS = "import time; time.sleep(60)"
WORKS = "while True: pass"
BELOW = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"


def test_one_that_waits_for_nothing_hangs() -> None:
    assert taken_for_hanging(SLEEPS, patience=0.3)
    assert taken_for_hanging(BELOW.format(SLEEPS), patience=0.3)


def test_one_that_works_too_long_hangs() -> None:
    assert taken_for_hanging(WORKS, most=0.05)


def test_one_that_works_or_is_held_up_does_not_hang() -> None:
    limits = {"seconds": 0.6, "patience": 0.3}
    assert not taken_for_hanging(WORKS, **limits)
    assert not taken_for_hanging(SLEEPS, stopped=True, **limits)
    assert not taken_for_hanging(BELOW.format(WORKS), **limits)
