"""A policy as one C99 file: constant arrays and one function; no allocation, no library but math.h."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from swingup import __version__
from swingup.export.activations import ACTIVATIONS
from swingup.export.program import Program, Step

HEAD = """/* The policy of {env}, exported by swingup {version}. C99; needs math.h alone,
   allocates nothing, keeps no state.

   Declare this in your program, and compile both: cc -O2 program.c policy.c -lm

       void swingup_policy(const float observation[{obs}], {real} action[{actions}]);

   The action is in the environment's units. To try it, this reads observations and prints actions:

       cc -O2 -DSWINGUP_EXAMPLE policy.c -lm -o policy && echo {zeros} | ./policy

   Sums are double; on a processor without double, -DSWINGUP_SUM=float is faster and a little less exact. */

#include <math.h>

#ifndef SWINGUP_SUM
#define SWINGUP_SUM double
#endif

void swingup_policy(const float observation[{obs}], {real} action[{actions}]);
"""

# The C function of each kind of step.
FUNCTIONS = {
    "normalize": """
static void normalize(float *x, const float *mean, const float *deviation, int n, float limit) {
  for (int i = 0; i < n; i++) {
    const float z = (x[i] - mean[i]) / deviation[i];
    x[i] = z < -limit ? -limit : z > limit ? limit : z;
  }
}
""",
    "dense": """
/* y[m] = w[m][n] x[n] + b[m]; no bias where b is 0. */
static void dense(float *y, const float *x, const float *w, const float *b, int n, int m) {
  for (int j = 0; j < m; j++) {
    SWINGUP_SUM sum = b ? b[j] : 0;
    for (int i = 0; i < n; i++) sum += (SWINGUP_SUM)w[j * n + i] * x[i];
    y[j] = (float)sum;
  }
}
""",
    "layer_norm": """
static void layer_norm(float *x, const float *scale, const float *b, int n, float epsilon) {
  SWINGUP_SUM mean = 0, variance = 0;
  for (int i = 0; i < n; i++) mean += x[i];
  mean /= n;
  for (int i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
  const SWINGUP_SUM deviation = (SWINGUP_SUM)sqrt(variance / n + epsilon);
  for (int i = 0; i < n; i++) x[i] = (float)((x[i] - mean) / deviation * scale[i] + b[i]);
}
""",
    "activation": """
static void all_{name}(float *y, int n) {
  for (int i = 0; i < n; i++) {
    const double x = y[i];
    y[i] = (float)({expression});
  }
}
""",
    "rescale": """
static void rescale({real} *y, const float *x, const double *low, const double *high, int n) {
  for (int i = 0; i < n; i++) {
    const double v = low[i] * ((1 - (double)x[i]) / 2) + high[i] * ((1 + (double)x[i]) / 2);
    y[i] = ({real})(v < low[i] ? low[i] : v > high[i] ? high[i] : v);
  }
}
""",
}

EXAMPLE = """
#ifdef SWINGUP_EXAMPLE
#include <stdio.h>

int main(void) {
  float observation[{obs}];
  {real} action[{actions}];
  for (;;) {
    for (int i = 0; i < {obs}; i++)
      if (scanf("%f", &observation[i]) != 1) return 0;
    swingup_policy(observation, action);
    for (int i = 0; i < {actions}; i++) printf("%.{digits}g ", (double)action[i]);
    printf("\\n");
  }
}
#endif
"""


def c_source(program: Program) -> bytes:
    """The policy as C: `swingup_policy(observation, action)`."""
    double = program.action_dtype == "float64"
    words = {
        "env": program.title,
        "version": __version__,
        "obs": str(program.obs_size),
        "actions": str(program.action_size),
        "real": "double" if double else "float",
        "digits": "17" if double else "9",
        "zeros": " ".join(["0"] * min(program.obs_size, 24)),
    }
    parts = [
        filled(HEAD, words),
        *(line for i, step in enumerate(program.steps) for line in constants(i, step)),
        *dict.fromkeys(function(step, words) for step in program.steps),
        *body(program, words),
        filled(EXAMPLE, words),
    ]
    return "\n".join(parts).encode()


def filled(text: str, words: dict[str, str]) -> str:
    """The text with each {word} replaced; C's own braces stay."""
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def function(step: Step, words: dict[str, str]) -> str:
    """The C function that does a step."""
    if step.kind == "activation":
        name = step.values["name"]
        words = {**words, "name": name, "expression": ACTIVATIONS[name].c}
    return filled(FUNCTIONS[step.kind], words)


def constants(i: int, step: Step) -> Iterator[str]:
    """The arrays of step i, each exact to its last bit; weights are transposed, so that a sum reads on."""
    for name, array in step.arrays.items():
        double = array.dtype == np.float64
        flat = (array.T if name == "w" else array).ravel()
        texts = [as_float(x, double) for x in flat.tolist()]
        rows = ",\n  ".join(", ".join(texts[k : k + 8]) for k in range(0, len(texts), 8))
        yield f"static const {'double' if double else 'float'} {name}{i}[{len(texts)}] = {{\n  {rows}}};\n"


def as_float(x: float, double: bool) -> str:
    """A number as a C constant."""
    text = f"{x:.{17 if double else 9}g}"
    text = text if any(c in text for c in ".e") else f"{text}.0"
    return text if double else f"{text}f"


def body(program: Program, words: dict[str, str]) -> Iterator[str]:
    """The function that calls the steps in order, on two buffers that take turns."""
    widths = [program.obs_size, *(s.arrays["w"].shape[1] for s in program.steps if s.kind == "dense")]
    yield filled("void swingup_policy(const float observation[{obs}], {real} action[{actions}]) {", words)
    yield f"  float p[{max(widths)}], q[{max(widths)}];"
    yield filled("  for (int i = 0; i < {obs}; i++) p[i] = observation[i];", words)
    here, there, sizes = "p", "q", pairwise(widths)
    n = program.obs_size
    for i, step in enumerate(program.steps):
        if step.kind == "dense":
            n, m = next(sizes)
            bias = f"b{i}" if "b" in step.arrays else "0"
            yield f"  dense({there}, {here}, w{i}, {bias}, {n}, {m});"
            here, there, n = there, here, m
        elif step.kind == "normalize":
            yield f"  normalize({here}, mean{i}, deviation{i}, {n}, {as_float(step.values['limit'], False)});"
        elif step.kind == "layer_norm":
            yield f"  layer_norm({here}, scale{i}, b{i}, {n}, {as_float(step.values['epsilon'], False)});"
        elif step.kind == "activation":
            yield f"  all_{step.values['name']}({here}, {n});"
        else:
            yield f"  rescale(action, {here}, low{i}, high{i}, {n});"
    yield "}"
