// The scene: a person on a ground with light and shadow, a camera that orbits, and quality that adapts to the machine.

import {
  Box3, DirectionalLight, HemisphereLight, MeshStandardMaterial, NeutralToneMapping, PCFShadowMap, PerspectiveCamera,
  Scene, Spherical, Vector3, WebGLRenderer, GLTFLoader, OrbitControls,
} from './three.bundle.js';
import { PlainSkin } from './cpuskin.js';
import { Floor } from './floor.js';

export const JOINT_NAMES = [
  'pelvis', 'spine', 'chest', 'neck', 'head',
  'l_clavicle', 'l_upper_arm', 'l_lower_arm', 'l_hand', 'r_clavicle', 'r_upper_arm', 'r_lower_arm', 'r_hand',
  'l_upper_leg', 'l_lower_leg', 'l_foot', 'l_toe', 'r_upper_leg', 'r_lower_leg', 'r_foot', 'r_toe',
];
const SOLES = [15, 16, 19, 20]; // feet and toes
const VIEW = { theta: 0.38, phi: 1.42 }; // where the camera stands, radians
const FIT = { height: 1.16, width: 0.8 }; // what must be in view, in heights of the person
const HEIGHT_M = 1.75; // of nobody yet
const QUALITY = [ // pixel ratio at most, shadow map; last, as plain as can be
  { ratio: 2, shadow: 2048 }, { ratio: 1.25, shadow: 1024 }, { ratio: 1, shadow: 0 }, { ratio: 0.7, shadow: 0, plain: true },
  { ratio: 0.45, shadow: 0, plain: true },
];
const SLOW_MS = 36, SLOW_FRAMES = 12, SLOW_FOR_MS = 1200; // so many slower frames in so long: one step down
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

/** Draws on `canvas`. still: whether camera moves jump (prefers-reduced-motion); quality: a fixed one, or null. */
export class Stage {
  constructor(canvas, still, quality = null) {
    this.canvas = canvas;
    this.still = still;
    const software = quality === null && drawsInSoftware();
    this.fixed = quality !== null;
    this.renderer = new WebGLRenderer({
      canvas, antialias: !software, alpha: true, powerPreference: 'high-performance',
    });
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
    this.center = new Vector3(0, 0.95, 0);
    this.addLights();
    this.floor = new Floor();
    this.scene.add(this.floor.group);
    this.addControls();
    this.insets = { top: 0, bottom: 0 }; // CSS pixels that other things cover
    this.setQuality(software ? QUALITY.length - 2 : quality ?? 0);
    this.resetView(true);
  }

  addLights() {
    const sky = this.sky = new HemisphereLight(0xe6edff, 0x4a4238, 1.55);
    this.scene.add(sky);
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
    this.lights = [[key, 1.6, 3.4, 2.6], [rim, -2.2, 2.6, -2.8], [fill, -3, 1.2, 2.5]]; // above the feet, metres
    const rgb = (color, strength) => color.toArray().map((x) => (x * strength) / Math.PI); // of Lambert's law
    this.plainLight = [rgb(sky.color, sky.intensity), rgb(sky.groundColor, sky.intensity), this.lights.flatMap(
      ([light, x, y, z]) => [...new Vector3(x, y - 0.9, z).normalize().toArray(), ...rgb(light.color, light.intensity)],
    )];
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
    this.slow = this.slowFrom = 0;
    const { shadow } = QUALITY[this.quality];
    this.renderer.shadowMap.enabled = shadow > 0;
    this.key.castShadow = shadow > 0;
    this.floor.setQuality(QUALITY[this.quality]);
    if (shadow) {
      this.key.shadow.mapSize.set(shadow, shadow);
      this.key.shadow.map?.dispose();
      this.key.shadow.map = null;
    }
    this.scene.traverse((part) => { if (part.material) part.material.needsUpdate = true; });
    if (this.person) this.dress(this.person);
    this.resize();
  }

  /** Skin by vertex shader, or by the processor where that draws too. */
  dress(person) {
    const { plain = false, shadow } = QUALITY[this.quality];
    if (plain && !person.plain) person.scene.add((person.plain = new PlainSkin(person.skin)).mesh);
    person.skin.visible = !plain;
    person.skin.receiveShadow = shadow >= 2048; // coarser maps would shade the body with specks
    if (person.plain) person.plain.mesh.visible = plain;
  }

