// When to show which pose: a small buffer that plays poses by the sender's clock at the display's rate.
//
// Poses arrive late by a varying amount. The least lateness of the last seconds ties the sender's clock to ours; the
// rest is jitter, and poses are shown later by most of it (95 %, but for what drawing itself delays) plus one interval, so
// that there is a next pose to turn towards. Past the newest pose the motion runs out within EXTRAPOLATE_MS and then holds. Corrections fade in.

export const JOINTS = 21;
const EXTRAPOLATE_MS = 150;
const FADE_MS = 70; // a correction falls to 1/e within
const INTERVAL_CAP_MS = 50; // slow streams extrapolate a little instead of waiting for the next pose
const MAX_DELAY_MS = 600;
const RESTART_MS = 2000; // a sender's clock that jumps by more has started again
const KEEP = 64;

const quantile = (values, share) => {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
};

/** Turn from quaternion a to b by share u, which may pass 1; writes 4 numbers into out. */
function turn(a, ai, b, bi, u, out, oi) {
  let dot = a[ai] * b[bi] + a[ai + 1] * b[bi + 1] + a[ai + 2] * b[bi + 2] + a[ai + 3] * b[bi + 3];
  const sign = dot < 0 ? -1 : 1;
  dot = Math.min(dot * sign, 1);
  let wa = 1 - u, wb = u;
  if (dot < 0.9995) {
    const angle = Math.acos(dot), sine = Math.sin(angle);
    wa = Math.sin((1 - u) * angle) / sine;
    wb = Math.sin(u * angle) / sine;
  }
  wb *= sign;
  let length = 0;
  for (let k = 0; k < 4; k++) {
    out[oi + k] = wa * a[ai + k] + wb * b[bi + k];
    length += out[oi + k] ** 2;
  }
  length = Math.sqrt(length) || 1;
  for (let k = 0; k < 4; k++) out[oi + k] /= length;
}

export class Playout {
  constructor() {
    this.turns = new Float32Array(4 * JOINTS); // what to show
    this.pelvis = new Float32Array(3);
    this.beat = 16; // ms between drawn frames, set by the owner
    this.reset();
  }

  reset() {
    this.poses = []; // by time: {frame, t (ms, sender's clock), turns, pelvis}
    this.late = []; // arrival minus t of the last poses, with arrival
    this.steps = []; // t minus t before
    this.clock = null; // the sender's time that is on screen
    this.last = 0;
    this.delay = 0;
    this.mode = 'empty'; // empty, between, beyond, held
    this.fresh = false;
    this.fade = 0;
    this.fadeTurns = new Float32Array(4 * JOINTS);
    this.fadePelvis = new Float32Array(3);
  }

  /** A pose that has arrived at `now` (ms). */
  push(pose, now) {
    const newest = this.poses.at(-1);
    if (newest && (pose.t < newest.t - RESTART_MS || pose.t > newest.t + 5 * RESTART_MS)) this.reset();
    let at = this.poses.length;
    while (at > 0 && this.poses[at - 1].t > pose.t) at--;
    if (at > 0 && this.poses[at - 1].t === pose.t) return;
    if (at === this.poses.length && at > 0) {
      this.steps.push(pose.t - this.poses[at - 1].t);
      if (this.steps.length > 32) this.steps.shift();
    }
    this.poses.splice(at, 0, pose);
    if (this.poses.length > KEEP) this.poses.shift();
    this.late.push({ now, late: now - pose.t });
    while (this.late.length > 300 || this.late[0].now < now - 10000) this.late.shift();
    this.fresh = true;
    const base = this.base = this.late.reduce((least, x) => Math.min(least, x.late), Infinity);
    const interval = this.steps.length ? quantile(this.steps, 0.5) : 33;
    const jitter = quantile(this.late.slice(-90).map((x) => x.late - base), 0.95);
    this.interval = interval;
    this.jitter = jitter;
    // Up to one beat of drawing a pose may seem late and be shown no later for it.
    this.delay = Math.min(Math.min(interval, INTERVAL_CAP_MS) + Math.max(jitter - this.beat, 0) + 4, MAX_DELAY_MS);
  }

  /** Set `turns` and `pelvis` to what is to be seen at `now` (ms); gives the frame reached, or null before the first. */
  sample(now) {
    if (!this.poses.length) return null;
    const passed = Math.min(Math.max(now - this.last, 0), 250);
    this.last = now;
    const wanted = now - this.base - this.delay;
    if (this.clock === null || Math.abs(wanted - this.clock) > 400) this.clock = wanted;
    else {
      const drift = wanted - this.clock - passed;
      this.clock += Math.max(passed + Math.max(Math.min(0.15 * drift, 0.1 * passed), -0.1 * passed), 0);
    }
    const before = this.mode;
    const [frame, turns, pelvis] = this.target();
    this.mix(turns, pelvis, passed, before);
    return frame;
  }

  target() {
    const { poses, clock } = this;
    let at = poses.length - 1;
    while (at > 0 && poses[at].t > clock) at--;
    const a = poses[at], b = poses[at + 1];
    const turns = new Float32Array(4 * JOINTS), pelvis = new Float32Array(3);
    let from = a, to = b, u = 0;
    if (clock < a.t) { // before all poses
      this.mode = 'between';
      return [a.frame, a.turns.slice(), a.pelvis.slice()];
    }
    if (b) {
      this.mode = 'between';
      u = (clock - a.t) / (b.t - a.t);
    } else {
      from = poses[at - 1] ?? a;
      to = a;
      const step = to.t - from.t, over = Math.min(clock - a.t, EXTRAPOLATE_MS);
      this.mode = clock - a.t < EXTRAPOLATE_MS ? 'beyond' : 'held';
      const more = over - over * over / (2 * EXTRAPOLATE_MS); // slows down to a stop
      u = step > 0 && step < 250 ? Math.min(1 + more / step, 3) : 1;
    }
    for (let j = 0; j < JOINTS; j++) turn(from.turns, 4 * j, to.turns, 4 * j, u, turns, 4 * j);
    for (let k = 0; k < 3; k++) pelvis[k] = from.pelvis[k] + u * (to.pelvis[k] - from.pelvis[k]);
    return [a.frame, turns, pelvis];
  }

  /** Shown = target, and for a moment after a correction a share of what was shown before it. */
  mix(turns, pelvis, passed, before) {
    if (this.fresh && (before === 'beyond' || before === 'held')) {
      this.fadeTurns.set(this.turns);
      this.fadePelvis.set(this.pelvis);
      this.fade = 1;
    }
    this.fresh = false;
    this.fade *= Math.exp(-passed / FADE_MS);
    if (this.fade < 0.02) this.fade = 0;
    for (let j = 0; j < JOINTS; j++) turn(turns, 4 * j, this.fadeTurns, 4 * j, this.fade, this.turns, 4 * j);
    for (let k = 0; k < 3; k++) this.pelvis[k] = pelvis[k] + this.fade * (this.fadePelvis[k] - pelvis[k]);
    if (this.fade) { // the old pose follows, so that the blend has no corner at its end
      this.fadeTurns.set(this.turns);
      this.fadePelvis.set(this.pelvis);
    }
  }
}
