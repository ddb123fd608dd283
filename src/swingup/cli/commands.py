"""The commands: for each a dataclass of its flags, and a function that runs it and returns the exit code.

A command imports what it needs when it runs: `--help` and usage errors must not wait for JAX.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from swingup import runtime
from swingup.cli import output
from swingup.cli.cleanrl import translated
from swingup.cli.flags import parse, show_help
from swingup.cli.sweep import Sweep, finish_sweep, sweep
from swingup.config.fields import check_ranges, setting
from swingup.config.presets import base, pick, resolved
from swingup.config.presets import presets as every_preset
from swingup.config.settings import Config, named_objects
from swingup.envs.gym_ids import import_module
from swingup.errors import InputError
from swingup.export.formats import FormatName
from swingup.reports.wording import number
from swingup.runs.compare import Metric
from swingup.runs.run import Run
from swingup.storage import trusted_modules
from swingup.storage.run_folder import find_run, is_group, read_config, unstarted
from swingup.training.build import RunBuilder
from swingup.training.options import SHOWING, Options
from swingup.training.start import network_settings

JSON = "The result as one JSON line on stdout, nothing else."
IMPORT = (
    "The module that defines or registers the run's environment, or MODULE:NAME, the class or function in it "
    "that makes it; a module named only in a run folder is never imported."
)


class Command(NamedTuple):
    """A command: the dataclass of its flags; run(parsed flags, words as typed) returns the exit code."""

    takes: Any
    run: Callable[[Any, list[str]], int]


def run_command(name: str, words: list[str]) -> int:
    """Parse the words of a command and run it; `--help` anywhere among them prints its flags."""
    command = COMMANDS[name]
    if name == "train":
        words = translated(words)
    if {"-h", "--help"} & set(words):
        show_help(
            command.takes, name, **defaults_of(command, name, [w for w in words if w not in ("-h", "--help")])
        )
        return 0
    wanted = parse(command.takes, name, words, **defaults_of(command, name, words))
    check_ranges(wanted)
    for field in dataclasses.fields(wanted):
        if (
            field.metadata.get("positional")
            and not field.default
            and getattr(wanted, field.name) in (None, ())
        ):
            what = field.metadata["positional"]
            raise InputError(
                f"{name}: which {what}? For example: swingup {name} runs/...; see swingup {name} --help"
            )
    if module := getattr(wanted, "module", "").partition(":")[0]:
        trusted_modules.allow(f"{module}:")
        import_module(module, f"--import {wanted.module}")
    with output.json_alone(getattr(wanted, "json", False)):
        return command.run(wanted, words)


def defaults_of(command: Command, name: str, words: list[str]) -> dict[str, Any]:
    """The defaults of a command's flags that depend on other words: environment, preset and file set them."""
    if command.takes not in (Train, Sweep, Bench, CheckEnv):
        return {"episodes": EPISODES[name]} if name in EPISODES else {}
    first = parse(command.takes, name, words)
    env = first.settings.env or ("Pendulum-v1" if command.takes is Bench else "")
    begin = base(env, first.settings.preset, first.config, first.settings.env_preset)
    if command.takes is Train and resumed(first) is not None:
        return dataclasses.asdict(begin)  # the run has settings of its own, and its source may be gone
    kept = (first.settings.from_keep, begin.from_keep)
    taken = network_settings(first.settings.from_run or begin.from_run, "weights" in kept)
    return dataclasses.asdict(begin) | taken


@dataclass(frozen=True)
class Train:
    """Train a policy and evaluate it. Precedence: defaults < preset < --config FILE < flags."""

    settings: Config
    reporting: Options
    config: Path | None = setting(
        None,
        "A file of settings: TOML (gamma = 0.98), JSON (a run's config.json) or YAML (RL Zoo's).",
        first=True,
        aliases="conf-file",
    )
    seeds: str | None = setting(
        None,
        "One run for each of these seeds, side by side: "
        "a count (8), a range (0:8, without its end) or a list (0,3,5); with --on ray on a cluster.",
        first=True,
    )
    seeds_mode: str = setting(
        "auto",
        "How: process (one for each core, 1 thread each unless --threads), "
        "vmap (JAX environments: one program) or auto.",
        SHOWING,
    )
    resume: bool = setting(
        False,
        "Resume the run in --run-dir, with its own settings, if there is one; else start it.",
        first=True,
    )
    json: bool = setting(False, JSON, SHOWING)


