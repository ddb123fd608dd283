"""The house's rules that a machine can check: layers import downwards only, and what must not need JAX does not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "swingup"

LAYERS = [
    ["errors", "tree", "types", "runtime", "schedule"],
    ["nets", "heads", "noise", "moments", "replay", "priority", "split"],
    ["agent", "learn", "config", "policy"],
    [
        "envs",
        "envs.api",
        "envs.draw",
        "envs.native",
        "envs.pendulum",
        "envs.mountaincar",
        "envs.point",
        "envs.adapters",
        "envs.gym",
        "envs.workers",
        "envs.wrapped",
    ],
    ["collect", "loop", "fused", "lanes", "evaluate", "health"],
    [
        "disk",
        "manifest",
        "checkpoint",
        "keeper",
        "stop",
        "verify",
        "stats",
        "compare",
        "store",
        "trust",
        "log",
        "run",
        "plot",
        "video",
        "child",
        "checks",
        "graphics",
        "speed",
        "doctor",
        "bench",
        "graph",
        "training",
        "member",
        "pool",
        "board",
        "group",
        "model",
        "flags",
        "commands",
        "cli",
        "__init__",
        "__main__",
    ],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Layer-1 pieces never import each other.
PIECES = LAYERS[1]


def modules():
    for path in sorted(SRC.rglob("*.py")):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts)
        yield (name.removesuffix(".__init__") if name != "__init__" else name), path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("swingup"):
            base = node.module.removeprefix("swingup").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                yield full if full in LEVEL else (base or "__init__")
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("swingup.") for a in node.names if a.name.startswith("swingup."))


def test_every_module_has_a_layer():
    assert {name for name, _ in modules()} == set(LEVEL)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_point_downwards(name, path):
    for target in imports(path):
        if name == "__init__":
            continue
        assert LEVEL[target] <= LEVEL[name], f"{name} imports {target}, which lies above it"
        assert not (name in PIECES and target in PIECES), f"{name} imports {target}: pieces never import each other"


def test_the_agent_knows_no_environment_and_environments_no_agent():
    for name, path in modules():
        if name in ("agent", "learn", "nets", "noise", "replay"):
            assert not any(t.startswith("envs") for t in imports(path))
        if name.startswith("envs"):
            assert not {"agent", "learn", "nets", "noise", "replay"} & set(imports(path))


@pytest.mark.parametrize(
    "code",
    [
        "import swingup",
        "from swingup.cli import run; run(['--help'])",
        "from swingup.cli import run; run(['presets'])",
        "from swingup.cli import run; assert run(['train', 'Pendulm-v1']) == 2",
        "from swingup.cli import run; assert run(['train', 'CartPole-v1']) == 2",
        "import swingup.policy, swingup.store, swingup.run, swingup.evaluate, swingup.envs.gym",
    ],
)
def test_no_jax_is_imported(code):
    check = f"{code}\nimport sys\nassert 'jax' not in sys.modules, 'jax was imported'"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
