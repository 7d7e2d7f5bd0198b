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


def test_tiles_equal_a_recomputation_from_the_runs_files(page: webdriver.Chrome, run: Any):
    """Means over steps 800 to 1,200, the newest iteration, and the final evaluation."""
    run.write_summary()
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").open(encoding="utf-8")]
    evaluated = json.loads((run.folder / "summary.json").read_text())["policies"]["tl"]
    for row in rows:
        live = [cell for cell in row["cells"].values() if "satisfaction" in cell]
        row["satisfaction_mean"] = sum(cell["satisfaction"] for cell in live) / len(live)
    expected = {
        "Below SLA, share of steps": ("fail_rate_95", lambda x: f"{100 * x:.1f} %"),
        "Mean satisfaction": ("satisfaction_mean", lambda x: f"{x:.3f}"),
        "Mean reward": ("reward_mean", lambda x: f"{x:.3f}"),
    }
    _wait_until(page, lambda: "evaluated" in _read_text(page, "#headline"))
    tiles = {
        tile.find_element(By.CSS_SELECTOR, ".name").text: tile.text.split("\n")[1:]
        for tile in page.find_elements(By.CSS_SELECTOR, "#headline .tile")
    }

    assert "steps 800 to 1,200" in _read_text(page, "#clock")
    for name, (key, write) in expected.items():
        window = sum(row[key] for row in rows if row["env_steps"] > 800) / 4
        values = [
            write(window),
            f"now {write(rows[-1][key])}",
            f"evaluated {write(evaluated[key])}",
        ]
        assert tiles[name][:3] == values
    assert "same steps: equal shares 0.510" in tiles["Mean reward"][-1]
    missing = _find_missing_cells(rows[8:])
    assert tiles["Cells that keep missing their SLA"][0] == f"{len(missing)} of 12"


def _find_missing_cells(rows: list[dict[str, Any]]) -> list[str]:
    """Cells under their own policy that are below their SLA in more than a third of the steps."""
    return [
        cell
        for cell, newest in rows[-1]["cells"].items()
        if newest["phase"] == "controlled"
        and sum(row["cells"][cell]["fail_rate_95"] for row in rows) / len(rows) > 1 / 3
    ]


def test_a_warning_is_counted_until_it_is_acknowledged(
    browser: webdriver.Chrome, run: Any, serve: Callable
):
    """The acknowledgement outlives a reload, and the list can leave other events out."""
    run.add_event("started", None, "12 cells")
    run.add_event("worker_lost", None, "env runner 2 no longer answers")
    url = serve(run.folder).url
    _open(browser, url)
    count = "#headline .tile:last-child strong"
    _wait_until(browser, lambda: _read_text(browser, count) == "1")
    browser.find_element(By.ID, "event-warnings").click()
    _wait_until(browser, lambda: "started" not in _read_text(browser, "#timeline"))
    browser.find_element(By.CSS_SELECTOR, "#timeline [aria-pressed]").click()
    _wait_until(browser, lambda: _read_text(browser, count) == "0")
    _open(browser, url)
    _wait_until(browser, lambda: "acknowledged" in _read_text(browser, "#timeline"))

    assert _read_text(browser, count) == "0"


def test_a_link_shows_the_same_view(browser: webdriver.Chrome, run: Any, serve: Callable):
    """Run, cell, window, quantity and steps are in the address, also after a choice."""
    run.add_iterations(12)
    url = serve(run.folder).url
    _open(browser, f"{url}#cell=cell_3&window=100&curve=fail_rate&from=300&to=900")
    _wait_until(browser, lambda: _read_text(browser, "#cell-title") == "cell_3")

    assert "steps 800 to 900" in _read_text(browser, "#clock")
    assert "Below SLA" in _read_text(browser, "#curves")
    browser.find_element(By.CSS_SELECTOR, "#map-field option[value=phase]").click()
    _wait_until(browser, lambda: "colour=phase" in browser.current_url)
    assert "cell=cell_3" in browser.current_url


def test_two_runs_are_compared(
    browser: webdriver.Chrome, run: Any, write_run: type, serve: Callable
):
    run.add_iterations(6)
    second = write_run(run.folder.parent / "second")
    second.add_iterations(12)
    _open(browser, f"{serve(run.folder.parent).url}#run=first&compare=second")
    _wait_until(browser, lambda: "difference" in _read_text(browser, "#results"))
    means = [_average_last_rewards(each.folder) for each in (run, second)]

    table = _read_text(browser, "#results table")
    assert f"reward, 400 steps{means[0]:.3f}{means[1]:.3f}" in table
    assert "second" in _read_text(browser, "#curves")


def _average_last_rewards(folder: Path) -> float:
    """Mean over the last 400 steps, which are four iterations."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["reward_mean"] for line in lines[-4:]) / 4


def test_what_is_seen_can_be_saved(page: webdriver.Chrome):
    """The map's values as CSV: a line of names and one line per cell."""
    page.execute_script(
        "const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; });"
        " return make(blob); }"
    )
    page.find_element(By.CSS_SELECTOR, '[aria-label="Save cells as CSV"]').click()
    saved = _wait_until(page, lambda: page.execute_script("return window.saved"))

    lines = str(saved).splitlines()
    assert "cell,operator_id,fail_rate_95" in lines[0]
    assert len(lines) == 13


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
