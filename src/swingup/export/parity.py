"""Whether an exported file acts as the trainer's policy does, and how fast."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swingup.core.policy import Policy
from swingup.errors import InputError
from swingup.export import interpreter

RANDOM, EXTREME = 1_000, 100
# The largest difference that counts as equal, relative to the largest action of each dimension.
TOLERANCE = 1e-5
# Calls that a latency is measured over.
CALLS = 2_000


@dataclass(frozen=True)
class Parity:
    """How an exported file compares with the policy it was made from.

    difference: the largest, relative to the largest action of its dimension; rounding: how far the trainer's
    own float32 result is from exact arithmetic; microseconds: for one observation; by: what ran the file.
    """

    difference: float
    rounding: float
    microseconds: float
    by: str

    @property
    def close(self) -> bool:
        """Whether the file agrees: to TOLERANCE, or as well as float32 can at these observations."""
        return self.difference <= max(TOLERANCE, 4 * self.rounding)

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        return (
            f"largest difference from the trainer's policy {self.difference:.1e} of the action's range over "
            f"{RANDOM:,} random and {EXTREME} extreme observations (float32's own rounding: "
            f"{self.rounding:.1e}); {self.microseconds:.3g} us an action · {self.by}"
        )


# Runs a file on obs[B, O]: actions[B, A], microseconds a call, and the name of what ran it.
Runner = Callable[[Path, np.ndarray, Policy], tuple[np.ndarray, float, str]]


class Missing(Exception):
    """The program that runs a format is not on this machine."""


def observations(policy: Policy) -> np.ndarray:
    """Observations to compare on: obs[RANDOM + EXTREME, O], the same in every call.

    Random ones are normal, at scales from 0.01 to 100, around the policy's statistics if it has any; extreme
    ones have coordinates of 0, 1e-20, 1, 1e3 and 1e6 of either sign.
    """
    rng = np.random.default_rng(0)
    size, statistics = policy.spec.obs_size, policy.obs_statistics
    usual = rng.normal(size=(RANDOM, size)) * 10 ** rng.uniform(-2, 2, (RANDOM, 1))
    if statistics is not None:
        usual = statistics.mean + usual * np.sqrt(statistics.m2 / max(float(statistics.total), 1) + 1e-8)
    sizes = np.array([0, 1e-20, 1, 1e3, 1e6])
    signs = rng.choice([-1, 1], (EXTREME, size))
    return np.concatenate([usual, signs * rng.choice(sizes, (EXTREME, size))]).astype(np.float32)


def compare(policy: Policy, path: Path, run: Runner) -> Parity:
    """Run an exported file beside its policy; Missing where what runs it is not here."""
    obs, spec = observations(policy), policy.spec
    wanted = policy(obs).reshape(len(obs), -1).astype(float)
    with np.errstate(all="ignore"):
        exact = spec.to_env(in_double(policy, obs)).reshape(len(obs), -1).astype(float)
    found, microseconds, by = run(path, obs, policy)
    size = np.maximum(np.abs(spec.low), np.abs(spec.high))
    distance = lambda other: float(np.max(np.abs(other.reshape(wanted.shape) - wanted) / size))
    return Parity(distance(found.astype(float)), distance(exact), microseconds, by)


def in_double(policy: Policy, obs: np.ndarray) -> np.ndarray:
    """The policy's actions[B, A] in [-1, 1], computed in float64."""
    from swingup.core.running_statistics import RunningStatistics, normalize

    params = [{k: np.asarray(v, float) for k, v in layer.items()} for layer in policy.params]
    x, statistics = obs.astype(float), policy.obs_statistics
    if statistics is not None:
        x = normalize(RunningStatistics(*(np.asarray(v, float) for v in statistics)), x)
    return policy.actor.apply(params, x)


def timed(act: Callable[[np.ndarray], Any], obs: np.ndarray) -> float:
    """Microseconds of one call with one observation: the median of CALLS."""
    spent = []
    for k in range(CALLS):
        start = time.perf_counter()
        act(obs[k % len(obs)])
        spent.append(time.perf_counter() - start)
    return float(np.median(spent)) * 1e6


def run_npz(path: Path, obs: np.ndarray, policy: Policy) -> tuple[np.ndarray, float, str]:
    """Run an .npz file with the interpreter that comes with swingup."""
    act = interpreter.load(path)
    shaped = obs.reshape(-1, *policy.spec.obs_shape)
    return act(shaped), timed(act, shaped), f"NumPy {np.__version__}"


