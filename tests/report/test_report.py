"""The report: what it holds, and how it behaves in a browser."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from cli.test_main import NETWORK

import gncodegen as gnc
from bench.browser import chromium, missing
from gncodegen.errors import SaveError, TargetError
from gncodegen.report import drawings, html, machine_code, profile
from gncodegen.report.roofline import Roofline

pytest.importorskip("networkx")


@pytest.fixture(scope="module")
def compiled():
    names: dict = {}
    exec(NETWORK, names)
    return gnc.compile(names["layers"], batch_size=4)


@pytest.fixture(scope="module")
def page(compiled, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    compiled.report(path)
    return path


def test_one_file_that_asks_for_nothing(page):
    text = page.read_text()
    assert len(text) < 3_000_000
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text)
    assert "Where the time goes" in text
    assert 'href="#layer/gn"' in text


def test_a_file_that_cannot_be_written(compiled, tmp_path):
    with pytest.raises(SaveError, match="cannot be written"):
        html.write(compiled, tmp_path / "none" / "report.html", None)


FUSED = r"\b(?:v?fn?m(?:add|sub|la|ls)\w*|fma\.rn\.\w+|FFMA\S*)\s"
"""A fused multiply-add, as x86, ARM, PTX and SASS write it."""


@pytest.mark.parametrize(("target", "level"), [("cpu", "Assembly"), ("sm_80", "PTX"), ("sm_80", "SASS")])
def test_every_fused_multiply_add_leads_to_the_line_that_asked_for_it(target, level):
    layers = [gnc.ImageInputLayer((4, 4, 8), normalization="none"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer()]
    kernel = gnc.compile(layers, target, batch_size=2, training=False).kernels["group_norm_1"]
    source, shown = kernel.source.splitlines(), machine_code.levels(kernel, kernel.lines)[level]
    found = [(text, line) for text, line in shown if re.search(FUSED, text)]
    assert found
    for text, line in found:
        assert line, text
        assert re.search(r"fma\(| [-+*] |square|sqrt|two_sum", source[line - 1]), (text, source[line - 1])
    asking = {number for number, text in enumerate(source, 1) if re.search(r"= fma\(", text)}
    assert asking & {line for _, line in found}, "and the other way"


def test_lines_of_inlined_code_are_the_innermost_of_the_file():
    text = """
helper:
        /*0000*/                   RET ;
kernel_a:
.text.kernel_a:
\t//## File "/there/other.h", line 3 inlined at "/here/a.py", line 9
\t//## File "/here/a.py", line 9 inlined at "/here/a.py", line 20
\t//## File "/here/a.py", line 20
        /*0000*/                   FADD R1, R2, R3 ;
        /*0010*/              @!P0 BRA `(.L_x_0) ;
\t//## File "/here/a.py", line 21
        /*0020*/                   EXIT ;
.L_x_0:
"""
    assert machine_code.sass(text, "a.py") == [
        ("kernel_a:", 0),
        ("    /*0000*/ FADD R1, R2, R3 ;", 9),
        ("    /*0010*/ @!P0 BRA `(.L_x_0) ;", 9),
        ("    /*0020*/ EXIT ;", 21),
        (".L_x_0:", 0),
        ("helper:", 0),
        ("    /*0000*/ RET ;", 0),
    ]


