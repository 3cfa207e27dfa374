// The scene: a person on a ground with light and shadow, a camera that orbits, and quality that adapts to the machine.

import {
  Box3, CircleGeometry, Color, DirectionalLight, Group, HemisphereLight, Mesh, MeshStandardMaterial, NeutralToneMapping,
  PCFShadowMap, PerspectiveCamera, Quaternion, Scene, ShaderMaterial, ShadowMaterial, Spherical, Vector3, WebGLRenderer,
  GLTFLoader, OrbitControls,
} from './three.bundle.js';

export const JOINT_NAMES = [
  'pelvis', 'spine', 'chest', 'neck', 'head',
  'l_clavicle', 'l_upper_arm', 'l_lower_arm', 'l_hand', 'r_clavicle', 'r_upper_arm', 'r_lower_arm', 'r_hand',
  'l_upper_leg', 'l_lower_leg', 'l_foot', 'l_toe', 'r_upper_leg', 'r_lower_leg', 'r_foot', 'r_toe',
];
const SOLES = [15, 16, 19, 20]; // feet and toes
const GROUND_M = 7; // radius
const VIEW = { theta: 0.38, phi: 1.42 }; // where the camera stands, radians
const FIT = { height: 2.0, width: 1.35 }; // metres that must be in view
const QUALITY = [ // pixel ratio at most, shadow map
  { ratio: 2, shadow: 2048 }, { ratio: 1.25, shadow: 1024 }, { ratio: 1, shadow: 512 }, { ratio: 0.7, shadow: 0 },
  { ratio: 0.5, shadow: 0 },
];
const SLOW_MS = 36, SLOW_FRAMES = 20; // so many frames slower than that: one step down

const GRID_VERTEX = `
varying vec2 place;
void main() {
  vec4 world = modelMatrix * vec4(position, 1.0);
  place = world.xz;
  gl_Position = projectionMatrix * viewMatrix * world;
}`;
const GRID_FRAGMENT = `
varying vec2 place;
uniform vec2 centre;
uniform vec3 line;
uniform vec3 floorColor;
uniform float radius;
uniform float blob;
uniform vec2 feet;
float lines(vec2 at, float width) {
  vec2 slope = fwidth(at);
  vec2 off = abs(fract(at - 0.5) - 0.5) / slope;
  return (1.0 - min(min(off.x, off.y) / width, 1.0)) * (1.0 - smoothstep(0.2, 0.6, max(slope.x, slope.y)));
}
void main() {
  float far = length(place - centre) / radius;
  float fade = 1.0 - smoothstep(0.1, 1.0, far);
  float mark = max(0.55 * lines(place, 1.3), 0.16 * lines(place * 4.0, 1.0));
  float dark = blob * exp(-6.0 * dot(place - feet, place - feet));
  vec3 color = mix(floorColor, line, mark) * (1.0 - 0.6 * dark);
  gl_FragColor = vec4(color, fade * fade);
  #include <colorspace_fragment>
}`;

