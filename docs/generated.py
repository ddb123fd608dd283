"""The parts of the site that the program itself knows: settings, presets, commands, public names, diagnoses.

A page of the site asks for one with a line `<!-- generated: NAME -->`; `filled` puts the text there. Needs no
Sphinx, so that a fast test reads what the site will say. `python docs/generated.py settings` prints a part.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

from swingup import PUBLIC
from swingup.cli.commands import COMMANDS, EPISODES
from swingup.cli.flags import PLACEHOLDERS
from swingup.config.fields import Field, as_typed, fields, flag
from swingup.config.presets import presets
from swingup.config.settings import FIELDS, Config

MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.M)
FLAG = re.compile(r"(?<![\w`-])--[a-z][\w-]*")
# How a command is called; the rest is in its dataclass.
USAGE = "```text\nswingup {command} {positional} [flags]\n```"


def filled(text: str) -> str:
    """A page's text with each marked line replaced by what the program says."""
    return MARKER.sub(lambda found: PARTS[found[1]]().rstrip(), text)


def code(text: str) -> str:
    """A sentence with its flags set as code, and its other signs as they are."""
    safe = re.sub(r"([*_<>$\[\]])", r"\\\1", text)
    return FLAG.sub(lambda found: f"`{found[0]}`", safe.replace("\\_", "_"))


def listed(words: Iterable[str]) -> str:
    """Words with commas between them."""
    return ", ".join(words)


# Settings and flags


def value(name: str, given: Any) -> str:
    """A value as it is typed."""
    return as_typed(tuple(given) if isinstance(given, list) else given)


def changed_by(name: str) -> str:
    """The presets that set this one, each with its value."""
    found = {p.name: p.values[name] for p in presets().values() if name in p.values}
    return listed(f"{preset} `{value(name, given)}`" for preset, given in found.items())


def head(field: Field) -> str:
    """A flag with its placeholder, as the help shows it."""
    if field.positional:
        return field.positional.strip("[]")
    word = PLACEHOLDERS[field.kind]
    return f"{field.flag} {word} ..." if field.many else f"{field.flag} {word}".strip()


def kind_of(field: Field) -> str:
    """What may be given, and its range."""
    if field.choices:
        return f"{listed(f'`{word}`' for word in field.choices[:-1])} or `{field.choices[-1]}`".removeprefix(
            " or "
        )
    noun = "on or off" if field.kind is bool else field.nouns
    return f"{noun[0].upper()}{noun[1:]}{f' {field.range}' if field.range else ''}"


def entry(field: Field, default: Any, more: Iterable[str] = ()) -> str:
    """A flag: what it means, what may be given, its default, and more facts, each one a sentence."""
    facts = [kind_of(field)]
    if not field.positional:
        facts.append(f"Default: `{as_typed(default) or 'none'}`")
    if field.kind is bool and default:
        facts.append(f"Off with `--no-{field.flag[2:]}`")
    facts += more
    if field.aliases:
        facts.append(f"Also {listed(f'`--{alias}`' for alias in field.aliases)}")
    about = " · ".join(facts)
    return f":::{{option}} {head(field)}\n{code(field.help)}\n\n{about}\n:::\n"


def settings() -> str:
    """Every field of `Config`, in its groups: meaning, range, default, presets, other names."""
    lines = [":::{program} swingup train\n:::\n"]
    groups: dict[str, list[str]] = {}
    for name, field in FIELDS.items():
        named = flag(name) == field.flag or field.positional
        more = [] if named else [f"In Python and files: `{name}`"]
        if found := changed_by(name):
            more.append(f"Presets: {found}")
        groups.setdefault(field.group, []).append(entry(field, field.default, more))
    for group, entries in groups.items():
        lines += [f"## {group.capitalize()}\n", *entries]
    return "\n".join(lines)


