"""The tutorial notebook runs from top to bottom, as it is stored; in a browser its video plays."""

import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "docs"))
from run_tutorial import NOTEBOOK
from run_tutorial import executed as run_notebook

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here: apt-get install chromium chromium-driver"
)

pytestmark = pytest.mark.filterwarnings("default")  # of Jupyter's own packages


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook, run by a fresh kernel of this Python."""
    import nbformat

    return run_notebook(nbformat.read(NOTEBOOK, 4), tmp_path_factory.mktemp("notebook"))


def outputs(notebook, mime):
    data = [o.get("data", {}) for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return [d[mime] for d in data if mime in d]


def text(notebook):
    return "".join(
        o.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs
    )


@pytest.mark.slow
def test_it_runs_and_says_what_it_should(executed):
    words = text(executed)
    by_hand = re.findall(r"(\w+ loss) by hand ([\d.-]+), by \w+ ([\d.-]+)", words)
    assert [name for name, *_ in by_hand] == ["critic loss", "actor loss"]
    for _, hand, engine in by_hand:
        assert float(hand) == pytest.approx(float(engine), abs=2e-6)
    gaps = re.findall(r"^(.+?) *: moved by up to (\S+), largest difference (\S+)$", words, re.M)
    assert [name for name, *_ in gaps] == [
        "critic",
        "actor",
        "slow critic",
        "slow actor",
        "all four by update",
    ]
    assert all(float(gap) < 0.01 * float(moved) for _, moved, gap in gaps)
    before, after = re.search(r"first five episodes (\S+), of the last five (\S+)", words).groups()
    assert float(before.replace(",", "")) < -900
    assert float(after.replace(",", "")) > -400
    assert (
        float(re.search(r"Q settles near ([\d.]+)", words)[1]) < 7
    )  # of a true 10: the false ends cost a third and more
    assert len(re.findall(r"\| Reward: -\d+ \| Episode \d \| Qmax: -?[\d.]+", words)) == 6
    above = dict(re.findall(r"^(\w+) after 3,000 steps: .* above -400: (\d) of 5", words, re.M))
    assert 2 * int(above["decay"]) < int(above["gaussian"]) + int(above["ou"])


def shape_of(cell):
    """What a cell printed and showed, with every number as one sign: learning differs between machines."""
    words = "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs)
    kinds = [sorted(o.get("data", {})) for o in cell.outputs]
    return re.sub(r"\s+", " ", re.sub(r"-?\b\d[\d.,]*(e[+-]\d+)?", "#", words)), kinds


@pytest.mark.slow
def test_its_stored_outputs_are_those_of_today(executed):
    import nbformat

    both = list(zip(nbformat.read(NOTEBOOK, 4).cells, executed.cells, strict=True))
    pairs = [(old, new) for old, new in both if old.cell_type == "code"][1:]  # the first names versions
    for old, new in pairs:
        if "run.episodes" not in old.source:  # a table, shown whole if it is short
            assert shape_of(old) == shape_of(new), old.source
    exact = [cell for cell in pairs if "render_mode" in cell[0].source or "ring of five" in cell[0].source]
    assert len(exact) == 2
    for old, new in exact:
        assert [o.get("text") for o in old.outputs] == [o.get("text") for o in new.outputs]


@pytest.mark.slow
def test_its_policy_stands_up(executed):
    result = next(p for p in outputs(executed, "text/plain") if "'ci95'" in p)
    assert float(re.search(r"'mean': (-[\d.]+)", result)[1]) > -250


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
             "disable-background-networking", "disable-component-update", "disable-sync",
             "window-size=1300,1000", f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]  # fmt: skip
    for word in flags:
        options.add_argument(f"--{word}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def until(ask, seconds=60):
    """What `ask` returns once it is true; fails after that many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.25)
    raise AssertionError("the page never showed it")


@pytest.mark.slow
@needs_browser
def test_the_video_in_its_page_plays(executed, browser, tmp_path):
    from nbconvert import HTMLExporter

    page = tmp_path / "tutorial.html"
    page.write_text(HTMLExporter().from_notebook_node(executed)[0])
    browser.get(page.as_uri())
    until(lambda: browser.execute_script("return document.querySelector('video')?.readyState >= 3"))
    browser.execute_script("document.querySelector('video').play()")
    until(lambda: browser.execute_script("return document.querySelector('video').currentTime > 0.5"))
    assert browser.execute_script(
        "const v = document.querySelector('video'); return [v.videoWidth, v.videoHeight]"
    ) == [500, 500]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The address of a TensorBoard on loopback that shows a short tutorial run; ended by its process id."""
    import swingup

    folder = tmp_path_factory.mktemp("board")
    swingup.train(
        "Pendulum-v1",
        preset="tutorial",
        episodes=2,
        hidden=(16, 16),
        final_episodes=1,
        run_dir=folder / "run",
        quiet=True,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--load_fast",
        "false",
    ]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    until(lambda: answers(address + "data/plugin/graphs/info"))
    yield address
    server.terminate()
    server.wait(10)


def answers(address):
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        return b'run_graph": true' in urlopen(address, timeout=5).read()
    except URLError:
        return False


# TensorBoard nests shadow roots; this gathers the text of all of them.
TEXT = """
const texts = [];
const walk = (node) => {
  if (node.shadowRoot) walk(node.shadowRoot);
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
  for (const child of node.childNodes) walk(child);
};
walk(document.body);
return texts.join(' ');
"""


@needs_browser
def test_tensorboards_scalars_page_shows_the_run(board, browser):
    browser.get(board + "#scalars")
    until(lambda: all(tag in browser.execute_script(TEXT) for tag in ("Reward", "Qmax_value")))


@needs_browser
def test_tensorboards_graphs_page_draws_both_networks(board, browser):
    browser.get("about:blank")
    browser.get(board + "#graphs")
    until(
        lambda: all(
            name in browser.execute_script(TEXT)
            for name in ("actor", "critic", "target_actor", "target_critic")
        )
    )