/** Draws on `canvas`. still: whether camera moves jump (prefers-reduced-motion). */
export class Stage {
  constructor(canvas, still) {
    this.canvas = canvas;
    this.still = still;
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, powerPreference: 'high-performance' });
    this.renderer.toneMapping = NeutralToneMapping;
    this.renderer.toneMappingExposure = 1.0;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(32, 1, 0.05, 60);
    this.person = null;
    this.follow = true;
    this.ground = 0;
    this.quality = 0;
    this.slow = 0;
    this.dirty = true;
    this.turns = new Quaternion();
    this.center = new Vector3(0, 0.95, 0);
    this.addLights();
    this.addGround();
    this.addControls();
    this.setQuality(0);
    this.resize();
    this.resetView(true);
  }

  addLights() {
    this.scene.add(new HemisphereLight(0xe6edff, 0x4a4238, 1.55));
    const key = this.key = new DirectionalLight(0xfff1e0, 2.3);
    key.castShadow = true;
    key.shadow.bias = -0.0004;
    key.shadow.normalBias = 0.02;
    key.shadow.radius = 5;
    key.shadow.intensity = 0.85;
    const box = key.shadow.camera;
    box.left = box.bottom = -1.6;
    box.right = box.top = 1.6;
    box.near = 0.5;
    box.far = 9;
    const rim = this.rim = new DirectionalLight(0x9fc4ff, 1.5);
    const fill = this.fill = new DirectionalLight(0xbfd4ff, 0.45);
    this.scene.add(key, key.target, rim, rim.target, fill, fill.target);
  }

  addGround() {
    const disc = new CircleGeometry(GROUND_M, 64).rotateX(-Math.PI / 2);
    this.grid = new Mesh(disc, new ShaderMaterial({
      vertexShader: GRID_VERTEX, fragmentShader: GRID_FRAGMENT, transparent: true, depthWrite: false,
      uniforms: {
        centre: { value: { x: 0, y: 0 } }, feet: { value: { x: 0, y: 0 } }, radius: { value: GROUND_M },
        line: { value: new Color(0x6f8296) }, floorColor: { value: new Color(0x20272f) }, blob: { value: 1 },
      },
    }));
    this.grid.renderOrder = -2;
    this.shadow = new Mesh(disc, new ShadowMaterial({ opacity: 0.55, depthWrite: false }));
    this.shadow.receiveShadow = true;
    this.shadow.renderOrder = -1;
    this.floor = new Group();
    this.floor.add(this.grid, this.shadow);
    this.scene.add(this.floor);
  }

  addControls() {
    const controls = this.controls = new OrbitControls(this.camera, this.canvas);
    controls.enableDamping = !this.still;
    controls.dampingFactor = 0.12;
    controls.minDistance = 0.5;
    controls.maxDistance = 12;
    controls.maxPolarAngle = 1.62;
    controls.zoomToCursor = false;
    controls.addEventListener('start', () => { this.move = null; });
    controls.addEventListener('change', () => { this.dirty = true; });
  }

  setQuality(level) {
    this.quality = Math.min(level, QUALITY.length - 1);
    const { shadow } = QUALITY[this.quality];
    this.renderer.shadowMap.enabled = shadow > 0;
    this.key.castShadow = this.shadow.visible = shadow > 0;
    this.grid.material.uniforms.blob.value = shadow > 0 ? 0.45 : 1;
    if (shadow) {
      this.key.shadow.mapSize.set(shadow, shadow);
      this.key.shadow.map?.dispose();
      this.key.shadow.map = null;
    }
    this.scene.traverse((part) => { if (part.material) part.material.needsUpdate = true; });
    this.resize();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, QUALITY[this.quality].ratio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.dirty = true;
  }

  /** Take a rigged GLB (ArrayBuffer); rejects if it is not a person with our joints. The old person stays till then. */
  async setPerson(glb) {
    const { scene } = await new GLTFLoader().parseAsync(glb, '');
    let skin = null;
    scene.traverse((part) => { if (part.isSkinnedMesh) skin = part; });
    if (!skin) throw new Error('the person has no skin');
    const bones = JOINT_NAMES.map((name) => skin.skeleton.bones.find((bone) => bone.name === name));
    if (bones.some((bone) => !bone)) throw new Error('the skeleton has other joints');
    const colors = !!skin.geometry.attributes.color;
    skin.material = new MeshStandardMaterial({
      vertexColors: colors, color: colors ? 0xffffff : 0xb8b8b8, roughness: 0.78, metalness: 0,
    });
    skin.castShadow = skin.receiveShadow = true;
    skin.frustumCulled = false;
    scene.updateMatrixWorld(true);
    const box = new Box3().setFromBufferAttribute(skin.geometry.attributes.position);
    const place = new Vector3();
    const soles = SOLES.map((j) => Math.max(bones[j].getWorldPosition(place).y - box.min.y, 0));
    const first = !this.person;
    if (this.person) this.remove(this.person);
    this.person = { scene, bones, soles, height: box.max.y - box.min.y, shown: false };
    this.scene.add(scene);
    this.dirty = true;
    if (first) this.settled = false;
  }

  remove(person) {
    this.scene.remove(person.scene);
    person.scene.traverse((part) => { part.geometry?.dispose(); part.material?.dispose(); part.skeleton?.dispose(); });
  }

  /** turns [84]: quaternions x y z w of the joints; pelvis [3] metres. */
  setPose(turns, pelvis) {
    if (!this.person) return;
    const { bones } = this.person;
    bones.forEach((bone, j) => bone.quaternion.fromArray(turns, 4 * j));
    bones[0].position.fromArray(pelvis);
    this.dirty = true;
  }

  /** The ground rises and sinks to the feet: what is sent may have any origin. */
  stand(passed) {
    const place = this.place ??= new Vector3();
    const { bones, soles } = this.person;
    bones[0].parent.updateMatrixWorld(true);
    const lowest = Math.min(...SOLES.map((j, k) => bones[j].getWorldPosition(place).y - soles[k]));
    const pelvis = bones[0].getWorldPosition(place);
    const wanted = new Vector3(pelvis.x, lowest + 0.52 * this.person.height, pelvis.z);
    if (!this.settled) {
      this.settled = true;
      this.ground = lowest;
      this.shift(wanted.clone().sub(this.center));
      this.resetView(true);
    } else {
      this.ground += (lowest - this.ground) * (1 - Math.exp(-passed / (lowest < this.ground ? 120 : 2500)));
      wanted.y = this.ground + 0.52 * this.person.height;
      if (this.follow) {
        const share = this.still ? 1 : 1 - Math.exp(-passed / 250);
        this.shift(wanted.sub(this.center).multiplyScalar(share));
      }
    }
    this.floor.position.set(pelvis.x, this.ground, pelvis.z);
    const { centre, feet } = this.grid.material.uniforms;
    centre.value = feet.value = { x: pelvis.x, y: pelvis.z };
    for (const [light, x, y, z] of [[this.key, 1.6, 3.4, 2.6], [this.rim, -2.2, 2.6, -2.8], [this.fill, -3, 1.2, 2.5]]) {
      light.target.position.set(pelvis.x, this.ground + 0.9, pelvis.z);
      light.position.set(pelvis.x + x, this.ground + y, pelvis.z + z);
    }
  }

  shift(by) {
    this.center.add(by);
    this.camera.position.add(by);
    this.controls.target.add(by);
  }

  fitDistance() {
    const half = Math.tan((this.camera.fov * Math.PI) / 360);
    return Math.max(FIT.height / (2 * half), FIT.width / (2 * half * this.camera.aspect)) * 1.08;
  }

  /** Camera back to the front, whole person in view. */
  resetView(now = this.still) {
    this.moveTo({ target: this.center.clone(), theta: VIEW.theta, phi: VIEW.phi, radius: this.fitDistance() }, now);
  }

  /** Turn by radians and scale the distance, smoothly unless the user wants less motion. */
  orbit(theta, phi, scale = 1) {
    const from = this.move?.to ?? this.pose();
    const { minDistance, maxDistance, maxPolarAngle } = this.controls;
    this.moveTo({
      target: from.target, theta: from.theta + theta,
      phi: Math.min(Math.max(from.phi + phi, 0.15), maxPolarAngle),
      radius: Math.min(Math.max(from.radius * scale, minDistance), maxDistance),
    }, this.still, 180);
  }

  pose() {
    const target = this.controls.target.clone();
    const s = new Spherical().setFromVector3(this.camera.position.clone().sub(target));
    return { target, theta: s.theta, phi: s.phi, radius: s.radius };
  }

  moveTo(to, now, ms = 420) {
    this.move = null;
    if (now) this.look(to);
    else {
      const from = this.pose();
      from.theta = to.theta + Math.atan2(Math.sin(from.theta - to.theta), Math.cos(from.theta - to.theta));
      this.move = { from, to, ms, done: 0, center: this.center.clone() };
    }
    this.dirty = true;
  }

  look({ target, theta, phi, radius }) {
    this.controls.target.copy(target);
    this.camera.position.setFromSphericalCoords(radius, phi, theta).add(target);
    this.camera.lookAt(target);
  }

  step(passed) {
    const { move } = this;
    if (!move) return;
    move.done = Math.min(move.done + passed / move.ms, 1);
    const share = 1 - (1 - move.done) ** 3;
    const walked = this.center.clone().sub(move.center); // the person may have walked on meanwhile
    const mix = (a, b) => a + share * (b - a);
    this.look({
      target: move.from.target.clone().lerp(move.to.target, share).add(walked),
      theta: mix(move.from.theta, move.to.theta), phi: mix(move.from.phi, move.to.phi),
      radius: mix(move.from.radius, move.to.radius),
    });
    if (move.done === 1) this.move = null;
    this.dirty = true;
  }

  /** One frame; gives whether anything was drawn. passed: ms since the last call. */
  draw(passed) {
    if (this.person && this.dirty) this.stand(passed);
    this.step(passed);
    this.controls.update();
    if (!this.dirty) return false;
    this.dirty = false;
    this.renderer.render(this.scene, this.camera);
    this.slow = passed > SLOW_MS && passed < 1000 ? this.slow + 1 : Math.max(this.slow - 0.5, 0);
    if (this.slow > SLOW_FRAMES && this.quality < QUALITY.length - 1) {
      this.slow = 0;
      this.setQuality(this.quality + 1);
    }
    return true;
  }
}
