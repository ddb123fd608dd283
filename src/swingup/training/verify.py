"""`swingup verify`: whether a run, repeated from a checkpoint, comes to the same bits at the next one."""

from __future__ import annotations

from pathlib import Path

from swingup import runtime
from swingup.errors import InputError
from swingup.runs.run import Run
from swingup.storage import checkpoint_reader, run_folder
from swingup.training.build import RunBuilder
from swingup.training.environments import open_environments
from swingup.training.options import Options
from swingup.training.start import demos_saved


def verify(folder: Path, env: str | None = None) -> str:
    """Repeat the steps before a run's newest checkpoint and compare all arrays; one line if all bits agree.

    env: what makes the run's environment, if its folder does not say it.
    Raises InputError if there is nothing to compare, or if something differs, naming it.
    """
    run = Run(run_folder.find_run(folder), env)
    builder = RunBuilder(run.config)
    if run.config.guard_collapse:
        what = "a run with --guard-collapse changes its weights at evaluations, which are not repeated here"
        raise InputError(f"{folder}: {what}")
    steps = checkpoint_reader.steps(run.folder / "ckpt") if (run.folder / "ckpt").is_dir() else []
    if not steps:
        raise InputError(f"{folder}: no checkpoint yet; train longer than --save-every or --eval-every")
    goal = checkpoint_reader.load(run.folder / "ckpt", steps[-1])
    if seeds := goal.about["profile"].get("seeds_in_program"):
        what = f"trained as one of {seeds} seeds in one program, which alone rounds differently"
        raise InputError(f"{folder}: {what}; nothing to compare")
    start = checkpoint_reader.load(run.folder / "ckpt", steps[-2]) if len(steps) > 1 else None
    threads = goal.about["profile"].get("threads", builder.threads)
    runtime.prepare(threads)
    if runtime.threads_in_use(threads) != threads:
        has = f"this process has {runtime.threads_in_use(threads)}; verify it in a new process"
        raise InputError(f"{folder}: computed with {threads} threads of XLA, {has}")
    from swingup.loops.base import Snapshot
    from swingup.loops.evaluation import can_restore_episodes

    with open_environments(builder.environments(run.env, Options(quiet=True))) as envs:
        begins = builder.start(envs.spec, envs.goals) if start is None else None
        if start is not None:
            builder.held = demos_saved(start.tensors)
        loop, repeats = builder.loop(envs), can_restore_episodes(envs.stepped, builder.seed)
        if start is not None and start.ring is not None:
            repeats &= loop.restore(Snapshot(start.tensors, start.ring, start.added))
        elif begins is not None:
            loop.begin_with(begins)
        if not repeats:
            what = "another episode with the same seed and actions gives other observations or rewards"
            raise InputError(f"{folder}: {what}, so {builder.env} cannot be repeated; nothing to compare")
        loop.end = goal.step  # not always due: a signal or the budget of episodes may have ended the run here
        while loop.steps < goal.step:
            loop.step()
        now = loop.snapshot()
        odd = [
            k
            for k, v in now.tensors.items()
            if k not in goal.tensors or v.tobytes() != goal.tensors[k].tobytes()
        ]
        if goal.ring is None or now.ring is None or now.ring.tobytes() != goal.ring.tobytes():
            odd.append("replay")
    since = start.step if start is not None else 0
    if odd:
        raise InputError(
            f"{folder}: repeated from step {since:,}, {odd[0]} differs at step {goal.step:,} "
            f"({len(odd)} differ in all)"
        )
    return (
        f"{folder}: steps {since:,} to {goal.step:,} repeated; "
        f"all {len(now.tensors)} arrays and the replay are the same to the last bit"
    )