def test_what_is_missing_says_how_to_get_it(monkeypatch):
    layers = [gnc.ImageInputLayer((4, 4, 8), normalization="none"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer()]
    kernel = gnc.compile(layers, "sm_80", batch_size=2, training=False).kernels["group_norm_1"]

    def missing(self):
        raise TargetError("no nvdisasm")

    monkeypatch.setattr(type(kernel), "sass", property(missing))
    assert machine_code.levels(kernel, kernel.lines)["SASS"] == [("no nvdisasm", 0)]


def test_changed_lines_are_marked(compiled):
    packed = html._layers(compiled, [], compiled.lowering.overview()[0])
    stages = dict(packed["layers"]["relu"]["stages"])
    gone = [packed["lines"][index] for mark, index in stages["fuse"] if mark == "-"]
    new = [packed["lines"][index] for mark, index in stages["fuse"] if mark == "+"]
    assert any("gn.activation(" in line for line in gone)
    assert any("gn.group_norm(" in line for line in new)


def test_buffers_lead_to_the_kernels_that_fill_them(compiled):
    text = drawings.memory(compiled.memory, compiled.program.calls)
    assert text.count('class="block"') == len(compiled.memory.blocks)
    assert '<a href="#kernel/group_norm_1"><title>4×6 float32 of gn + relu, ' in text


def test_what_was_edited_is_marked():
    call = profile.Cost("a_b", ("gn",), 1, 1e-3, 8, 8, None)
    edited = profile.Profile("predict", 4, 5, 1e-3, 1e-3, (call,), None, edited=("a_b",))
    assert "a_b (edited)" in str(edited)
    assert '<a href="#kernel/a_b">a_<wbr>b (edited)</a>' in html._linked(edited.table, "kernel", 0)


def test_the_roofline_says_what_its_lines_are():
    calls = tuple(profile.Cost(f"k{n}", (), 1, 1e-3 * n, 10**6, 10**7, None) for n in range(1, 6))
    limits = Roofline(2, ((1 << 17, 60e9), (1 << 28, 5e9)), 2e11)
    text = drawings.roofline(profile.Profile("predict", 4, 5, 1e-2, 1e-2, calls, limits))
    found = re.findall(r'class="label"[^>]*>([^<]*)<', text)
    assert found == ["60 GB/s for 131 kB", "5 GB/s for 268 MB", "200 GFLOP/s", "1", "2", "3"]


def test_colours_keep_the_text():
    source = 'x = "a < b"  # c\n\ndef f():\n    return 1'
    lines = html._coloured(source)
    assert len(lines) == 4
    assert '<span class="s">&quot;' in lines[0]
    assert '<span class="k">def</span>' in lines[2]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium")
    if missing():
        pytest.skip(missing())
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def show(browser, page, panel):
    if browser.current_url.startswith(page.as_uri()):
        browser.execute_script("location.hash = arguments[0]", panel)
    else:
        browser.get(f"{page.as_uri()}#{panel}")
    shown(browser, panel)


def shown(browser, panel):
    for _ in range(100):
        if browser.execute_script("return document.body.dataset.shown") == f"#{panel}":
            return
        time.sleep(0.05)
    raise AssertionError(f"{panel} is not shown")


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.full)])
def test_every_panel_opens(browser, page, compiled, width):
    browser.set_window_size(width, 900)
    panels = [name for name, _ in html.PANELS]
    panels += [f"layer/{node.name}" for node in compiled.network.nodes]
    panels += [f"kernel/{name}" for name in compiled.program.kernels]
    for panel in panels:
        show(browser, page, panel)
        visible = browser.execute_script(
            "return [...document.querySelectorAll('.panel')].filter(p => !p.hidden).length"
        )
        assert visible == 1
        wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= inner, panel
    assert browser.get_log("browser") == []


def test_links_lead_both_ways(browser, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.set_window_size(1280, 900)
    show(browser, page, "network")
    link = browser.find_element(By.CSS_SELECTOR, '#network a[href="#layer/gn"]')
    browser.execute_script("arguments[0].focus()", link)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    shown(browser, "layer/gn")
    browser.find_element(By.CSS_SELECTOR, '#detail a[href="#kernel/group_norm_1"]').click()
    shown(browser, "kernel/group_norm_1")
    source, machine = browser.find_elements(By.CSS_SELECTOR, "#detail .code")
    row = next(r for r in machine.find_elements(By.CSS_SELECTOR, "[data-line]") if "fm" in r.text)
    browser.execute_script("arguments[0].scrollIntoView(); arguments[0].click()", row)
    marked = source.find_elements(By.CSS_SELECTOR, ".on")
    assert [r.get_attribute("data-line") for r in marked] == [row.get_attribute("data-line")]
    browser.execute_script("arguments[0].click()", marked[0])
    assert row.get_attribute("class") == "on"
    browser.execute_script("document.querySelector('#detail a[href=\"#layer/gn\"]').click()")
    shown(browser, "layer/gn")
    assert np.all([entry["level"] != "SEVERE" for entry in browser.get_log("browser")])
