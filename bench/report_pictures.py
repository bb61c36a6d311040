"""The reports of two networks, how long they take and how large they are, and pictures of them for docs/report.md.

python bench/report_pictures.py [--only NAME] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

from browser import chromium, missing
from nets import RESNET20
from PIL import Image
from record import ROOT

import gncodegen as gnc
from gncodegen.report.drawn import drawn

WIDTHS = {"wide": (1280, 860), "narrow": (390, 844)}
PICTURES = (
    ("resnet20", "summary", "wide", "light"),
    ("resnet20", "network", "wide", "dark"),
    ("resnet20", "layers", "wide", "light"),
    ("resnet20", "kernels", "wide", "dark"),
    ("resnet20", "kernel/group_norm_1", "wide", "light"),
    ("resnet20", "roofline", "wide", "light"),
    ("resnet20", "memory", "wide", "dark"),
    ("digits", "summary", "narrow", "dark"),
    ("digits", "network", "narrow", "light"),
    ("digits", "layer/groupnorm_1", "narrow", "dark"),
    ("digits", "kernel/group_norm_1", "narrow", "light"),
    ("digits", "layer/groupnorm_1", "wide", "light"),
)
"""(network, panel, width, scheme)."""

FOLDER = ROOT / "docs" / "report"


def compiled(name: str) -> gnc.Compiled:
    """A training step of one of the networks."""
    if name == "resnet20":
        return gnc.compile(RESNET20.layers(), batch_size=RESNET20.batch, seed=0)
    sys.path.insert(0, str(ROOT / "examples"))
    import digits

    return gnc.compile(digits.layers(), batch_size=64, seed=0)


def reported(name: str, folder: Path) -> tuple[Path, str]:
    """The report, and a row about it; written twice, so that the second time finds what is cached."""
    network, path = compiled(name), folder / f"{name}.html"
    network.profile(*drawn(network), measure=True)  # a roof that was found while other work ran is too low
    for _ in range(2):
        begin, cpu = time.perf_counter(), time.process_time()
        network.report(path)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    size = f"{path.stat().st_size:,} bytes"
    return path, f"| {name} | {len(network.program.kernels)} | {size} | {seconds:.1f} s, {cpu:.1f} s of CPU |"


def picture(browser: Any, page: Path, panel: str, width: str, scheme: str, file: Path) -> None:
    """One PNG of a panel."""
    wide, high = WIDTHS[width]
    metrics = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": width == "narrow"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get("about:blank")
    browser.get(f"{page.as_uri()}#{panel}")
    while browser.execute_script("return document.body.dataset.shown") != f"#{panel}":
        time.sleep(0.05)
    if panel.startswith("kernel/"):
        browser.execute_script(
            "const row = [...document.querySelectorAll('#detail .pair > div:last-child [data-line]')]"
            ".find((each) => /fma|fmadd/.test(each.textContent)); if (row) { row.click(); row.parentNode.scrollTop = "
            "row.offsetTop - row.parentNode.offsetTop - 120; }"
            "document.querySelector('#detail .pair').scrollIntoView({block: 'center'});"
        )
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    Image.open(BytesIO(b64decode(shot["data"]))).convert("RGB").quantize(64).save(file, optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", default="", help="a folder for the reports themselves")
    given = parser.parse_args()
    if missing():
        print(missing())
        return 1
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.keep or temporary)
        pages = {name: reported(name, folder) for name in dict.fromkeys(each[0] for each in PICTURES)}
        browser = chromium(Path(temporary) / "profile")
        try:
            for name, panel, width, scheme in PICTURES:
                file = FOLDER / f"{name}-{panel.split('/')[0]}-{width}-{scheme}.png"
                if given.only in file.name:
                    picture(browser, pages[name][0], panel, width, scheme, file)
                    print(file, file.stat().st_size)
        finally:
            browser.quit()
    print(*(row for _, row in pages.values()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
