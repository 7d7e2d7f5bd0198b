"""The page in a real browser, headless: what an operator sees, does, and is safe from."""

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
    """The page of a run of 12 cells, in which cell_12 came up."""
    run.iterate(12)
    run.newcomer()
    _open(browser, serve(run.folder).url)
    return browser


def _open(browser: webdriver.Chrome, url: str) -> None:
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(url)
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".network .cell"))


def _until(browser: webdriver.Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, TIMEOUT_S, poll_frequency=0.05).until(lambda _: condition())


def _text(browser: webdriver.Chrome, selector: str) -> str:
    return browser.execute_script(
        "return document.querySelector(arguments[0])?.textContent ?? ''", selector
    )


def _choose(browser: webdriver.Chrome, cell: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f'.network [aria-label^="{cell}:"]').click()
    _until(browser, lambda: _text(browser, "#cell-title") == cell)
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices tbody tr"))


def _requests(browser: webdriver.Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def test_the_page_shows_the_network_and_follows_the_run(page: webdriver.Chrome, run: Any):
    """Twelve sectors, a heat map, events; a new iteration shows without a reload."""
    assert len(page.find_elements(By.CSS_SELECTOR, ".network .cell")) == 12
    assert "cell_12" in _text(page, "#similarity .heat")
    assert "★" in _text(page, "#similarity .chosen")
    assert "warm started" in _text(page, "#timeline")
    page.execute_script("window.sameDocument = true")
    run.iterate(5)
    run.event("guard_fell_back", "cell_12", "fell back to traffic-aware")
    run.finish()
    _until(page, lambda: "1700" in _text(page, "#headline"))
    _until(page, lambda: "guard fell back" in _text(page, "#timeline"))
    _until(page, lambda: _text(page, "#standing") == "finished")

    assert "oracle" in _text(page, "#curves")
    assert page.execute_script("return window.sameDocument")
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert all(url.startswith("http://127.0.0.1:") for url in _requests(page) if "data:" not in url)


def test_a_click_on_a_cell_opens_its_slices(page: webdriver.Chrome):
    _choose(page, "cell_12")

    assert len(page.find_elements(By.CSS_SELECTOR, ".slices tbody tr")) == 4
    assert "Learned from cell_5" in _text(page, "#cell-body")
    assert len(page.find_elements(By.CSS_SELECTOR, ".charts .chart")) == 4


def test_the_map_is_walked_by_the_keyboard(page: webdriver.Chrome):
    page.find_element(By.ID, "find-cell").send_keys(Keys.TAB)
    focused = page.switch_to.active_element
    assert focused.get_attribute("aria-label").startswith("cell_1:")
    focused.send_keys(Keys.ARROW_RIGHT)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    _until(page, lambda: _text(page, "#cell-title") not in ("Cell", "cell_1"))


@pytest.mark.skipif(
    importlib.util.find_spec("axe_core_python") is None, reason="needs axe-core-python"
)
@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 1400), ("light", 375)])
def test_axe_finds_no_fault(page: webdriver.Chrome, run: Any, theme: str, width: int):
    """Contrast, names, roles, scrollable regions; nothing is cut off at phone width."""
    spec = importlib.util.find_spec("axe_core_python")
    assert spec is not None
    assert spec.origin is not None
    run.event("guard_fell_back", "cell_12", "fell back", reward=0.7)
    run.finish()
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
    _until(page, lambda: _text(page, "#standing") == "finished")
    _choose(page, "cell_12")
    page.execute_script(Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.execute_async_script("axe.run(document).then(arguments[arguments.length - 1])")
    scroll_width = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    faults = [
        (fault["id"], node["html"][:120])
        for fault in found["violations"]
        for node in fault["nodes"]
    ]

    assert faults == []
    assert scroll_width <= width


def test_names_and_events_of_a_hostile_run_stay_text(
    browser: webdriver.Chrome, run: Any, serve: Callable
):
    run.iterations = 1
    row = run.row()
    row["iteration"], row["cells"][HOSTILE] = 1, row["cells"]["cell_1"]
    run.line("metrics.jsonl", json.dumps(row))
    run.event(HOSTILE, HOSTILE, HOSTILE, distances={HOSTILE: 1.0, "cell_1": "x"}, source=HOSTILE,
              target=HOSTILE, measure=HOSTILE)  # fmt: skip
    run.line("summary.json", json.dumps({"policies": {HOSTILE: {"reward_mean": 1, "ci95": 7}}}))
    _open(browser, serve(run.folder).url)
    browser.execute_script(
        "document.querySelector(`.network [aria-label*='onerror']`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    _until(browser, lambda: "onerror" in _text(browser, "#cell-title"))
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices"))

    assert "onerror" in _text(browser, "#timeline")
    assert browser.execute_script("return window.harmed") is None
    assert browser.find_elements(By.CSS_SELECTOR, "main img, main script") == []


def test_three_thousand_cells_are_drawn_and_answer(
    browser: webdriver.Chrome, write_run: type, tmp_path: Path, serve: Callable
):
    large = write_run(tmp_path / "large", n_cells=3072)
    layout = {"kind": "grid", "rows": 32, "columns": 32, "sla_groups": ["A", "B"]}
    large.config({"scenario": {**_papers_scenario(), "layout": layout}})
    large.iterate(3)
    _open(browser, serve(large.folder).url)

    assert len(browser.find_elements(By.CSS_SELECTOR, ".network .cell")) == 3072
    browser.execute_script(
        "document.querySelector(`.network [aria-label^='cell_3000:']`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices tbody tr"))


def _papers_scenario() -> dict[str, Any]:
    from pydantic import TypeAdapter

    from slicing_rllib.radio import Scenario, built_in

    return TypeAdapter(Scenario).dump_python(built_in("paper"), mode="json")
