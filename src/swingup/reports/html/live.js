// The live canvas: steps a twin with the exported policy, draws it, and lets the reader push it.
//
// A view: size [width, height] in units of the scene, centre, draw(pen, state), grip(state, at) -> the push that
// a pointer at `at` gives, nudge(sign) -> that of a button, words(state, reward) -> what is written beside it.
const swingupViews = (() => {
  "use strict";
  const clip = (x, low, high) => Math.min(Math.max(x, low), high);
  const tip = (s) => [-Math.sin(s.angle), Math.cos(s.angle)];

  const pendulum = {
    box: [-1.35, -1.35, 1.35, 1.35],
    still: 0,
    grip(s, at) {
      const [x, y] = tip(s);
      return clip(12 * (x * at[1] - y * at[0]), -14, 14);
    },
    nudge: (sign) => -12 * sign,
    between(a, b, t) {
      const turn = b.angle - a.angle;
      return { ...b, angle: a.angle + t * (turn - 2 * Math.PI * Math.round(turn / (2 * Math.PI))) };
    },
    draw(pen, s, at) {
      const [x, y] = tip(s);
      pen.circle(0, 0, 1, pen.colours.line, 0.012);
      pen.line(0, 0, 0, 1, pen.colours.line, 0.1);
      pen.line(0, 0, x, y, pen.colours.main, 0.1);
      pen.disc(0, 0, 0.05, pen.colours.ink);
      if (Math.abs(s.torque) > 0.05) pen.whirl(0.35, s.torque / 2, pen.colours.action);
      if (at) pen.line(x, y, at[0], at[1], pen.colours.push, 0.03);
      else if (s.push) pen.arrow(x, y, -y * s.push * 0.03, x * s.push * 0.03, pen.colours.push);
    },
    words: (s) => `${Math.abs((s.angle * 180) / Math.PI).toFixed(0)}° from upright · torque ${s.torque.toFixed(2)} N·m`,
  };

  const height = (x) => 0.45 * Math.sin(3 * x) + 0.55;
  const mountainCar = {
    box: [-1.25, -0.05, 0.65, 1.3],
    still: 0,
    grip: (s, at) => clip(6 * (at[0] - s.position), -2.5, 2.5),
    nudge: (sign) => 2.5 * sign,
    between: (a, b, t) => ({ ...b, position: a.position + t * (b.position - a.position) }),
    draw(pen, s, at) {
      for (let x = -1.25; x < 0.65; x += 0.02)
        pen.line(x, height(x), x + 0.02, height(x + 0.02), pen.colours.line, 0.02);
      pen.line(0.45, height(0.45), 0.45, height(0.45) + 0.2, pen.colours.action, 0.015);
      pen.disc(s.position, height(s.position) + 0.05, 0.05, pen.colours.main);
      if (at) pen.line(s.position, height(s.position) + 0.05, at[0], at[1], pen.colours.push, 0.015);
    },
    words: (s) => `position ${s.position.toFixed(2)} of 0.45 · speed ${(100 * s.speed).toFixed(1)} hundredths a step`,
  };

  const pointMass = {
    box: [-1.7, -1.7, 1.7, 1.7],
    still: [0, 0],
    grip: (s, at) => [clip(4 * (at[0] - s.x), -4, 4), clip(4 * (at[1] - s.y), -4, 4)],
    nudge: (sign) => [4 * sign, 0],
    between: (a, b, t) => ({ ...b, x: a.x + t * (b.x - a.x), y: a.y + t * (b.y - a.y) }),
    draw(pen, s, at) {
      for (const a of [-1.5, 1.5]) {
        pen.line(a, -1.5, a, 1.5, pen.colours.line, 0.03);
        pen.line(-1.5, a, 1.5, a, pen.colours.line, 0.03);
      }
      pen.circle(0, 0, 0.15, pen.colours.action, 0.03);
      pen.disc(s.x, s.y, 0.08, pen.colours.main);
      if (at) pen.line(s.x, s.y, at[0], at[1], pen.colours.push, 0.03);
    },
    words: (s) => `${Math.hypot(s.x, s.y).toFixed(2)} m from the goal · ${Math.hypot(s.vx, s.vy).toFixed(2)} m/s`,
  };

  return { pendulum, mountainCar, pointMass };
})();

class SwingupLive {
  // root: an element with a canvas, buttons (data-do) and a text (.readout); policy(observation) -> action.
  constructor(root, kind, policy) {
    this.twin = swingupTwins[kind];
    this.view = swingupViews[kind];
    this.policy = policy;
    this.canvas = root.querySelector("canvas");
    this.readout = root.querySelector(".readout");
    this.playButton = root.querySelector("[data-do=pause]");
    this.at = null; // where the pointer holds on, in units of the scene
    this.nudged = 0; // steps for which a button still pushes
    this.pushes = 0;
    this.paused = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.restart();
    this.listen(root);
    this.label();
    requestAnimationFrame((now) => this.frame(now));
  }

