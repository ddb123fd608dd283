"""Checkpoints against a plain copy: what loads is what was saved, whatever happens to disk or process."""

import contextlib
import hashlib
import itertools
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultcases import saves as faults
from swingup.errors import InputError
from swingup.storage import checkpoint_writer, disk
from swingup.storage.checkpoint_reader import Unloadable, load, steps
from swingup.storage.checkpoint_writer import Checkpoints
from swingup.storage.manifest import DTYPES, checkpoint_path, read_manifest, seal


class Recorder:
    """`os` that notes each call; flushing costs nothing, because nobody pulls the plug."""

    def __init__(self):
        self.calls, self.names = [], {}

    def __getattr__(self, name):
        def call(*args):
            done = args[0] if name == "fsync" else getattr(os, name)(*args)
            if name == "open":
                self.names[done] = str(args[0])
            self.calls.append((name, *(self.names.get(a, a) if isinstance(a, int) else a for a in args)))
            return done

        return call

    def written(self):
        return sum(len(c[2]) for c in self.calls if c[0] == "write" and c[1].endswith(".part"))


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    monkeypatch.setattr(disk, "calls", Recorder())
    monkeypatch.setattr(checkpoint_writer, "CHUNK_BYTES", 5 * faults.ROW_BYTES)
    return disk.calls


@pytest.fixture
def folder(tmp_path):
    faults.prepare(tmp_path / "ckpt")
    return tmp_path / "ckpt"


def opened(path, **options):
    return contextlib.closing(Checkpoints(path, **options))


# What is saved and what comes back


def test_every_kind_of_tensor_comes_back_to_the_last_bit(tmp_path):
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensors = {
        f"{kind} of {shape}": np.ones(shape, kind) for kind in DTYPES for shape in ((), (0, 3), (2, 3))
    }
    tensors |= {
        "nan": np.float32(np.nan),
        "odd nan": np.array([0x7FC00123], np.uint32).view(np.float32),
        "-0": np.float64(-0.0),
    }
    tensors |= {
        "by column": np.asfortranarray(square),
        "strided": square[:, ::2],
        "other end": square.astype(">f4"),
        "ö": square,
    }
    about = {"none": None, "list": [1, 2.5, "ö"], "seed": 2**63, "best": -np.inf}
    with opened(tmp_path) as checkpoints:
        path = checkpoints.save(7, tensors, None, 0, about)
    found = load(tmp_path)
    assert (found.step, found.ring, found.added, found.about, found.path) == (7, None, 0, about, path)
    assert {k: (v.shape, v.dtype, v.tobytes()) for k, v in found.tensors.items()} == {
        k: (
            np.shape(v),
            np.asarray(v).dtype.newbyteorder("<"),
            np.asarray(v).astype(np.asarray(v).dtype.newbyteorder("<")).tobytes(),
        )
        for k, v in tensors.items()
    }
    assert all(v.flags.writeable for v in found.tensors.values())


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 30),
    chunk=st.integers(1, 8),
    moves=st.lists(st.sampled_from(["save", "save", "resume", "clear"]) | st.integers(1, 40), max_size=12),
)
def test_the_ring_that_loads_is_the_one_that_was_saved(length, chunk, moves):
    ring, added, step, rng = np.zeros((length, 2, 3), np.float32), 0, 0, np.random.default_rng(length)
    checkpoint_writer.CHUNK_BYTES = chunk * 24
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(opened(Path(name)))
        for move in [*moves, "save"]:
            if move == "resume":  # another process: it has the newest checkpoint and knows nothing else
                checkpoints.close()
                checkpoints = stack.enter_context(opened(Path(name)))
            elif move == "clear":
                ring, added = np.full_like(ring, np.nan), 0  # stale rows are not data
            elif move == "save":
                step += 1
                checkpoints.save(step, {}, ring, added, {})
                wanted = np.where(np.arange(length)[:, None, None] < added, ring, 0)
                found = load(Path(name), warn=pytest.fail)
                assert (found.step, found.added, found.ring.tobytes()) == (
                    step,
                    added,
                    wanted.astype(np.float32).tobytes(),
                )
            else:
                for t in range(added, added + move):
                    ring[t % length] = rng.normal(size=(2, 3))
                added += move


