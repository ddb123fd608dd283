"""Run folders that someone made to do harm: `CASES` spoils a sound one; as a script it opens them under
Python's audit hook.

`python faultcases/hostile.py SOUND WORK NAME...` loads, evaluates and resumes a copy of the run SOUND with
each spoiled thing, in one process, and prints a JSON line for each: what the commands said, and whatever was
executed, imported, opened or written that a sound run would not have. What a sound run does is observed
first, and is the whole allow-list.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

TRAP = "hostile_trap"  # a module on sys.path that notes that it was imported


class Evil:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


# Contents, whatever file they are put into


def zipped(mark: Path, name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    return file.getvalue()


def npz(mark: Path) -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.array([Evil(mark)], object))
    return file.getvalue()


def tarred(mark: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        about = tarfile.TarInfo(f"../../../../{mark}")
        archive.addfile(about)
    return file.getvalue()


CONTENTS: dict[str, Callable[[Path], bytes]] = {
    "a pickle": lambda mark: pickle.dumps(Evil(mark)),
    "an old pickle": lambda mark: pickle.dumps(Evil(mark), 0),
    "a zip with a pickle": lambda mark: zipped(mark, "archive/data.pkl", pickle.dumps(Evil(mark))),
    "an npz of objects": npz,
    "a tar that climbs out": tarred,
    "a zip that climbs out": lambda mark: zipped(mark, f"../../{mark}", b"x"),
    "a Python file": lambda mark: f"import os\nos.system('touch {mark}')\n".encode(),
    "YAML with a tag": lambda mark: f"!!python/object/apply:os.system ['touch {mark}']\n".encode(),
    "a header of 2^62 bytes": lambda mark: struct.pack("<Q", 2**62) + b"{}",
    "a header of 90 MB": lambda mark: struct.pack("<Q", 90_000_000) + b"{" + b" " * 1000,
    "JSON 100,000 deep": lambda mark: b"[" * 100_000,
    "a name given twice": lambda mark: b'{"env": "Pendulum-v1", "env": "' + TRAP.encode() + b':X-v0"}',
    "an endless number": lambda mark: b'{"seed": ' + b"9" * 5000 + b"}",
    "nothing": lambda mark: b"",
}
SLOTS = ("config.json", "policy/last.safetensors", "ckpt manifest", "ckpt learner", "ckpt segments")


def newest(folder: Path) -> Path:
    return max((folder / "ckpt").glob("step-*"))


def put(slot: str, content: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
    """Replace the files of a slot, in all checkpoints: a manifest knows nothing of the new ones."""

    def spoil(folder: Path, mark: Path) -> None:
        pattern = {
            "ckpt manifest": "ckpt/*/manifest.json",
            "ckpt learner": "ckpt/*/learner.safetensors",
            "ckpt segments": "ckpt/*/*.bin",
        }
        for path in folder.glob(pattern.get(slot, slot)):
            path.write_bytes(content(mark))

    return spoil


# Settings


def setting(**values: Any) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, mark: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


SETTINGS = {
    "an environment that imports": setting(env=f"{TRAP}:Trap-v0"),
    "an environment whose package imports": setting(env=f"{TRAP}.inner:Trap-v0"),
    "a known id behind an import": setting(env=f"{TRAP}:Pendulum-v1"),
    "an id of the standard library": setting(env="antigravity:Pendulum-v1"),
    "an import with a path": setting(env=f"../{TRAP}:Pendulum-v1"),
    "two imports": setting(env=f"{TRAP}:{TRAP}:Pendulum-v1"),
    "an id that steers the terminal": setting(env="Pendulum\x1b[2J\n-v1"),
    "an id of a library that is not there": setting(env="brax/../../x"),
    "a target": setting(_target_="os.system"),
    "a preset with a path": setting(preset="../../../etc/passwd", steps="os.system"),
    "a ring of 2^31 rows": setting(capacity=2**31 - 1),
    "a layer of 2^40 units": setting(hidden=[2**40]),
    "a text for a number": setting(seed="__import__('os')"),
    "a list for the environment": setting(env=["Pendulum-v1"]),
}


# Links and paths


def link(name: str, folder_too: bool = False) -> Callable[[Path, Path], None]:
    """A file, or a folder, of the run becomes a symbolic link out of it."""

    def spoil(folder: Path, mark: Path) -> None:
        for path in [newest(folder) / "learner.safetensors"] if name == "learner" else [folder / name]:
            away = mark.with_name(f"{mark.name}.away")
            if path.exists():
                shutil.move(path, away)
            else:
                away.write_text("kept\n")
            path.symlink_to(away, folder_too)

    return spoil


def pipe(name: str) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, mark: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


LINKS = {
    **{
        f"a link: {name}": link(name)
        for name in (
            "config.json",
            "policy/last.safetensors",
            "result.json",
            "episodes.csv",
            ".config.json.part",
            "learner",
        )
    },
    **{
        f"a linked folder: {name}": link(name, True) for name in ("ckpt", "policy", "videos", "ckpt/segments")
    },
    **{f"a pipe: {name}": pipe(name) for name in ("policy/last.safetensors", "metrics.csv", "ckpt/.lock")},
}


# A manifest with a true seal: nobody changed it by accident, someone wrote it


def resealed(*where: Any, value: Any) -> Callable[[Path, Path], None]:
    """One value of every manifest is replaced."""

    def spoil(folder: Path, mark: Path) -> None:
        from swingup.storage.manifest import seal

        for path in folder.glob("ckpt/*/manifest.json"):
            body = json.loads(path.read_text())
            del body["sha256"]
            at = body
            for key in where[:-1]:
                at = at[key]
            at[where[-1]] = value
            path.write_bytes(seal(body))

    return spoil


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, Path], None]:
    """One array of every checkpoint is replaced, and everything sealed again."""

    def spoil(folder: Path, mark: Path) -> None:
        from safetensors.numpy import load, save

        from swingup.storage.manifest import seal

        for path in folder.glob("ckpt/step-*"):
            arrays = load((path / "learner.safetensors").read_bytes())
            arrays[name] = np.ascontiguousarray(change(arrays[name]))
            data = save(arrays)
            (path / "learner.safetensors").write_bytes(data)
            body = json.loads((path / "manifest.json").read_text())
            del body["sha256"]
            body["files"]["learner.safetensors"] = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
            body["tensors"][name] = {"shape": list(arrays[name].shape), "dtype": arrays[name].dtype.name}
            (path / "manifest.json").write_bytes(seal(body))

    return spoil


SEALED = {
    "a segment with a path": resealed("ring", "segments", 0, "sha256", value="../../../etc/passwd"),
    "a file with a path": resealed("files", value={"../../evil": {"sha256": "0" * 64, "bytes": 1}}),
    "a tensor of 10^18 numbers": resealed("tensors", "host.obs", "shape", value=[10**18]),
    "a ring of 10^18 rows": resealed("ring", "shape", value=[10**18, 1, 9]),
    "a dtype of objects": resealed("ring", "dtype", value="object"),
    "about: nothing": resealed("about", value={}),
    "about: interrupted is a text": resealed("about", "evaluator", "interrupted", value="os.system"),
    "about: best is a number": resealed("about", "evaluator", "best", value=7),
    "about: best is texts": resealed("about", "evaluator", "best", value=[["a"], ["b"]]),
    "about: no callbacks": resealed("about", "callbacks", value=None),
    "about: callbacks is a list": resealed("about", "callbacks", value=["__import__('os')"]),
    "about: logged is a text": resealed("about", "callbacks", "MetricsLogger", "logged", value="../../x"),
    "about: the window is a number": resealed("about", "callbacks", "MetricsLogger", "window", value=3),
    "about: episodes of texts": resealed("about", "callbacks", "MetricsLogger", "recent", value=[["a"] * 7]),
    "about: the profile is a text": resealed("about", "profile", value="evil"),
    "a journal of another width": tensor("host.journal.0", lambda a: np.zeros((3, 7), np.float32)),
    "episodes begun: texts of bytes": tensor("host.begun", lambda a: np.full(5, 255, np.uint8)),
    "10^18 episodes begun": tensor("host.begun", lambda a: np.full_like(a, 10**18)),
    "a counter of another step": tensor("host.iteration", lambda a: a + 1),
    "an observation too long": tensor("host.obs", lambda a: np.zeros((1, 99), np.float32)),
}


# A policy whose metadata lies


def policy(change: Callable[[dict, dict], None]) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, mark: Path) -> None:
        from safetensors import safe_open
        from safetensors.numpy import save

        path = folder / "policy" / "last.safetensors"
        with safe_open(path, "numpy") as file:
            about = json.loads(file.metadata()["swingup"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        change(about, arrays)
        path.write_bytes(save(arrays, {"swingup": json.dumps(about)}))

    return spoil


def at(*path: str, value: Any) -> Callable[[dict, dict], None]:
    def change(about: dict, arrays: dict) -> None:
        for key in path[:-1]:
            about = about[key]
        about[path[-1]] = value

    return change


POLICIES = {
    "policy: 10^9 layers": policy(at("hidden", value=[4] * 100_000)),
    "policy: layers of texts": policy(at("hidden", value=["os.system"])),
    "policy: a spec with a target": policy(at("spec", "_target_", value="os.system")),
    "policy: an id that imports": policy(at("spec", "env", value=f"{TRAP}:Trap-v0")),
    "policy: a spec of one number": policy(at("spec", value=3)),
    "policy: a dtype of objects": policy(at("spec", "action_dtype", value="O")),
    "policy: bounds of texts": policy(at("spec", "low", value=["a"])),
    "policy: an observation of 10^18 numbers": policy(at("spec", "obs_shape", value=[10**18])),
    "policy: weights of another shape": policy(
        lambda about, arrays: arrays.update({"0.w": np.zeros((2, 2), np.float32)})
    ),
    "policy: weights that are not finite": policy(lambda about, arrays: arrays["0.w"].fill(np.nan)),
}

CASES: dict[str, Callable[[Path, Path], None]] = {
    **{f"{slot}: {what}": put(slot, content) for slot in SLOTS[:4] for what, content in CONTENTS.items()},
    **{
        f"{SLOTS[4]}: {what}": put(SLOTS[4], CONTENTS[what])
        for what in ("a pickle", "an npz of objects", "nothing")
    },
    **SETTINGS,
    **LINKS,
    **SEALED,
    **POLICIES,
}

# Opening them

FORBIDDEN = (
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "socket.connect",
)
WRITES = (
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
)


class StatusCallback:
    """An audit hook. While it learns, what happens is allowed from then on.

    While it is armed, anything else is noted.
    """

    def __init__(self) -> None:
        self.mode, self.inside, self.seen = "off", False, []
        self.places: set[str] = {
            os.path.realpath(f"{os.environ['XDG_STATE_HOME']}/swingup")
        }  # where a sound run reads
        self.usual: set[str] = set()  # what it does besides
        self.modules: set[str] = set()
        self.written: tuple[str, ...] = ()  # folders into which a run may write
        sys.addaudithook(self.hear)

    def learn(self, work: Path) -> None:
        cache = os.environ["XDG_CACHE_HOME"]
        self.mode, self.written = "learn", (str(work), os.path.realpath(cache), "/dev/null")

    def arm(self, case: Path) -> None:
        self.modules |= {name.partition(".")[0] for name in sys.modules}
        self.written = (str(case), *self.written[1:])
        self.mode, self.seen = "armed", []

    def hear(self, event: str, args: tuple) -> None:
        if self.mode == "off" or self.inside:
            return
        self.inside = True  # what is asked below makes events of its own
        try:
            if said := self.judge(event, args):
                self.seen.append(said)
        finally:
            self.inside = False

    def judge(self, event: str, args: tuple) -> str | None:
        if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            return self.opened(os.path.realpath(os.fsdecode(args[0])), args[1], args[2])
        if event == "import":
            top = str(args[0]).partition(".")[0]
            return None if self.mode == "learn" or top in self.modules else f"import {args[0]}"
        if event == "exec":
            return self.opened(getattr(args[0], "co_filename", "?"), "exec", 0)
        if event in FORBIDDEN:
            what = f"{event} {str(args)[:80]}"
            if self.mode == "learn":
                self.usual.add(what)
            return None if what in self.usual else what
        if event in WRITES and self.mode == "armed":
            paths = [os.fsdecode(a) for a in args if isinstance(a, (str, bytes, os.PathLike))]
            return next(
                (
                    f"{event} {path}"
                    for path in paths
                    if not self.ours(os.path.realpath(os.path.dirname(path)))
                ),
                None,
            )
        return None

    def opened(self, path: str, mode: Any, how: int) -> str | None:
        place = path if path.startswith("<") else os.path.dirname(path)
        if self.mode == "learn":
            self.places.add(place)
            return None
        writes = (
            set(str(mode)) & set("wax+")
            if mode and mode != "exec"
            else how & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if self.ours(path) or (not writes and place in self.places):
            return None
        return f"{'write' if writes else mode if mode == 'exec' else 'open'} {path}"

    def ours(self, path: str) -> bool:
        return any(path == place or path.startswith(place + "/") for place in self.written)


def load(folder: Path) -> int:
    """What a person does with a run in Python."""
    import swingup
    from swingup.errors import InputError

    code, run = 0, None
    for what in ("config", "policy", "best", "result", "episodes", "metrics", "evaluations", "env"):
        try:
            run = run or swingup.load(folder)
            getattr(run, what)
        except InputError as error:
            print(f"swingup: {error}", file=sys.stderr)
            code = 2
            break
    return code


def model(folder: Path) -> int:
    """What a person does who knows Stable-Baselines3."""
    import swingup
    from swingup.errors import InputError

    try:
        swingup.DDPG.load(folder / "policy" / "last.safetensors").predict(np.zeros(3, np.float32))
    except InputError as error:
        print(f"swingup: {error}", file=sys.stderr)
        return 2
    return 0


def command(*args: Any) -> Callable[[Path], int]:
    from swingup.cli.main import run

    return lambda folder: run([args[0], str(folder), *map(str, args[1:])])


def commands() -> dict[str, Callable[[Path], int]]:
    return {
        "load": load,
        "model": model,
        "eval": command("eval", "--episodes", 1),
        "resume": command("resume", "--steps", 400),  # a finished run is only read
    }


def spoken(do: Callable[[Path], int], folder: Path) -> dict[str, Any]:
    """What a command answers: its code and its lines; an exception that escapes it is a code of its own."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            code: Any = do(folder)
        except BaseException as error:
            code = f"{type(error).__name__}: {error!s:.100}"
    return {
        "code": code,
        "lines": [line for line in err.getvalue().split("\n") if line.startswith("swingup:")],
        "all": err.getvalue(),
    }


