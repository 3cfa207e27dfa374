// The receiver's page: what comes over the link goes to the playout and the scene; numbers, keys and buttons around it.

import { Link, drawn } from './link.js';
import { Playout } from './playout.js';
import { Stage } from './stage.js';

const $ = (id) => document.getElementById(id);
const REPORT_EVERY_MS = 100;
const SILENT_MS = 3000; // no pose for so long: the person is not live
const PLAIN_MS = 28;
const TURN = Math.PI / 24;

const query = new URLSearchParams(location.search);
const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
const playout = new Playout();
const state = window.somacast = { // for tests and the curious
  link: 'connecting', way: '', person: null, poses: 0, frames: 0, fps: 0, frame: null, reported: 0, status: {}, notes: [],
  textures: 0, snapshot: null, playout, stage: null, error: null,
};

let stage = null;
try {
  const quality = query.has('quality') ? Math.min(Math.max(Number(query.get('quality')) | 0, 0), 4) : null;
  stage = state.stage = new Stage($('stage'), still, quality);
} catch (fault) {
  state.error = String(fault);
}

// What is going on, in words.

let lastPose = -Infinity, progress = null, refusal = null, loading = false;

function phase() {
  if (!stage) return 'refused';
  if (state.link === 'refused' || state.link === 'lost' || state.link === 'connecting') return state.link;
  if (state.person === null || performance.now() - lastPose > SILENT_MS) return 'waiting';
  return 'live';
}

function words(now) {
  if (!stage) return 'This browser cannot draw in 3D (WebGL 2 is missing).';
  if (now === 'refused') return refusal;
  if (now === 'lost') return 'Connection lost, trying again';
  if (now === 'connecting') return 'Connecting to the receiver';
  if (state.person === null) {
    return progress === null ? 'Waiting for a person' : `Receiving the person, ${Math.round(100 * progress)} %`;
  }
  return 'No movement is arriving';
}

const TITLES = { live: 'Live', waiting: 'Waiting', lost: 'Connection lost', connecting: 'Connecting', refused: 'Stopped' };
let shown = '';

function showPhase() {
  const now = phase(), banner = state.person !== null, text = now === 'live' ? '' : words(now);
  const key = `${now}|${banner}|${text}|${state.status.title ?? ''}|${state.way}`;
  if (key === shown) return;
  shown = key;
  $('dot').dataset.state = $('overlay').dataset.state = now;
  $('title').textContent = now === 'live' && state.status.title ? state.status.title : TITLES[now];
  $('way').textContent = state.link === 'open' && state.way !== 'WebSocket' ? state.way : '';
  $('notice').toggleAttribute('data-show', now !== 'live');
  if (now !== 'live') $('notice').dataset.show = banner ? 'banner' : 'full';
  $('notice').toggleAttribute('data-final', now === 'refused');
  $('notice-text').textContent = text;
  $('snapshot').disabled = state.link !== 'open' || state.person === null;
  document.title = `${TITLES[now]} · Somacast`;
}

// Numbers.

const BARS = { // words for shares from 0 to 1, and from where on they are a warning
  loss: { full: 0.4, warn: [0.05, 0.2], word: (x) => `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)} %` },
  network_state: { full: 1, warn: [0.35, 0.75],
    word: (x) => (x < 0.1 ? 'free' : x < 0.35 ? 'light load' : x < 0.75 ? 'loaded' : 'strained') },
  rho: { full: 1, warn: [0.5, 0.85],
    word: (x) => (x < 0.02 ? 'none' : x < 0.25 ? 'slight' : x < 0.5 ? 'medium' : x < 0.85 ? 'strong' : 'strongest') },
};

function number(x, digits = 0) {
  return Number.isFinite(x) ? x.toFixed(digits) : '–';
}

function list(holder, items) {
  holder.replaceChildren(...items.map((text) => Object.assign(document.createElement('li'), { textContent: text })));
}

