// The page's end of the protocol (viewer/messages.py): decoding, parts, WebSocket with reconnection, WebRTC.

export const VERSION = 2;
const PICTURES = 1;
const CLOSE_VERSION = 4003;
const MAX_TOTAL = 8 + (64 << 20);
const WEBRTC_TIMEOUT_MS = 8000;

/** One message of the server as an object; null for a kind or length that is none. */
export function decode(buffer) {
  const view = new DataView(buffer), size = buffer.byteLength;
  const kind = size ? view.getUint8(0) : 0;
  if (kind === 1 && size === 8) {
    return { kind: 'welcome', version: view.getUint8(1), pictures: !!(view.getUint8(2) & PICTURES),
      clients: view.getUint32(4, true) };
  }
  if (kind === 2 && size > 8) return { kind: 'person', version: view.getUint32(4, true), glb: buffer.slice(8) };
  if (kind === 3 && size === 196) {
    const turns = Float32Array.from(new Int16Array(buffer, 28, 84), (x) => x / 32767);
    const pelvis = Float32Array.from([0, 1, 2], (k) => view.getFloat32(16 + 4 * k, true));
    const pose = { kind: 'pose', frame: view.getUint32(4, true), t: 1000 * view.getFloat64(8, true), turns, pelvis };
    return Number.isFinite(pose.t) && pelvis.every(Number.isFinite) ? pose : null;
  }
  if (kind === 4 && size >= 4) {
    try {
      return { kind: 'status', values: JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4))) };
    } catch { return null; }
  }
  if (kind === 5 && size >= 4) return { kind: 'picture', jpeg: size > 4 ? new Uint8Array(buffer, 4) : null };
  if (kind === 6 && size > 16) {
    return { kind: 'part', transfer: view.getUint32(4, true), offset: view.getUint32(8, true),
      total: view.getUint32(12, true), data: new Uint8Array(buffer, 16) };
  }
  if (kind === 7 && size > 8) {
    return { kind: 'texture', version: view.getUint32(4, true), jpeg: new Uint8Array(buffer, 8) };
  }
  return null;
}

export function hello(pictures) {
  return Uint8Array.of(129, VERSION, pictures ? PICTURES : 0, 0).buffer;
}

export function want(pictures) {
  return Uint8Array.of(131, 0, pictures ? PICTURES : 0, 0).buffer;
}

export function drawn(frame, timeMs) {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint8(0, 130);
  view.setUint32(4, frame, true);
  view.setFloat64(8, timeMs, true);
  return view.buffer;
}

/** Joins parts; gives the whole message when the last one is there. */
class Joiner {
  constructor(onProgress) { this.onProgress = onProgress; this.transfer = null; }

  add(part) {
    if (this.transfer !== part.transfer) {
      if (part.offset !== 0 || part.total > MAX_TOTAL) return null;
      this.transfer = part.transfer;
      this.bytes = new Uint8Array(part.total);
      this.have = 0;
    }
    if (part.offset !== this.have || this.have + part.data.length > this.bytes.length) {
      this.transfer = null;
      return null;
    }
    this.bytes.set(part.data, this.have);
    this.have += part.data.length;
    if (this.bytes[0] === 2) this.onProgress(this.have / this.bytes.length);
    if (this.have < this.bytes.length) return null;
    this.transfer = null;
    return this.bytes.buffer;
  }
}

/**
 * A connection that comes back. on: {message(object), state(name, text), progress(share), note(text)}; states:
 * connecting, open, lost, refused (for good).
 */
export class Link {
  constructor(token, on, { webrtc = false, pictures = true } = {}) {
    Object.assign(this, { token, on, webrtc, pictures });
    this.tries = 0;
    this.way = webrtc ? 'WebRTC' : 'WebSocket';
    this.connect();
  }

  get headers() { return { Authorization: `Bearer ${this.token}` }; }

  setPictures(pictures) {
    this.pictures = pictures;
    this.post(want(pictures));
  }

  post(buffer) {
    try { this.out?.(buffer); } catch { /* closing: the close handler follows */ }
  }

  refuse(text) {
    this.refused = true;
    this.on.state('refused', text);
    this.shut?.();
  }