  restart() {
    this.state = this.before = this.twin.reset(Math.random);
    this.reward = this.due = 0;
  }

  listen(root) {
    const hold = (event) => (this.at = this.place(event));
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.pushes++;
      hold(event);
    });
    this.canvas.addEventListener("pointermove", (event) => this.at && hold(event));
    for (const name of ["pointerup", "pointercancel"])
      this.canvas.addEventListener(name, () => (this.at = null));
    root.querySelectorAll("[data-do]").forEach((button) =>
      button.addEventListener("click", () => this.act(button.dataset.do)));
  }

  act(what) {
    if (what === "restart") this.restart();
    else if (what === "pause") this.paused = !this.paused;
    else {
      this.pushes++;
      this.sign = what === "left" ? -1 : 1;
      this.nudged = 5;
    }
    this.label();
  }

  label() {
    this.playButton.textContent = this.paused ? "Play" : "Pause";
  }

  // The place of a pointer in the scene.
  place(event) {
    const box = this.canvas.getBoundingClientRect(), [left, bottom, right, top] = this.view.box;
    return [
      left + ((event.clientX - box.left) / box.width) * (right - left),
      top - ((event.clientY - box.top) / box.height) * (top - bottom),
    ];
  }

  step() {
    let push = this.view.still;
    if (this.at) push = this.view.grip(this.state, this.at);
    else if (this.nudged > 0) push = this.view.nudge(this.sign);
    this.nudged--;
    this.before = this.state;
    [this.state, this.reward] = this.twin.step(this.state, this.policy(this.twin.observe(this.state)), push);
    if (this.twin.over(this.state)) this.restart();
  }

  frame(now) {
    const passed = Math.min((now - (this.now ?? now)) / 1000, 0.2);
    this.now = now;
    if (!this.paused) {
      this.due += passed;
      for (; this.due >= this.twin.dt; this.due -= this.twin.dt) this.step();
    }
    this.draw(this.view.between(this.before, this.state, this.due / this.twin.dt));
    requestAnimationFrame((then) => this.frame(then));
  }

  draw(state) {
    const [left, bottom, right, top] = this.view.box, pixels = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * pixels));
    const height = Math.round((width * (top - bottom)) / (right - left));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const scene = this.canvas.getContext("2d"), scale = width / (right - left);
    scene.setTransform(1, 0, 0, 1, 0, 0);
    scene.clearRect(0, 0, width, height);
    scene.setTransform(scale, 0, 0, -scale, -left * scale, top * scale);
    this.view.draw(pen(scene, this.canvas), state, this.at);
    this.readout.textContent = this.view.words(this.state, this.reward);
  }
}

// Shapes in units of the scene, in the page's colours.
function pen(scene, element) {
  const style = getComputedStyle(element), colour = (name) => style.getPropertyValue(name).trim();
  const stroke = (paint, width) => {
    scene.strokeStyle = paint;
    scene.lineWidth = width;
    scene.lineCap = "round";
    scene.stroke();
  };
  const shapes = {
    colours: { main: colour("--c0"), action: colour("--c2"), push: colour("--c1"), line: colour("--line"), ink: colour("--ink") },
    line(a, b, c, d, paint, width) {
      scene.beginPath();
      scene.moveTo(a, b);
      scene.lineTo(c, d);
      stroke(paint, width);
    },
    circle(x, y, radius, paint, width) {
      scene.beginPath();
      scene.arc(x, y, radius, 0, 2 * Math.PI);
      stroke(paint, width);
    },
    disc(x, y, radius, paint) {
      scene.beginPath();
      scene.arc(x, y, radius, 0, 2 * Math.PI);
      scene.fillStyle = paint;
      scene.fill();
    },
    arrow(x, y, dx, dy, paint) {
      shapes.line(x - dx, y - dy, x, y, paint, 0.03);
      shapes.disc(x, y, 0.04, paint);
    },
    // An arc around the origin from above, as long as the share of the largest torque, counterclockwise if positive.
    whirl(radius, share, paint) {
      const from = Math.PI / 2, to = from + 0.75 * Math.PI * share, side = Math.sign(share);
      scene.beginPath();
      scene.arc(0, 0, radius, from, to, share < 0);
      stroke(paint, 0.035);
      shapes.disc(radius * Math.cos(to), radius * Math.sin(to), 0.035 * Math.abs(side), paint);
    },
  };
  return shapes;
}