def train(wanted: Train, words: list[str]) -> int:
    """swingup train ENV"""
    from swingup.cluster.place import whole_runs

    if not wanted.settings.env:
        raise InputError("train: which environment? For example: swingup train Pendulum-v1")
    refuse_two_countings(words)
    config = wanted.settings if wanted.seeds is None else whole_runs(wanted.settings, "--seeds")
    builder = RunBuilder(resolved(config))
    options = replace(wanted.reporting, quiet=wanted.reporting.quiet or wanted.json)
    if not options.cuda:
        runtime.use_cpu()
    if options.track and wanted.seeds is not None:
        raise InputError("--track: of a single run; leave --seeds out, or leave --track out")
    if wanted.resume and options.run_dir is None:
        raise InputError("--resume: of which run? Name its folder with --run-dir, or use: swingup resume RUN")
    old = resumed(wanted)
    trust(wanted, words, old)
    command = shlex.join(["swingup", "train", *words])
    if wanted.seeds is not None or (old and is_group(old)):
        asked = any(word.replace("_", "-").split("=")[0] == "--threads" for word in words)
        return train_group(wanted, builder, options, asked, command)
    if old is not None:
        builder, env = RunBuilder(read_config(find_run(old))), Run(old).env
    else:
        env = trusted_modules.check(builder.env, wanted.config or Path("settings"))
    from swingup.cluster.train import train_on_cluster

    return output.conclude(train_on_cluster(builder, env, options, command, old), wanted.json)


def trust(wanted: Train, words: list[str], old: Path | None) -> None:
    """Record which modules the words name; InputError for those that only a file or a folder names."""
    typed = parse(Train, "train", words).settings
    own = [wanted.settings.env] if typed.env else []
    for name in (*own, *typed.wrapper, *(word for _, word in named_objects(typed))):
        trusted_modules.allow(name)
    where = old or wanted.config or Path("settings")
    for path in wanted.settings.wrapper:
        trusted_modules.check_wrapper(path, where)
    for name, word in named_objects(wanted.settings) if wanted.config else ():
        trusted_modules.check(word, where, name)


def resumed(wanted: Train) -> Path | None:
    """The folder of the run, or of the group, that `train --resume` goes on with; None if it starts one."""
    there = wanted.reporting.run_dir if wanted.resume else None
    return there if there and there.exists() and not unstarted(there) else None


def refuse_two_countings(words: list[str]) -> None:
    """InputError for `--train-freq` with `--gradient-steps`, which other libraries count by the block."""
    typed = {word.replace("_", "-").split("=")[0] for word in words}
    if {"--train-freq", "--gradient-steps"} <= typed:
        raise InputError(
            "train --gradient-steps: beside --train-freq others count them for a whole block, swingup for "
            "each environment step; give --block and --updates (1: as many updates as steps)"
        )


def named_maker(module: str) -> str | None:
    """What `--import MODULE:NAME` says to make a run's environment from; None if it names a module alone."""
    return module if ":" in module else None


def train_group(wanted: Train, builder: RunBuilder, options: Options, threads: bool, command: str) -> int:
    """swingup train ENV --seeds"""
    from swingup.cluster.pool import pool_of_group, pool_on
    from swingup.multiseed.seeds import Seeds, numbers
    from swingup.multiseed.train import resume_seeds, train_seeds
    from swingup.runs.group import mode_of

    if wanted.resume and options.run_dir and is_group(options.run_dir):
        pool = pool_of_group(options.run_dir, options)
        group = resume_seeds(options.run_dir, None, None, options, command, pool)
    else:
        on = wanted.settings.on
        seeds = Seeds(numbers(wanted.seeds or ""), mode_of(wanted.seeds_mode), threads, on)
        group = train_seeds(builder, builder.env, seeds, options, command, pool_on(on, options))
    return output.conclude_group(group, wanted.json)


