"""Parses command lines into dataclasses of settings and prints their help, both derived from the fields."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from swingup.config.fields import Field, aliases, as_typed, fields, from_words, owner
from swingup.errors import InputError, nearest

FIRST = "used most"
PLACEHOLDERS = {int: "N", float: "X", str: "WORD", Path: "PATH", bool: "", dict: "NAME=VALUE,..."}


def parse(kind: Any, command: str, argv: Sequence[str], **defaults: Any) -> Any:
    """Parse words into the dataclass `kind`; every mistake is an InputError of one line.

    defaults: values that replace the defaults of its fields, nested dataclasses included.
    """
    parser = parser_of(kind, command, defaults)
    found, unknown = parser.parse_known_args(normalized(kind, argv))
    if odd := next((word for word in unknown if word.startswith("-")), None):
        name, known = odd.split("=")[0], [f.flag for f in fields(kind).values()]
        raise InputError(
            f"{command} {name}: no such flag{nearest(name, known) or f'; see swingup {command} --help'}"
        )
    if unknown:
        raise InputError(f"{command}: what is {unknown[0]!r}? See swingup {command} --help")
    return build(kind, vars(found))


def build(kind: Any, values: dict[str, Any]) -> Any:
    """An instance of a dataclass and its nested dataclasses, from the values of all their fields."""
    hints = get_type_hints(kind)
    inner = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    return kind(
        **{n: build(t, values) if dataclasses.is_dataclass(t) else values[n] for n, t in inner.items()}
    )


def show_help(kind: Any, command: str, **defaults: Any) -> None:
    """Print the flags of a command in their groups, the most used first."""
    print(parser_of(kind, command, defaults).format_help(), end="")


class Store(argparse.Action):
    """Stores the words after a flag in every field that the flag sets."""

    def __init__(self, wanted: Sequence[Field], every: dict[str, Field], command: str, **options: Any):
        super().__init__(**options)
        self.wanted, self.every, self.command = wanted, every, command

    def __call__(self, parser: Any, found: Any, values: Any, option: str | None = None) -> None:
        if option is None and (values is self.default or values == []):
            return  # a missing positional word; an alias may have set the field
        for field in self.wanted:
            if field.kind is bool:
                setattr(found, field.name, not (option or "").startswith("--no-"))
            else:
                words = values if isinstance(values, list) else [values]
                field = owner(self.every, field.name, words[0])
                self.set(found, field, from_words(field, words, self.command))

    def set(self, found: Any, field: Field, value: Any) -> None:
        """Set a field, or add to it where its flag came before."""
        again = vars(found).setdefault("given", set())
        if field.collects and field.name in again and value:
            before = getattr(found, field.name)
            value = {**before, **value} if field.kind is dict else (*before, *value)
        again.add(field.name)
        setattr(found, field.name, value)


class Parser(argparse.ArgumentParser):
    """argparse's parser, except that mistakes are InputErrors."""

    command = ""

    def error(self, message: str) -> NoReturn:
        flag = re.search(r"argument (--[\w-]+)", message)
        if flag and "expected" in message:
            raise InputError(f"{self.command} {flag[1]}: a value is missing after it")
        raise InputError(f"{self.command}: {message}; see swingup {self.command} --help")


def parser_of(kind: Any, command: str, defaults: dict[str, Any]) -> Parser:
    """The parser of a command; other libraries' names of its flags are accepted and not shown."""
    width = min(shutil.get_terminal_size().columns, 100)
    parser = Parser(
        prog=f"swingup {command}",
        usage=f"swingup {command} "
        f"{' '.join(f.positional for f in fields(kind).values() if f.positional)} [flags]",
        description=kind.__doc__,
        add_help=False,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=width),
    )
    parser.command = command
    every = fields(kind)
    groups: dict[str, Any] = {}
    for field in sorted(every.values(), key=lambda f: not f.first):
        title = FIRST if field.first else field.group
        default = defaults.get(field.name, field.default)
        parser.set_defaults(**{field.name: default})
        if field.positional:
            count = "*" if field.many else "?"
            word = {"nargs": count, "help": field.help, "default": default}
            add(parser, [field], every, command, field.positional, **word)
            continue
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        flags = [field.flag, f"--no-{field.flag[2:]}"] if field.kind is bool else [field.flag]
        if field.kind is bool and default:
            flags.reverse()
        shown = f"{field.help} [{as_typed(default)}]".replace("%", "%%")
        for name, text in zip(flags, (shown, argparse.SUPPRESS), strict=False):
            add(groups[title], [field], every, command, name, help=text, dest=field.name, default=default)
    for alias, names in aliases(kind).items():
        wanted = [every[name] for name in names]
        add(
            parser,
            wanted,
            every,
            command,
            f"--{alias}",
            help=argparse.SUPPRESS,
            dest=names[0],
            default=argparse.SUPPRESS,
        )
    return parser


def add(
    group: Any, wanted: list[Field], every: dict[str, Field], command: str, *names: str, **options: Any
) -> None:
    """Add one argument to a parser."""
    kind = wanted[0].kind
    if names[0].startswith("--"):
        options |= {"nargs": 0} if kind is bool else {"metavar": PLACEHOLDERS[kind]}
    else:
        options["metavar"], names = names[0], (wanted[0].name,)
    group.add_argument(*names, action=Store, wanted=wanted, every=every, command=command, **options)


def normalized(kind: Any, argv: Sequence[str]) -> list[str]:
    """The words in one spelling: flags with hyphens, values behind `=`, numbers of a list joined by commas.

    A word that looks like a negative number is a value; a list takes numbers only, so that a positional word
    may follow it.
    """
    every = {
        name: field
        for field in fields(kind).values()
        for name in (field.flag, *(f"--{a}" for a in field.aliases))
    }
    out: list[str] = []
    positional: list[str] = []  # put first, as argparse loses one that follows a flag
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            positional.append(word)
            continue
        name, equals, value = word.partition("=")
        name = "--" + name[2:].replace("_", "-")
        field = every.get(name)
        if field is None or field.kind is bool:
            truth = value or (queue[0] if field and queue and queue[0].lower() in ("true", "false") else "")
            if field and truth and not value:
                queue.pop(0)
            out.append(f"--no-{name[2:]}" if field and truth.lower() == "false" else name)
            continue
        values = [value] if equals else []
        numbers = field.many and field.kind is not str
        while queue and not equals and (is_number(queue[0]) if numbers else takes(field, values, queue[0])):
            values.append(queue.pop(0))
        if numbers and not values and queue and not is_flag(queue[0]):
            values.append(queue.pop(0))  # not a number: the error names it
        out.append(f"{name}={','.join(values)}" if values else name)
    return positional + out


def takes(field: Field, values: list[str], word: str) -> bool:
    """Whether a word belongs to the flag before it: one word, or several arguments by name."""
    return not is_flag(word) and (not values or (field.kind is dict and "=" in word))


def is_flag(word: str) -> bool:
    return word.startswith("-") and not is_number(word)


def is_number(word: str) -> bool:
    """Whether a word is a number, or several with commas between them."""
    try:
        return bool([float(part) for part in word.split(",") if part])
    except ValueError:
        return False
