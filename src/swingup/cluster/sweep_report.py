"""The outcome of a sweep: the best trial, the importance of each setting, and the best settings as a file."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swingup.cluster.study import SweepFolder
from swingup.config.presets import base
from swingup.config.settings import apply
from swingup.reports.wording import number
from swingup.storage import text_file

# Of a run's settings, those that say nothing about what was found to be good.
PERSONAL = {"env", "preset", "env_preset", "seed", "episode_lines"}


def outcome(sweep: SweepFolder, study: Any, seconds: float) -> dict[str, Any]:
    """The result as JSON values: what `--json` prints and sweep.json keeps."""
    trials = study.get_trials(deepcopy=False)
    counts = Counter(trial.state.name.lower() for trial in trials)
    done = [trial for trial in trials if trial.state.name == "COMPLETE" and math.isfinite(trial.value)]
    best = max(done, key=lambda trial: trial.value, default=None)
    return {
        "best": None if best is None else described(sweep, best),
        "importance": importance(study),
        "trials": {k: counts.get(k, 0) for k in ("complete", "pruned", "fail", "running")},
        "failed": {str(t.number): t.user_attrs.get("error", "") for t in trials if t.state.name == "FAIL"},
        "preset": None if best is None else str(sweep.folder / "best.toml"),
        "seconds": round(seconds, 2),
        "run": str(sweep.folder),
    }


def described(sweep: SweepFolder, trial: Any) -> dict[str, Any]:
    """A finished trial: its number, mean return over its seeds, and the settings it chose."""
    return {"trial": trial.number, "mean": trial.value, "settings": chosen(sweep, trial)}


def chosen(sweep: SweepFolder, trial: Any) -> dict[str, Any]:
    """The settings that a trial chose, as values of their fields."""
    lists = {d.name for d in sweep.space if d.choices}
    return {k: json.loads(v) if k in lists else v for k, v in trial.params.items()}


def importance(study: Any) -> dict[str, float]:
    """The share of each setting in the spread of the finished trials' returns, the largest first.

    PED-ANOVA (Watanabe et al., IJCAI 2023); {} where too few trials have finished to say.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
        except (RuntimeError, ValueError):
            return {}


def write_preset(sweep: SweepFolder, found: dict[str, Any]) -> None:
    """Write the best trial's settings as best.toml, a file that `swingup train --config` takes."""
    if (best := found["best"]) is None:
        return
    config = apply(sweep.config, best["settings"], "best trial")
    before, now = asdict(base(config.env, config.preset, env_preset=config.env_preset)), asdict(config)
    values = {k: v for k, v in now.items() if k not in PERSONAL and (v != before[k] or k in best["settings"])}
    seeds = len(sweep.seeds)
    lines = [
        f"# Trial {best['trial']} of {sum(found['trials'].values())}: "
        f"mean return {number(best['mean'])} over {seeds} seed{'s' * (seeds > 1)}.",
        "",
        f"env = {toml(config.env)}",
        f"preset = {toml(config.preset)}",
        f"env_preset = {toml(config.env_preset)}",
        *(f"{name} = {toml(value)}" for name, value in values.items()),
    ]
    text = "\n".join(lines) + "\n"
    text_file.write(sweep.folder / "best.toml", text)


def toml(value: Any) -> str:
    """A setting's value in TOML, which has no null."""
    if value is None:
        return '"none"'
    return json.dumps(str(value) if isinstance(value, Path) else value)


def lines(found: dict[str, Any], env: str) -> list[str]:
    """The result as text."""
    counts, best = found["trials"], found["best"]
    of = f"{counts['complete']} finished, {counts['pruned']} pruned, {counts['fail']} failed"
    if best is None:
        return [f"{env}: no trial finished ({of}) · {found['run']}"]
    settings = ", ".join(f"{k} {short(v)}" for k, v in best["settings"].items())
    shares = ", ".join(f"{k} {share:.2f}" for k, share in found["importance"].items())
    return [
        f"{env}: best return {number(best['mean'])} in trial {best['trial']} ({of}) "
        f"in {found['seconds']:.1f} s · {found['run']}",
        f"  settings: {settings}",
        f"  importance: {shares or 'too few finished trials to say'}",
        f"next: swingup train --config {found['preset']}",
    ]


def short(value: Any) -> str:
    """A setting's value with as many digits as a reader wants."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def progress_line(sweep: SweepFolder, trial: Any, best: float | None) -> str:
    """A line about a trial that has ended."""
    state = {"COMPLETE": "return", "PRUNED": "pruned at", "FAIL": "failed:"}[trial.state.name]
    value = trial.value if trial.value is not None else None
    what = trial.user_attrs.get("error") or ("" if value is None else number(value))
    settings = ", ".join(f"{k} {short(v)}" for k, v in chosen(sweep, trial).items())
    top = "" if best is None else f" · best {number(best)}"
    return f"trial {trial.number}: {state} {what}{top} · {settings}"
