"""The site builds without a warning, and its pages fit a phone and a desktop in a real browser."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import swingup

DOCS = Path(__file__).parent.parent / "docs"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [name for name in ("sphinx", "furo", "myst_nb") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason="no Sphinx here: pip install -c constraints.txt -e '.[docs]'"),
    pytest.mark.filterwarnings("default"),  # of the browser's driver
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning of Sphinx is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "-q",
        "-b",
        "html",
        "-d",
        folder / "doctrees",
        DOCS,
        folder / "html",
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
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


def words_of(page):
    """The text of a page without its tags."""
    return re.sub(r"<[^>]+>", "", page.read_text())


def test_what_the_program_knows_is_on_the_pages(site):
    settings, python = site / "reference" / "settings.html", site / "reference" / "python.html"
    assert 'id="cmdoption-swingup-train-gamma"' in settings.read_text()
    assert "Discount of the next step's value." in words_of(settings).replace("&#39;", "'")
    for name in swingup.__all__:
        assert f'id="swingup.{name}"' in python.read_text(), name
    assert "Stops the run once the mean return" in words_of(python)
    assert "actor saturated" in words_of(site / "faq.html")
    tutorial = (site / "tutorial.html").read_text()
    assert "<math" in tutorial
    pictures = re.findall(r'<img alt="([^"]+)"[^>]*src="_images/', tutorial)
    assert len(pictures) >= 12
    assert all(len(alt) > 40 and "_images/" not in alt for alt in pictures)
    for page in site.rglob("*.html"):
        assert "<!-- generated" not in page.read_text()


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"(https?:[^\"]+)", page.read_text()
        )
        assert not fetched, page


@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_its_screen_without_an_error(site, browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        browser.get(page.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, page
        assert browser.get_log("browser") == [], page
        assert browser.execute_script(
            "return [...document.images].every((image) => image.complete && image.naturalWidth > 0)"
        ), page


def test_the_search_finds_a_setting(site, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((site / "search.html").as_uri() + "?q=saturated")
    found = "return document.querySelectorAll('#search-results li').length"
    WebDriverWait(browser, 60).until(lambda b: b.execute_script(found) > 0)