function showStatus() {
  const s = state.status;
  $('kbit').textContent = number(s.kbit_s, s.kbit_s < 99.5 ? 1 : 0);
  $('fps').textContent = number(s.fps ?? NaN);
  $('bytes').textContent = number(s.bytes_per_frame ?? NaN);
  $('delay').textContent = number(s.delay_ms ?? NaN);
  for (const row of $('bars').children) {
    const value = s[row.dataset.bar], bar = BARS[row.dataset.bar], known = Number.isFinite(value);
    row.hidden = !known && row.dataset.bar !== 'loss';
    row.querySelector('.word').textContent = known ? bar.word(value) : '–';
    row.querySelector('.bar').style.setProperty('--share', known ? Math.min(value / bar.full, 1) : 0);
    row.dataset.level = known ? bar.warn.filter((limit) => value >= limit).length : 0;
  }
  $('missing').hidden = !s.missing?.length;
  list($('missing').querySelector('ul'), s.missing ?? []);
  const notes = [...(s.notes ?? []), ...state.notes];
  $('notes').hidden = !notes.length;
  list($('notes'), notes);
}

function note(text) {
  state.notes = [...state.notes.filter((old) => old !== text), text].slice(-3);
  showStatus();
}

let toastTimer = 0;
function toast(text) {
  $('toast').textContent = text;
  $('toast').toggleAttribute('data-show', true);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $('toast').toggleAttribute('data-show', false), 3500);
}

// The link.

let nextPerson = null;
async function loadPerson(person) {
  nextPerson = person;
  if (loading) return; // the newest waits, those between are skipped
  loading = true;
  while (nextPerson) {
    const { glb, version } = nextPerson;
    nextPerson = null;
    try {
      await stage.setPerson(glb);
      state.person = version;
      state.triangles = stage.renderer.info.render.triangles;
    } catch (fault) {
      note(`This person cannot be shown: ${fault.message}.`);
    }
    progress = null;
  }
  loading = false;
  showPhase();
  loadTexture();
}

