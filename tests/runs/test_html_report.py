"""Reports: one file that needs no other, with everything a run left, and nothing a folder could slip in."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made import make_group, make_run

from swingup.cli.main import run as command
from swingup.errors import InputError
from swingup.reports.curves import Curve
from swingup.reports.html.svg import Drawn, chart
from swingup.runs.html_report import report


class Balanced(HTMLParser):
    """Collects the text of a page, and checks that its tags close in order."""

    ALONE = frozenset({"meta", "link", "line", "path"})

    def __init__(self, content):
        super().__init__()
        self.stack, self.words = [], []
        self.feed(content)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.ALONE:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.ALONE:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A report on one run; some settings are not the preset's, one film is there."""
    folder = make_run(tmp_path_factory.mktemp("single") / "run", sigma=(0.7,), gamma=0.9)
    (folder / "videos").mkdir()
    for k in (0, 1, 8, 27, 64, 125):
        (folder / "videos" / f"episode-{k:06d}.mp4").write_bytes(b"film" * (k + 1))
    (folder / "videos" / "eval-last-seed0-0.mp4").write_bytes(b"last")
    (folder / "videos" / "episode-000216.mp4").write_bytes(bytes(5_000_000))
    return report(folder).read_text()


def test_the_page_names_nothing_outside_itself(single):
    for address in re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', single):
        assert "".join(address).startswith("data:")
    assert "http" not in re.sub(r"data:[^\"]*", "", single)
    assert "import(" not in single


def test_the_page_has_what_the_run_left(single):
    text = Balanced(single).text
    for said in (
        "95 % interval over episodes",
        "Training episodes",
        "Closing evaluation, every episode",
        "Q of first action",
        "Gradient norms",
        "greedy actions at one bound",
        "400 steps of 2 greedy episodes",
        "step 900: the critic",
        "sigma 0.7 0.3",
        "gamma 0.9 0.98",
        "swingup train Pendulum-v1 --sigma 0.2 <b>",
        "abc123-dirty",
        "100 greedy episodes",
        "Push left",
    ):
        assert said in text, said
    assert single.count("<svg") == 8


def test_what_a_folder_says_is_text_and_never_code(single):
    assert "alert(1)" in single
    assert "<script>alert" not in single
    assert "<b>\n" not in single


def test_films_are_of_several_stages_and_large_ones_are_named(single):
    titles = re.findall(r"<h3>(Training episode \d+|Greedy, after training)</h3>", single)
    assert titles[0] == "Training episode 0"
    assert titles[-2:] == ["Training episode 216", "Greedy, after training"]
    assert len(titles) == 5
    assert single.count("<video") == 4
    assert "too large to embed" in single


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A group of five seeds, and a second of two."""
    folder = tmp_path_factory.mktemp("groups")
    return make_group(folder / "five"), make_group(folder / "two", 2)


def test_a_group_has_intervals_over_its_seeds(group):
    text = Balanced(report(group[0], play=False).read_text()).text
    assert "interquartile mean of 5 seeds" in text
    assert "95 % bootstrap interval over 5 seeds" in text
    assert "seeds 0, 1, 2, 3, 4" in text


def test_several_are_in_one_table_and_in_one_chart_and_share_the_scripts(group, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = report(*group, play=False)
    assert str(path) == "report.html"
    content = path.read_text()
    text = Balanced(content).text
    assert "five: interquartile mean of 5 seeds" in text
    assert "two: interquartile mean of 2 seeds" in text
    assert "range of 2 seeds" in text
    assert content.count("class SwingupLive") == 1
    assert content.count("new SwingupLive(") == 2


def test_five_seeds_of_a_million_steps_stay_below_five_megabytes(tmp_path):
    folder = make_group(tmp_path / "big", steps=1_000_000)
    assert report(folder, play=False).stat().st_size < 5_000_000


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    folder = make_run(tmp_path / "run")
    for name in (
        "result.json",
        "evaluations.csv",
        "metrics.csv",
        "episodes.csv",
        "closing.csv",
        "machine.json",
    ):
        (folder / name).unlink()
    (folder / "policy" / "last.safetensors").unlink()
    text = Balanced(report(folder).read_text()).text
    assert "not finished" in text
    assert "Nothing was logged yet." in text
    assert "Not counted" in text


def test_the_command_says_where_the_page_is(group, tmp_path, capsys):
    path = tmp_path / "a" / "page.html"
    assert command(["report", str(group[1]), "--no-play", "--output", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    assert path.is_file()


def test_the_command_without_a_folder_asks_for_one(capsys):
    assert command(["report"]) == 2
    assert "which RUN?" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"not the folder of a run"):
        report(tmp_path)


def test_compare_writes_its_page(group, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(["compare", *map(str, group), "--report"]) == 0
    assert "compare-five-two.html" in capsys.readouterr().out
    text = Balanced((tmp_path / "compare-five-two.html").read_text()).text
    for said in ("A: interquartile mean of 5 seeds", "seed 4", "P(B > A)", "unpaired"):
        assert said in text


def test_a_curve_of_one_point_is_a_dot_with_its_interval():
    one = Curve("greedy", np.array([1500.0]), np.array([-26.0]), np.array([-30.0]), np.array([-22.0]))
    page = chart([Drawn(one, 0)], "steps", "return")
    assert 'class="dots big c0"' in page
    assert page.count('class="line c0"') == 1