def preset_tables() -> str:
    """Every preset: what it is, which environments pick it, each value and its source."""
    lines = []
    for preset in presets().values():
        lines.append(f"## {preset.name}\n\n{code(preset.about[0].upper() + preset.about[1:])}.\n")
        if preset.envs:
            lines.append(f"Picked for {listed(f'`{env}`' for env in preset.envs)}.\n")
        if preset.algorithm:
            own = listed(f"`{name}`" for name in preset.algorithm)
            lines.append(f"Combined with the environment's preset, which keeps all but {own}.\n")
        rows = [
            f"| `{name}` | {value(name, given)} | {cell(preset.sources[name])} |"
            for name, given in preset.values.items()
        ]
        lines.append("\n".join(["| setting | value | source |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(lines)


def cell(text: str) -> str:
    """A sentence for a cell of a table."""
    return code(text).replace("|", "\\|").replace("\n", " ")


def own_flags(kind: Any) -> dict[str, Field]:
    """The fields of a command that are not settings of a run."""
    return {name: f for name, f in fields(kind).items() if not (takes_settings(kind) and name in FIELDS)}


def takes_settings(kind: Any) -> bool:
    """Whether a command takes the settings of a run, too."""
    return Config in get_type_hints(kind).values()


def commands() -> str:
    """Every command: what it does, how it is called, its own flags."""
    lines = []
    for name, command in COMMANDS.items():
        every = fields(command.takes)
        positional = " ".join(f.positional for f in every.values() if f.positional)
        call = USAGE.format(command=name, positional=positional).replace("  ", " ")
        lines += [f"## swingup {name}\n", f":::{{program}} swingup {name}\n:::\n"]
        lines += [code(inspect.getdoc(command.takes) or "") + "\n", call + "\n"]
        if takes_settings(command.takes):
            lines.append("Takes every [setting](settings.md), and besides:\n")
        for field in own_flags(command.takes).values():
            default = EPISODES.get(name, field.default) if field.name == "episodes" else field.default
            lines.append(entry(field, default))
    return "\n".join(lines)


# Python


def public(name: str) -> Any:
    """A public object of swingup."""
    return getattr(importlib.import_module(f"swingup.{PUBLIC[name]}"), name)


def directive(name: str) -> str:
    """The autodoc directive of a public name."""
    found = public(name)
    if not inspect.isclass(found):
        return f".. autofunction:: swingup.{name}\n"
    if issubclass(found, Exception):
        return f".. autoexception:: swingup.{name}\n   :show-inheritance:\n"
    members = "" if dataclasses.is_dataclass(found) and name == "Config" else "   :members:\n"
    return f".. autoclass:: swingup.{name}\n{members}"


def api() -> str:
    """Every public name, documented from its docstring."""
    return "\n".join(f"## {name}\n\n```{{eval-rst}}\n{directive(name)}```\n" for name in PUBLIC)


# Diagnoses


def flags_of(advice: Callable[..., str]) -> list[str]:
    """The flags that a piece of advice names."""
    return [f"`{flag}`" for flag in dict.fromkeys(FLAG.findall(inspect.getsource(advice)))]


def diagnoses() -> str:
    """A line for each diagnosis: its name, when it is found, and the settings that it names."""
    from swingup.reports.diagnostics import RULES

    lines = []
    for name, rule in RULES.items():
        found = code((inspect.getdoc(rule.find) or "").splitlines()[0])
        advice = dict.fromkeys(" ".join(flags_of(piece)) for piece in rule.advice)
        when = "at once" if rule.lasting == 1 else f"after {rule.lasting} intervals"
        link = f"[{name}](#{name.replace(' ', '-')})"
        lines.append(f"- **{link}**, said {when}: {found} Names {listed(advice)}.")
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "presets": preset_tables,
    "commands": commands,
    "api": api,
    "diagnoses": diagnoses,
}

if __name__ == "__main__":
    for part in sys.argv[1:]:
        print(PARTS[part]())