let nextTexture = null, painting = false;
async function loadTexture() { // another picture for the person who is here; decoded beside the drawing
  if (painting) return;
  painting = true;
  while (nextTexture && !loading) { // one for a person on the way waits for them
    const { jpeg, version } = nextTexture;
    nextTexture = null;
    if (version !== state.person) continue;
    try {
      const bitmap = await createImageBitmap(new Blob([jpeg], { type: 'image/jpeg' }),
        { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
      if (version === state.person && !loading && stage.setTexture(bitmap)) state.textures++;
      else bitmap.close();
    } catch { /* a damaged picture: the last one stays */ }
  }
  painting = false;
}

async function showPicture(jpeg) {
  const available = !!jpeg;
  $('toggle-picture').hidden = !available;
  state.picture = available;
  showInset();
  if (!available || !wanted.picture) return;
  try {
    const bitmap = await createImageBitmap(new Blob([jpeg], { type: 'image/jpeg' }));
    const canvas = $('picture');
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    bitmap.close();
  } catch { /* a damaged picture: the last one stays */ }
}

const wanted = { overlay: true, picture: true };
function showInset() {
  $('inset').hidden = !(state.picture && wanted.picture);
}

const on = {
  state(name, text) {
    state.link = name;
    state.way = link?.way ?? '';
    if (name === 'refused') refusal = text;
    if (name === 'lost') { progress = null; playout.reset(); }
    showPhase();
  },
  progress(share) {
    progress = share;
    showPhase();
  },
  note,
  message(message) {
    if (message.kind === 'pose') {
      const now = performance.now();
      state.poses++;
      lastPose = now;
      playout.push(message, now);
    } else if (message.kind === 'status') {
      state.status = message.values;
      showStatus();
    } else if (message.kind === 'person' && stage) loadPerson(message);
    else if (message.kind === 'texture' && stage) {
      nextTexture = message;
      loadTexture();
    } else if (message.kind === 'picture') showPicture(message.jpeg);
    else if (message.kind === 'welcome') { // what a receiver before may have left behind
      state.status = {};
      if (!message.pictures) showPicture(null);
      showStatus();
    }
  },
};
let link = null;

// Frames.

let lastTick = performance.now(), sinceReport = -Infinity, pending = null, counted = 0, countedFrom = lastTick;

function report(now) { // the frame drawn last time is on screen by now
  if (pending === null) return;
  link?.post(drawn(pending, performance.timeOrigin + now));
  state.reported++;
  sinceReport = now;
  pending = null;
}

function tick() {
  requestAnimationFrame(tick);
  const now = performance.now(), passed = now - lastTick;
  report(now);
  if (stage.plain && passed < PLAIN_MS) return; // a processor that draws as well has other work
  lastTick = now;
  playout.beat += 0.1 * (Math.min(passed, 100) - playout.beat);
  const frame = playout.sample(now);
  if (frame !== null && state.person !== null && playout.mode !== 'held') stage.setPose(playout.turns, playout.pelvis);
  else if (frame !== null && playout.fade > 0) stage.setPose(playout.turns, playout.pelvis);
  if (stage.draw(passed)) {
    state.frames++;
    counted++;
    if (frame !== null && frame !== state.frame && state.person !== null) {
      state.frame = frame;
      if (now - sinceReport >= REPORT_EVERY_MS) pending = frame;
    }
  }
  if (now - countedFrom >= 1000) {
    state.fps = (1000 * counted) / (now - countedFrom);
    counted = 0;
    countedFrom = now;
    showPhase();
  }
}

// Buttons and keys.

function press(id, pressed) {
  $(id).setAttribute('aria-pressed', String(pressed));
}

async function saveSnapshot() {
  if ($('snapshot').disabled) return;
  try {
    const answer = await fetch('/snapshot.glb', { headers: link.headers, cache: 'no-store' });
    if (!answer.ok) throw new Error(await answer.text());
    const data = await answer.blob();
    const name = /filename="([\w.-]+)"/.exec(answer.headers.get('content-disposition') ?? '')?.[1] ?? 'somacast.glb';
    const anchor = Object.assign(document.createElement('a'), { href: URL.createObjectURL(data), download: name });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 30000);
    state.snapshot = { name, bytes: data.size };
    toast(`Saved ${name}`);
  } catch (fault) {
    toast(`No snapshot: ${fault.message}`);
  }
}

const actions = {
  reset: () => stage?.resetView(),
  follow: () => {
    stage.follow = !stage.follow;
    stage.dirty = true;
    press('follow', stage.follow);
  },
  snapshot: saveSnapshot,
  'toggle-overlay': () => {
    wanted.overlay = !wanted.overlay;
    $('overlay').hidden = !wanted.overlay;
    press('toggle-overlay', wanted.overlay);
  },
  'toggle-picture': () => {
    if ($('toggle-picture').hidden) return;
    wanted.picture = !wanted.picture;
    link.setPictures(wanted.picture);
    press('toggle-picture', wanted.picture);
    showInset();
  },
  help: () => ($('keys').open ? $('keys').close() : $('keys').showModal()),
};
const KEYS = {
  r: actions.reset, f: actions.follow, s: actions.snapshot, o: actions['toggle-overlay'], p: actions['toggle-picture'],
  h: actions.help, '?': actions.help,
};
const MOVES = {
  ArrowLeft: () => stage.orbit(-TURN, 0), ArrowRight: () => stage.orbit(TURN, 0),
  ArrowUp: () => stage.orbit(0, -TURN), ArrowDown: () => stage.orbit(0, TURN),
  '+': () => stage.orbit(0, 0, 1 / 1.15), '=': () => stage.orbit(0, 0, 1 / 1.15),
  '-': () => stage.orbit(0, 0, 1.15), _: () => stage.orbit(0, 0, 1.15),
};

for (const [id, action] of Object.entries(actions)) $(id).addEventListener('click', action);
$('keys-close').addEventListener('click', () => $('keys').close());
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ($('keys').open && key !== 'h') return;
  const action = (event.repeat ? null : KEYS[key]) ?? (stage ? MOVES[event.key] : null);
  if (!action) return;
  event.preventDefault();
  action();
});

/** The person stands between the toolbar and, where that spans the screen, the overlay. */
function layOut() {
  const wide = $('overlay').offsetWidth > 0.6 * innerWidth && !$('overlay').hidden;
  const below = wide ? $('overlay').offsetTop + $('overlay').offsetHeight : 0;
  document.documentElement.style.setProperty('--below', `${below}px`);
  const tools = $('tools').getBoundingClientRect(), middle = innerWidth / 2;
  stage.setInsets(below, tools.left < middle && tools.right > middle ? innerHeight - tools.top : 0);
}

if (stage) {
  new ResizeObserver(() => { stage.resize(); layOut(); }).observe($('stage'));
  for (const id of ['overlay', 'tools']) new ResizeObserver(layOut).observe($(id));
  $('stage').addEventListener('webglcontextlost', (event) => { event.preventDefault(); note('The graphics were lost.'); });
  requestAnimationFrame(tick);
}
showStatus();
if (token) link = new Link(token, on, { webrtc: query.get('webrtc') === '1' });
else on.state('refused', 'This address has no token. Open the whole address that the receiver shows.');
showPhase();