@dataclass(frozen=True)
class Resume:
    """Resume a run, a group of runs or a sweep from the newest checkpoints."""

    run: Path | None = setting(None, "The run's folder.", positional="RUN")
    steps: int | None = setting(
        None,
        "Environment steps in all; by default the run's own setting.",
        aliases="total-timesteps",
    )
    workers: int | None = setting(
        None, "Another number of workers than before; the bits do not depend on it.", values="[1, 1024]"
    )
    address: str | None = setting(None, "With --on ray: the address of a cluster's head, as for train.")
    worker_patience: float = setting(
        60.0, "With --on ray: seconds to wait for lost workers, as for train.", values="(0, 1e6]"
    )
    quiet: bool = setting(False, "No progress: only the closing line.")
    record: bool = setting(False, "Film training episodes, as for train.")
    require_exact: bool = setting(
        False, "Stop with an error if the result could differ by a bit from an uninterrupted run's."
    )
    weights_only: bool = setting(
        False, "If the saved replay is damaged: use the weights, a new replay and new episodes."
    )
    json: bool = setting(False, JSON)
    module: str = setting("", IMPORT, flag="--import")


def resume(wanted: Resume, words: list[str]) -> int:
    """swingup resume RUN"""
    from swingup.cluster.study import is_sweep
    from swingup.cluster.train import train_on_cluster

    assert wanted.run is not None
    command, quiet = shlex.join(["swingup", "resume", *words]), wanted.quiet or wanted.json
    options = Options(
        None,
        quiet,
        wanted.record,
        require_exact=wanted.require_exact,
        weights_only=wanted.weights_only,
        address=wanted.address,
        worker_patience=wanted.worker_patience,
    )
    if is_group(wanted.run):
        from swingup.cluster.pool import pool_of_group
        from swingup.multiseed.train import resume_seeds

        pool, env = pool_of_group(wanted.run, options), named_maker(wanted.module)
        group = resume_seeds(wanted.run, wanted.steps, env, options, command, pool)
        return output.conclude_group(group, wanted.json)
    if is_sweep(wanted.run):
        return finish_sweep(wanted.run, None, options, wanted.json)
    old = find_run(wanted.run)
    builder = RunBuilder(read_config(old))
    if wanted.steps is not None:
        builder = builder.longer(wanted.steps)
    if wanted.workers is not None:
        builder = builder.replace(workers=wanted.workers)
    env = Run(old, named_maker(wanted.module)).env
    return output.conclude(train_on_cluster(builder, env, options, command, old), wanted.json)


@dataclass(frozen=True)
class Verify:
    """Repeat the steps between a run's two newest checkpoints and compare every bit."""

    run: Path | None = setting(None, "The run's folder.", positional="RUN")
    module: str = setting("", IMPORT, flag="--import")


def verify(wanted: Verify, words: list[str]) -> int:
    """swingup verify RUN"""
    from swingup.training.verify import verify as verify_run

    assert wanted.run is not None
    with output.working(f"repeating the steps between the last two checkpoints of {wanted.run}"):
        found = verify_run(wanted.run, named_maker(wanted.module))
    print(found)
    return 0


@dataclass(frozen=True)
class Play:
    """Play greedy episodes with a run's policy."""

    run: Path | None = setting(None, "The run's folder.", positional="RUN")
    episodes: int = setting(
        1, "How many episodes.", values="[1, inf]", aliases="eval-episodes n-eval-episodes"
    )
    seed: int | None = setting(
        None,
        "Seed of the episodes; by default the run's, which gives the episodes of its closing line.",
        values="[0, 4294967295]",
    )
    best: bool = setting(False, "The policy of the best evaluation while training, instead of the last one.")
    within: float | None = setting(
        None,
        "eval: add episodes until the 95 % interval reaches at most this far from the mean.",
        values="(0, inf]",
    )
    json: bool = setting(False, JSON)
    module: str = setting("", IMPORT, flag="--import")


