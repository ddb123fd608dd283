"""The live canvas of a page: a policy that acts in the browser, in an environment with a JavaScript twin."""

from __future__ import annotations

from typing import NamedTuple

from swingup.core.policy import Policy
from swingup.errors import InputError
from swingup.export.js_file import javascript
from swingup.export.program import program
from swingup.reports.html.page import HERE, text

# A larger policy would make up most of a page.
LARGEST = 1_500_000


class Twin(NamedTuple):
    """A twin in twins.js: its name there, the sizes and the bound that a policy must have, and what to do."""

    name: str
    obs_size: int
    actions: int
    bound: float
    invitation: str


PENDULUM = Twin(
    "pendulum", 3, 1, 2.0, "Take hold of the pendulum with the mouse or a finger, pull it over, and let go."
)
CAR = Twin("mountainCar", 2, 1, 1.0, "Hold the car back with the mouse or a finger, and let go.")
POINT = Twin("pointMass", 4, 2, 1.0, "Pull the point away with the mouse or a finger, and let go.")
TWINS = {
    "Pendulum-v1": PENDULUM,
    "native/Pendulum-v1": PENDULUM,
    "MountainCarContinuous-v0": CAR,
    "native/MountainCarContinuous-v0": CAR,
    "native/PointMass-v0": POINT,
}

CANVAS = """<div class="live">
<canvas aria-label="{name}, simulated, with the trained policy"></canvas>
<div><p>{invitation} The policy of this run acts here, in your browser.</p>
<div class="buttons"><button data-do="left">Push left</button><button data-do="right">Push right</button>
<button data-do="restart">Start again</button><button data-do="pause">Pause</button></div>
<p class="readout soft" aria-live="off"></p></div></div>
<script>
{scripts}
(window.swingupLive ??= []).push(
  new SwingupLive(document.currentScript.previousElementSibling, "{kind}", swingupPolicy));
</script>"""


# What only a page with a canvas holds.
SCRIPT = "class SwingupLive"


def live(policy: Policy, name: str, first: bool) -> str:
    """The canvas as HTML; empty if the environment has no twin or the policy cannot run there.

    name: of the run; first: whether it is its page's first, which brings the scripts that all share.
    """
    spec = policy.spec
    twin = TWINS.get(spec.env)
    if twin is None or (spec.obs_size, spec.action_size) != (twin.obs_size, twin.actions):
        return ""
    if spec.low != (-twin.bound,) * twin.actions or spec.high != (twin.bound,) * twin.actions:
        return ""
    try:
        script = javascript(program(policy)).decode()
    except InputError:
        return ""
    if len(script) > LARGEST:
        return ""
    shared = [(HERE / name).read_text(encoding="utf-8") for name in ("twins.js", "live.js")]
    words = {
        "{name}": text(f"{name}: {spec.env}"),
        "{invitation}": twin.invitation,
        "{kind}": twin.name,
        "{scripts}": "\n".join([*(shared if first else []), script]),
    }
    made = CANVAS
    for word, value in words.items():
        made = made.replace(word, value)
    return made
