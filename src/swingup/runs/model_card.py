"""`swingup card RUN`: a run as a model of the Hugging Face Hub, a folder that any program can open again.

The folder is a run's folder without what only training needs, and has what the Hub's pages show: a card
with metadata, results.json and replay.mp4.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from swingup.config.fields import as_typed
from swingup.config.presets import base
from swingup.errors import EnvFault, InputError
from swingup.reports.wording import number
from swingup.runs.run import Run
from swingup.runs.source import FILE
from swingup.storage import hub, text_file

# Files of the run that are copied as they are, where they are there.
COPIED = (
    "config.json",
    FILE,
    "evaluations.csv",
    "closing.csv",
    "policy/last.safetensors",
    "policy/best.safetensors",
)
# Settings that say which run it was, not how it learnt.
NAMES = ("env", "preset", "env_preset", "seed")


def card(
    run: str | Path | Run,
    output: str | Path | None = None,
    push: str | None = None,
    video: bool = True,
    say: Callable[[str], Any] = print,
) -> Path:
    """Write a run's model folder, by default RUN/card, and with `push` send it to the Hub; returns the path.

    push: owner/name there, made if it does not exist; it needs the package huggingface_hub and that the user
    is signed in. video: film an episode for replay.mp4. say: gets a line where that cannot be, and the
    address after a push. Raises InputError for a run without a closing evaluation, and where the Hub refuses.
    """
    if push is not None:
        hub.check_credentials(push)
    run = run if isinstance(run, Run) else Run(run)
    result = run.result
    if not result or result["mean"] is None:
        raise InputError(
            f"{run.folder}: it has no closing evaluation for a card to show; end the run first: "
            f"swingup resume {run.folder}"
        )
    folder = Path(output) if output else run.folder / "card"
    for name in COPIED:
        if (run.folder / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.folder / name, folder / name)
    name = push or run.folder.resolve().name
    # Not the path: it says where the run lay on its maker's machine.
    text_file.write(folder / "result.json", json.dumps({**result, "run": name}) + "\n")
    text_file.write(folder / "results.json", json.dumps(results(run), indent=2) + "\n")
    filmed = video and replay(run, folder / "replay.mp4", say)
    text_file.write(folder / "README.md", readme(run, name, f"hf:{push}" if push else ".", filmed))
    if push is not None:
        say(f"sent to {hub.send(folder, push)}")
    return folder


def replay(run: Run, path: Path, say: Callable[[str], Any]) -> bool:
    """Film the first episode of the closing evaluation; False, and one line to `say`, where that fails."""
    try:
        shutil.copyfile(run.film(1)[0].path, path)
        return True
    except (InputError, EnvFault, OSError) as error:
        path.unlink(missing_ok=True)
        say(f"warning: no replay.mp4: {error}")
        return False


def algorithm(run: Run) -> str:
    """What a run's settings amount to, by the name of the paper that is closest."""
    if run.config.atoms is not None:
        return "D4PG"
    return "TD3" if run.config.critics > 1 else "DDPG"


def results(run: Run) -> dict[str, Any]:
    """What results.json says: the names that the Hub's other libraries use, and ours for the rest."""
    result, config = run.result, run.config
    made = (run.folder / "result.json").stat().st_mtime
    return {
        "env_id": config.env,
        "mean_reward": result["mean"],
        "std_reward": result["std"],
        "n_evaluation_episodes": result["episodes"],
        "is_deterministic": result.get("source") != "training",
        "eval_datetime": datetime.fromtimestamp(made, UTC).isoformat(timespec="seconds"),
        "ci95": result["ci95"],
        "algorithm": algorithm(run),
        "preset": config.preset,
        "seed": config.seed,
        **({"environment_steps": result["steps"]} if "steps" in result else {}),
        **({"success_rate": result["success"]} if "success" in result else {}),
    }


