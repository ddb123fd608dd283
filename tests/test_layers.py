"""Rules for imports: they point downwards, without cycles, and some modules must work without JAX."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "swingup"

# A row imports from the rows above it, a folder also from its own files; `core` and `envs` are independent.
FLOORS = [
    "types errors seeding runtime",
    "config",
    "core",
    "envs",
    "loops",
    "storage",
    "export",
    "reports",
    "runs",
    "training",
    "multiseed",
    "cluster",
    "tools",
]
FLOORS = [row.split() for row in [*FLOORS, "api sb3", "cli", "__main__"]]
FLOOR = {name: level for level, row in enumerate(FLOORS) for name in row}
STRANGERS = {("core", "envs"), ("envs", "core"), ("core", "config"), ("envs", "config"), ("loops", "config")}
LONGEST = 12


def modules():
    """Every module by its name within the package."""
    for path in sorted(SRC.rglob("*.py")):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, path


FILES = dict(modules())


def imports(path):
    """The modules of swingup that a file imports anywhere, except what only a type checker reads."""
    tree = ast.parse(path.read_text())
    typing = {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.unparse(i.test)
        for n in ast.walk(i)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "swingup":
            base = node.module.removeprefix("swingup").lstrip(".")
            full = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name if name in FILES else base for name in full}
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("swingup.") for a in node.names if a.name.startswith("swingup.")}
    return found & set(FILES)


GRAPH = {name: imports(path) for name, path in FILES.items()}
folder = lambda name: name.partition(".")[0]


def test_every_module_has_a_floor():
    assert {folder(name) for name in FILES} <= set(FLOOR)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_point_downwards(name):
    for target in GRAPH[name]:
        here, there = folder(name), folder(target)
        assert here == there or FLOOR[there] < FLOOR[here], (
            f"{name} imports {target}, which does not lie below it"
        )
        assert (here, there) not in STRANGERS, (
            f"{name} imports {target}: {here} and {there} know nothing of each other"
        )


def chain(name, above=()):
    """The longest chain of imports that begins with a module."""
    assert name not in above, f"imports in a circle: {' -> '.join([*above[above.index(name) :], name])}"
    return max(([name, *chain(target, (*above, name))] for target in GRAPH[name]), key=len, default=[name])


def test_no_file_is_in_a_circle_and_no_chain_is_long():
    longest = max((chain(name) for name in FILES), key=len)
    assert len(longest) <= LONGEST, " -> ".join(longest)


@pytest.mark.parametrize(
    "code",
    [
        "import swingup",
        "from swingup.cli.main import run; run(['--help'])",
        "from swingup.cli.main import run; run(['presets'])",
        "from swingup.cli.main import run; run(['sweep', '--help'])",
        "from swingup.cli.main import run; assert run(['train', 'Pendulm-v1']) == 2",
        "from swingup.cli.main import run; assert run(['train', 'CartPole-v1']) == 2",
        "import swingup.core.policy, swingup.storage.policy_file, swingup.runs.run, "
        "swingup.loops.evaluation, swingup.envs.gym_env",
    ],
)
def test_neither_jax_nor_ray_nor_optuna_is_imported(code):
    check = f"{code}\nimport sys\nassert not {{'jax', 'ray', 'optuna'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_ordinary_run_imports_neither_ray_nor_optuna(tmp_path):
    words = "Pendulum-v1 --steps 120 --warmup 100 --hidden 8 --batch 8 --final-episodes 1 --threads 2 --quiet"
    code = f"from swingup.cli.main import run; assert run(['train', *{words.split()}, '--run-dir', 'r']) == 0"
    check = f"{code}\nimport sys\nassert not {{'ray', 'optuna'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
