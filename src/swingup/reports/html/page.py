"""A page that needs nothing but itself: style, text, charts, scripts in one HTML file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swingup.errors import InputError
from swingup.storage.text_file import write

HERE = Path(__file__).parent


def page(title: str, parts: Sequence[str]) -> str:
    """The whole HTML text; parts: what its body holds, as HTML."""
    style = (HERE / "style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{text(title)}</title>\n<link rel="icon" href="data:,">\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n{chr(10).join(parts)}\n</body>\n</html>\n"
    )


def text(value: Any) -> str:
    """A value as HTML text."""
    return html.escape(str(value))


def paragraph(words: str, soft: bool = False) -> str:
    """A paragraph of plain text."""
    kind = ' class="soft"' if soft else ""
    return f"<p{kind}>{text(words)}</p>"


def tiles(figures: Mapping[str, str]) -> str:
    """Large figures, each with its name below it."""
    cells = (f'<div class="tile"><b>{text(v)}</b><span>{text(k)}</span></div>' for k, v in figures.items())
    return f'<div class="tiles">{"".join(cells)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> str:
    """A table, which scrolls by itself where the page is narrow; numbers: columns aligned to the right."""
    kind = lambda k: ' class="number"' if k in numbers else ""
    top = "".join(f"<th{kind(k)}>{text(name)}</th>" for k, name in enumerate(head))
    body = "".join(
        f"<tr>{''.join(f'<td{kind(k)}>{text(x)}</td>' for k, x in enumerate(row))}</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def grid(cells: Mapping[str, str]) -> str:
    """Charts or videos side by side, each under its title."""
    inside = "".join(f"<div><h3>{text(title)}</h3>{cell}</div>" for title, cell in cells.items())
    return f'<div class="grid">{inside}</div>'


def video(path: Path, words: str) -> str:
    """An MP4 file inside the page, under a line of text."""
    data = base64.b64encode(path.read_bytes()).decode()
    source = f"data:video/mp4;base64,{data}"
    tag = f'<video controls loop muted playsinline preload="auto" src="{source}"></video>'
    return tag + paragraph(words, True)


def save(path: Path, content: str) -> None:
    """Write a page; InputError if that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
    except OSError as error:
        raise InputError(f"{path}: the page cannot be written ({error.strerror})") from error
