"""The doctor: what it says of versions, drivers, broken encoders and speed; never how fast."""

import dataclasses
import importlib
import io
import json
import subprocess
import sys
from importlib import metadata

import jax
import pytest
from rich.console import Console

from swingup import __version__, runtime
from swingup.cli import main
from swingup.cli.commands import Doctor
from swingup.cli.flags import parse
from swingup.config.presets import presets
from swingup.config.settings import Config
from swingup.tools import doctor, doctor_graphics, doctor_packages, doctor_speed, subprocess_call
from swingup.tools.doctor import Machine, Report
from swingup.tools.doctor_graphics import Trial
from swingup.tools.doctor_packages import Check, Nvidia
from swingup.tools.doctor_speed import UNDIVIDED, Speed
from swingup.tools.subprocess_call import Answer
from swingup.training.build import RunBuilder

TINY = Config(hidden=(8, 8), batch=4, threads=1)
IDLE = Machine("Linux", "3.11.0", "a CPU", 4, 0.1)
CPU = [Speed("CPU", 1, 100.0, 50.0), Speed("CPU", 2, 300.0, 60.0)]


def plain(found="0.10.2", plugin=None):
    """Versions with this JAX and one of its plugins."""
    return {"jax": found, "jax-cuda12-plugin": None, "jax-cuda13-plugin": None} | (
        {plugin: found} if plugin else {}
    )


def printed(report, width=80):
    out = io.StringIO()
    doctor.show(report, Console(file=out, width=width, color_system=None, highlight=False))
    return out.getvalue()


@pytest.fixture(scope="module")
def report():
    return doctor.examine(doctor.Workload(4, 2, RunBuilder(TINY)), 0.1)


# Facts


def test_versions_are_those_of_the_installed_packages():
    found = doctor_packages.versions()
    assert found["swingup"] == __version__
    for name in ("jax", "jaxlib", "numpy", "optax", "gymnasium"):
        assert found[name] == metadata.version(name)
    assert doctor_packages.version("no-such-package-x") is None


def test_the_cpu_is_named(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast CPU @ 9 GHz\nmodel name\t: other\n")
    assert doctor.cpu_model(tmp_path / "cpuinfo") == "Fast CPU @ 9 GHz"
    assert doctor.cpu_model(tmp_path / "missing")


@pytest.mark.parametrize(
    ("have", "limits", "ok"),
    [
        ("1.4.0", ">=1.1,<1.5", True),
        ("1.5", "<1.5,>=1.1", False),
        ("1.10", "<1.9", False),
        ("0.12.0.1", "<0.13,>=0.7", True),
        ("2.1.0", ">=2.1", True),
        ("2.0.9", ">=2.1", False),
        ("4.0.0", "<4,>=3.3", False),
        ("3.1+cuda12", "<3.2", True),
        ("9", "", True),
    ],
)
def test_a_version_is_compared_with_what_is_asked_for(have, limits, ok):
    assert doctor_packages.fits(have, limits) == ok


def test_wrong_and_missing_packages_are_broken_and_extras_are_not():
    wanted = [
        "jax<0.13,>=0.7",
        "gymnasium[classic-control]<1.5,>=1.1",
        "optax>=0.2.5",
        "mujoco<4,>=3.3; extra == 'mujoco'",
    ]
    have = {"jax": "0.4.1", "gymnasium": "1.4.0", "optax": None, "mujoco": None}
    found = doctor_packages.packages(wanted, have.get)
    assert found.state == "broken"
    assert found.detail == "jax is 0.4.1, swingup needs <0.13,>=0.7, optax is not installed"
    assert found.fix == "pip install 'jax<0.13,>=0.7' 'optax>=0.2.5'"
    assert "mujoco is 4.0.0" in doctor_packages.packages(wanted, (have | {"mujoco": "4.0.0"}).get).detail
    assert doctor_packages.packages([], have.get).state == "ok"


# The GPU

SMI = "NVIDIA H100 80GB HBM3, {}, 9.0\nNVIDIA A100, {}, 8.0\n"
OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12.3.0\n"
)
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"


def silent(command):
    return ""


@pytest.mark.parametrize(
    ("driver", "extra"),
    [("550.54.15", "cuda12"), ("580.65.06", "cuda13"), ("535.1", "cuda12"), ("610.2", "cuda13")],
)
def test_the_install_line_follows_from_the_driver(driver, extra, tmp_path):
    present = doctor_packages.nvidia(lambda command: SMI.format(driver, driver), tmp_path)
    assert present == Nvidia("NVIDIA H100 80GB HBM3", driver, 9.0, True)
    found = doctor_packages.gpu(["CPU"], present, plain(), {})
    assert (found.state, found.fix) == ("missing", f"pip install -U 'jax[{extra}]==0.10.2'")
    assert driver in found.detail