  async connect() {
    this.on.state(this.tries ? 'lost' : 'connecting');
    let offers;
    try {
      const answer = await fetch('/hello', { headers: this.headers, cache: 'no-store' });
      if (answer.status === 401) {
        this.refuse('The token of this address is not right. Open the whole address that the receiver shows.');
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      offers = await answer.json();
    } catch { this.again(); return; }
    if (offers.version !== VERSION) { this.mismatch(offers.version); return; }
    if (this.webrtc) {
      try {
        await this.byWebRtc(offers);
        this.way = 'WebRTC';
        return;
      } catch (fault) {
        this.webrtc = false;
        this.on.note(`WebRTC did not work (${fault.message}); this is a WebSocket.`);
      }
    }
    this.way = 'WebSocket';
    this.byWebSocket();
  }

  mismatch(version) {
    this.refuse(`This page speaks version ${VERSION}, the receiver version ${version}. Reload the page.`);
  }

  again() {
    this.out = this.shut = null;
    if (this.refused) return;
    this.on.state('lost');
    const wait = Math.min(500 * 2 ** this.tries++, 5000) * (0.8 + 0.4 * Math.random());
    setTimeout(() => this.connect(), wait);
  }

  byWebSocket() {
    const address = new URL('/live', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    address.hash = '';
    const socket = new WebSocket(address, ['somacast', `token.${this.token}`]);
    socket.binaryType = 'arraybuffer';
    this.open((buffer) => socket.readyState === 1 && socket.send(buffer), () => socket.close());
    socket.onopen = () => this.post(hello(this.pictures));
    socket.onmessage = (event) => event.data instanceof ArrayBuffer && this.take(event.data);
    socket.onclose = (event) => {
      if (event.code === CLOSE_VERSION) this.refuse(`The receiver ended the connection: ${event.reason}.`);
      else {
        if (event.reason) this.on.note(`The receiver ended the connection: ${event.reason}.`);
        this.again();
      }
    };
  }

  /** Resolves when the server has welcomed the page; from then on a break leads to `again`. */
  async byWebRtc(offers) {
    if (!window.RTCPeerConnection) throw new Error('this browser has none');
    if (!offers.webrtc) throw new Error('the receiver has none');
    const peer = new RTCPeerConnection({ iceServers: [] });
    const main = peer.createDataChannel('main');
    const poses = peer.createDataChannel('poses', { ordered: false, maxRetransmits: 0 });
    let welcomed = false;
    try {
      await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no connection in time')), WEBRTC_TIMEOUT_MS);
        const gone = () => {
          clearTimeout(timer);
          if (welcomed) { peer.close(); this.again(); } else reject(new Error('no way through the network'));
          welcomed = false;
        };
        for (const channel of [main, poses]) channel.binaryType = 'arraybuffer';
        main.onmessage = (event) => {
          this.take(event.data);
          if (!welcomed) { welcomed = true; clearTimeout(timer); resolve(); }
        };
        poses.onmessage = (event) => this.take(event.data);
        const both = () => {
          if (main.readyState !== 'open' || poses.readyState !== 'open') return;
          this.open((buffer) => main.readyState === 'open' && main.send(buffer), () => peer.close());
          this.post(hello(this.pictures));
        };
        main.onopen = poses.onopen = both;
        main.onclose = gone;
        peer.onconnectionstatechange = () => peer.connectionState === 'failed' && gone();
        this.offer(peer).catch((fault) => { clearTimeout(timer); reject(fault); });
      });
    } catch (fault) {
      main.onclose = peer.onconnectionstatechange = null;
      peer.close();
      throw fault;
    }
  }

  async offer(peer) {
    await peer.setLocalDescription();
    const answer = await fetch('/webrtc', { method: 'POST', body: JSON.stringify(peer.localDescription),
      headers: { ...this.headers, 'Content-Type': 'application/json' } });
    if (!answer.ok) throw new Error(await answer.text());
    await peer.setRemoteDescription(await answer.json());
  }

  open(out, shut) {
    this.out = out;
    this.shut = shut;
    this.joiner = new Joiner(this.on.progress);
  }

  take(buffer) {
    let message = decode(buffer);
    if (message?.kind === 'part') {
      const whole = this.joiner.add(message);
      message = whole && decode(whole);
    }
    if (!message) return;
    if (message.kind === 'welcome') {
      if (message.version !== VERSION) { this.mismatch(message.version); return; }
      this.tries = 0;
      this.on.state('open');
    }
    if (message.kind === 'status' && message.values.state === 'closed') { // how WebRTC says goodbye
      this.on.note(`The receiver ended the connection: ${message.values.notes}.`);
      return;
    }
    this.on.message(message);
  }
}
