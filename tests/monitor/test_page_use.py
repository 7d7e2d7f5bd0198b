"""The page in a headless Chromium as its users handle it: clicks, keys, links, saved files."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_steps import open_page, read_text, select_cell, wait_until
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.skipif(
    shutil.which("chromedriver") is None or shutil.which("chromium") is None,
    reason="needs Debian's chromium and chromium-driver",
)


def test_a_warning_is_counted_until_it_is_acknowledged(
    browser: webdriver.Chrome, run: Any, serve: Callable
):
    """The acknowledgement outlives a reload, and the list can leave other events out."""
    run.add_event("started", None, "12 cells")
    run.add_event("worker_lost", None, "env runner 2 no longer answers")
    url = serve(run.folder).url
    open_page(browser, url)
    count = "#headline .tile:last-child strong"
    wait_until(browser, lambda: read_text(browser, count) == "1")
    browser.find_element(By.ID, "event-warnings").click()
    wait_until(browser, lambda: "started" not in read_text(browser, "#timeline"))
    browser.find_element(By.CSS_SELECTOR, "#timeline [aria-pressed]").click()
    wait_until(browser, lambda: read_text(browser, count) == "0")
    open_page(browser, url)
    wait_until(browser, lambda: "acknowledged" in read_text(browser, "#timeline"))

    assert read_text(browser, count) == "0"


def test_a_link_shows_the_same_view(browser: webdriver.Chrome, run: Any, serve: Callable):
    """Run, cell, window, quantity and steps are in the address, also after a choice."""
    run.add_iterations(12)
    url = serve(run.folder).url
    open_page(browser, f"{url}#cell=cell_3&window=100&curve=fail_rate&from=300&to=900")
    wait_until(browser, lambda: read_text(browser, "#cell-title") == "cell_3")

    assert "steps 800 to 900" in read_text(browser, "#clock")
    assert "Below SLA" in read_text(browser, "#curves")
    browser.find_element(By.CSS_SELECTOR, "#map-field option[value=phase]").click()
    wait_until(browser, lambda: "colour=phase" in browser.current_url)
    assert "cell=cell_3" in browser.current_url


def test_what_is_seen_can_be_saved(page: webdriver.Chrome):
    """The map's values as CSV: a line of names and one line per cell."""
    page.execute_script(
        "const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; });"
        " return make(blob); }"
    )
    page.find_element(By.CSS_SELECTOR, '[aria-label="Save cells as CSV"]').click()
    saved = wait_until(page, lambda: page.execute_script("return window.saved"))

    lines = str(saved).splitlines()
    assert "cell,operator_id,fail_rate_95" in lines[0]
    assert len(lines) == 13


def test_a_click_on_a_cell_shows_its_slices(page: webdriver.Chrome):
    select_cell(page, "cell_12")

    assert len(page.find_elements(By.CSS_SELECTOR, ".slices tbody tr")) == 4
    assert "Source of the transfer: cell_5" in read_text(page, "#cell-body")
    assert len(page.find_elements(By.CSS_SELECTOR, ".charts .chart")) == 4


def test_the_map_can_be_used_with_the_keyboard(page: webdriver.Chrome):
    page.find_element(By.ID, "find-cell").send_keys(Keys.TAB)
    focused = page.switch_to.active_element
    assert focused.get_attribute("aria-label").startswith("cell_1:")
    focused.send_keys(Keys.ARROW_RIGHT)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait_until(page, lambda: read_text(page, "#cell-title") not in ("Cell", "cell_1"))


@pytest.mark.skipif(
    importlib.util.find_spec("axe_core_python") is None, reason="needs axe-core-python"
)
@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 1400), ("light", 375)])
def test_axe_finds_no_accessibility_violation(
    page: webdriver.Chrome, run: Any, theme: str, width: int
):
    """Contrast, names, roles and scrollable regions. Nothing is cut off on a phone's screen."""
    spec = importlib.util.find_spec("axe_core_python")
    assert spec is not None
    assert spec.origin is not None
    run.add_event("guard_fell_back", "cell_12", "fell back", reward=0.7)
    run.write_summary()
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
    wait_until(page, lambda: read_text(page, "#run-state") == "finished")
    select_cell(page, "cell_12")
    page.execute_script(Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.execute_async_script("axe.run(document).then(arguments[arguments.length - 1])")
    scroll_width = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    violations = [
        (violation["id"], node["html"][:120])
        for violation in found["violations"]
        for node in violation["nodes"]
    ]

    assert violations == []
    assert scroll_width <= width
