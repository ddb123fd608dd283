"""The commands, one function each: its words in, its exit code out. A command imports what it needs when it is called."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from swingup.cli.flags import parse, switch_flags, translate
from swingup.cli.output import conclude, conclude_group, tell
from swingup.config.presets import base, pick
from swingup.config.settings import FIELDS, Config, check, flag
from swingup.errors import InputError
from swingup.runs.compare import Metric
from swingup.storage import trusted_modules
from swingup.storage.run_folder import find_run, read_config
from swingup.training.options import Options
from swingup.training.session import run_training


@dataclass(frozen=True)
class Train:
    """Train a policy and evaluate it. Precedence: defaults < preset < --config FILE < flags."""

    settings: Config
    reporting: Options
    config: Path | None = None
    """A TOML file of settings, one a line: gamma = 0.98."""
    json: bool = False
    """The closing evaluation as one JSON line on stdout, nothing else."""
    resume: bool = False
    """Go on with the run in --run-dir, with its own settings, if there is one; else begin it."""
    seeds: str | None = None
    """One run for each of these seeds, side by side: a count (8), a range (0:8, without its end) or a list (0,3,5)."""
    seeds_mode: str = "auto"
    """How: process (one for each core, 1 thread each unless --threads), vmap (JAX environments: one program) or auto."""


def train(argv: list[str]) -> int:
    """swingup train ENV"""
    command = shlex.join(["swingup", "train", *argv])
    argv = translate(argv)

    def read(default: Config) -> Train:
        known = [
            *map(flag, (*FIELDS, *(f.name for f in dataclasses.fields(Options)))),
            *switch_flags(),
            "--config",
            "--seeds",
            "--seeds-mode",
        ]
        return parse(Train, "train", argv, known, default=Train(default, Options()))

    # Twice: what the flags say of environment, preset and file decides the defaults of all the others.
    first = read(Config())
    wanted = read(base(first.settings.env, first.settings.preset, first.config))
    if not wanted.settings.env:
        raise InputError("train: which environment? For example: swingup train Pendulum-v1")
    config = check(replace(wanted.settings, preset=pick(wanted.settings.preset, wanted.settings.env).name))
    options = replace(wanted.reporting, quiet=wanted.reporting.quiet or wanted.json)
    if wanted.resume and options.run_dir is None:
        raise InputError("--resume: of which run? Name its folder with --run-dir, or use: swingup resume RUN")
    old = options.run_dir if wanted.resume and options.run_dir and options.run_dir.exists() else None
    trusted_modules.remember(first.settings.env)
    if wanted.seeds is not None or (old and (old / "group.json").is_file()):
        return train_group(wanted, config, options, "--threads" in argv, command)
    if old is not None:
        config = read_config(find_run(old))
    env = trusted_modules.check(config.env, old or wanted.config or Path("settings"))
    return conclude(run_training(config, env, options, command, old), wanted.json)


def train_group(wanted: Train, config: Config, options: Options, threads: bool, command: str) -> int:
    """swingup train ENV --seeds"""
    from swingup.multiseed.seeds import Seeds, numbers
    from swingup.multiseed.train import resume_seeds, train_seeds
    from swingup.runs.group import is_group, mode_of

    if wanted.resume and options.run_dir and is_group(options.run_dir):
        return conclude_group(resume_seeds(options.run_dir, None, None, options, command), wanted.json)
    seeds = Seeds(numbers(wanted.seeds or ""), mode_of(wanted.seeds_mode), threads)
    return conclude_group(train_seeds(config, config.env, seeds, options, command), wanted.json)


Module = Annotated[str, tyro.conf.arg(name="import", metavar="MODULE")]


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest checkpoint."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    steps: int | None = None
    """Environment steps in all; by default those the run was meant for."""
    quiet: bool = False
    """No progress: only the closing line."""
    record: bool = False
    """Film training episodes, as for train."""
    require_exact: bool = False
    """Stop with an error where the result could differ by a bit from an uninterrupted run's."""
    weights_only: bool = False
    """Where the saved replay is damaged: go on with the weights, a new replay and new episodes."""
    json: bool = False
    """The closing evaluation as one JSON line on stdout, nothing else."""
    module: Module = ""
    """The module that the run's environment comes from, if you trust it: a folder imports none that you have not named."""


