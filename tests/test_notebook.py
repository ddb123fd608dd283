"""The tutorial notebook runs from top to bottom; in a browser its video plays and TensorBoard has the run."""

import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here: apt-get install chromium chromium-driver"
)

pytestmark = pytest.mark.filterwarnings("default")  # of Jupyter's own packages


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook, run by a fresh kernel of this Python."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, 4)
    folder = tmp_path_factory.mktemp("notebook")
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return notebook


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
    by_hand, by_update = (float(x) for x in re.findall(r"critic loss by (?:hand|update): *([\d.]+)", words))
    assert by_hand == pytest.approx(by_update, rel=1e-6)
    assert (
        float(re.search(r"Q settles near ([\d.]+)", words)[1]) < 7
    )  # of a true 10: the false ends cost a third and more
    assert len(re.findall(r"\| Reward: -\d+ \| Episode \d \| Qmax: -?[\d.]+", words)) == 6
    assert len(outputs(executed, "image/png")) >= 7


@pytest.mark.slow
def test_its_policy_stands_up(executed):
    result = next(p for p in outputs(executed, "text/plain") if "'ci95'" in p)
    assert float(re.search(r"'mean': (-[\d.]+)", result)[1]) > -250


def test_it_is_committed_without_outputs():
    import nbformat

    cells = nbformat.read(NOTEBOOK, 4).cells
    assert not any(cell.get("outputs") for cell in cells)


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
