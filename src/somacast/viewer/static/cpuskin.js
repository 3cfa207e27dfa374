// Linear blend skinning and light by the processor, for browsers that draw in software: it does 20,000 vertices in a few
// milliseconds, where a vertex shader takes thirty times that, and leaves the fragments nothing but a colour, or one
// look into the texture.

import { BufferAttribute, BufferGeometry, Matrix4, Mesh, ShaderMaterial } from './three.bundle.js';

const DYNAMIC_DRAW = 35048;
const LEVELS = 1024;
const VERTEX = `
attribute vec3 tint;
varying vec3 shade;
void main() {
  shade = tint;
  gl_Position = projectionMatrix * viewMatrix * vec4(position, 1.0);
}`;
const FRAGMENT = `
varying vec3 shade;
void main() { gl_FragColor = vec4(shade, 1.0); }`;

const TEXTURED_VERTEX = `
attribute vec3 tint;
varying vec3 shade;
varying vec2 place;
void main() {
  shade = tint;
  place = uv;
  gl_Position = projectionMatrix * viewMatrix * vec4(position, 1.0);
}`;
const TEXTURED_FRAGMENT = `
uniform sampler2D map;
varying vec3 shade;
varying vec2 place;
void main() { gl_FragColor = linearToOutputTexel(vec4(texture2D(map, place).rgb * shade * shade * 2.0, 1.0)); }`;

const SRGB = Uint8Array.from({ length: LEVELS + 1 }, (_, k) => { // of linear light in [0, 1]
  const x = k / LEVELS;
  return Math.round(255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055));
});

const ROOT = Uint8Array.from({ length: LEVELS + 1 }, (_, k) => Math.round(255 * Math.sqrt(k / LEVELS)));

/** A plain mesh that follows a SkinnedMesh: `update` poses and lights it. */
export class PlainSkin {
  constructor(skin) {
    const { position, normal, color, skinIndex, skinWeight } = skin.geometry.attributes;
    this.skin = skin;
    this.count = position.count;
    this.rest = Float32Array.from(position.array);
    this.restNormal = Float32Array.from(normal.array);
    this.map = skin.material.map;
    this.albedo = color ? Float32Array.from(color.array) : new Float32Array(3 * this.count).fill(0.48);
    this.index = Uint8Array.from(skinIndex.array);
    this.weight = Float32Array.from(skinWeight.array);
    this.moves = new Float32Array(12 * skin.skeleton.bones.length);
    const geometry = new BufferGeometry();
    this.position = new BufferAttribute(new Float32Array(3 * this.count), 3).setUsage(DYNAMIC_DRAW);
    this.tint = new BufferAttribute(new Uint8Array(4 * this.count), 4, true).setUsage(DYNAMIC_DRAW);
    geometry.setAttribute('position', this.position);
    geometry.setAttribute('tint', this.tint);
    geometry.setIndex(skin.geometry.index);
    if (this.map) geometry.setAttribute('uv', skin.geometry.attributes.uv);
    this.mesh = new Mesh(geometry, new ShaderMaterial(this.map
      ? { vertexShader: TEXTURED_VERTEX, fragmentShader: TEXTURED_FRAGMENT, uniforms: { map: { value: this.map } } }
      : { vertexShader: VERTEX, fragmentShader: FRAGMENT }));
    this.mesh.frustumCulled = false;
  }

  /** sky, ground: light from above and below, three colours; lights: six numbers each, direction to it and colours. */
  update(sky, ground, lights) {
    this.move();
    const { rest, restNormal, index, weight, count, moves, albedo } = this;
    const place = this.position.array, tint = this.tint.array;
    for (let v = 0; v < count; v++) {
      const v3 = 3 * v, x = rest[v3], y = rest[v3 + 1], z = rest[v3 + 2];
      const nx = restNormal[v3], ny = restNormal[v3 + 1], nz = restNormal[v3 + 2];
      let px = 0, py = 0, pz = 0, qx = 0, qy = 0, qz = 0;
      for (let k = 4 * v; k < 4 * v + 4; k++) {
        const w = weight[k];
        if (w === 0) continue;
        const m = 12 * index[k];
        const a = moves[m], b = moves[m + 1], c = moves[m + 2], d = moves[m + 4], e = moves[m + 5], f = moves[m + 6];
        const g = moves[m + 8], h = moves[m + 9], i = moves[m + 10];
        px += w * (a * x + b * y + c * z + moves[m + 3]);
        py += w * (d * x + e * y + f * z + moves[m + 7]);
        pz += w * (g * x + h * y + i * z + moves[m + 11]);
        qx += w * (a * nx + b * ny + c * nz);
        qy += w * (d * nx + e * ny + f * nz);
        qz += w * (g * nx + h * ny + i * nz);
      }
      place[v3] = px;
      place[v3 + 1] = py;
      place[v3 + 2] = pz;
      const up = 0.5 + 0.5 * qy;
      let red = ground[0] + up * (sky[0] - ground[0]), green = ground[1] + up * (sky[1] - ground[1]);
      let blue = ground[2] + up * (sky[2] - ground[2]);
      for (let l = 0; l < lights.length; l += 6) {
        const facing = qx * lights[l] + qy * lights[l + 1] + qz * lights[l + 2];
        if (facing <= 0) continue;
        red += facing * lights[l + 3];
        green += facing * lights[l + 4];
        blue += facing * lights[l + 5];
      }
      if (this.map) { // the root of half the light: bytes for twice the full light, finer in the shade
        tint[4 * v] = ROOT[Math.min(LEVELS * red * 0.5, LEVELS) | 0];
        tint[4 * v + 1] = ROOT[Math.min(LEVELS * green * 0.5, LEVELS) | 0];
        tint[4 * v + 2] = ROOT[Math.min(LEVELS * blue * 0.5, LEVELS) | 0];
        continue;
      }
      tint[4 * v] = SRGB[Math.min(LEVELS * red * albedo[v3], LEVELS) | 0];
      tint[4 * v + 1] = SRGB[Math.min(LEVELS * green * albedo[v3 + 1], LEVELS) | 0];
      tint[4 * v + 2] = SRGB[Math.min(LEVELS * blue * albedo[v3 + 2], LEVELS) | 0];
    }
    this.position.needsUpdate = this.tint.needsUpdate = true;
  }

  /** What every bone does with space, three rows of four. */
  move() {
    const { skeleton } = this.skin, matrix = new Matrix4(), { moves } = this;
    skeleton.bones.forEach((bone, j) => {
      const e = matrix.multiplyMatrices(bone.matrixWorld, skeleton.boneInverses[j]).elements; // columns
      for (let row = 0; row < 3; row++) for (let k = 0; k < 4; k++) moves[12 * j + 4 * row + k] = e[4 * k + row];
    });
  }

  dispose() {
    this.mesh.geometry.dispose();
    this.mesh.material.dispose();
  }
}