def test_a_save_writes_only_what_is_new(tmp_path, recorder):
    piece, ring = 5 * faults.ROW_BYTES, np.random.default_rng(0).normal(size=(100, 2, 5)).astype(np.float32)

    def save(checkpoints, step, added):
        del recorder.calls[:]
        checkpoints.save(step, {}, ring, added, {})
        return recorder.written()

    segments = lambda: len(list((tmp_path / "segments").iterdir()))
    with opened(tmp_path) as checkpoints:
        assert (save(checkpoints, 1, 52), segments()) == (2 * (10 * piece + 2 * faults.ROW_BYTES), 11)
        assert save(checkpoints, 2, 52) == 0
        assert not any(
            c[0] == "open" and str(c[1]).endswith(".bin") for c in recorder.calls
        )  # nor does it read what it knows
        assert (save(checkpoints, 3, 100), segments()) == (2 * 10 * piece, 21)
        ring[:7] += 1  # the ring wraps
        assert (save(checkpoints, 4, 107), segments()) == (2 * 2 * piece, 23)
        (tmp_path / "mirror" / os.listdir(tmp_path / "mirror")[0]).unlink()
        assert 0 < save(checkpoints, 5, 107) <= piece  # what is missing is written again
    with opened(tmp_path) as checkpoints:
        assert save(checkpoints, 6, 107) == 0  # a new process finds its segments
        assert segments() == 20  # and those of the checkpoints that went are gone


def test_where_the_head_went_is_what_is_new():
    for length, old, fresh in itertools.product((1, 5, 6), range(13), range(8)):
        for a, b in itertools.combinations(range(length + 1), 2):
            written = any(a <= t % length < b for t in range(old, old + fresh))
            assert checkpoint_writer.touched(a, b, length, old, old + fresh) == written
            assert fresh == 0 or checkpoint_writer.touched(a, b, length, old + fresh, old)


def test_a_ring_emptied_and_filled_past_its_old_head_is_noticed(tmp_path):
    ring = np.ones((50, 2, 5), np.float32)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, {}, ring, 20, {})
        ring[:30] = 2
        checkpoints.save(2, {}, ring, 30, {})
    assert (load(tmp_path).ring[:30] == 2).all()


def test_a_save_copies_no_ring(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_writer, "CHUNK_BYTES", 1 << 20)
    ring = np.ones((100_000, 1, 40), np.float32)
    with opened(tmp_path) as checkpoints:
        tracemalloc.start()
        checkpoints.save(1, {}, ring, 100_000, {})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 << 20
    assert (
        len(list((tmp_path / "segments").iterdir())) == 2
    )  # sixteen pieces, of which all but the last are equal


# Which are kept, which is loaded


def test_the_last_the_best_and_every_nth_are_kept(tmp_path):
    with opened(tmp_path, keep=2, every=5) as checkpoints:
        for step in range(1, 10):
            checkpoints.save(**faults.state(step), best=step in (2, 3))
        assert steps(tmp_path) == [3, 5, 8, 9]
        checkpoints.save(**faults.state(3))
        assert read_manifest(checkpoint_path(tmp_path, 3)).best  # saved again, it stays the best
        checkpoints.save(**faults.state(4))
        assert steps(tmp_path) == [
            3,
            4,
            5,
            8,
            9,
        ]  # a run that went back: what it has just saved counts as the last
        checkpoints.save(**faults.state(6))
        assert steps(tmp_path) == [3, 5, 6, 8, 9]
        checkpoints.save(**faults.state(11), best=True)
        assert steps(tmp_path) == [5, 9, 11]
    assert faults.whole(tmp_path, 11)
    assert faults.same(load(tmp_path, step=5), faults.state(5))


def test_without_a_whole_one_it_says_so(folder):
    lines = []
    for step in (3, 4):
        (checkpoint_path(folder, step) / "learner.safetensors").write_bytes(b"")
    found = load(folder, warn=lines.append)
    assert found.step == 2
    assert [line.split(":")[0] for line in lines] == [
        str(checkpoint_path(folder, s) / "learner.safetensors") for s in (4, 3)
    ]
    with pytest.raises(
        Unloadable, match=r"of step 4 is not whole .*learner.safetensors: cut short.*\[2, 3, 4\]"
    ):
        load(folder, step=4)
    (checkpoint_path(folder, 2) / "manifest.json").unlink()
    with pytest.raises(Unloadable, match=r"no checkpoint is whole .*cut short, 0 of"):
        load(folder, warn=lines.append)
    with pytest.raises(InputError, match="no checkpoint of step 9; there is 2, 3, 4"):
        load(folder, step=9)
    for nowhere in (folder / "nowhere", folder / "segments"):
        with pytest.raises(InputError, match="no checkpoint yet") as error:
            load(nowhere)
        assert not isinstance(error.value, Unloadable)
    with pytest.raises(InputError, match="cannot be read"):
        load(checkpoint_path(folder, 2) / "learner.safetensors")