def resume(argv: list[str]) -> int:
    """swingup resume RUN"""
    from swingup.runs.run import Run
    from swingup.training.session import settings_of

    switches = [flag(f"{no}{name}") for name in ("quiet", "record", "require-exact", "weights-only", "json") for no in ("", "no-")]
    wanted = parse(Resume, "resume", translate(argv), ["--steps", "--import", *switches])
    trusted_modules.remember(f"{wanted.module}:")
    if (wanted.run / "group.json").is_file():
        from swingup.multiseed.train import resume_seeds

        options = Options(None, wanted.quiet or wanted.json, wanted.record, require_exact=wanted.require_exact)
        command = shlex.join(["swingup", "resume", *argv])
        return conclude_group(resume_seeds(wanted.run, wanted.steps, None, options, command), wanted.json)
    old, config = settings_of(wanted.run, wanted.steps)
    options = Options(
        old, wanted.quiet or wanted.json, wanted.record, require_exact=wanted.require_exact, weights_only=wanted.weights_only
    )
    command = shlex.join(["swingup", "resume", *argv])
    return conclude(run_training(config, Run(old).env, options, command, old), wanted.json)


def verify(argv: list[str]) -> int:
    """swingup verify RUN: repeat the stretch between the two newest checkpoints and compare every bit."""
    from swingup.training.verify import verify as check_run

    if argv and argv[0] in ("-h", "--help"):
        print("swingup verify RUN [--import MODULE]: repeats the stretch between its two newest checkpoints and compares every bit")
        return 0
    if argv[1:2] == ["--import"]:
        trusted_modules.remember(f"{' '.join(argv[2:])}:")
        argv = argv[:1]
    if len(argv) != 1:
        raise InputError(f"verify {' '.join(argv)}: expected one run's folder; for example: swingup verify runs/...")
    print(check_run(Path(argv[0])))
    return 0


@dataclass(frozen=True)
class Play:
    """Play greedy episodes with a run's policy."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    episodes: int = 1
    """How many episodes."""
    seed: int | None = None
    """Seed of the episodes; by default the run's, which gives the episodes of its closing line."""
    best: bool = False
    """The policy of the best evaluation while training, instead of the last one."""
    json: bool = False
    """JSON on stdout, nothing else."""
    within: float | None = None
    """eval: add episodes until the 95 % interval reaches at most this far from the mean."""
    module: Module = ""
    """The module that the run's environment comes from, if you trust it: a folder imports none that you have not named."""


def played(command: str, argv: list[str], episodes: int) -> Play:
    """The arguments of a command that plays, checked."""
    known = ["--episodes", "--seed", "--best", "--no-best", "--json", "--no-json", "--within", "--import"]
    words = [word.replace("--eval-episodes", "--episodes") for word in translate(argv)]
    play = parse(Play, command, words, known, default=Play(tyro.MISSING, episodes))
    trusted_modules.remember(f"{play.module}:")
    if play.episodes < 1:
        raise InputError(f"--episodes {play.episodes}: expected a number from 1")
    if play.seed is not None and not 0 <= play.seed < 2**32:
        raise InputError(f"--seed {play.seed}: expected a number from 0 to {2**32 - 1}")
    if play.within is not None and not play.within > 0:
        raise InputError(f"--within {play.within}: expected a number above 0")
    if play.within is not None and command != "eval":
        raise InputError(f"{command} --within: only eval adds episodes; use --episodes")
    return play


def evaluate(argv: list[str]) -> int:
    """swingup eval RUN: greedy episodes on fresh environments."""
    return score("eval", argv, 100)


def watch(argv: list[str]) -> int:
    """swingup watch RUN: the same in a window."""
    return score("watch", argv, 3)


def score(command: str, argv: list[str], episodes: int) -> int:
    """Play, unseen or in a window, and print what it came to."""
    play, started = played(command, argv, episodes), time.monotonic()
    from swingup.runs.run import closing, figures, load

    if command == "eval" and (play.run / "group.json").is_file():
        from swingup.cli import output
        from swingup.runs import group

        result = group.evaluate(group.Group(play.run), play.episodes, play.seed, play.best, play.within)
        print(json.dumps(result) if play.json else output.closing_lines(result, group.Group(play.run).about["env"]))
        return 0
    run = load(play.run)
    if command == "watch":
        e = run.watch(play.episodes, play.seed, play.best)
    else:
        e = run.evaluate(play.episodes, play.seed, play.best, play.within)
    result = figures(e, run.folder, time.monotonic() - started)
    print(json.dumps(result) if play.json else closing(result, run.config.env))
    return 0


