"""The tutorial is committed with its outputs: of the code as it stands, small, with pictures described."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "docs"))
from run_tutorial import NOTEBOOK, digest

AGAIN = "run `python docs/run_tutorial.py` and look at what it wrote"


@pytest.fixture(scope="module")
def notebook():
    return json.loads(NOTEBOOK.read_text())


@pytest.fixture(scope="module")
def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(code):
    return [output for cell in code for output in cell["outputs"]]


def said(output):
    """What an output says as text; pictures and videos are left out."""
    found = "".join(output.get("text", ""))
    found += "".join("".join(x) for mime, x in output.get("data", {}).items() if mime != "image/png")
    return re.sub(r"base64,[\w+/=]+", "", found)


def test_its_code_is_the_code_that_ran(notebook, code):
    assert notebook["metadata"]["executed"] == digest(notebook), AGAIN
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), AGAIN


def test_nothing_failed_and_nothing_was_complained_about(code):
    for output in outputs(code):
        assert output["output_type"] in ("stream", "display_data", "execute_result")
        assert output.get("name", "stdout") == "stdout", output["text"]
        assert "warning" not in said(output).lower()


def test_every_picture_and_video_says_what_it_shows(code):
    pictures = [output for output in outputs(code) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 12
    for picture in pictures:
        assert len(picture["metadata"]["image/png"]["alt"]) > 40
    (video,) = [said(output) for output in outputs(code) if "<video" in said(output)]
    assert re.search(r'aria-label="Video: greedy episode of Pendulum-v1, return -\d+', video)


def test_every_axis_has_its_unit(code):
    for cell in code:
        source = "".join(cell["source"])
        axes = re.findall(r'\b[xy]label="([^"]+)"', source) + re.findall(r'colorbar\(.*label="(.*)"', source)
        assert all(re.fullmatch(r"[^()]+ \([^()]+\)", label) for label in axes), axes
        if "plt.subplots" in source and ".imshow" not in source:
            assert {"xlabel", "ylabel"} <= set(re.findall(r"\b([xy]label)=", source))
            assert "show(" in source


def test_nothing_in_it_is_of_the_machine_where_it_ran(notebook, code):
    words = json.dumps([cell["source"] for cell in notebook["cells"]]) + "".join(map(said, outputs(code)))
    assert not re.findall(r"(?:/(?:tmp|home|root|work|Users|usr|opt|var)\b|[A-Z]:\\\\)[^\s\"']*", words)
    assert not re.findall(r"'seconds'|\d s ·|localhost|127\.0\.0\.1|https?://[^\s)]*:\d+", words)
    assert not [cell["metadata"] for cell in notebook["cells"] if "execution" in cell["metadata"]]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info", "executed"}
    assert "<iframe" not in words


def test_it_is_small():
    assert NOTEBOOK.stat().st_size < 2.5e6


def test_its_own_loop_stands_before_the_librarys(notebook):
    """Act, store, sample and update in one cell, and every paper behind a link."""
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    (own,) = [
        i
        for i, s in enumerate(sources)
        if all(f" {n}. {w}" in s for n, w in enumerate(("Act.", "Store."), 1))
    ]
    assert "env.step(" in sources[own]
    assert "update(learner, sample(" in sources[own]
    assert own < min(i for i, s in enumerate(sources) if "swingup.train(" in s and i != own and "run =" in s)
    links = set(re.findall(r"\]\((https://[^)]+)\)", "".join(sources)))
    assert {
        f"https://arxiv.org/abs/{n}" for n in ("1509.02971", "1802.09477", "1804.08617", "1412.6980")
    } <= links
    assert any("silver14" in link for link in links)