def test_a_reader_beside_a_writer_sees_whole_checkpoints_only(tmp_path):
    done, problems = threading.Event(), []

    def reader():
        while not done.is_set():
            found = load(tmp_path, warn=problems.append)
            if not faults.same(found, faults.state(found.step)):
                problems.append(f"step {found.step}")

    with opened(tmp_path, keep=1) as checkpoints:
        checkpoints.save(**faults.state(1))
        thread = threading.Thread(target=reader)
        thread.start()
        for step in range(2, 60):
            checkpoints.save(**faults.state(step))
            checkpoints.save(**faults.state(step))
        done.set()
        thread.join()
    assert not problems


@pytest.mark.parametrize(
    ("version", "fix"), [(3, "update swingup"), (1, "go on with the swingup that saved it, or train anew")]
)
def test_another_format_is_named_and_its_segments_are_left_alone(folder, version, fix):
    manifest = checkpoint_path(folder, 4) / "manifest.json"
    body = json.loads(manifest.read_text()) | {"format": version}
    manifest.write_bytes(seal({k: v for k, v in body.items() if k != "sha256"}))
    lines = []
    assert load(folder, warn=lines.append).step == 3
    assert f"format {version}, and this swingup reads format 2; {fix}" in lines[0]
    with opened(folder) as checkpoints:
        checkpoints.save(**faults.state(5))
    names = {f"{p['sha256']}.bin" for p in body["ring"]["segments"]}
    assert names <= set(os.listdir(folder / "segments"))


# One writer


def python(code, *args, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_second_writer_is_refused_and_a_killed_one_is_not_in_the_way(tmp_path):
    code = (
        "import sys; from swingup.storage.checkpoint_writer import *; "
        "c = Checkpoints(Path(sys.argv[1])); print('held', flush=True); input()"
    )
    other = python(code, tmp_path)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"pid {other.pid} on .* is writing there"):
        Checkpoints(tmp_path)
    other.kill()
    other.communicate()
    with opened(tmp_path) as checkpoints, pytest.raises(InputError, match=f"pid {os.getpid()} on"):
        checkpoints.save(**faults.state(1)) and Checkpoints(tmp_path)
    with pytest.raises(InputError, match="closed"):
        checkpoints.save(**faults.state(2))


def test_a_forked_child_neither_keeps_the_lock_nor_saves(tmp_path):
    code = """if True:
        import os, sys, time
        from swingup.storage.checkpoint_writer import *
        folder = Path(sys.argv[1])
        first = Checkpoints(folder)
        if (child := os.fork()) == 0:
            try:
                first.save(1, {}, None, 0, {})
            except InputError as error:
                print(error, flush=True)
            time.sleep(60)
        time.sleep(0.2)
        try:
            Checkpoints(folder)
        except InputError:
            print("still held")
        first.close()
        Checkpoints(folder).close()
        print("free")
        os.kill(child, 9)
        """
    out, _ = python(code, tmp_path).communicate(timeout=30)
    assert "opened by the process that started this one" in out
    assert out.split("\n")[1:3] == ["still held", "free"]


# Faults