# Episodes that the commands play by default.
EPISODES = {"eval": 100, "watch": 3, "video": 1}


def evaluate(wanted: Play, words: list[str]) -> int:
    """swingup eval RUN: greedy episodes on fresh environments."""
    from swingup.runs import group
    from swingup.runs.run import Run

    assert wanted.run is not None
    started, which = time.monotonic(), (wanted.episodes, wanted.seed, wanted.best, wanted.within)
    with output.working(f"playing {wanted.episodes} greedy episodes of {wanted.run}"):
        if is_group(wanted.run):
            runs = group.Group(wanted.run, named_maker(wanted.module))
            result = group.evaluate(runs, *which)
        else:
            run = Run(wanted.run, named_maker(wanted.module))
            evaluation = run.evaluate(*which)
    if not is_group(wanted.run):
        return output.conclude_evaluation(run, evaluation, time.monotonic() - started, wanted.json)
    if wanted.json:
        output.emit(result)
    else:
        print(output.closing_lines(result, runs.about["env"]))
    return 0


def watch(wanted: Play, words: list[str]) -> int:
    """swingup watch RUN: greedy episodes in a window."""
    from swingup.runs.run import Run

    refuse_within(wanted, "watch")
    started, run = time.monotonic(), Run(wanted.run or Path(), named_maker(wanted.module))
    evaluation = run.watch(wanted.episodes, wanted.seed, wanted.best)
    return output.conclude_evaluation(run, evaluation, time.monotonic() - started, wanted.json)


def video(wanted: Play, words: list[str]) -> int:
    """swingup video RUN: greedy episodes as MP4 files."""
    from swingup.runs.run import Run

    refuse_within(wanted, "video")
    many = "1 greedy episode" if wanted.episodes == 1 else f"{wanted.episodes} greedy episodes"
    with output.working(f"filming {many} of {wanted.run}"):
        run = Run(wanted.run or Path(), named_maker(wanted.module))
        clips = run.film(wanted.episodes, wanted.seed, wanted.best)
    for clip in clips:
        if wanted.json:
            output.emit({"video": str(clip.path), "return": clip.ret, "length": clip.length})
        else:
            print(f"{clip.path}: return {number(clip.ret)}, {clip.length} steps")
    return 0


def refuse_within(wanted: Play, command: str) -> None:
    if wanted.within is not None:
        raise InputError(f"{command} --within: only eval adds episodes; use --episodes")


@dataclass(frozen=True)
class Export:
    """Write a run's whole policy as one file that acts without swingup, and compare it with the trainer's."""

    run: Path | None = setting(None, "The run's folder.", positional="RUN")
    format: FormatName = setting(
        "onnx",
        "onnx (a batch of any size), npz (NumPy arrays), c (C99, no library), js (Node and browsers) "
        "or py (one Python file that needs NumPy alone).",
    )
    output: Path | None = setting(None, "The file to write; by default RUN/export/policy.FORMAT.")
    best: bool = setting(False, "The policy of the best evaluation while training, instead of the last one.")
    json: bool = setting(False, JSON)


def export(wanted: Export, words: list[str]) -> int:
    """swingup export RUN: the policy as a file, and how it agrees with the trainer's."""
    from swingup.export.formats import examine
    from swingup.export.parity import Parity
    from swingup.runs.run import Run

    run = Run(wanted.run or Path())
    with output.working(f"exporting the policy of {wanted.run}"):
        path = run.export(wanted.format, wanted.output, wanted.best)
        found = examine(run.best if wanted.best else run.policy, path, wanted.format)
    size, compared = path.stat().st_size, found if isinstance(found, Parity) else None
    if wanted.json:
        figures = dataclasses.asdict(compared) if compared else {"not_compared": found}
        output.emit({"file": str(path), "bytes": size} | figures)
    else:
        print(f"{path}: {size:,} bytes; {compared.sentence if compared else f'not compared: {found}'}")
    if compared and not compared.close:
        print(f"swingup: {path}: does not act as the trainer's policy; do not use it", file=sys.stderr)
        return 1
    return 0