def examine(sound: Path, work: Path, names: list[str]) -> None:
    """Open each case under the audit hook, and print what came of it."""
    os.chdir(work)
    sys.path.insert(0, str(work / "traps"))
    (work / "traps" / TRAP).mkdir(parents=True)
    sprung = work / "sprung"
    for name in ("__init__", "inner"):
        (work / "traps" / TRAP / f"{name}.py").write_text(f"open({str(sprung)!r}, 'w').close()\n")
    watch = StatusCallback()
    watch.learn(work)
    # A sound run, and two that are refused or repaired: they import what every run needs.
    for spoil in (lambda *_: None, put("ckpt segments", CONTENTS["nothing"]), setting(env="Pendulm-v1")):
        shutil.copytree(sound, work / "warm")
        spoil(work / "warm", sprung)
        for do in commands().values():
            spoken(do, work / "warm")
        shutil.rmtree(work / "warm")
    for k, name in enumerate(names):
        folder, mark = work / f"case{k}" / "run", work / f"mark{k}"
        watch.mode = "off"
        shutil.copytree(sound, folder)
        CASES[name](folder, mark)
        found: dict[str, Any] = {"case": name, "said": {}}
        for what, do in commands().items():
            watch.arm(folder)
            found["said"][what] = spoken(do, folder)
            watch.mode = "off"
            found["said"][what]["seen"] = watch.seen
        found["marked"] = mark.exists() or sprung.exists()
        print(json.dumps(found), flush=True)
        shutil.rmtree(folder.parent)


def verdict(found: dict[str, Any]) -> str:
    """What is wrong with what came of a case; empty where nothing is."""
    if found["marked"]:
        return "it was executed"
    for what, said in found["said"].items():
        if said["seen"]:
            return f"{what}: {said['seen'][0]}"
        if said["code"] not in (0, 2, 3):
            return f"{what}: ended with {said['code']}"
        if said["code"] and (len(said["lines"]) != 1 or not said["all"].endswith(said["lines"][0] + "\n")):
            return f"{what}: not one line but {said['all'][-200:]!r}"
    if not any(said["code"] or "warning" in said["all"] for said in found["said"].values()):
        return "nobody noticed"
    return ""


if __name__ == "__main__":
    examine(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
