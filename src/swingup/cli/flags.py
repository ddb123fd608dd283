"""Words of a command line to a dataclass. `tyro` derives the flags; what is here is other libraries' spellings and one-line errors."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any

import tyro

from swingup.config.settings import Config, flag
from swingup.errors import InputError, nearest
from swingup.training.options import Options

# The spellings of CleanRL and of RL Zoo, where they differ from ours.
ALIASES: dict[str, tuple[str, ...]] = {
    "--env-id": ("--env",),
    "--total-timesteps": ("--steps",),
    "--n-timesteps": ("--steps",),
    "--num-envs": ("--envs",),
    "--n-envs": ("--envs",),
    "--learning-starts": ("--warmup",),
    "--learning-rate": ("--actor-lr", "--critic-lr"),
    "--policy-lr": ("--actor-lr",),
    "--q-lr": ("--critic-lr",),
    "--buffer-size": ("--capacity",),
    "--batch-size": ("--batch",),
    "--exploration-noise": ("--sigma",),
    "--net-arch": ("--hidden",),
    "--gradient-steps": ("--updates",),
    "--eval-freq": ("--eval-every",),
    "--n-eval-episodes": ("--eval-episodes",),
    "--conf-file": ("--config",),
    "--capture-video": ("--record",),
}


def parse(kind: Any, command: str, argv: list[str], known: Sequence[str], **options: Any) -> Any:
    """`argv` as the dataclass `kind`, by tyro; every mistake is one InputError line."""
    for token in argv:
        name = token.split("=")[0]
        if name.startswith("--") and name not in (*known, "--help"):
            raise InputError(f"{command} {name}: no such flag{nearest(name, known) or f'; see swingup {command} --help'}")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                kind,
                prog=f"swingup {command}",
                args=argv,
                config=(tyro.conf.OmitArgPrefixes,),
                **options,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        text = " ".join(re.sub(r"[╭╮╰╯│─]|\x1b\[[0-9;]*m", " ", errors.getvalue()).split())
        text = re.sub(
            r"Argument helptext.*|For full helptext.*|^(Parsing error|Value error|Unrecognized options) ", "", text
        ).strip(" .:")
        raise InputError(f"{command}: {text}; see swingup {command} --help") from None


def translate(argv: list[str]) -> list[str]:
    """The same arguments in our spelling: `--flag=value` split, underscores to hyphens, aliases replaced, `--env X` in front."""
    switches = switch_flags()
    out: list[str] = []
    queue = [part for a in argv for part in (a.split("=", 1) if a.startswith("--") and "=" in a else [a])]
    env: list[str] = []
    while queue:
        word = queue.pop(0)
        name = word.replace("_", "-") if word.startswith("--") else word
        names = ALIASES.get(name, (name,))
        values = []
        many = name in ("--hidden", "--net-arch", "--sigma", "--exploration-noise")
        while queue and name.startswith("--") and (is_number(queue[0]) or not (many or queue[0].startswith("-"))):
            values.append(queue.pop(0))
            if not many:
                break
        if names == ("--env",):
            env += values
        elif name in switches:
            out += [name]
            queue[:0] = values
        else:
            out += [x for n in names for x in (n, *values)]
    return env + out


SWITCHES = ("--json", "--no-json", "--best", "--no-best", "--resume", "--no-resume", "--help")


def switch_flags() -> set[str]:
    """The flags that take no value."""
    names = [f.name for kind in (Config, Options) for f in dataclasses.fields(kind) if isinstance(f.default, bool)]
    return {flag(n) for n in names} | {flag(f"no-{n}") for n in names} | {*SWITCHES}


def is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
