// The environments of swingup.envs.tasks again, in JavaScript, for a page: the same equations and constants.
//
// A twin: dt (s), reset(random) -> state, observe(state) -> numbers, step(state, action, push) -> [state, reward],
// where action is in the environment's units and push what the reader adds; over(state): whether it has ended.
const swingupTwins = (() => {
  "use strict";
  const clip = (x, low, high) => Math.min(Math.max(x, low), high);
  const turned = (angle) => angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));

  // Angle in rad, 0 upright, counterclockwise; speed in rad/s; action and push in N·m.
  const pendulum = {
    dt: 0.05,
    reset: () => ({ angle: Math.PI, speed: 0, torque: 0, push: 0 }),
    observe: (s) => [Math.cos(s.angle), Math.sin(s.angle), s.speed],
    step(s, [action], push) {
      const torque = clip(action, -2, 2);
      const reward = -(turned(s.angle) ** 2 + 0.1 * s.speed ** 2 + 0.001 * torque ** 2);
      const turn = 15 * Math.sin(s.angle) + 3 * (torque + push);
      const speed = clip(s.speed + turn * 0.05, -8, 8);
      return [{ angle: turned(s.angle + speed * 0.05), speed, torque, push }, reward];
    },
    over: () => false,
  };

  // Position along the valley; speed in positions a step; action and push are forces.
  const mountainCar = {
    dt: 1 / 30,
    reset: (random) => ({ position: -0.6 + 0.2 * random(), speed: 0, push: 0 }),
    observe: (s) => [s.position, s.speed],
    step(s, [action], push) {
      const force = clip(action, -1, 1);
      let speed = s.speed + (force + push) * 0.0015 - 0.0025 * Math.cos(3 * s.position);
      speed = clip(speed, -0.07, 0.07);
      const position = clip(s.position + speed, -1.2, 0.6);
      if (position <= -1.2) speed = Math.max(speed, 0);
      const next = { position, speed, push };
      return [next, (mountainCar.over(next) ? 100 : 0) - 0.1 * force ** 2];
    },
    over: (s) => s.position >= 0.45 && s.speed >= 0,
  };

  // Position in m and speed in m/s along both axes; action and push are accelerations in m/s².
  const pointMass = {
    dt: 0.05,
    reset: (random) => ({ x: 2 * random() - 1, y: 2 * random() - 1, vx: 0, vy: 0, push: [0, 0] }),
    observe: (s) => [s.x, s.y, s.vx, s.vy],
    step(s, action, push) {
      const [ax, ay] = Array.from(action, (a) => clip(a, -1, 1));
      let vx = s.vx + (ax + push[0]) * 0.05, vy = s.vy + (ay + push[1]) * 0.05;
      let x = s.x + vx * 0.05, y = s.y + vy * 0.05;
      if (Math.abs(x) >= 1.5) vx = 0;
      if (Math.abs(y) >= 1.5) vy = 0;
      x = clip(x, -1.5, 1.5);
      y = clip(y, -1.5, 1.5);
      const reward = -(x * x + y * y + 0.1 * (vx * vx + vy * vy) + 0.01 * (ax * ax + ay * ay));
      return [{ x, y, vx, vy, push }, reward];
    },
    over: () => false,
  };

  return { pendulum, mountainCar, pointMass };
})();
if (typeof module === "object" && module.exports) module.exports = swingupTwins;
