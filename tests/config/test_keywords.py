"""`swingup.train` shows its settings to type checkers and `help`; run, this writes config/keywords.py."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import swingup
from swingup.config import keywords, settings
from swingup.config.settings import FIELDS, Config

HEAD = '''"""The settings as typed keywords of `swingup.train`; written by tests/config/test_keywords.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from swingup.config.settings import {literals}
from swingup.types import Precision


class Settings(TypedDict, total=False):
    """The fields of `Config` that are keywords of `swingup.train`; each has the field's meaning and range."""

'''


def annotation(name):
    """A field's type as a keyword: where it holds a tuple, any sequence will do."""
    kind = Config.__dataclass_fields__[name].type if name in Config.__dataclass_fields__ else None
    parts = str(kind).split(" | ")
    wide = {
        "tuple[int, ...]": "Sequence[int]",
        "tuple[float, ...]": "float | Sequence[float]",
        "tuple[str, ...]": "str | Sequence[str]",
    }
    return " | ".join(wide.get(part, part) for part in parts)


def source():
    """What config/keywords.py is to be."""
    named = {name: annotation(name) for name in FIELDS if name not in ("env", "preset", "networks")}
    used = {word for text in named.values() for word in text.split(" | ")}
    literals = ", ".join(
        sorted(
            word
            for word in used
            if word[0].isupper() and word in dir(settings) and word not in ("None", "Precision")
        )
    )
    head = HEAD.format(literals=literals)
    if not any("Any" in text for text in named.values()):
        head = head.replace("from typing import Any, TypedDict", "from typing import TypedDict")
    return head + "".join(f"    {name}: {text}\n" for name, text in named.items())


def test_the_keywords_are_the_settings():
    written = Path(keywords.__file__).read_text()
    assert written == source(), f"settings have changed; run: python {Path(__file__).name} in tests/config"


def test_help_lists_every_setting_with_its_default_and_meaning():
    parameters = inspect.signature(swingup.train).parameters
    for name, field in FIELDS.items():
        assert name in parameters
        assert " ".join(field.help.split()) in " ".join(swingup.train.__doc__.split())
    assert parameters["gamma"].default == Config().gamma
    assert parameters["gamma"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "settings" not in parameters


RIGHT = """
import swingup
run = swingup.train("Pendulum-v1", steps=5_000, gamma=0.9, hidden=(64, 64), noise="ou", sigma=0.2, seed=1)
print(run.result)
group = swingup.train("Pendulum-v1", seeds=3, gamma=0.9)
print(group.runs)
"""
WRONG = [
    'swingup.train("Pendulum-v1", gama=0.9)',
    'swingup.train("Pendulum-v1", gamma="high")',
    'swingup.train("Pendulum-v1", noise="white")',
    'swingup.train("Pendulum-v1", seeds=3, stepz=5)',
]


@pytest.mark.slow
def test_a_type_checker_accepts_settings_and_refuses_wrong_ones(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(RIGHT + "\n".join(WRONG) + "\n")
    words = ["--ignore-missing-imports", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *words, str(script)], capture_output=True, text=True, cwd=tmp_path
    ).stdout
    lines = {int(line.split(":")[1]): line for line in found.splitlines() if "error:" in line}
    first = len(RIGHT.splitlines()) + 1
    assert sorted(lines) == list(range(first, first + len(WRONG))), found


if __name__ == "__main__":
    Path(keywords.__file__).write_text(source())