  /** What covers the canvas at its edges (CSS pixels): the person is shown between. */
  setInsets(top, bottom) {
    if (top === this.insets.top && bottom === this.insets.bottom) return;
    const whole = !this.move && Math.abs(this.pose().radius - this.fitDistance()) < 0.02;
    this.insets = { top, bottom };
    this.resize();
    if (whole) this.resetView(true);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, QUALITY[this.quality].ratio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.setViewOffset(width, height, 0, (this.insets.bottom - this.insets.top) / 2, width, height);
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
    const colors = !!skin.geometry.attributes.color, map = skin.geometry.attributes.uv ? skin.material.map : null;
    if (map) map.anisotropy = Math.min(8, this.renderer.capabilities.getMaxAnisotropy());
    skin.material = new MeshStandardMaterial({
      map, vertexColors: colors, color: colors || map ? 0xffffff : 0xb8b8b8, roughness: 0.78, metalness: 0,
    });
    skin.castShadow = true;
    skin.frustumCulled = false;
    scene.updateMatrixWorld(true);
    const box = new Box3().setFromBufferAttribute(skin.geometry.attributes.position);
    const place = new Vector3();
    const soles = SOLES.map((j) => Math.max(bones[j].getWorldPosition(place).y - box.min.y, 0));
    const first = !this.person;
    if (this.person) this.remove(this.person);
    this.person = { scene, skin, bones, soles, height: box.max.y - box.min.y, plain: null };
    this.dress(this.person);
    this.scene.add(scene);
    this.dirty = true;
    if (first) this.settled = false;
  }

  /** Another picture (ImageBitmap) in the place of the one on the person; gives whether they have one. */
  setTexture(bitmap) {
    const map = this.person?.skin.material.map;
    if (!map) return false;
    const old = map.image;
    if (old.width !== bitmap.width || old.height !== bitmap.height) map.dispose(); // the graphics card's has one size
    map.image = bitmap;
    map.needsUpdate = true;
    old.close?.();
    this.dirty = true;
    return true;
  }

  remove(person) {
    this.scene.remove(person.scene);
    person.plain?.dispose();
    person.skin.material.map?.dispose();
    person.skin.material.map?.image.close?.();
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
    this.floor.moveTo(pelvis.x, this.ground, pelvis.z);
    for (const [light, x, y, z] of this.lights) {
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
    const half = Math.tan((this.camera.fov * Math.PI) / 360), height = this.canvas.clientHeight || 1;
    const free = Math.max(1 - (this.insets.top + this.insets.bottom) / height, 0.4);
    const tall = this.person?.height ?? HEIGHT_M;
    return tall * Math.max(FIT.height / (2 * half * free), FIT.width / (2 * half * this.camera.aspect));
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

  get plain() { return !!QUALITY[this.quality].plain; }

  /** One frame; gives whether anything was drawn. passed: ms since the last call. */
  draw(passed) {
    if (this.person && this.dirty) this.stand(passed);
    this.step(passed);
    this.controls.update();
    if (!this.dirty) return false;
    this.dirty = false;
    if (this.person?.plain?.mesh.visible) {
      this.person.scene.updateMatrixWorld(true);
      this.person.plain.update(...this.plainLight);
    }
    this.floor.shade(!!this.person);
    this.renderer.render(this.scene, this.camera);
    if (this.plain) { // wait until it is drawn: frames that queue up in a busy processor come late and uneven
      const gl = this.renderer.getContext();
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, this.pixel ??= new Uint8Array(4));
    }
    this.watch(passed);
    return true;
  }

  /** One step down in quality where many frames in a row took too long. */
  watch(passed) {
    if (passed < SLOW_MS || passed > 2000) this.slow = Math.max(this.slow - 1, 0);
    else if (this.slow++ === 0) this.slowFrom = performance.now();
    const long = performance.now() - this.slowFrom > SLOW_FOR_MS;
    if (!this.fixed && this.slow > (passed > 120 ? 4 : SLOW_FRAMES) && long && this.quality < QUALITY.length - 1) {
      this.setQuality(this.quality + 1);
    }
  }
}

/** Whether WebGL is drawn by the processor here; asked of a canvas of its own, before the real one is set up. */
function drawsInSoftware() {
  const gl = document.createElement('canvas').getContext('webgl2');
  const name = gl?.getExtension('WEBGL_debug_renderer_info')?.UNMASKED_RENDERER_WEBGL;
  const software = SOFTWARE.test(name ? gl.getParameter(name) : '');
  gl?.getExtension('WEBGL_lose_context')?.loseContext();
  return software;
}
