"""Models on the Hugging Face Hub: one becomes a folder on this machine, a folder becomes one.

Only `download` and `upload` use the network; everything else works with any functions in their place.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from swingup.errors import InputError

PREFIX = "hf:"
NAME = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII)

# What a model consists of. Nothing else of a repository is fetched, nothing else of a folder is sent.
NEEDED = (
    "config.json",
    "result.json",
    "factory.txt",
    "evaluations.csv",
    "closing.csv",
    "policy/*.safetensors",
)
SHOWN = ("README.md", "results.json", "replay.mp4")


def local(source: str | Path) -> Path:
    """The folder that is named: a path as it is; `hf:owner/name`, or `hf:owner/name@revision`, fetched first.

    What is fetched lies in the user's cache folder. InputError where the Hub gives no model of swingup.
    """
    if not str(source).startswith(PREFIX):
        return Path(source)
    name, revision = parts(str(source))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swingup" / "hub"
    folder = cache / f"{name}@{revision or 'main'}".replace("/", "--")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        download(name, revision, folder)
    except InputError:
        raise
    except Exception as error:  # the package has dozens of its own, and the network's
        raise InputError(f"{source}: the Hub did not give it ({first_line(error)})") from error
    if not (folder / "config.json").is_file():
        raise InputError(f"{source}: not a model of swingup, it has no config.json")
    return folder


def parts(source: str) -> tuple[str, str | None]:
    """`owner/name` and the revision, if one is given, of a model's name with or without `hf:`."""
    found = NAME.fullmatch(source.removeprefix(PREFIX))
    if found is None:
        raise InputError(
            f"{source}: expected owner/name, for example {PREFIX}owner/name or {PREFIX}owner/name@v1"
        )
    return found[1], found[2]


def send(folder: Path, name: str) -> str:
    """Put a folder's model on the Hub, made if it is not there; returns its address."""
    try:
        return upload(folder, name)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--push {name}: the Hub did not take it ({first_line(error)})") from error


def download(name: str, revision: str | None, folder: Path) -> None:
    """Fetch what acting needs of a repository into a folder; what is there already is not fetched again."""
    package(f"{PREFIX}{name}").snapshot_download(
        name, revision=revision, local_dir=folder, allow_patterns=list(NEEDED)
    )


def upload(folder: Path, name: str) -> str:
    """Send a folder's files to a repository, made if it is not there; returns its address."""
    api = package("--push").HfApi()
    address = api.create_repo(name, exist_ok=True)
    api.upload_folder(
        repo_id=name,
        folder_path=folder,
        allow_patterns=[*NEEDED, *SHOWN],
        commit_message="A policy trained with swingup",
    )
    return str(address)


def check_credentials(name: str) -> None:
    """InputError unless this is a repository's name, the package is there and the user is signed in."""
    if parts(name)[1] is not None:
        raise InputError(f"--push {name}: expected owner/name alone; a push goes to the newest revision")
    if not package("--push").get_token():
        raise InputError("--push: you are not signed in to the Hub; run hf auth login, or set HF_TOKEN")


def package(what: str) -> Any:
    """The module huggingface_hub; InputError where it is missing."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"{what}: the package huggingface_hub is not installed; pip install 'swingup[hub]'"
        ) from error
    return huggingface_hub


def first_line(error: Exception) -> str:
    """An exception as one short line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}{f': {lines[0]:.200}' if lines else ''}"
