"""The folder of a sweep: its settings in sweep.json, its trials in an Optuna storage, a group for each trial.

Any number of processes may work on one folder. A trial belongs to the process that holds the lock of the
trial's folder; a trial that nobody holds goes on from its checkpoints in the next process that asks.
"""

from __future__ import annotations

import fcntl
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from swingup.cluster.place import recorded
from swingup.cluster.space import Space, parse_space
from swingup.config.settings import Config, apply, check, named_objects
from swingup.errors import InputError
from swingup.seeding import episode_seed
from swingup.storage import disk, text_file
from swingup.storage.text_file import read_json
from swingup.storage.trusted_modules import allowed
from swingup.storage.trusted_modules import check as check_module

JOURNAL = "journal"  # the storage that is a file in the sweep's folder
SAMPLER = 3  # the stream of `seeding.episode_seed` for the sampler of a trial


class Claim(NamedTuple):
    """A trial that this process works on: Optuna's trial, its folder, and the file that locks the folder."""

    trial: Any
    folder: Path
    lock: int

    def release(self) -> None:
        """Let go of the trial."""
        os.close(self.lock)


class SweepFolder:
    """A sweep's folder, opened; InputError if it is not one.

    config: the settings that all trials share; seeds: those of each trial; trials: how many there shall be.
    """

    def __init__(self, folder: Path):
        self.folder, path = folder, folder / "sweep.json"
        about = self.about = read_json(path)
        try:
            self.config: Config = check(apply(Config(), about["settings"], str(path)))
            self.space: Space = parse_space(about["space"], str(path), self.config)
            self.seeds = tuple(int(seed) for seed in about["seeds"])
            self.trials, self.prune = int(about["trials"]), bool(about["prune"])
            self.on = recorded(about, path)
            self.storage, self.name, self.command = (about[k] for k in ("storage", "study", "command"))
            if not self.seeds or not all(type(about[k]) is str for k in ("storage", "study", "command")):
                raise ValueError("seeds, storage, study or command")
        except InputError:
            raise
        except (LookupError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error!s:.100}"
            raise InputError(f"{path}: cannot be used ({why}); is {folder} the folder of a sweep?") from error
        self.env = check_module(self.config.env, folder)

    @property
    def order(self) -> dict[str, Any]:
        """What a worker process is told beside the folder: the environment, and modules it may import."""
        words = (self.config.env, *self.config.wrapper, *(word for _, word in named_objects(self.config)))
        return {"env": self.env, "modules": allowed(words)}

    def path(self, number: int) -> Path:
        """The folder of a trial."""
        return self.folder / f"trial-{number:04d}"

    def study(self) -> Any:
        """The sweep's Optuna study, made if it is not there yet."""
        optuna = load_optuna()
        config = self.config
        pruner: Any = optuna.pruners.NopPruner()
        if self.prune:  # no trial is judged by the first third of its training, or against fewer than four
            pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=config.steps // 3)
        try:
            return optuna.create_study(
                storage=self.open_storage(),
                study_name=self.name,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner,
            )
        except (ImportError, OSError, ValueError, optuna.exceptions.StorageInternalError) as error:
            raise unusable(self.storage, error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "sqlalchemy":
                raise
            raise unusable(self.storage, error) from error

    def open_storage(self) -> Any:
        """Optuna's storage: the journal in the folder, or the database of a URL.

        Variables of the environment in the URL, as $PASSWORD, are replaced here and are not in sweep.json.
        """
        if self.storage != JOURNAL:
            return os.path.expandvars(self.storage)
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        path = self.folder / "journal.log"
        lock: Any = FileLock(self.folder / "journal.lock")
        with lock:
            drop_half_line(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))

    def claim(self, study: Any) -> Claim | None:
        """A trial that was begun and that nobody works on, else a new one; None if there is none left."""
        with FileLock(self.folder / "claims.lock"):
            known = study.get_trials(deepcopy=False)
            for old in known:
                if not old.state.is_finished() and (lock := try_lock(self.path(old.number))) is not None:
                    import optuna

                    return Claim(optuna.Trial(study, old._trial_id), self.path(old.number), lock)
            if len(known) >= self.trials:
                return None
            study.sampler = self.sampler(len(known))
            trial = study.ask()
            folder = self.path(trial.number)
            return Claim(trial, folder, disk.lock(folder))

    def sampler(self, number: int) -> Any:
        """The sampler of one trial; each has a seed of its own, or processes would draw the same numbers."""
        import optuna

        return optuna.samplers.TPESampler(
            seed=int(episode_seed(self.config.seed, SAMPLER, 0, number)), n_startup_trials=8
        )

    def settings(self, trial: Any) -> dict[str, Any]:
        """The settings that a trial has chosen, by name; those not chosen yet are."""
        return {d.name: d.suggest(trial) for d in self.space}


def load_optuna() -> Any:
    """The module optuna, quiet; InputError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ImportError as error:
        raise InputError(f"sweep: Optuna is not installed ({error}); pip install 'swingup[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def unusable(storage: str, error: Exception) -> InputError:
    """The error of a storage that cannot be opened."""
    why = f"{type(error).__name__}: {' '.join(str(error).split())!s:.200}"
    fix = "check the URL, for example sqlite:////path/to/sweep.db, and that its database driver is installed"
    return InputError(f"--storage {storage}: it cannot be opened ({why}); {fix}")


def is_sweep(folder: Path) -> bool:
    """Whether the folder is that of a sweep."""
    return os.path.lexists(folder / "sweep.json")


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write sweep.json; a folder that has it is a sweep, and can be resumed."""
    text_file.write(folder / "sweep.json", json.dumps(about, indent=2) + "\n")


def try_lock(folder: Path) -> int | None:
    """The lock of a trial's folder; None if a process holds it."""
    try:
        return disk.lock(folder)
    except InputError:
        return None


class FileLock:
    """A lock between processes, which ends with its process: Optuna's own leaves a file behind then."""

    def __init__(self, path: Path):
        self.path, self.file = path, -1

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Let go of the lock."""
        os.close(self.file)

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def drop_half_line(path: Path) -> None:
    """Cut off what a process that was killed while it wrote left at the end of a journal."""
    if path.exists() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


@contextmanager
def claimed(sweep: SweepFolder, study: Any) -> Iterator[Claim | None]:
    """A claimed trial, released at the end."""
    claim = sweep.claim(study)
    try:
        yield claim
    finally:
        if claim is not None:
            claim.release()
