"""A finished or stopped run, opened again: its policy, settings and figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from swingup.config.settings import Config
from swingup.core.custom_networks import Makers
from swingup.core.policy import Policy
from swingup.envs.closing import close_all
from swingup.envs.recipe import Recipe, for_evaluation
from swingup.envs.registry import EVAL_COPIES
from swingup.errors import InputError
from swingup.loops.evaluation import Evaluation, evaluate_policy
from swingup.reports.video import Clip, film, inline, watch
from swingup.reports.wording import interval, number
from swingup.runs.source import read_source
from swingup.storage import hub, policy_file, run_folder, tables


class Table(dict[str, np.ndarray]):
    """Named columns; a notebook shows them as a table of the first and last rows."""

    def rows(self) -> list[dict[str, float]]:
        """One dictionary per row."""
        return [dict(zip(self.keys(), row, strict=True)) for row in zip(*self.values(), strict=True)]

    def _repr_html_(self) -> str:
        rows = [[f"{x:,.6g}" for x in row.values()] for row in self.rows()]
        if len(rows) > 10:
            rows = [*rows[:5], ["…"] * len(self.keys()), *rows[-5:]]
        header = "".join(f"<th>{name}</th>" for name in self.keys())
        body = "".join("<tr>" + "".join(f"<td>{x}</td>" for x in row) + "</tr>" for row in rows)
        return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


class Run:
    """A run folder as an object; `hf:owner/name` is fetched from the Hugging Face Hub first.

    policy: the last weights; best: those of the best evaluation during training; episodes, metrics,
    evaluations: the CSV files as columns; result: the closing evaluation, or {} if there was none; lost: what
    could not be saved, in one line, where it was trained just now on a disk that refused. networks: the
    makers of the user's own, where they cannot be imported by name.
    """

    def __init__(
        self,
        folder: str | Path,
        env: Any = None,
        result: dict[str, Any] | None = None,
        lost: str = "",
        networks: Makers | None = None,
    ):
        self.folder, self.networks = run_folder.find_run(hub.local(folder)), networks
        self.source, self.just_now, self.lost = env, result or {}, lost
        self.interrupted = False  # before its first step: a result that its folder has is an earlier one

    def __repr__(self) -> str:
        """The run in a line: folder, environment, preset, seed and what it reached."""
        try:
            c, result = self.config, self.result
        except InputError:
            return f"Run({str(self.folder)!r}: its files cannot be read)"
        after = f", {result['steps']:,} steps" if "steps" in result else ""
        mean = result.get("mean")
        reached = f"{after}, return {number(mean)}" if mean is not None else after or ", not finished"
        return f"Run({str(self.folder)!r}: {c.env}, preset {c.preset}, seed {c.seed}{reached})"

    def __fspath__(self) -> str:
        """Its folder, so that a run can be given wherever a folder is asked for."""
        return str(self.folder)

    @cached_property
    def config(self) -> Config:
        """The run's settings."""
        return run_folder.read_config(self.folder)

    @cached_property
    def policy(self) -> Policy:
        """The greedy policy with the last weights."""
        return policy_file.load_policy(self.folder / "policy" / "last.safetensors", self.networks)

    @cached_property
    def best(self) -> Policy:
        """The greedy policy with the weights of the best evaluation during training."""
        return policy_file.load_policy(self.folder / "policy" / "best.safetensors", self.networks)

    @property
    def result(self) -> dict[str, Any]:
        """The closing evaluation, from result.json if that could be written; {} before the run's end."""
        return {} if self.interrupted else run_folder.read_result(self.folder) or self.just_now

    @property
    def episodes(self) -> Table:
        """The training episodes, from episodes.csv."""
        return Table(tables.read_csv(self.folder / "episodes.csv"))

    @property
    def metrics(self) -> Table:
        """The logged metrics, from metrics.csv."""
        return Table(tables.read_csv(self.folder / "metrics.csv"))

    @property
    def evaluations(self) -> Table:
        """The evaluations, from evaluations.csv."""
        return Table(tables.read_csv(self.folder / "evaluations.csv"))

    def plot(self, levels: Mapping[str, float] | None = None) -> Any:
        """The run's learning curve, as a matplotlib figure (shown inline in a notebook).

        levels: named returns to compare with, such as published ones, drawn as labelled lines.
        """
        from swingup.reports.learning_curve import figure

        return figure(self.config.env, self.episodes, self.evaluations, levels)

    @property
    def env(self) -> Any:
        """What environments are made from: the id in the settings, or what was given to `load`."""
        return (
            self.source
            if self.source is not None
            else read_source(self.folder, self.config.env, self.config.wrapper)
        )

    @property
    def recipe(self) -> Recipe:
        """How the environments to evaluate on are made: from `env`, as the settings say."""
        return recipe_of(self.config, self.env, evaluation=True)

    def drawn(self, mode: str) -> Any:
        """A function that makes an environment with this render mode."""
        env = self.env
        if isinstance(env, gymnasium.Env) and env.render_mode == mode:
            return self.recipe.given()
        return self.recipe.maker(render_mode=mode)

    def film(self, episodes: int = 1, seed: int | None = None, best: bool = False) -> list[Clip]:
        """Write greedy episodes as videos/eval-{last or best}-seed{seed}-{k}.mp4 (H.264).

        By default they are the first episodes of the closing evaluation.
        """
        name, used = "best" if best else "last", self.config.seed if seed is None else seed

        def path(k: int) -> Path:
            return self.folder / "videos" / f"eval-{name}-seed{used}-{k}.mp4"

        return film(
            self.best if best else self.policy,
            self.drawn("rgb_array"),
            path,
            episodes,
            used,
            self.config.episode_steps,
        )

    def video(self, episodes: int = 1, seed: int | None = None, best: bool = False) -> Any:
        """Film greedy episodes as `film` does and show them inline in a notebook."""
        try:
            from IPython.display import HTML
        except ImportError as error:
            raise InputError(
                "run.video(): shown in notebooks only (no IPython here); run.film() writes the files"
            ) from error

        clips, env = self.film(episodes, seed, best), self.config.env
        videos = (inline(c.path, f"Video: greedy episode of {env}, return {number(c.ret)}") for c in clips)
        return HTML("\n".join(videos))

    def export(self, format: str = "onnx", path: str | Path | None = None, best: bool = False) -> Path:
        """Write the greedy policy as one file that acts without swingup; returns its path.

        format: onnx, npz, c, js or py; path: by default export/policy.FORMAT in the run's folder. Raises
        InputError for a network that cannot be exported or a package that is missing.
        """
        from swingup.export.formats import export

        name = f"{'best' if best else 'policy'}.{format}"
        return export(self.best if best else self.policy, path or self.folder / "export" / name, format)

    def watch(self, episodes: int = 3, seed: int | None = None, best: bool = False) -> Evaluation:
        """Play greedy episodes in a window; InputError where there is no display."""
        used = self.config.seed if seed is None else seed
        return watch(
            self.best if best else self.policy,
            self.drawn("human"),
            episodes,
            used,
            self.config.episode_steps,
        )

    def evaluate(
        self, episodes: int = 100, seed: int | None = None, best: bool = False, within: float | None = None
    ) -> Evaluation:
        """Play greedy episodes on fresh environments; by default those of the closing evaluation come first.

        within: add episodes until the 95 % interval reaches at most this far from the mean.
        """
        if episodes < 1:
            raise InputError(f"evaluate({episodes}): expected one episode or more")
        copies = EVAL_COPIES if self.config.eval_env == "copies" else 1
        env = for_evaluation(self.recipe, min(copies, episodes), self.config.episode_steps)
        try:
            used = self.config.seed if seed is None else seed
            return evaluate_policy(self.best if best else self.policy, env, episodes, used, within)
        finally:
            close_all(env)


