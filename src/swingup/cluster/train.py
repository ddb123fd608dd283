"""A run whose environments are stepped by workers on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from swingup.cluster.connection import Cluster, need_ray
from swingup.cluster.fleet import Fleet, shares_of
from swingup.errors import InputError
from swingup.multiseed.processes import packed
from swingup.reports.progress import console_of
from swingup.runs.run import Run, recipe_of
from swingup.training.build import RunBuilder
from swingup.training.environments import Environments
from swingup.training.options import Options
from swingup.training.session import run_training

if TYPE_CHECKING:
    from swingup.loops.base import Loop
    from swingup.reports.callback import Callbackable


class ClusterBuilder(RunBuilder):
    """A `RunBuilder` whose loop has its environments on a cluster; `close` ends the workers."""

    def __init__(self, builder: RunBuilder, env: Any, options: Options):
        super().__init__(builder.config, builder.networks)
        self.warmup_policy = builder.warmup_policy
        recipe = recipe_of(self.config, env)
        made = recipe.maker() if recipe.kwargs or recipe.changes else None if isinstance(env, str) else env
        self.source = packed(self.env, made)
        self.options, self.folder = options, Path()
        self.fleet: Fleet | None = None

    def new_folder(self, options: Options, label: str | None = None) -> Path:
        self.folder = super().new_folder(options, label)
        return self.folder

    def loop(self, envs: Environments, **device: Any) -> Loop:
        """The loop, and the cluster if it is our own."""
        from swingup.cluster.exploration import of_noise
        from swingup.cluster.free import FreeLoop, Journal
        from swingup.cluster.lockstep import LockstepLoop

        c, spec = self.config, envs.spec
        plan = self.plan(spec)
        assert c.workers is not None
        explore = of_noise(plan.agent.noise, spec.action_size)
        about = {"source": self.source, "name": c.env, "limit": c.episode_steps, "seed": c.seed}
        shares = shares_of(c.envs, c.workers, actor=plan.agent.actor, exploration=explore, **about)
        say = console_of(self.options.quiet).print
        log = self.folder / "cluster.txt"
        cluster = Cluster(self.options.address, c.workers, self.options.worker_patience, log, say)
        if c.order == "free":
            shares = [s._replace(scale=scale_of(w, len(shares))) for w, s in enumerate(shares)]
        self.fleet = fleet = Fleet(cluster, shares)
        every, end = self.intervals(plan), c.steps
        if c.order == "free":
            journal = Journal(self.folder / "journal.csv")
            return FreeLoop(plan, spec, c.seed, fleet, explore, every=every, end=end, journal=journal)
        return LockstepLoop(plan, spec, c.seed, fleet, explore, every=every, end=end)

    def intervals(self, plan: Any) -> tuple[int, ...]:
        """The intervals of logs, evaluations and checkpoints."""
        from swingup.reports.metrics_logger import log_interval

        c = self.config
        return log_interval(plan), c.eval_every, c.save_every or c.eval_every

    def close(self) -> None:
        """End the workers, and the cluster if it is our own."""
        if self.fleet is not None:
            self.fleet.close()


def scale_of(w: int, workers: int) -> float:
    """The factor of worker w's exploration in free running: from a half to two, in equal ratios."""
    return 2.0 ** (2 * w / (workers - 1) - 1) if workers > 1 else 1.0


def train_on_cluster(
    builder: RunBuilder,
    env: Any,
    options: Options,
    command: str,
    old: Path | None = None,
    callbacks: Callbackable = None,
) -> Run:
    """`training.session.run_training` with workers on Ray, if the settings ask for them."""
    if builder.config.on is None:
        if options.address is not None:
            raise InputError(f"--address {options.address}: of what? Add --on ray and --workers")
        return run_training(builder, env, options, command, old, callbacks=callbacks)
    need_ray()
    there = ClusterBuilder(builder, env, options)
    there.folder = old or there.folder
    try:
        return run_training(there, env, options, command, old, callbacks=callbacks)
    finally:
        there.close()
