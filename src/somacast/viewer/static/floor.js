// The ground under the person: a grid that fades with distance, a shadow, and a plain twin for software drawing.

import {
  BufferAttribute, BufferGeometry, CircleGeometry, Color, Group, LineBasicMaterial, LineSegments, Mesh,
  MeshBasicMaterial, ShaderMaterial, ShadowMaterial,
} from './three.bundle.js';

const RADIUS_M = 7, PLAIN_M = 4, BLOB_M = 0.75;
const LINE = 0x6f8296, FLOOR = 0x20272f;

const VERTEX = `
varying vec2 place;
void main() {
  vec4 world = modelMatrix * vec4(position, 1.0);
  place = world.xz;
  gl_Position = projectionMatrix * viewMatrix * world;
}`;
const FRAGMENT = `
varying vec2 place;
uniform vec2 centre;
uniform vec3 line;
uniform vec3 floorColor;
uniform float radius;
uniform float blob;
float lines(vec2 at, float width) {
  vec2 slope = fwidth(at);
  vec2 off = abs(fract(at - 0.5) - 0.5) / slope;
  return (1.0 - min(min(off.x, off.y) / width, 1.0)) * (1.0 - smoothstep(0.2, 0.6, max(slope.x, slope.y)));
}
void main() {
  vec2 away = place - centre;
  float fade = 1.0 - smoothstep(0.1, 1.0, length(away) / radius);
  float mark = max(0.55 * lines(place, 1.3), 0.16 * lines(place * 4.0, 1.0));
  vec3 color = mix(floorColor, line, mark) * (1.0 - 0.6 * blob * exp(-6.0 * dot(away, away)));
  gl_FragColor = vec4(color, fade * fade);
  #include <colorspace_fragment>
}`;

export class Floor {
  constructor() {
    this.group = new Group();
    const disc = new CircleGeometry(RADIUS_M, 64).rotateX(-Math.PI / 2);
    this.grid = new Mesh(disc, new ShaderMaterial({
      vertexShader: VERTEX, fragmentShader: FRAGMENT, transparent: true, depthWrite: false,
      uniforms: {
        centre: { value: { x: 0, y: 0 } }, radius: { value: RADIUS_M }, line: { value: new Color(LINE) },
        floorColor: { value: new Color(FLOOR) }, blob: { value: 1 },
      },
    }));
    this.shadow = new Mesh(disc, new ShadowMaterial({ opacity: 0.55, depthWrite: false }));
    this.shadow.receiveShadow = true;
    this.lines = plainLines();
    this.blob = plainBlob();
    [this.grid, this.lines, this.blob, this.shadow].forEach((part, order) => { part.renderOrder = order - 4; });
    this.group.add(this.grid, this.shadow, this.lines, this.blob);
  }

  setQuality({ plain = false, shadow }) {
    this.grid.visible = !plain;
    this.lines.visible = plain;
    this.shadow.visible = shadow > 0;
    this.quality = { plain, blob: shadow > 0 ? 0.45 : 1 };
  }

  /** The soft dark under a person, if there is one. */
  shade(there) {
    this.blob.visible = there && this.quality.plain;
    this.grid.material.uniforms.blob.value = there ? this.quality.blob : 0;
  }

  /** Under a person at x, z; the lines stay where they are in the world. */
  moveTo(x, y, z) {
    this.group.position.set(x, y, z);
    this.grid.material.uniforms.centre.value = { x, y: z };
    this.lines.position.set(Math.round(x) - x, 0, Math.round(z) - z);
  }
}

function plainLines() {
  const places = [], colors = [], color = new Color(LINE);
  const add = (x, z) => {
    places.push(x, 0, z);
    colors.push(color.r, color.g, color.b, 0.5 * Math.max(1 - Math.hypot(x, z) / PLAIN_M, 0) ** 2);
  };
  for (let a = -PLAIN_M; a <= PLAIN_M; a += 0.5) {
    for (let b = -PLAIN_M; b < PLAIN_M; b += 0.5) {
      add(a, b); add(a, b + 0.5);
      add(b, a); add(b + 0.5, a);
    }
  }
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new BufferAttribute(new Float32Array(places), 3));
  geometry.setAttribute('color', new BufferAttribute(new Float32Array(colors), 4));
  return new LineSegments(geometry, new LineBasicMaterial({ vertexColors: true, transparent: true, depthWrite: false }));
}

function plainBlob() {
  const geometry = new CircleGeometry(BLOB_M, 24).rotateX(-Math.PI / 2);
  const { count } = geometry.attributes.position;
  const colors = new Float32Array(4 * count);
  colors[3] = 0.7; // the middle; the rim is clear
  geometry.setAttribute('color', new BufferAttribute(colors, 4));
  return new Mesh(geometry, new MeshBasicMaterial({ vertexColors: true, transparent: true, depthWrite: false }));
}
