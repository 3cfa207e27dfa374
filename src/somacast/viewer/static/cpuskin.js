// Linear blend skinning in JavaScript, for browsers that draw in software: there the processor turns 20,000 vertices in
// a few milliseconds, and a vertex shader in thirty times that.

import { BufferAttribute, BufferGeometry, Matrix4, Mesh, MeshLambertMaterial } from './three.bundle.js';

const DYNAMIC_DRAW = 35048;

/** A plain mesh that follows a SkinnedMesh: `update` poses it. */
export class PlainSkin {
  constructor(skin) {
    const { position, normal, color, skinIndex, skinWeight } = skin.geometry.attributes;
    this.skin = skin;
    this.count = position.count;
    this.rest = Float32Array.from(position.array);
    this.restNormal = Float32Array.from(normal.array);
    this.index = Uint8Array.from(skinIndex.array);
    this.weight = Float32Array.from(skinWeight.array);
    this.moves = new Float32Array(12 * skin.skeleton.bones.length);
    const geometry = new BufferGeometry();
    this.position = new BufferAttribute(new Float32Array(3 * this.count), 3).setUsage(DYNAMIC_DRAW);
    this.normal = new BufferAttribute(new Float32Array(3 * this.count), 3).setUsage(DYNAMIC_DRAW);
    geometry.setAttribute('position', this.position);
    geometry.setAttribute('normal', this.normal);
    if (color) geometry.setAttribute('color', color);
    geometry.setIndex(skin.geometry.index);
    this.mesh = new Mesh(geometry, new MeshLambertMaterial({ vertexColors: !!color }));
    this.mesh.frustumCulled = false;
  }

  update() {
    const { skeleton } = this.skin, matrix = new Matrix4(), { moves } = this;
    skeleton.bones.forEach((bone, j) => {
      const e = matrix.multiplyMatrices(bone.matrixWorld, skeleton.boneInverses[j]).elements; // columns
      for (let row = 0; row < 3; row++) for (let k = 0; k < 4; k++) moves[12 * j + 4 * row + k] = e[4 * k + row];
    });
    const { rest, restNormal, index, weight, count } = this, place = this.position.array, normal = this.normal.array;
    for (let v = 0; v < count; v++) {
      const x = rest[3 * v], y = rest[3 * v + 1], z = rest[3 * v + 2];
      const nx = restNormal[3 * v], ny = restNormal[3 * v + 1], nz = restNormal[3 * v + 2];
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
      place[3 * v] = px;
      place[3 * v + 1] = py;
      place[3 * v + 2] = pz;
      normal[3 * v] = qx;
      normal[3 * v + 1] = qy;
      normal[3 * v + 2] = qz;
    }
    this.position.needsUpdate = this.normal.needsUpdate = true;
  }

  dispose() {
    this.mesh.geometry.dispose();
    this.mesh.material.dispose();
  }
}
