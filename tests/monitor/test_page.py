"""The page in a headless Chromium: what it shows, how it is used, and what it must not run."""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.skipif(
    shutil.which("chromedriver") is None or shutil.which("chromium") is None,
    reason="needs Debian's chromium and chromium-driver",
)
TIMEOUT_S = 20
HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, run: Any, serve: Callable) -> webdriver.Chrome:
    """The page of a run of 12 cells in which cell_12 was warm-started."""
    run.add_iterations(12)
    run.add_transfer()
    _open(browser, serve(run.folder).url)
    return browser


def _open(browser: webdriver.Chrome, url: str) -> None:
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(url)
    _wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".network .cell"))


def _wait_until(browser: webdriver.Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, TIMEOUT_S, poll_frequency=0.05).until(lambda _: condition())


def _read_text(browser: webdriver.Chrome, selector: str) -> str:
    return browser.execute_script(
        "return document.querySelector(arguments[0])?.textContent ?? ''", selector
    )


def _select_cell(browser: webdriver.Chrome, cell: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f'.network [aria-label^="{cell}:"]').click()
    _wait_until(browser, lambda: _read_text(browser, "#cell-title") == cell)
    _wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices tbody tr"))


def _list_requested_urls(browser: webdriver.Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def test_the_page_shows_the_network_and_follows_the_run(page: webdriver.Chrome, run: Any):
    """Twelve sectors, a heat map and events. New iterations appear without a reload."""
    assert len(page.find_elements(By.CSS_SELECTOR, ".network .cell")) == 12
    assert "cell_12" in _read_text(page, "#similarity .heat")
    assert "★" in _read_text(page, "#similarity .chosen")
    assert "warm started" in _read_text(page, "#timeline")
    page.execute_script("window.sameDocument = true")
    run.add_iterations(5)
    run.add_event("guard_fell_back", "cell_12", "fell back to traffic-aware")
    run.write_summary()
    _wait_until(page, lambda: "1700" in _read_text(page, "#headline"))
    _wait_until(page, lambda: "guard fell back" in _read_text(page, "#timeline"))
    _wait_until(page, lambda: _read_text(page, "#run-state") == "finished")

    assert "oracle" in _read_text(page, "#curves")
    assert page.execute_script("return window.sameDocument")
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert all(
        url.startswith("http://127.0.0.1:")
        for url in _list_requested_urls(page)
        if "data:" not in url
    )


def test_a_click_on_a_cell_shows_its_slices(page: webdriver.Chrome):
    _select_cell(page, "cell_12")

    assert len(page.find_elements(By.CSS_SELECTOR, ".slices tbody tr")) == 4
    assert "Source of the transfer: cell_5" in _read_text(page, "#cell-body")
    assert len(page.find_elements(By.CSS_SELECTOR, ".charts .chart")) == 4


def test_the_map_can_be_used_with_the_keyboard(page: webdriver.Chrome):
    page.find_element(By.ID, "find-cell").send_keys(Keys.TAB)
    focused = page.switch_to.active_element
    assert focused.get_attribute("aria-label").startswith("cell_1:")
    focused.send_keys(Keys.ARROW_RIGHT)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    _wait_until(page, lambda: _read_text(page, "#cell-title") not in ("Cell", "cell_1"))


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
    _wait_until(page, lambda: _read_text(page, "#run-state") == "finished")
    _select_cell(page, "cell_12")
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


def test_names_and_events_of_a_hostile_run_are_shown_as_text(
    browser: webdriver.Chrome, run: Any, serve: Callable
):
    run.iterations = 1
    row = run.make_row()
    row["iteration"], row["cells"][HOSTILE] = 1, row["cells"]["cell_1"]
    run.append_line("metrics.jsonl", json.dumps(row))
    distances = {HOSTILE: 1.0, "cell_1": "x"}
    names = dict.fromkeys(("source", "target", "measure"), HOSTILE)
    run.add_event(HOSTILE, HOSTILE, HOSTILE, distances=distances, **names)
    run.append_line(
        "summary.json", json.dumps({"policies": {HOSTILE: {"reward_mean": 1, "ci95": 7}}})
    )
    _open(browser, serve(run.folder).url)
    browser.execute_script(
        "document.querySelector(`.network [aria-label*='onerror']`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    _wait_until(browser, lambda: "onerror" in _read_text(browser, "#cell-title"))
    _wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices"))

    assert "onerror" in _read_text(browser, "#timeline")
    assert browser.execute_script("return window.harmed") is None
    assert browser.find_elements(By.CSS_SELECTOR, "main img, main script") == []


def test_three_thousand_cells_are_drawn_and_can_be_selected(
    browser: webdriver.Chrome, write_run: type, tmp_path: Path, serve: Callable
):
    large = write_run(tmp_path / "large", n_cells=3072)
    layout = {"kind": "grid", "rows": 32, "columns": 32, "sla_groups": ["A", "B"]}
    large.write_config({"scenario": {**_dump_paper_scenario(), "layout": layout}})
    large.add_iterations(3)
    _open(browser, serve(large.folder).url)

    assert len(browser.find_elements(By.CSS_SELECTOR, ".network .cell")) == 3072
    browser.execute_script(
        "document.querySelector(`.network [aria-label^='cell_3000:']`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    _wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices tbody tr"))


def _dump_paper_scenario() -> dict[str, Any]:
    from pydantic import TypeAdapter

    from slicing_rllib.radio import Scenario, make_scenario

    return TypeAdapter(Scenario).dump_python(make_scenario("paper"), mode="json")
