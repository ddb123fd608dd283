"""A report in a real browser: the policy balances the pendulum, a push moves it, and it recovers."""

import shutil
import sys
import time
from pathlib import Path

import pytest

import swingup

sys.path.append(str(Path(__file__).parent.parent / "runs"))
from made import make_run

from swingup.runs.html_report import report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no Chromium here: apt-get install chromium chromium-driver"
    ),
    pytest.mark.filterwarnings("default"),  # of the browser's driver
]
# Trained by: swingup train Pendulum-v1 --hidden 48 48 --steps 10000
POLICY = Path(__file__).parent / "pendulum.safetensors"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("page") / "run", policy=swingup.load_policy(POLICY))
    return report(folder, play=False)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
             "disable-background-networking", "disable-component-update", "disable-sync",
             f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]  # fmt: skip
    for word in flags:
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser, page, width, theme="light"):
    """Open the page on a screen of this width."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    colours = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", colours)
    browser.get(page.as_uri())


def until(ask, what, seconds=60):
    """Wait until `ask` is true; fails after that many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ask():
            return
        time.sleep(0.02)
    raise AssertionError(what)


def angle(browser):
    return abs(browser.execute_script("return swingupLive[0].state.angle"))


def stands(browser):
    """Whether the pendulum is upright and at rest."""
    state = browser.execute_script("return swingupLive[0].state")
    return abs(state["angle"]) < 0.3 and abs(state["speed"]) < 0.3


def test_it_swings_up_is_pushed_over_and_stands_up_again(browser, page, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, page, 1280)
    until(lambda: stands(browser), "it never stood up")
    canvas = browser.find_element(By.CSS_SELECTOR, ".live canvas")
    half = canvas.size["width"] / 2
    ActionChains(browser).move_to_element_with_offset(canvas, 0, int(-0.7 * half)).click_and_hold().perform()
    ActionChains(browser).move_to_element_with_offset(canvas, int(0.8 * half), 0).perform()
    until(lambda: angle(browser) > 0.9, "the push did not move it")
    browser.save_screenshot(str(tmp_path / "pushed.png"))
    assert (tmp_path / "pushed.png").stat().st_size > 10_000
    ActionChains(browser).release().perform()
    until(lambda: stands(browser), "it did not stand up again")
    assert browser.execute_script("return swingupLive[0].pushes") == 1
    assert "from upright" in browser.find_element(By.CSS_SELECTOR, ".readout").text
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_a_finger_pushes_too(browser, page):
    show(browser, page, 390)
    until(lambda: stands(browser), "it never stood up")
    box = browser.execute_script(
        "const b = document.querySelector('.live canvas').getBoundingClientRect(); return [b.x, b.y, b.width]"
    )
    place = {"x": box[0] + 0.9 * box[2], "y": box[1] + 0.5 * box[2]}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [place]})
    until(lambda: angle(browser) > 0.9, "the finger did not move it")
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    until(lambda: stands(browser), "it did not stand up again")


@pytest.mark.slow
def test_the_buttons_do_what_they_say(browser, page):
    from selenium.webdriver.common.by import By

    show(browser, page, 1280)
    button = lambda name: browser.find_element(By.CSS_SELECTOR, f"[data-do={name}]")
    until(lambda: stands(browser), "it never stood up")
    button("left").click()
    until(lambda: angle(browser) > 0.4, "the button did not push it")
    until(lambda: stands(browser), "it did not stand up again")
    button("restart").click()
    until(lambda: angle(browser) > 2, "it does not hang after a new start")
    button("pause").click()
    assert button("pause").text == "Play"
    before = angle(browser)
    time.sleep(0.3)
    assert angle(browser) == before


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_its_screen_without_an_error(browser, page, width, theme):
    show(browser, page, width, theme)
    until(lambda: browser.execute_script("return window.swingupLive?.length === 1"), "no canvas")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    text, paper = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor].map((c) => "
        "c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))"
    )
    assert (text < 200 and paper > 600) if theme == "light" else (text > 600 and paper < 200)
    # The smallest words of a chart stay readable.
    assert browser.execute_script(
        "return Math.min(...[...document.querySelectorAll('svg text')]"
        ".map((t) => t.getBoundingClientRect().height))"
    ) > (9 if width == 390 else 12)
    assert browser.get_log("browser") == []