def run_python(path: Path, obs: np.ndarray, policy: Policy) -> tuple[np.ndarray, float, str]:
    """Run a Python file in a process of its own, which sees no other package than NumPy's."""
    program = (
        "import runpy, sys, numpy as np\n"
        "act = runpy.run_path(sys.argv[1])['act']\n"
        "import time\n"
        "obs = np.load(sys.argv[2]); start = time.perf_counter()\n"
        f"for k in range({CALLS}): act(obs[k % len(obs)])\n"
        f"spent = (time.perf_counter() - start) / {CALLS} * 1e6\n"
        "assert 'swingup' not in sys.modules\n"
        "np.savez(sys.argv[3], actions=act(obs), spent=spent)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "obs.npy", Path(folder) / "made.npz"
        np.save(given, obs.reshape(-1, *policy.spec.obs_shape))
        execute([sys.executable, "-c", program, str(path), str(given), str(made)])
        with np.load(made) as found:
            return found["actions"], float(found["spent"]), f"Python {sys.version.split()[0]}"


def run_onnx(path: Path, obs: np.ndarray, policy: Policy) -> tuple[np.ndarray, float, str]:
    """Run an ONNX model with onnxruntime, on one thread."""
    try:
        import onnxruntime
    except ImportError:
        raise Missing("onnxruntime is not installed: pip install 'swingup[export]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    shaped = obs.reshape(-1, *policy.spec.obs_shape)
    act = lambda x: session.run(None, {"observation": x})[0]
    return act(shaped), timed(lambda x: act(x[None]), shaped), f"onnxruntime {onnxruntime.__version__}"


TIMING = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "%s"

int main(int count, char **words) {
  static float obs[%d][%d];
  static %s action[%d];
  FILE *in = fopen(words[1], "rb"), *out = fopen(words[2], "wb");
  (void)count;
  if (fread(obs, sizeof obs, 1, in) != 1) return 1;
  for (int k = 0; k < %d; k++) {
    swingup_policy(obs[k], action);
    fwrite(action, sizeof action, 1, out);
  }
  fclose(out);
  const clock_t start = clock();
  for (int k = 0; k < %d; k++) swingup_policy(obs[k %% %d], action);
  printf("%%.9g\\n", 1e6 * (double)(clock() - start) / CLOCKS_PER_SEC / %d);
  return 0;
}
"""

# Strict enough that a compiler for a small machine has nothing to add.
STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def run_c(path: Path, obs: np.ndarray, policy: Policy) -> tuple[np.ndarray, float, str]:
    """Compile a C file with the machine's compiler, and run it."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise Missing("there is no C compiler here (gcc, cc or clang)")
    double = policy.spec.action_dtype == "float64"
    n, size = obs.shape
    actions = policy.spec.action_size
    sizes = (n, size, "double" if double else "float", actions, n, CALLS, n, CALLS)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "policy.c").write_bytes(path.read_bytes())
        (here / "main.c").write_text(TIMING % ("policy.c", *sizes))
        obs.tofile(here / "obs")
        execute([compiler, *STRICT, str(here / "main.c"), "-o", str(here / "main"), "-lm"])
        spent = execute([str(here / "main"), str(here / "obs"), str(here / "actions")])
        found = np.fromfile(here / "actions", np.float64 if double else np.float32).reshape(n, actions)
    version = execute([compiler, "-dumpversion"]).strip()
    return found, float(spent), f"{Path(compiler).name} {version}"


SCRIPT = """
const policy = require(process.argv[1]);
const bytes = require("fs").readFileSync(process.argv[2]);
const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), n = policy.about.inputs;
const obs = Array.from({ length: all.length / n }, (_, k) => all.subarray(k * n, k * n + n));
const actions = obs.map((x) => Array.from(policy(x)));
const start = process.hrtime.bigint();
for (let k = 0; k < CALLS; k++) policy(obs[k % obs.length]);
const spent = Number(process.hrtime.bigint() - start) / 1e3 / CALLS;
console.log(JSON.stringify([actions, spent, process.version]));
"""


def run_javascript(path: Path, obs: np.ndarray, policy: Policy) -> tuple[np.ndarray, float, str]:
    """Run a JavaScript file with Node."""
    node = shutil.which("node")
    if node is None:
        raise Missing("there is no node here")
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "obs"
        obs.tofile(given)
        script = SCRIPT.replace("CALLS", str(CALLS))
        answer = json.loads(execute([node, "-e", script, str(path.resolve()), str(given)]))
    return np.array(answer[0]), float(answer[1]), f"node {answer[2].lstrip('v')}"


def execute(words: list[str]) -> str:
    """What a program prints; InputError with its first line of complaint if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        why = next((line for line in said if "rror" in line), said[-1])
        raise InputError(f"export: {Path(words[0]).name} failed ({done.returncode}): {why:.300}")
    return done.stdout
