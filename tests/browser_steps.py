"""Steps of a test in a browser: open a page, wait for it, read it, select a cell."""

from collections.abc import Callable
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

TIMEOUT_S = 20


def open_page(browser: webdriver.Chrome, url: str) -> None:
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(url)
    wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".network .cell"))


def wait_until(browser: webdriver.Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, TIMEOUT_S, poll_frequency=0.05).until(lambda _: condition())


def read_text(browser: webdriver.Chrome, selector: str) -> str:
    return browser.execute_script(
        "return document.querySelector(arguments[0])?.textContent ?? ''", selector
    )


def select_cell(browser: webdriver.Chrome, cell: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f'.network [aria-label^="{cell}:"]').click()
    wait_until(browser, lambda: read_text(browser, "#cell-title") == cell)
    wait_until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".slices tbody tr"))