def video(argv: list[str]) -> int:
    """swingup video RUN: greedy episodes as MP4 files."""
    play = played("video", argv, 1)
    from swingup.runs.run import load

    for clip in load(play.run).film(play.episodes, play.seed, play.best):
        line = {"video": str(clip.path), "return": clip.ret, "length": clip.length}
        print(json.dumps(line) if play.json else f"{clip.path}: return {clip.ret:,.1f}, {clip.length} steps")
    return 0


def compare(argv: list[str]) -> int:
    """swingup compare A B: is B better than A, over seeds?"""
    from swingup.runs import compare as comparing
    from swingup.runs import compare_report

    wanted = parse(Compare, "compare", translate(argv), ["--metric", "--json", "--no-json"])
    found = comparing.compare(wanted.a, wanted.b, wanted.metric)
    return tell(wanted.json, compare_report.report(found), partial(compare_report.show, found))


def doctor(argv: list[str]) -> int:
    """swingup doctor: what it runs on, and whether it will work."""
    from rich.console import Console

    from swingup.tools.doctor import Doctor, examine, show

    wanted = parse(Doctor, "doctor", translate(argv), [*(flag(f.name) for f in dataclasses.fields(Doctor)), "--no-json"])
    config = wanted.settings()
    with Console(stderr=True).status("looking and measuring, some seconds"):
        report = examine(wanted.obs, wanted.actions, config, wanted.seconds)
    return tell(wanted.json, dataclasses.asdict(report), partial(show, report))


@dataclass(frozen=True)
class Bench:
    """Train for some seconds: steps per second, share of the machine's matrix products, and where the rest goes."""

    settings: Config
    config: Path | None = None
    """A TOML file of settings, one a line: gamma = 0.98."""
    json: bool = False
    """The figures as one JSON line on stdout, nothing else."""


def bench(argv: list[str]) -> int:
    """swingup bench ENV"""
    argv = translate(argv)
    known = [*map(flag, FIELDS), *switch_flags(), "--config"]
    first = parse(Bench, "bench", argv, known, default=Bench(Config(env="Pendulum-v1")))
    wanted = parse(Bench, "bench", argv, known, default=Bench(base(first.settings.env, first.settings.preset, first.config)))
    env = wanted.settings.env or first.settings.env
    config = check(replace(wanted.settings, env=env, preset=pick(wanted.settings.preset, env).name))
    from rich.console import Console

    from swingup.tools import bench as benching

    with Console(stderr=True).status("training, some seconds"):
        report = benching.bench(config)
    return tell(wanted.json, dataclasses.asdict(report), partial(benching.show, report))


def presets(argv: list[str]) -> int:
    """swingup presets [NAME]"""
    from rich.console import Console
    from rich.table import Table

    from swingup.config.presets import presets as every

    console = Console()
    if argv and argv[0] in ("-h", "--help"):
        print("swingup presets [NAME]: the named settings, or where each number of one comes from")
        return 0
    if len(argv) > 1:
        raise InputError(f"presets {' '.join(argv)}: expected one name, or none; for example: swingup presets pendulum")
    if argv:
        preset = pick(argv[0], "")
        table = Table("setting", "value", "from", title=f"{preset.name}: {preset.about}", title_justify="left", box=None)
        for key, value in preset.values.items():
            table.add_row(key, str(value), preset.sources[key])
    else:
        table = Table("preset", "picked for", "what it is", box=None)
        for preset in every().values():
            table.add_row(preset.name, ", ".join(preset.envs) or "–", preset.about)
    console.print(table)
    return 0


COMMANDS = {
    "train": train,
    "eval": evaluate,
    "resume": resume,
    "verify": verify,
    "video": video,
    "watch": watch,
    "compare": compare,
    "presets": presets,
    "doctor": doctor,
    "bench": bench,
}


@dataclass(frozen=True)
class Compare:
    """Compare two runs, or two groups of runs that differ by seed: is B better than A?"""

    a: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """A run's folder, or a folder that holds runs, one for each seed."""
    b: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """The same of what it is compared with."""
    metric: Metric = "final"
    """A run's figure: its closing evaluation, its best one, or the mean of its last ten."""
    json: bool = False
    """JSON on stdout, nothing else."""
