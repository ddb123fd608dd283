"""`swingup verify`: does a run, begun again at a checkpoint, come to the same bits at the next one?"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from swingup import runtime
from swingup.errors import InputError
from swingup.runs.run import Run
from swingup.storage import checkpoint_reader, run_folder


def verify(folder: Path) -> str:
    """Repeat the stretch before the newest checkpoint and compare all that it holds; one line if every bit is the same.

    Raises InputError where there is nothing to compare, or where something differs, naming it.
    """
    run = Run(run_folder.find_run(folder))
    config = run.config
    if config.guard_collapse:
        raise InputError(f"{folder}: a run with --guard-collapse changes its weights at evaluations, which are not repeated here")
    steps = checkpoint_reader.steps(run.folder / "ckpt") if (run.folder / "ckpt").is_dir() else []
    if not steps:
        raise InputError(f"{folder}: no checkpoint yet; train longer than --save-every or --eval-every")
    goal = checkpoint_reader.load(run.folder / "ckpt", steps[-1])
    if "lanes" in goal.about["profile"]:
        lanes = goal.about["profile"]["lanes"]
        raise InputError(
            f"{folder}: trained as one of {lanes} seeds in one program, which alone rounds differently; nothing to compare"
        )
    start = checkpoint_reader.load(run.folder / "ckpt", steps[-2]) if len(steps) > 1 else None
    runtime.prepare(config.threads)
    from swingup.loops.base import Snapshot
    from swingup.training.build import make_loop
    from swingup.training.environments import make_envs
    from swingup.training.options import Options

    with ExitStack() as stack:
        envs = make_envs(config, run.env, Options(quiet=True))
        for env in envs.hosts:
            stack.callback(env.close)
        loop = make_loop(config, envs)
        if start is not None and start.ring is not None:
            loop.resume(Snapshot(start.tensors, start.ring, start.head))
        loop.end = goal.step  # wherever that was: where a signal came, or a budget of episodes was spent
        while loop.steps < goal.step:
            loop.tick()
        now = loop.snapshot()
        odd = [k for k, v in now.tensors.items() if k not in goal.tensors or v.tobytes() != goal.tensors[k].tobytes()]
        if goal.ring is None or now.ring.tobytes() != goal.ring.tobytes():
            odd.append("replay")
    since = start.step if start is not None else 0
    if odd:
        raise InputError(
            f"{folder}: repeated from step {since:,}, {odd[0]} differs at step {goal.step:,} ({len(odd)} differ in all)"
        )
    return f"{folder}: steps {since:,} to {goal.step:,} repeated; all {len(now.tensors)} arrays and the replay are the same to the last bit"
