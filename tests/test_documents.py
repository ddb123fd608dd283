"""The documents agree with the program and with each other: names, flags, diagnoses, links, pages."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

import swingup
from swingup.cli.commands import COMMANDS
from swingup.cli.flags import parser_of
from swingup.config.fields import fields
from swingup.config.presets import presets
from swingup.config.settings import FIELDS

sys.path.append(str(Path(__file__).parent.parent / "docs"))
from generated import filled

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted(p for p in DOCS.rglob("*") if p.suffix in (".md", ".ipynb"))
FENCE = re.compile(r"^```.*?^```$", re.S | re.M)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = lambda path: str(path.relative_to(ROOT))


def text_of(page):
    """A page's Markdown as the site has it."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return filled(text)


def anchors(page):
    """The names of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(name):
    """What the page of commands says about one."""
    return (
        text_of(DOCS / "reference" / "commands.md")
        .partition(f"\n## swingup {name}\n")[2]
        .partition("\n## ")[0]
    )


@pytest.mark.parametrize("page", PAGES, ids=NAMED)
def test_links_lead_to_files_and_headings(page):
    for link in LINK.findall(FENCE.sub("", text_of(page))):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_command_and_flag_has_its_entry():
    settings = text_of(DOCS / "reference" / "settings.md")
    for name, command in COMMANDS.items():
        own = section(name)
        assert own, name
        for field in fields(command.takes).values():
            heads = re.findall(r"^:::\{option\} (\S+)", own + settings, re.M)
            assert (field.positional.strip("[]") or field.flag) in heads, (name, field.flag)
            for alias in field.aliases:
                assert f"`--{alias}`" in own + settings, alias


def test_a_setting_has_meaning_range_default_and_the_presets_that_change_it():
    page = text_of(DOCS / "reference" / "settings.md")
    entries = {part.split()[0]: part for part in page.split(":::{option} ")[1:]}
    assert len(entries) == len(FIELDS)
    gamma = entries["--gamma"]
    assert "Discount of the next step's value." in gamma
    assert "A number from 0 to 1 · Default: `0.99`" in gamma
    for preset in presets().values():
        assert (f"{preset.name} `" in gamma) == ("gamma" in preset.values)
    assert "`gaussian`, `ou`, `pink` or `decay`" in entries["--noise"]
    assert "Off with `--no-uniform`" in entries["--uniform"]
    assert "In Python and files: `from_run`" in entries["--from"]


def test_the_settings_page_follows_the_dataclass(monkeypatch):
    import generated

    new = FIELDS["gamma"]
    new = type(new)(**{**vars(new), "name": "novel", "flag": "--novel", "help": "A setting of tomorrow."})
    monkeypatch.setitem(generated.FIELDS, "novel", new)
    assert ":::{option} --novel X\nA setting of tomorrow." in generated.settings()


def test_every_public_name_is_documented():
    page = text_of(DOCS / "reference" / "python.md")
    for name in swingup.__all__:
        assert re.search(rf"^\.\. auto\w+:: swingup\.{name}$", page, re.M), name


def test_every_diagnosis_and_every_figure_is_explained():
    from swingup.reports.diagnostics import RULES, Figures

    faq = (DOCS / "faq.md").read_text()
    assert re.findall(r"^### (.*)$", faq, re.M) == list(RULES)
    for name in RULES:
        assert len(re.search(rf"^### {name}\n\n(.+?)\n\n", faq, re.S | re.M)[1]) > 60, name
        assert f"- **[{name}](#{name.replace(' ', '-')})**, said " in filled(faq)
    table = (DOCS / "howto" / "diagnostics.md").read_text()
    assert {f for row in re.findall(r"^\| (`.*?) \|", table, re.M) for f in re.findall(r"`(\w+)`", row)} == {
        *Figures._fields
    }


@pytest.mark.parametrize("page", [p for p in PAGES if p.suffix == ".md"], ids=NAMED)
def test_the_commands_of_the_examples_exist(page):
    for code in re.findall(r"^```(?:sh|bash)\n(.*?)^```$", page.read_text(), re.S | re.M):
        for line in code.replace("\\\n", " ").splitlines():
            if not line.startswith("swingup "):
                continue
            name, *words = shlex.split(line, comments=True)[1:]
            if name == "train" and ("cleanrl/" in line or "--env-id" in line):
                continue  # tests/cli tries the command lines of CleanRL
            assert name in COMMANDS, line
            known = parser_of(COMMANDS[name].takes, name, {})._option_string_actions
            assert {w.split("=")[0] for w in words if w.startswith("--")} <= {*known, "--help"}, line


def test_every_page_is_in_the_table_of_contents():
    listed = re.findall(
        r"^(?:.*<)?([\w/-]+)>?$",
        "".join(re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.S)),
        re.M,
    )
    pages = {str(p.relative_to(DOCS).with_suffix("")) for p in PAGES if p.is_relative_to(DOCS)}
    assert {*listed} == pages - {"index"}


def test_the_readme_is_short_and_its_picture_moves():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    alt, path = re.search(r"!\[(.+?)\]\((.+?)\)", text).groups()
    assert len(alt) > 30
    assert (ROOT / path).stat().st_size < 1e6
    with Image.open(ROOT / path) as picture:
        assert picture.n_frames > 50