def metadata(run: Run, name: str) -> str:
    """The YAML at the head of a card, from which the Hub takes library, tags and results."""
    import yaml

    found, env = results(run), run.config.env
    spread = "" if found["std_reward"] is None else f" +/- {found['std_reward']:.2f}"
    metric = {
        "type": "mean_reward",
        "value": f"{found['mean_reward']:.2f}{spread}",
        "name": "mean_reward",
        "verified": False,
    }
    task = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    one = {"task": task, "dataset": {"name": env, "type": env}, "metrics": [metric]}
    tags = [
        env,
        "deep-reinforcement-learning",
        "reinforcement-learning",
        "swingup",
        found["algorithm"].lower(),
    ]
    values = {
        "library_name": "swingup",
        "pipeline_tag": "reinforcement-learning",
        "tags": tags,
        "model-index": [{"name": name, "results": [one]}],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


CARD = """---
{metadata}---

# {algorithm} on {env}

A policy for `{env}`, trained with swingup {version} (DDPG and its descendants, in JAX).
{filmed}
| | |
|---|---|
| mean return | {mean} |
| standard deviation | {std} |
| measured on | {measured} |
| environment steps of training | {steps} |
| seed | {seed} |

It is one run. What a method reaches differs between seeds more than between these episodes.

## Use

```python
import swingup

run = swingup.load("{where}")
action = run.policy(observation)  # NumPy in and out, in the environment's units; a batch too
```

`swingup export {where} --format onnx` (npz, c, js, py) writes it as one file that acts without swingup.

## Training

{again}

{settings}
"""


def readme(run: Run, name: str, where: str, filmed: bool) -> str:
    """The card: metadata, results, how to use the policy, and how it was trained."""
    result, found = run.result, results(run)
    kind = "greedy episodes on fresh environments"
    if not found["is_deterministic"]:
        kind = "last training episodes, which explored"
    ends = (
        f" (95 % interval {number(result['ci95'][0])} to {number(result['ci95'][1])})"
        if result["ci95"]
        else ""
    )
    return CARD.format(
        metadata=metadata(run, name),
        algorithm=found["algorithm"],
        env=cell(run.config.env),
        version=cell(version_of(run)),
        filmed="\nreplay.mp4 is the first of these episodes.\n" if filmed else "",
        mean=f"{number(result['mean'])}{ends}",
        std="of one episode there is none" if result["std"] is None else number(result["std"]),
        measured=f"{result['episodes']} {kind}",
        steps=f"{result['steps']:,}" if "steps" in result else "unknown",
        seed=run.config.seed,
        where=where,
        again=again(run, where),
        settings=differences(run),
    )


def again(run: Run, where: str) -> str:
    """How to train and to evaluate the same again."""
    if (run.folder / FILE).is_file():
        return (
            "Its environment was made by a program and has no id; the settings are in config.json, and "
            f'`swingup.load("{where}", env)` takes the environment, or what makes it, for evaluations.'
        )
    env = cell(run.config.env)
    return (
        f"`swingup train {env} --config config.json` trains it again, with the settings in config.json; "
        f"`swingup eval {where}` plays its episodes again."
    )


def version_of(run: Run) -> str:
    """The version of swingup that made a run; empty if its folder does not say."""
    path = run.folder / "machine.json"
    return str(text_file.read_json(path).get("swingup", "")) if path.is_file() else ""


def differences(run: Run) -> str:
    """The settings that are not their preset's, as a table."""
    config = run.config
    expected = dataclasses.asdict(base(config.env, config.preset, env_preset=config.env_preset))
    values = dataclasses.asdict(config)
    rows = [
        f"| {name} | {cell(as_typed(value))} | {cell(as_typed(expected[name]))} |"
        for name, value in values.items()
        if name not in NAMES and value != expected[name]
    ]
    if not rows:
        return f"Every setting is that of the preset `{cell(config.preset)}`."
    head = [f"What differs from the preset `{cell(config.preset)}`:", ""]
    return "\n".join([*head, "| setting | here | preset |", "|---|---|---|", *rows])


def cell(value: Any) -> str:
    """A value as text that cannot leave its cell of a table or its code span."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("`", "'")
