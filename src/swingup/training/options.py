"""The options of a run that do not change what it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swingup.config.fields import setting
from swingup.reports.tracking import TrackerName

SHOWING = "what is shown and kept"


@dataclass(frozen=True)
class Options:
    """Where a run is kept and what it shows; none of these options changes what it learns."""

    run_dir: Path | None = setting(
        None, "A new or empty folder for the run; by default one under runs/.", SHOWING, first=True
    )
    quiet: bool = setting(False, "No progress: only the closing line.", SHOWING)
    record: bool = setting(
        False,
        "Film training episodes 0, 1, 8, 27, ..., 1000, 2000, ... of the first environment "
        "into the run's videos/.",
        SHOWING,
        aliases="capture-video",
    )
    render: bool = setting(False, "Show the first environment in a window while it trains.", SHOWING)
    require_exact: bool = setting(
        False,
        "When resuming: stop with an error if the result could differ by a bit from an uninterrupted run's. "
        "On a GPU: use only operations that give the same bits each time.",
        SHOWING,
        aliases="torch-deterministic",
    )
    address: str | None = setting(
        None,
        "With --on ray: a cluster's head, host:port, its token in RAY_AUTH_TOKEN; by default a cluster "
        "is started on this machine, for this run.",
        SHOWING,
    )
    worker_patience: float = setting(
        60.0,
        "With --on ray: seconds to wait for lost workers or seeds, before the run stops with a checkpoint.",
        SHOWING,
        values="(0, 1e6]",
    )
    exp_name: str = setting("", "The run's name in its folder's, in place of the preset's name.", SHOWING)
    cuda: bool = setting(
        True, "Compute on an accelerator where JAX finds one; --no-cuda: on the CPU.", SHOWING
    )
    track: TrackerName | None = setting(
        None,
        "Report metrics and evaluations to wandb, mlflow or trackio, whose package must be installed; "
        "alone it means wandb.",
        SHOWING,
    )
    track_project: str = setting(
        "swingup", "The project of --track, MLflow's experiment.", SHOWING, aliases="wandb-project-name"
    )
    track_entity: str | None = setting(
        None, "The team or user of --track wandb; by default your own.", SHOWING, aliases="wandb-entity"
    )
    weights_only: bool = setting(
        False,
        "When resuming a run whose saved replay is damaged: use its weights, a new replay and new episodes.",
        SHOWING,
    )
