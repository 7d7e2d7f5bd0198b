"""The page in a headless Chromium: what it shows, and what it must not run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_steps import open_page, read_text, wait_until
from selenium import webdriver
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.skipif(
    shutil.which("chromedriver") is None or shutil.which("chromium") is None,
    reason="needs Debian's chromium and chromium-driver",
)
HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'


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
    assert "cell_12" in read_text(page, "#similarity .heat")
    assert "★" in read_text(page, "#similarity .chosen")
    assert "warm started" in read_text(page, "#timeline")
    page.execute_script("window.sameDocument = true")
    run.add_iterations(5)
    run.add_event("guard_fell_back", "cell_12", "fell back to traffic-aware")
    run.write_summary()
    wait_until(page, lambda: "1700" in read_text(page, "#headline"))
    wait_until(page, lambda: "guard fell back" in read_text(page, "#timeline"))
    wait_until(page, lambda: read_text(page, "#run-state") == "finished")

    assert "oracle" in read_text(page, "#curves")
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
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    evaluated = json.loads((run.folder / "summary.json").read_text())["policies"]["td3_transferred"]
    for row in rows:
        live = [cell for cell in row["cells"].values() if "satisfaction" in cell]
        row["satisfaction_mean"] = sum(cell["satisfaction"] for cell in live) / len(live)
    expected = {
        "Below SLA, share of steps": ("fail_rate_95", lambda x: f"{100 * x:.1f} %"),
        "Mean satisfaction": ("satisfaction_mean", lambda x: f"{x:.3f}"),
        "Mean reward": ("reward_mean", lambda x: f"{x:.3f}"),
    }
    wait_until(page, lambda: "evaluated" in read_text(page, "#headline"))
    tiles = {
        tile.find_element(By.CSS_SELECTOR, ".name").text: tile.text.split("\n")[1:]
        for tile in page.find_elements(By.CSS_SELECTOR, "#headline .tile")
    }

    assert "steps 800 to 1,200" in read_text(page, "#clock")
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


def test_two_runs_are_compared_in_the_same_steps(
    browser: webdriver.Chrome, run: Any, write_run: type, serve: Callable
):
    """The first run has made 600 steps, the second 1,200: both means are over steps 200 to 600."""
    run.add_iterations(6)
    second = write_run(run.folder.parent / "second")
    second.add_iterations(12)
    open_page(browser, f"{serve(run.folder.parent).url}#run=first&compare=second")
    means = [_average_rewards(each.folder, first_step=200, last_step=600) for each in (run, second)]
    row = f"reward, 400 steps{means[0]:.3f}{means[1]:.3f}"
    wait_until(browser, lambda: row in read_text(browser, "#results table"))

    assert "200 to 600200 to 600" in read_text(browser, "#results table")
    assert "second" in read_text(browser, "#curves")


def _average_rewards(folder: Path, first_step: int, last_step: int) -> float:
    """Mean over the iterations that end within the steps."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    rewards = [r["reward_mean"] for r in rows if first_step < r["env_steps"] <= last_step]
    return sum(rewards) / len(rewards)


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
    open_page(browser, serve(run.folder).url)
    browser.execute_script(
        "document.querySelector(`.network [aria-label*='onerror']`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    wait_until(browser, lambda: "onerror" in read_text(browser, "#cell-title"))
    wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices"))

    assert "onerror" in read_text(browser, "#timeline")
    assert browser.execute_script("return window.harmed") is None
    assert browser.find_elements(By.CSS_SELECTOR, "main img, main script") == []


def test_three_thousand_cells_are_drawn_and_can_be_selected(
    browser: webdriver.Chrome, write_run: type, tmp_path: Path, serve: Callable
):
    large = write_run(tmp_path / "large", n_cells=3072)
    layout = {"kind": "grid", "rows": 32, "columns": 32, "sla_groups": ["A", "B"]}
    large.write_config({"scenario": {**_dump_paper_scenario(), "layout": layout}})
    large.add_iterations(3)
    open_page(browser, serve(large.folder).url)

    assert len(browser.find_elements(By.CSS_SELECTOR, ".network .cell")) == 3072
    browser.execute_script(
        "document.querySelector(`.network [aria-label^='cell_3000:']`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices tbody tr"))


def _dump_paper_scenario() -> dict[str, Any]:
    from pydantic import TypeAdapter

    from slicing_rllib.radio import Scenario, make_scenario

    return TypeAdapter(Scenario).dump_python(make_scenario("paper"), mode="json")
