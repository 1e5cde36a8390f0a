"""The page in a real browser: drawn, sorted, clicked, in both themes, on a telephone and on a desk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from emma_tune.outputs.report.page import write_report
from tests.outputs.report.conftest import desk
from tests.results.desk import part

WIDTHS = (360, 1400)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
EMMA = 8
"""Searched points that are finished; point 0 is undefended, the last one was stopped."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of ten points with two seeds, and learning curves of the clones."""
    folder = tmp_path_factory.mktemp("page")
    attackers = {"soft": {}, "</script><b>": {"kind": "inverse"}}
    study = desk(folder, attackers=attackers, seeds=[1, 2], search={"stop": "joint"})
    study.answered()
    study.finished("none", (part(0, 0.9),) * 2)
    for n in range(1, EMMA + 1):
        seeds = [part(n / 5, {"soft": 0.9 - n / 20 + more, "</script><b>": 0.5}) for more in (0, 0.02)]
        number = study.finished("emma", *((of, of) for of in seeds))
        study.learned(number, [0.1 * n, 0.2])
        study.matrix(number, torch.eye(10), traces=[9.0, 8.0])
    study.matrix(study.dominated("emma", 1, part(1.9, {"soft": 0.9, "</script><b>": 0.9})), torch.eye(10))
    path, problems = write_report(study.root, folder / "page.html")
    assert problems == []
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser without a window. In continuous integration its absence is a failure."""
    binary, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not binary or not driver:
        message = "expected chromium and chromedriver on PATH (Debian: chromium-driver), found none"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(params=WIDTHS)
def opened(chromium: webdriver.Chrome, page: str, request: pytest.FixtureRequest) -> webdriver.Chrome:
    """The page, drawn, at a width."""
    screen = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    chromium.get(page)
    drawn = "return document.documentElement.dataset.drawn"
    WebDriverWait(chromium, 20).until(lambda browser: browser.execute_script(drawn))
    return chromium


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def drawn(browser, uid):
    """Marks of a trace of the front."""
    return browser.find_elements(By.CSS_SELECTOR, f"#front-chart .trace{uid} path.point")


def until(browser, condition):
    return WebDriverWait(browser, 10).until(lambda _: condition())


def column(browser, place):
    cells = browser.find_elements(By.CSS_SELECTOR, f"#points tbody tr > :nth-child({place})")
    return [cell.get_attribute("textContent") for cell in cells]


def test_it_is_drawn_without_an_error_or_a_request(opened):
    assert len(drawn(opened, "defense-none")) == 1
    assert len(drawn(opened, "defense-emma")) == EMMA
    assert len(drawn(opened, "stopped-emma")) == 1
    assert len(drawn(opened, "front")) == EMMA + 1
    assert len(drawn(opened, "selected")) == 1
    assert len(opened.find_elements(By.CSS_SELECTOR, "#front-chart .traceline-emma path.js-line")) == 1
    assert len(opened.find_elements(By.CSS_SELECTOR, "#legend svg path")) == 5
    charts = opened.find_elements(By.CSS_SELECTOR, "[data-chart] .main-svg")
    assert len(charts) > EMMA
    names = opened.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if not name.startswith(("file:", "data:"))] == []
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_nothing_is_wider_than_the_window(opened):
    wide = opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]


def test_the_table_sorts_both_ways_by_click_and_by_key(opened):
    header = find(opened, "#points thead th:nth-child(5)")
    button = find(opened, "#points thead th:nth-child(5) button")
    assert header.get_attribute("aria-sort") == "none"
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", button)
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    up = [float(value) for value in column(opened, 5)]
    assert up == sorted(up)
    button.send_keys(Keys.ENTER)
    assert header.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(opened, 5)] == up[::-1]
    clones = find(opened, "#points thead th:nth-child(12) button")
    clones.send_keys(Keys.SPACE)
    assert header.get_attribute("aria-sort") == "none"
    assert column(opened, 12)[-1] == "–"
    clones.send_keys(Keys.SPACE)
    assert column(opened, 12)[-1] == "–"  # what is missing stays behind


def test_a_click_on_a_point_lists_its_attackers(opened):
    mark = drawn(opened, "defense-emma")[1]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", find(opened, "#front-chart"))
    ActionChains(opened).move_to_element(mark).pause(0.3).click().perform()
    until(opened, lambda: find(opened, "#panel h3").text == "Point 2: emma")
    text = find(opened, "#panel").text
    assert "soft" in text
    assert "seeds 80.0 – 82.0" in text
    assert "</script><b>" in text
    assert "knows the answers and the matrix T" in text
    assert len(opened.find_elements(By.CSS_SELECTOR, "#curves .trace")) == 1
    assert find(opened, "#points tr.chosen").get_attribute("data-point") == "2"
    ActionChains(opened).move_by_offset(0, 1).perform()
    hover = find(opened, "#front-chart .hoverlayer")
    until(opened, lambda: "lambda 0.03" in hover.get_attribute("textContent"))


def test_enter_on_a_row_does_so_too(opened):
    find(opened, "#points tr[data-point='0'] button").send_keys(Keys.ENTER)
    assert find(opened, "#panel h3").text == "Point 0: none"
    assert len(opened.find_elements(By.CSS_SELECTOR, "#panel .clones li")) == 1


def test_another_attacker_has_another_front(opened):
    Select(find(opened, "#against")).select_by_visible_text("</script><b>")
    until(opened, lambda: drawn(opened, "defense-none") == [])
    assert len(drawn(opened, "front")) == 1
    assert "1 of 9 finished points" in find(opened, "#front-note").text
    Select(find(opened, "#against")).select_by_index(0)
    until(opened, lambda: len(drawn(opened, "defense-none")) == 1)


def test_a_defense_can_be_switched_off(opened):
    find(opened, "#legend button").send_keys(Keys.ENTER)
    until(opened, lambda: drawn(opened, "defense-emma") == [])
    first = find(opened, "#legend button")
    assert first.get_attribute("aria-pressed") == "false"
    assert first == opened.switch_to.active_element
    first.send_keys(Keys.ENTER)
    until(opened, lambda: len(drawn(opened, "defense-emma")) == EMMA)


def test_light_and_dark(opened):
    def paper():
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    def none():  # black on white paper
        return drawn(opened, "defense-none")[0].value_of_css_property("stroke")

    button = find(opened, "#theme")
    before, ink, name = paper(), none(), button.text
    button.send_keys(Keys.ENTER)
    until(opened, lambda: paper() != before and none() != ink)
    assert {name, button.text} == {"Light", "Dark"}
    button.click()
    until(opened, lambda: (paper(), none()) == (before, ink))
    for scheme, shown in (("dark", "Light"), ("light", "Dark")):
        wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        opened.refresh()
        until(opened, lambda shown=shown: find(opened, "#theme").text == shown)
