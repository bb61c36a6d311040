"""A headless Chromium, for what is looked at: Debian's packages chromium and chromium-driver, through selenium."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "hide-scrollbars",
)  # fmt: skip


def missing() -> str:
    """Why there is no browser here; "" = there is one."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return ""
    return "there is no chromium and chromedriver here: install Debian's chromium and chromium-driver"


def chromium(folder: Path) -> Any:
    """Starts one that keeps its profile in a folder; its log of the console is kept.

    Args:
        folder: for its profile.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"user-data-dir={folder}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
