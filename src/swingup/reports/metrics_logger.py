"""The metrics logger: TensorBoard events and CSV files of a run; a failed write never stops training."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.config.fields import as_typed
from swingup.config.settings import Config
from swingup.core.agent import Agent, Metrics
from swingup.errors import InputError
from swingup.loops.base import IterationResult, Loop
from swingup.loops.evaluation import Evaluation
from swingup.reports.callback import Callback, RunContext
from swingup.reports.diagnostics import Diagnostics, Figures
from swingup.reports.tags import ABOUT, FIRST, TAGS
from swingup.storage.run_folder import read_result
from swingup.storage.tables import append_csv, column_names, cut_csv
from swingup.types import Episode

if TYPE_CHECKING:
    from swingup.core.engine import Plan
    from swingup.reports.event_file import EventFile
    from swingup.reports.stock_callbacks import CsvColumns

# Between two rows of metrics.csv lie at least this many environment steps and actor steps.
EVERY, ACTOR_STEPS = 500, 50

TABLES = ("episodes", "metrics", "evaluations", "remarks")


def log_interval(plan: Plan) -> int:
    """Environment steps between two rows of metrics.csv."""
    return max(EVERY, ACTOR_STEPS * plan.unit * plan.n)


class MetricsLogger(Callback):
    """Writes episodes.csv, metrics.csv, evaluations.csv, remarks.csv and TensorBoard events of a run.

    Besides Stable-Baselines3's tags (by environment step) there are the 2017 tutorial's `Reward` and
    `Qmax_value` (by episode). warn: called with one line; the first failed write is reported to it, and
    training goes on without the logs. columns: the user's own numbers; InputError if one has a name of ours.
    """

    def __init__(
        self, folder: Path, warn: Callable[[str], None], loop: Loop, columns: Sequence[CsvColumns] = ()
    ):
        self.columns, self.header = columns, list[str]()
        if taken := ({"step", *TAGS} & {name for column in columns for name in column.columns}):
            raise InputError(
                f"CsvColumns: metrics.csv has a column {min(taken)!r} already; choose another name"
            )
        self.folder, self.warn, self.broken, self.loop = folder, warn, False, loop
        self.interval = log_interval(loop.plan)
        self.diagnostics: Diagnostics | None = Diagnostics(loop.plan)
        self.start = self.mark = time.monotonic()
        self.trained = 0.0  # seconds of training since the last row of metrics.csv
        self.rows = dict.fromkeys(TABLES, 0)
        self.sizes: dict[str, int] = {}  # of the event files of earlier processes, in bytes
        self.board: EventFile | None = None
        self.step = self.logged = self.episodes = 0
        self.recent: deque[Episode] = deque(maxlen=100)
        self.window: list[Metrics] = []

    def on_start(self, run: RunContext) -> None:
        self.mark = time.monotonic()
        self.guard(partial(self.open_files, run.step + 1 if run.resumed else 0))
        if not run.resumed:
            self.write_settings(run.settings)
            self.write_graph(self.loop.plan.agent)

    def open_files(self, later: int) -> None:
        """Drop what an earlier process wrote after the checkpoint, and begin this one's event file."""
        from swingup.reports.event_file import EventFile, cut_events

        for name in TABLES:
            self.rows[name] = cut_csv(self.folder / f"{name}.csv", self.rows[name])
        self.header = column_names(self.folder / "metrics.csv")
        for name in (name for column in self.columns for name in column.columns):
            if self.header and name not in self.header:
                self.warn(f"warning: metrics.csv began without the column {name}; it is left out")
        # A TensorBoard that has already read what is cut off is told to hide it.
        self.board = EventFile(self.folder, later if cut_events(self.folder, self.sizes) else None)

    def append(self, table: str, row: dict[str, Any]) -> None:
        append_csv(self.folder / f"{table}.csv", [row])
        self.rows[table] += 1

    def scalars(self, points: dict[str, float], at: int) -> None:
        """Points of TensorBoard's curves, at a step or an episode."""
        assert self.board is not None
        for tag, value in points.items():
            for name in (tag, FIRST[tag]) if tag in FIRST else (tag,):
                self.board.scalar(name, value, at, ABOUT.get(name, ""))

    def on_iteration(self, result: IterationResult) -> None:
        self.step, before, self.mark = result.step, self.mark, time.monotonic()
        self.trained += self.mark - before
        if self.diagnostics is not None:
            self.diagnostics.add_rows(result.rows)
        if result.metrics is not None:
            self.window.append(result.metrics)
        for column in self.columns:
            column.add(result)
        for episode in result.episodes:
            self.recent.append(episode)
            self.guard(partial(self.write_episode, episode))
            self.episodes += 1
        if result.step // self.interval > self.logged // self.interval:
            self.write_interval()

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        (low, high), several = evaluation.ci95, len(evaluation.returns) > 1
        spread = dict.fromkeys(("std", "ci95_low", "ci95_high"), "")
        row = {
            "step": step,
            "mean": evaluation.mean,
            **({"std": evaluation.std, "ci95_low": low, "ci95_high": high} if several else spread),
            "episodes": len(evaluation.returns),
        }
        points = {"mean_reward": evaluation.mean, "mean_ep_length": float(np.mean(evaluation.lengths))}
        if evaluation.success is not None:
            points["success_rate"] = evaluation.success
        self.guard(lambda: self.append("evaluations", row | self.success_cell(evaluation)))
        self.guard(lambda: self.scalars({f"eval/{k}": v for k, v in points.items()}, step))
        self.mark = time.monotonic()  # an evaluation's time does not count as training time

    def success_cell(self, evaluation: Evaluation) -> dict[str, Any]:
        """The cell of the column `success`, which evaluations.csv has if its first evaluation had one."""
        path, value = self.folder / "evaluations.csv", evaluation.success
        if self.rows["evaluations"]:
            there = "success" in path.read_text(encoding="utf-8").partition("\n")[0].strip().split(",")
        else:
            there = value is not None
        return {"success": "" if value is None else value} if there else {}

    def on_checkpoint(self, step: int, path: Path) -> None:
        self.mark = time.monotonic()

    def on_end(self, run: RunContext) -> None:
        if self.step > self.logged:
            self.write_interval()
        if self.board is not None:
            self.guard(lambda: self.write_hparams(run.settings))
            self.board.close()

    def write_hparams(self, settings: dict[str, Any]) -> None:
        """Settings other than the defaults beside the closing evaluation, in TensorBoard's HParams tab.

        Nothing before the run's end, as there is no closing evaluation then.
        """
        result, usual = read_result(self.folder), dataclasses.asdict(Config())
        if result and self.board is not None:
            metric = TAGS["return_mean"] if result.get("source") == "training" else "eval/mean_reward"
            named = ("env", "preset", "seed", "steps")
            kept = {k: v for k, v in settings.items() if k in named or v != usual.get(k)}
            plain = lambda v: v if isinstance(v, (bool, int, float, str)) else as_typed(v)
            self.board.settings({k: plain(v) for k, v in kept.items()}, metric)

    def write_episode(self, episode: Episode) -> None:
        """A row of episodes.csv, and the tutorial's two TensorBoard scalars."""
        known = not np.isnan(episode.q_max)
        row = {
            "episode": self.episodes,
            "env": episode.env,
            "step": self.step,
            "return": episode.ret,
            "length": episode.length,
            "seconds": round(time.monotonic() - self.start, 3),
            "seed": episode.seed,
            "terminated": int(episode.terminated),
            "q_max": episode.q_max if known else "",
        }
        self.append("episodes", row)
        self.scalars(
            {"Reward": episode.ret} | ({"Qmax_value": episode.q_max} if known else {}), self.episodes
        )

    def write_interval(self) -> None:
        """A row of metrics.csv, and the same numbers as TensorBoard scalars."""
        mean = Metrics(*np.mean(self.window, axis=0)) if self.window else None
        row: dict[str, Any] = {
            "step": self.step,
            "episodes": self.episodes,
            "return_mean": np.mean([e.ret for e in self.recent]) if self.recent else "",
            "length_mean": np.mean([e.length for e in self.recent]) if self.recent else "",
            **{
                name: getattr(mean, name) if mean else ""
                for name in ("critic_loss", "actor_loss", "q_mean", "q_max")
            },
            "steps_per_second": (self.step - self.logged) / max(self.trained, 1e-9),
            **self.figures(learning=mean is not None),
        }
        own = {name: value for column in self.columns for name, value in column.row().items()}
        self.window, self.trained, self.logged = [], 0.0, self.step
        scalars = {tag: row[name] for name, tag in TAGS.items() if row[name] != ""}
        scalars |= {f"user/{name}": value for name, value in own.items() if value != ""}
        row |= own
        self.header = self.header or list(row)  # a resumed run may have other columns of the user's
        self.guard(lambda: self.append("metrics", {name: row.get(name, "") for name in self.header}))
        self.guard(lambda: self.scalars(scalars, row["step"]))

    def figures(self, learning: bool) -> dict[str, Any]:
        """The current diagnostic figures, blank before learning starts; reports new diagnoses."""
        blank = dict.fromkeys(Figures._fields, "")
        if self.diagnostics is None or not learning:
            return blank
        try:
            found = self.diagnostics.figures(self.loop.learner(), self.step)
        except Exception as error:  # a user's network that NumPy cannot run must not stop the other logs
            self.diagnostics = None
            self.warn(f"warning: no health figures ({type(error).__name__}: {error}); training goes on")
            return blank
        for text in self.diagnostics.diagnoses(found, self.step):
            self.remark("health", text, self.step)
        return {name: "" if math.isnan(x) else x for name, x in found._asdict().items()}

    def remark(self, name: str, text: str, step: int) -> None:
        """Report a line to `warn`, in remarks.csv and in TensorBoard's Text tab."""
        self.warn(f"{name}: {text}")
        row = {"step": step, "name": name, "text": text}
        self.guard(lambda: self.append("remarks", row))
        self.write_text(name, text, step)

    def write_text(self, tag: str, text: str, step: int = 0) -> None:
        """An entry of TensorBoard's Text tab."""
        if self.board is not None:
            self.guard(partial(self.board.text, tag, text, step))

    def write_picture(self, tag: str, data: bytes, size: tuple[int, int]) -> None:
        """A picture of the run's last step in TensorBoard's Images tab."""
        if self.board is not None:
            self.guard(partial(self.board.picture, tag, data, size, self.step))

    def state(self) -> dict[str, Any]:
        numbers = {
            "logged": self.logged,
            "episodes": self.episodes,
            "step": self.step,
            "seconds": time.monotonic() - self.start,
            "trained": self.trained,
            "rows": dict(self.rows),
            "events": self.sizes | ({self.board.path.name: self.board.size} if self.board else {}),
            "window": [list(m) for m in self.window],
            "recent": [list(e) for e in self.recent],
        }
        health = self.diagnostics.state() if self.diagnostics else {}
        return numbers | {f"health.{name}": array for name, array in health.items()}

    def restore(self, state: dict[str, Any]) -> None:
        # Convert everything before changing anything: an error must not leave half of it restored.
        step, logged, episodes = (int(state[name]) for name in ("step", "logged", "episodes"))
        window = [Metrics(*map(float, m)) for m in state["window"]]
        kinds = (int, int, int, float, int, bool, float)
        recent = [Episode(*(kind(x) for kind, x in zip(kinds, e, strict=True))) for e in state["recent"]]
        start = time.monotonic() - float(state["seconds"])
        trained = float(state["trained"])
        rows = {name: int(state["rows"][name]) for name in TABLES}
        sizes = {str(name): int(size) for name, size in state["events"].items()}
        if min(*rows.values(), *sizes.values()) < 0:
            raise ValueError("rows or events")
        health = {k.removeprefix("health."): v for k, v in state.items() if k.startswith("health.")}
        if self.diagnostics and health:
            self.diagnostics.restore(health)
        self.step, self.logged, self.episodes, self.window, self.start = step, logged, episodes, window, start
        self.trained, self.rows, self.sizes = trained, rows, sizes
        self.recent.extend(recent)

    def write_settings(self, settings: dict[str, Any]) -> None:
        """The settings as a table in TensorBoard's Text tab."""
        table = "\n".join(["|setting|value|", "|-|-|", *(f"|{k}|{v}|" for k, v in settings.items())])
        self.write_text("settings", table)

    def write_graph(self, agent: Agent) -> None:
        """The networks and the update, in TensorBoard's Graphs tab."""
        try:
            from swingup.reports.tensorboard_graph import graph_event

            graph = graph_event(agent)
        except Exception as error:  # a user's unusual network must not stop the other logs
            self.warn(
                f"warning: no graph for TensorBoard ({type(error).__name__}: {error}); training goes on"
            )
            return
        if self.board is not None:
            self.guard(partial(self.board.write, graph))

    def guard(self, write: Callable[[], Any]) -> None:
        """Call `write`, unless an earlier write failed."""
        if self.broken:
            return
        try:
            write()
        except Exception as error:
            self.broken = True
            self.warn(f"warning: logging stopped ({type(error).__name__}: {error}); training goes on")