@dataclass(frozen=True)
class Report:
    """Write runs and groups as one HTML page, which needs no network: curves, health, videos, settings."""

    runs: tuple[Path, ...] = setting((), "Folders of runs and groups.", positional="RUN")
    output: Path | None = setting(
        None, "The file to write; by default RUN/report.html, or report.html here for several folders."
    )
    play: bool = setting(True, "Whether two greedy episodes are played, to count the policy's actions.")
    json: bool = setting(False, JSON)
    module: str = setting("", IMPORT, flag="--import")


def report(wanted: Report, words: list[str]) -> int:
    """swingup report RUN..."""
    from swingup.runs.html_report import report as write_report

    with output.working(f"writing the report of {', '.join(map(str, wanted.runs))}"):
        path = write_report(*wanted.runs, output=wanted.output, play=wanted.play)
    return written(path, wanted.json)


def written(path: Path, as_json: bool) -> int:
    """Say that a page was written, and where; returns the exit code."""
    if as_json:
        output.emit({"report": str(path), "bytes": path.stat().st_size})
    else:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return 0


@dataclass(frozen=True)
class Card:
    """Write a run as a model for the Hugging Face Hub: card, results, video, settings, policy; or send it."""

    run: Path | None = setting(None, "The run's folder.", positional="RUN")
    push: str | None = setting(
        None, "Send it to this repository, OWNER/NAME, made if it is not there; needs the extra hub."
    )
    output: Path | None = setting(None, "The folder to write; by default RUN/card.")
    video: bool = setting(True, "Whether an episode is filmed, replay.mp4.")
    json: bool = setting(False, JSON)
    module: str = setting("", IMPORT, flag="--import")


def card(wanted: Card, words: list[str]) -> int:
    """swingup card RUN: the run as a model of the Hub."""
    from swingup.runs.model_card import card as write_card

    run, lines = Run(wanted.run or Path(), named_maker(wanted.module)), list[str]()
    with output.working(f"writing the card of {wanted.run}"):
        folder = write_card(run, wanted.output, wanted.push, wanted.video, lines.append)
    for line in lines:
        print(line, file=sys.stderr)
    if wanted.json:
        output.emit({"card": str(folder), "pushed": wanted.push})
    else:
        send = "" if wanted.push else f"; to send it: swingup card {wanted.run} --push OWNER/NAME"
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}{send}")
    return 0


@dataclass(frozen=True)
class Compare:
    """Compare two runs, or two groups of runs that differ by seed: is B better than A?"""

    a: Path | None = setting(
        None, "A run's folder, or a folder that holds runs, one for each seed.", positional="A"
    )
    b: Path | None = setting(None, "The same, for what A is compared with.", positional="B")
    metric: Metric = setting(
        "final", "A run's figure: its closing evaluation, its best one, or the mean of its last ten."
    )
    report: bool = setting(False, "Also write the comparison as one HTML page.")
    output: Path | None = setting(None, "The file of --report; by default compare-A-B.html here.")
    json: bool = setting(False, JSON)


def compare(wanted: Compare, words: list[str]) -> int:
    """swingup compare A B: is B better than A, over seeds?"""
    from swingup.runs import compare_report
    from swingup.runs.compare import compare as compare_runs

    assert wanted.a is not None
    assert wanted.b is not None
    with output.working(f"reading the runs in {wanted.a} and {wanted.b}"):
        found = compare_runs(wanted.a, wanted.b, wanted.metric)
    if wanted.report:
        from swingup.runs.html_comparison import write_comparison

        path = write_comparison(found, wanted.output)
        print(f"{path}: open it in a browser", file=sys.stderr if wanted.json else sys.stdout)
    return output.tell(wanted.json, compare_report.report(found), partial(compare_report.show, found))