def test_saves_are_interrupted_and_checkpoints_damaged():
    """20 saves interrupted, 40 bits flipped, 10 files cut; in a process of its own, because it forks."""
    done = subprocess.run([sys.executable, faults.__file__, "20", "40", "10"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| 70 | 0 |" in done.stdout


def test_everything_is_flushed_before_it_gets_its_name(tmp_path, recorder):
    with opened(tmp_path) as checkpoints:
        for state in (faults.state(1), faults.state(1, variant=1)):
            del recorder.calls[:]
            checkpoints.save(**state)
            dirty, named = set(), 0
            for call, *args in recorder.calls:
                path = str(args[0])
                if call == "open" and len(args) == 3:
                    dirty |= {path, str(Path(path).parent)}
                elif call == "fsync":
                    dirty.discard(path)
                elif call in ("rename", "mkdir"):
                    if call == "rename" and path.endswith(".part"):
                        named += 1
                        assert not any(d == path or d.startswith(path + "/") for d in dirty)
                        if not str(args[1]).endswith(".bin"):
                            assert dirty <= {
                                str(tmp_path)
                            }  # a checkpoint appears when all it needs is durable
                    dirty.add(str(Path(args[-1] if call == "rename" else path).parent))
                elif call in ("unlink", "rmdir"):
                    assert str(tmp_path) not in dirty  # nothing goes before what replaces it is durable
            assert named >= 1
            assert not dirty


def test_a_replacement_cut_in_two_survives_the_next_save_that_fails(folder, monkeypatch):
    for step in (2, 3):
        disk.remove(checkpoint_path(folder, step))
    checkpoint_path(folder, 4).rename(checkpoint_path(folder, 4, ".old"))
    assert faults.same(load(folder, warn=pytest.fail), faults.state(4))
    with opened(folder) as checkpoints:
        monkeypatch.setattr(disk, "calls", faults.Faulty("disk full from there on", 1))
        with pytest.raises(OSError, match=r"No space left.*part"):
            checkpoints.save(**faults.state(5))
    assert faults.same(load(folder, warn=pytest.fail), faults.state(4))


def test_the_next_save_repairs_a_bad_copy(folder):
    bad = next((folder / "segments").iterdir())
    bad.write_bytes(bytes(len(bad.read_bytes())))
    with opened(folder) as checkpoints:
        checkpoints.save(**faults.state(4))
    assert load(folder, warn=pytest.fail).step == 4


def edit(manifest, where, value):
    """The manifest with one value replaced, and a true seal: hostile rather than damaged."""
    body = json.loads(manifest.read_text())
    del body["sha256"]
    *path, last = where
    at = body
    for key in path:
        at = at[key]
    at[last] = value
    manifest.write_bytes(seal(body))


HOSTILE = {
    ("ring", "segments", 0, "sha256"): [
        "../../../etc/passwd",
        "/etc/passwd",
        "A" * 64,
        3,
        None,
        "0" * 64 + "\n",
    ],
    ("ring", "segments", 0, "bytes"): [-1, 10**30, 1.0, True, "200"],
    ("ring", "segments"): [[], {}, None, "x", 0],
    ("ring", "shape"): [
        [10**18, 10**18, 10**18],
        [37, 2, 5, 1],
        [-37, 2, 5],
        [0, 2, 5],
        37,
        "abc",
        [2**62, 1, 5],
        [37, 10, 1.0],
    ],
    ("ring", "dtype"): ["object", "O", "float128", 4, ["float32"], "int32, (10**9,)f4"],
    ("ring", "chunk"): [0, -5, 10**18, 5.0, None],
    ("ring",): [[], "x", 1, {}],
    ("added",): [-1, 10**30, 1.5, True, None],
    ("step",): [3, -1, "4", 10**30],
    ("files",): [{}, [], None, {"learner.safetensors": None}, {"../x": {"sha256": "0" * 64, "bytes": 1}}],
    ("files", "learner.safetensors", "bytes"): [10**15, 0],
    ("tensors",): [{}, [], None, {"a": 1}, {"odd": {"shape": [3], "dtype": "float32"}}],
    ("tensors", "odd", "shape"): [[10**18], [[3]], "3", [3] * 100],
    ("about",): [None, [], 3],
    ("best",): [1, None],
    ("format",): [0, "2", None, -1, 1, 3, 10**30],
}


@pytest.mark.parametrize("where", HOSTILE, ids=lambda w: "/".join(map(str, w)))
def test_a_hostile_manifest_gives_one_line(folder, where):
    manifest = checkpoint_path(folder, 4) / "manifest.json"
    before = manifest.read_bytes()
    for value in HOSTILE[where]:
        manifest.write_bytes(before)
        edit(manifest, where, value)
        lines = []
        assert load(folder, warn=lines.append).step == 3, value
        assert len(lines) == 1
        assert str(checkpoint_path(folder, 4)) in lines[0] or "segments" in lines[0] or "memory" in lines[0]
        assert "\n" not in lines[0]
        assert len(lines[0]) < 600


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": ' + b"9" * 5000 + b"}",
        pickle.dumps({"format": 2}),
        b"\0" * 99,
    ],
    ids=range(9),
)
def test_a_manifest_of_anything_gives_one_line(folder, raw):
    (checkpoint_path(folder, 4) / "manifest.json").write_bytes(raw)
    lines = []
    assert load(folder, warn=lines.append).step == 3
    assert len(lines) == 1
    assert "manifest" in lines[0]
    assert "\n" not in lines[0]