@pytest.mark.parametrize(("text", "driver"), [(MODULE, "550.54.15"), (OPEN_MODULE, "580.65.06")])
def test_without_nvidia_smi_the_kernel_tells(text, driver, tmp_path):
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(text)
    assert doctor_packages.nvidia(silent, tmp_path) == Nvidia("NVIDIA GPU", driver, 0, False)
    assert doctor_packages.gpu(["CPU"], doctor_packages.nvidia(silent, tmp_path), plain(), {}).fix.startswith(
        "docker run --gpus all"
    )
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert doctor_packages.nvidia(silent, tmp_path) == Nvidia("NVIDIA GPU", driver, 0, True)


def test_a_device_file_alone_is_a_gpu_of_unknown_driver(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert (
        "jax[cuda12]"
        in doctor_packages.gpu(["CPU"], doctor_packages.nvidia(silent, tmp_path), plain(), {}).fix
    )


@pytest.mark.parametrize(
    "answer", ["", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ",\n"]
)
def test_no_gpu_is_one_calm_line(answer, tmp_path):
    found = doctor_packages.gpu(
        ["CPU"], doctor_packages.nvidia(lambda command: answer, tmp_path), plain(), {}
    )
    assert found == Check("GPU", "ok", "no GPU found; JAX uses the CPU")


def test_a_command_that_is_not_there_or_fails_says_nothing():
    assert doctor_packages.output(["no-such-command-x"]) == ""
    assert doctor_packages.output(["false"]) == ""


@pytest.mark.parametrize(
    ("present", "found", "environ", "state", "fix"),
    [
        (Nvidia("V100", "580.1", 7.0, True), plain(), {}, "missing", "pip install -U 'jax[cuda12]==0.10.2'"),
        (
            Nvidia("K80", "470.1", 3.7, True),
            plain(),
            {},
            "missing",
            "update the NVIDIA driver to 580 or newer",
        ),
        (
            Nvidia("H100", "580.1", 9.0, True),
            plain(),
            {"JAX_PLATFORMS": "cpu"},
            "missing",
            "unset JAX_PLATFORMS",
        ),
        (
            Nvidia("H100", "580.1", 9.0, True),
            plain(),
            {"CUDA_VISIBLE_DEVICES": ""},
            "missing",
            "unset CUDA_VISIBLE_DEVICES",
        ),
        (
            Nvidia("H100", "550.1", 9.0, True),
            plain(plugin="jax-cuda13-plugin"),
            {},
            "broken",
            "pip uninstall -y jax-cuda13-plugin && pip install -U 'jax[cuda12]==0.10.2'",
        ),
        (
            Nvidia("H100", "580.1", 9.0, True),
            plain() | {"jax-cuda13-plugin": "0.9.0"},
            {},
            "broken",
            "pip install -U 'jax[cuda13]==0.10.2'",
        ),
        (
            Nvidia("H100", "580.1", 9.0, True),
            plain(plugin="jax-cuda13-plugin"),
            {},
            "broken",
            "pip install --force-reinstall 'jax[cuda13]==0.10.2'",
        ),
    ],
)
def test_every_reason_for_an_unused_gpu_has_its_fix(present, found, environ, state, fix):
    check = doctor_packages.gpu(["CPU"], present, found, environ)
    assert (check.state, check.fix) == (state, fix)


def test_a_gpu_that_jax_uses_is_fine():
    check = doctor_packages.gpu(["NVIDIA H100"] * 8, Nvidia("NVIDIA H100", "580.1", 9.0, True), plain(), {})
    assert check == Check("GPU", "ok", "JAX uses 8 x NVIDIA H100")


def test_a_jax_that_does_not_start_is_broken_with_its_fix():
    nowhere = Answer(None, "RuntimeError: Unable to initialize backend")
    assert doctor_packages.engine(nowhere, plain(), {"JAX_PLATFORMS": "cuda"}).fix == "unset JAX_PLATFORMS"
    assert (
        doctor_packages.engine(nowhere, plain(), {}).fix
        == "pip install --force-reinstall jax==0.10.2 jaxlib==0.10.2"
    )
    assert (
        doctor_packages.engine(
            Answer(None, "ModuleNotFoundError: No module named 'jax'"), plain(None), {}
        ).fix
        == "pip install swingup"
    )


# What is tried in child processes


@pytest.mark.slow
def test_pendulum_is_drawn_and_every_trial_has_an_answer(report):
    assert Check("pictures", "ok", "Pendulum-v1 drawn, 500 x 500 pixels") in report.checks
    assert all(c.detail and (c.state == "ok" or c.fix or c.name == "window") for c in report.checks)


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (
            "def open(*a, **k):\n    raise ValueError('Unknown encoder:\\n  libx264')",
            "ValueError: Unknown encoder: libx264",
        ),
        ("print('hello')\nraise ImportError('libav.so: not found')", "ImportError: libav.so: not found"),
        (
            "import os, sys\nprint('Illegal instruction', file=sys.stderr, flush=True)\nos._exit(7)",
            "with 7 Illegal instruction",
        ),
        ("import os\nos.abort()", "the process ended with -"),
    ],
)
def test_a_broken_encoder_is_reported_and_not_raised(source, detail, tmp_path, monkeypatch):
    (tmp_path / "av.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    video = next(t for t in doctor_graphics.trials() if t.module == "av")
    check = doctor_graphics.attempt(video)
    assert (check.state, check.fix) == ("broken", video.repair)
    assert detail in check.detail


def test_a_child_that_hangs_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "av.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    assert subprocess_call.ask("tools.doctor_graphics:encode", timeout=1.5) == Answer(
        None, "no answer within 2 s"
    )