@dataclass(frozen=True)
class Doctor:
    """Report what swingup runs on, whether it works, and how fast it is here."""

    obs: int = setting(3, "Size of an observation of your environment.", values="[1, 100000]")
    actions: int = setting(1, "Size of its action.", values="[1, 100000]")
    hidden: tuple[int, ...] | None = setting(
        None, "Widths of the hidden layers; by default the preset pendulum's."
    )
    batch: int | None = setting(None, "Transitions in a minibatch; by default the preset pendulum's.")
    seconds: float = setting(
        2.0, "Seconds of measurement, besides starting and compiling.", values="(0, 600]"
    )
    json: bool = setting(False, JSON)


def doctor(wanted: Doctor, words: list[str]) -> int:
    """swingup doctor: what it runs on, and whether it will work."""
    from swingup.tools.doctor import examine, show, workload_of

    workload = workload_of(wanted.obs, wanted.actions, wanted.hidden, wanted.batch)
    with output.working("checking and measuring, some seconds"):
        report = examine(workload, wanted.seconds)
    return output.tell(wanted.json, dataclasses.asdict(report), partial(show, report))


@dataclass(frozen=True)
class Bench:
    """Train for some seconds: steps per second, speed of the matrix products, and where other time goes."""

    settings: Config
    config: Path | None = setting(
        None, "A file of settings: TOML (gamma = 0.98), JSON (a run's config.json) or YAML (RL Zoo's)."
    )
    json: bool = setting(False, JSON)


def bench(wanted: Bench, words: list[str]) -> int:
    """swingup bench ENV"""
    from swingup.tools.bench import bench as measure
    from swingup.tools.bench import show

    builder = RunBuilder(resolved(wanted.settings))
    with output.working("training and measuring, some seconds"):
        report = measure(builder)
    return output.tell(wanted.json, dataclasses.asdict(report), partial(show, report))


@dataclass(frozen=True)
class CheckEnv:
    """What a run would find out about an environment: contract, seeds, scales, speed, episodes, pictures."""

    settings: Config
    config: Path | None = setting(None, "A TOML file of settings, one a line: gamma = 0.98.")
    seconds: float = setting(3.0, "Seconds of random steps.", values="(0, 600]")
    json: bool = setting(False, JSON)


def check_environment(wanted: CheckEnv, words: list[str]) -> int:
    """swingup check-env ENV"""
    from swingup.tools import check_env

    settings = wanted.settings
    if not settings.env:
        raise InputError("check-env: which environment? For example: swingup check-env Pendulum-v1")
    for path in (settings.env, *settings.wrapper):
        trusted_modules.allow(path)
    request = RunBuilder(settings).environments(settings.env, Options())
    with output.working(f"trying {settings.env}, some seconds"):
        report = check_env.check_env(request.recipe, settings.env, request.limit, wanted.seconds)
    output.tell(wanted.json, check_env.as_json(report), partial(check_env.show, report))
    return 0 if report.fits else 1


@dataclass(frozen=True)
class Presets:
    """List the presets, or show the settings of one and the source of each."""

    name: str = setting("", "A preset.", positional="[NAME]")


def presets(wanted: Presets, words: list[str]) -> int:
    """swingup presets [NAME]"""
    from rich.console import Console
    from rich.table import Table

    if wanted.name:
        preset = pick(wanted.name, "")
        title = f"{preset.name}: {preset.about}"
        table = Table("setting", "value", "from", title=title, title_justify="left", box=None)
        for key, value in preset.values.items():
            table.add_row(key, str(value), preset.sources[key])
    else:
        table = Table("preset", "picked for", "what it is", box=None)
        for preset in every_preset().values():
            table.add_row(preset.name, ", ".join(preset.envs) or "–", preset.about)
    Console().print(table)
    return 0


COMMANDS = {
    "train": Command(Train, train),
    "sweep": Command(Sweep, sweep),
    "eval": Command(Play, evaluate),
    "resume": Command(Resume, resume),
    "verify": Command(Verify, verify),
    "video": Command(Play, video),
    "watch": Command(Play, watch),
    "export": Command(Export, export),
    "report": Command(Report, report),
    "card": Command(Card, card),
    "compare": Command(Compare, compare),
    "presets": Command(Presets, presets),
    "doctor": Command(Doctor, doctor),
    "bench": Command(Bench, bench),
    "check-env": Command(CheckEnv, check_environment),
}