def test_a_name_given_twice_a_link_and_a_pipe_are_not_followed(folder, tmp_path):
    manifest, learner = (
        checkpoint_path(folder, 4) / "manifest.json",
        checkpoint_path(folder, 4) / "learner.safetensors",
    )
    before, tensors = manifest.read_bytes(), learner.read_bytes()
    twice = before.replace(b'"added": 44', b'"added": 44,\n "added": 44', 1)
    secret = tmp_path / "secret"
    secret.write_bytes(tensors)

    def refused(what):
        lines = []
        assert load(folder, warn=lines.append).step == 3
        assert len(lines) == 1
        assert what in lines[0]

    manifest.write_bytes(twice)
    refused("its own sha256")
    manifest.write_bytes(before)
    learner.unlink()
    learner.symlink_to(secret)
    refused("symbolic link")
    learner.unlink()
    os.mkfifo(learner)
    refused("not a regular file")
    learner.unlink()
    learner.mkdir()
    refused("not a regular file")
    checkpoint_path(folder, 4).rename(tmp_path / "moved")
    checkpoint_path(folder, 4).symlink_to(tmp_path / "moved")
    refused("symbolic link")


@pytest.mark.parametrize(
    "content", [pickle.dumps(print), b"\xff" * 8 + b"{}", b"PK\x03\x04" * 30, b"", np.zeros(3).tobytes()]
)
def test_a_learner_that_is_no_safetensors_gives_one_line(folder, content):
    path = checkpoint_path(folder, 4)
    (path / "learner.safetensors").write_bytes(content)
    edit(path / "manifest.json", ("files", "learner.safetensors", "bytes"), len(content))
    edit(
        path / "manifest.json",
        ("files", "learner.safetensors", "sha256"),
        hashlib.sha256(content).hexdigest(),
    )
    lines = []
    assert load(folder, warn=lines.append).step == 3
    assert len(lines) == 1
    assert "not safetensors" in lines[0]


def test_what_is_not_of_a_checkpoint_is_left_alone_and_in_nobodys_way(folder):
    others = [
        folder / "notes.txt",
        folder / "step-1",
        folder / "segments" / "mine.bin",
        folder / "step-00000000000000000000004",
    ]
    for other in others:
        other.write_text("mine")
    checkpoint_path(folder, 1).write_text("a file of that name")
    assert load(folder, warn=pytest.fail).step == 4
    with opened(folder) as checkpoints:
        for step in range(5, 9):
            checkpoints.save(**faults.state(step))
    assert all(other.read_text() == "mine" for other in others)
    assert steps(folder) == [2, 6, 7, 8]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"tensors": {"a": np.array(["x"])}}, "tensor 'a': str32 under that name cannot be saved"),
        ({"tensors": {"a": np.array([object()])}}, "tensor 'a': object"),
        ({"tensors": {"__metadata__": np.zeros(1)}}, "tensor '__metadata__'"),
        ({"about": {"a": np.float32(1)}}, "about cannot be saved"),
        ({"about": {"a": "x" * (33 << 20)}}, "belongs in tensors"),
        ({"step": -1}, "step -1"),
        ({"added": -1}, "added -1"),
        ({"ring": np.zeros((3, 0, 2), np.float32)}, r"ring: float32 of shape \(3, 0, 2\)"),
        ({"ring": np.zeros(3)}, "it must be rows"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(folder, change, line):
    before = sorted(folder.rglob("*"))
    with opened(folder) as checkpoints, pytest.raises(InputError, match=line):
        checkpoints.save(**faults.state(5) | change)
    assert sorted(folder.rglob("*")) == before


def test_bad_settings_and_a_folder_that_cannot_be_written_are_refused(tmp_path):
    for options in ({"keep": 0}, {"every": 0}):
        with pytest.raises(InputError, match="at least 1"):
            Checkpoints(tmp_path, **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Checkpoints(tmp_path / "file")