def recipe_of(config: Config, source: Any, evaluation: bool = False) -> Recipe:
    """How the environments of a run are made; evaluation: those to evaluate on."""
    own = None if isinstance(source, gymnasium.Env) else config.env_kwargs  # an object has them already
    kwargs = {**(own or {}), **((config.eval_env_kwargs or {}) if evaluation else {})}
    return Recipe(source, kwargs or None, config.wrapper, config.action_low, config.action_high)


def figures(e: Evaluation, folder: Path, seconds: float, steps: int | None = None) -> dict[str, Any]:
    """An evaluation as JSON values: what `--json` prints and result.json holds."""
    return {
        "mean": e.mean if e.returns else None,
        "std": e.std if len(e.returns) > 1 else None,
        "ci95": list(e.ci95) if len(e.returns) > 1 else None,
        "episodes": len(e.returns),
        **({"success": e.success} if e.success is not None else {}),
        **({"steps": steps} if steps is not None else {}),
        "seconds": round(seconds, 2),
        "run": str(folder),
    }


def closing(result: dict[str, Any], env: str) -> str:
    """The result of `figures` as one line of text."""
    ends = f"{interval(result['ci95'])}, " if result["ci95"] else ""
    kinds = ("greedy episode", "greedy episodes")
    if result.get("source") == "training":
        kinds = ("training episode, which explored", "last training episodes, which explored")
    played = f"1 {kinds[0]}" if result["episodes"] == 1 else f"{result['episodes']} {kinds[1]}"
    after = f" after {result['steps']:,} steps" if "steps" in result else ""
    mean = "unknown" if result["mean"] is None else number(result["mean"])
    done = f", success {result['success']:.0%}" if "success" in result else ""
    took = f"{result['seconds']:.1f} s"
    after += f" (stopped: {result['stopped']})" if result.get("stopped") else ""
    return f"{env}: return {mean} ({ends}{played}){done}{after} in {took} · {result['run']}"
