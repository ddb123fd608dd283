// The policy of {env}, exported by swingup {version}. Needs no library.
//
// Node:    const policy = require("./policy.js");
// Browser: load it with a script tag; swingupPolicy is then a global function.
//
// policy(observation) -> action: arrays of {obs} and {actions} numbers, the action in the environment's units.
(function (root) {
  "use strict";
  const about = {about};
  const weights = "{weights}";

  const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0)).buffer;
  const activations = {
{activations}
  };
  const clipped = (x, low, high) => (x < low ? low : x > high ? high : x);
  const mean = (x) => x.reduce((sum, v) => sum + v, 0) / x.length;

  const kinds = {
    normalize: (x, step) =>
      x.map((v, i) => clipped((v - step.mean[i]) / step.deviation[i], -step.limit, step.limit)),
    dense(x, step) {
      const y = new Float64Array(step.outputs);
      for (let j = 0, k = 0; j < y.length; j++) {
        let sum = step.b ? step.b[j] : 0;
        for (let i = 0; i < x.length; i++) sum += step.w[k++] * x[i];
        y[j] = sum;
      }
      return y;
    },
    layer_norm(x, step) {
      const centre = mean(x);
      const deviation = Math.sqrt(mean(x.map((v) => (v - centre) * (v - centre))) + step.epsilon);
      return x.map((v, i) => ((v - centre) / deviation) * step.scale[i] + step.b[i]);
    },
    activation: (x, step) => x.map(activations[step.name]),
    rescale: (x, step) =>
      x.map((v, i) => {
        const [low, high] = [step.low[i], step.high[i]];
        return clipped(low * ((1 - v) / 2) + high * ((1 + v) / 2), low, high);
      }),
  };

  // Arrays lie in the weights one after the other, float32; w is [outputs][inputs].
  for (const step of about.steps)
    for (const [name, place] of Object.entries(step.arrays || {}))
      step[name] = new Float32Array(bytes, place[0], place[1]);

  const Action = about.action_dtype === "float64" ? Float64Array : Float32Array;
  function policy(observation) {
    if (observation.length !== about.inputs)
      throw new RangeError(`expected an observation of ${about.inputs} numbers, this has ${observation.length}`);
    let x = Float64Array.from(Float32Array.from(observation));
    for (const step of about.steps) x = kinds[step.kind](x, step);
    return Action.from(x);
  }
  policy.about = about;

  if (typeof module === "object" && module.exports) module.exports = policy;
  else root.swingupPolicy = policy;
})(globalThis);