def test_a_missing_package_is_missing_with_its_line():
    trial = Trial(
        "it", "no_such_module_x", ("tools.doctor_graphics:draw_one_frame", []), "pip install it", "never"
    )
    assert doctor_graphics.attempt(trial) == Check(
        "it", "missing", "no_such_module_x is not installed", "pip install it"
    )


@pytest.mark.parametrize(
    ("choice", "fix"), [("egl", "apt-get install libegl1"), ("osmesa", "export MUJOCO_GL=egl, which needs")]
)
def test_a_broken_renderer_is_reported_with_its_fix(choice, fix, tmp_path, monkeypatch):
    (tmp_path / "mujoco.py").write_text(
        "raise AttributeError(\"'NoneType' object has no attribute 'eglQueryString'\")"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", choice)
    monkeypatch.setattr(sys, "platform", "linux")
    check = doctor_graphics.attempt(next(t for t in doctor_graphics.trials() if t.name == "MuJoCo"))
    assert check.state == "broken"
    assert check.fix.startswith(fix)


def test_no_display_is_missing_and_a_dead_one_broken(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert doctor_graphics.window().state == "missing"
    monkeypatch.setenv("DISPLAY", ":77")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert "SDL uses its driver dummy" in doctor_graphics.window().detail


# The measurement


@pytest.mark.slow
def test_measuring_compiles_each_program_once(report, monkeypatch):
    importlib.import_module("swingup.core.engine")  # optax compiles something of its own when it is imported
    programs, jit = [], jax.jit

    def recorded(*args, **options):
        programs.append(jit(*args, **options))
        return programs[-1]

    monkeypatch.setattr(jax, "jit", recorded)
    found = doctor_speed.compute(4, 2, dataclasses.asdict(TINY), 0.1)
    assert set(found["devices"]) <= set(report.devices)
    assert [p._cache_size() for p in programs] == [1, 1, 1] * len(found["speeds"])


def test_the_median_leaves_the_first_call_out(monkeypatch):
    clock = iter([0.0, 0.0, 2e-6, 0.5, 0.5, 0.5 + 4e-6, 0.6, 0.6, 0.6 + 9e-6, 1.0])
    monkeypatch.setattr(doctor_speed.time, "perf_counter", lambda: next(clock))
    calls = []
    assert doctor_speed.median(lambda: calls.append(1), 1.0) == 4.0
    assert len(calls) == 4


GPU = Speed("NVIDIA H100", 0, 150.0, 20.0)
FLAGGED = Speed("CPU", 2, 50.0, 25.0, UNDIVIDED)


@pytest.mark.parametrize(
    ("speeds", "machine", "words"),
    [
        (
            CPU,
            IDLE,
            ["choose --threads 1: 3.0 times as fast as 2", "at most 10,000 environment steps a second"],
        ),
        (
            [CPU[0], Speed("CPU", 2, 105.0, 1.0)],
            IDLE,
            ["1 and 2 threads are equally fast: leave --threads at 2"],
        ),
        ([*CPU, FLAGGED], IDLE, ["choose --threads 1", f"XLA_FLAGS={UNDIVIDED}", "--threads 2: 2.0 times"]),
        ([*CPU, GPU], IDLE, ["Train on the CPU", "JAX_PLATFORMS=cpu"]),
        ([CPU[1], GPU], IDLE, ["Train on the NVIDIA H100", "by itself"]),
        (CPU, dataclasses.replace(IDLE, load=2.1), ["The machine was busy (load 2.1 on 4 cores)"]),
    ],
)
def test_the_advice_follows_from_the_times(speeds, machine, words):
    advice = " ".join(doctor.advise(speeds, RunBuilder(Config()), machine))
    assert all(w in advice for w in words), advice
    assert ("busy" in advice) == machine.busy
    assert ("XLA_FLAGS" in advice) == (FLAGGED in speeds)


def test_a_flag_that_gains_little_is_not_advised():
    little = dataclasses.replace(FLAGGED, iteration_us=95.0)
    assert "XLA_FLAGS" not in " ".join(doctor.advise([*CPU, little], RunBuilder(Config()), IDLE))


@pytest.mark.slow
def test_the_advised_flag_is_one_that_jax_takes_and_a_checkpoint_records(report, monkeypatch):
    assert UNDIVIDED in {s.flags for s in report.speeds}  # it was measured with it
    monkeypatch.setenv("XLA_FLAGS", UNDIVIDED)
    assert runtime.profile(2)["xla_flags"] == UNDIVIDED


def test_without_times_or_load_there_is_no_advice():
    assert doctor.advise([], RunBuilder(Config()), IDLE) == ()
    assert not dataclasses.replace(IDLE, load=None).busy


# The report


@pytest.mark.slow
def test_the_whole_report(report):
    assert report.works
    assert "CPU" in {s.device for s in report.speeds}
    assert {s.threads for s in report.speeds if s.device == "CPU"} == {1, 2}
    assert all(s.iteration_us > 0 and s.update_us > 0 for s in report.speeds)
    assert [c.name for c in report.checks] == [
        "packages",
        "JAX",
        "GPU",
        "pictures",
        "MuJoCo",
        "Box2D",
        "video",
        "window",
    ]
    assert report.workload == "4 observations, 2 actions, hidden layers 8-8, minibatch 4"
    assert json.loads(json.dumps(dataclasses.asdict(report)))["versions"]["jax"] == metadata.version("jax")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.slow
def test_the_printed_report_has_its_sections_and_fits(report, width):
    text = printed(report, width)
    assert max(map(len, text.splitlines())) <= width
    assert [line for line in text.splitlines() if line in ("versions", "checks", "speed", "advice")] == [
        "versions", "checks", "speed", "advice",
    ]  # fmt: skip
    assert f"jax {metadata.version('jax')}" in text
    assert "CPU, 1 thread " in text
    assert "CPU, 2 threads " in text
    assert text.rstrip().endswith("swingup will work here.")


def test_a_broken_machine_prints_its_fixes_verbatim():
    found = (
        doctor_packages.engine(Answer(None, "RuntimeError: " + "very long " * 40), plain(), {}),
        doctor_packages.gpu(
            ["CPU"], Nvidia("NVIDIA H100 80GB HBM3", "580.65.06", 9.0, True), plain("0.12.0.1"), {}
        ),
    )
    text = printed(
        Report(False, IDLE, {"swingup": "0.1.0", "jax": "0.12.0.1"}, (), found, "[a] workload", (), ())
    )
    assert max(map(len, text.splitlines())) <= 80
    assert "→ pip install -U 'jax[cuda13]==0.12.0.1'\n" in "".join(
        f"{line.rstrip()}\n" for line in text.splitlines()
    )
    assert "not measured" in text
    assert "swingup will not work" in text


def test_jax_stays_out_of_the_doctors_own_process():
    code = (
        "import sys, swingup.tools.doctor; from swingup.tools.doctor_packages import *; "
        "packages(requirements(), version); assert 'jax' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# The command's flags


FLAGS = ["--obs", "17", "--actions", "6", "--hidden", "64", "32", "--batch", "20000", "--json"]


def test_flags_make_a_workload():
    preset = presets()["pendulum"].values
    default = doctor.workload_of(3, 1, None, None).builder.settings
    assert (list(default["hidden"]), default["batch"]) == (preset["hidden"], preset["batch"])
    wanted = parse(Doctor, "doctor", FLAGS)
    assert (wanted.obs, wanted.actions, wanted.json) == (17, 6, True)
    made = doctor.workload_of(wanted.obs, wanted.actions, wanted.hidden, wanted.batch).builder.settings
    assert (made["hidden"], made["batch"]) == ((64, 32), 20000)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--obs", "0"], "--obs 0: expected a number from 1"),
        (["--actions", "-1"], "--actions -1"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--hidden", "0"], "--hidden [0]"),
        (["--hidden"], "--hidden: a value is missing"),
        (["--batch", "0"], "--batch 0"),
    ],
)
def test_unusable_flags_are_one_line(words, message, capsys):
    assert main.run(["doctor", *words]) == 2
    assert message in capsys.readouterr().err
