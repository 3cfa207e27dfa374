"""People for animation tools: rigged GLB and BVH, against linear blend skinning and readers written apart from them."""

import json
import struct
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import trimesh

from somacast.body.rotations import about_axis, continuous_quaternions, quaternion_to_matrix
from somacast.body.skeleton import (
    CANONICAL_JOINTS,
    JOINT_COUNT,
    JOINT_PARENT,
    joint_places,
    local_rotations,
    rest_offsets,
    world_rotations,
)
from somacast.body.table import BODY_VERTICES, TPOSE, load_body
from somacast.errors import SomacastError
from somacast.formats.bvh import encode_bvh, euler_zxy_deg
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.gltf_writer import encode_rigged_glb
from somacast.formats.meshes import load_mesh
from somacast.geometry.rig import Motion, Rig, body_joint_weights, matching_body, posed, rig_human, skin_weights
from somacast.synthetic.motion.builtin import builtin_clip
from somacast.types import Human, Mesh

SHAPE = np.array([0.8, -0.6, 0.5], np.float32)
NAMES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
DTYPES = {5121: "<u1", 5125: "<u4", 5126: "<f4"}
L_ELBOW = CANONICAL_JOINTS.index("l_lower_arm")


@lru_cache(maxsize=1)
def motion() -> Motion:
    """Half a second of walking."""
    rotations, path = builtin_clip(np.random.default_rng(5), "walking", 0.5, 20.0)
    return Motion(rotations, path + [0.1, 0.9, -0.2], 20.0)


@lru_cache(maxsize=2)
def bare_rig(in_tpose: bool = False) -> Rig:
    """The body table itself, bound in a walking pose or in the T-pose."""
    rotations = TPOSE if in_tpose else motion().rotations[3].astype(np.float32)
    vertices, joints = load_body().pose(SHAPE, rotations)
    colors = np.random.default_rng(0).integers(0, 256, vertices.shape) / 255
    return Rig(Mesh(vertices, load_body().faces, colors.astype(np.float32)), joints, rotations, body_joint_weights())


def blended(rig: Rig, rotations: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
    """Linear blend skinning as the formula says, with all weights: sum_j w_j (R'_j R_j^T (v - J_j) + J'_j)."""
    places = np.array(rig.joints, np.float64)
    places[0] = pelvis_m
    for joint, parent in list(enumerate(JOINT_PARENT))[1:]:
        bone = rig.rotations[parent].T @ (rig.joints[joint] - rig.joints[parent])
        places[joint] = places[parent] + rotations[parent] @ bone
    out = np.zeros(rig.mesh.vertices.shape)
    for joint in range(JOINT_COUNT):
        turn = rotations[joint] @ rig.rotations[joint].T
        out += rig.weights[:, joint, None] * ((rig.mesh.vertices - rig.joints[joint]) @ turn.T + places[joint])
    return out


class Glb:
    """The chunks and accessors of a GLB file."""

    def __init__(self, data: bytes):
        magic, version, size, length, kind = struct.unpack_from("<4sIIII", data)
        assert (magic, version, size, kind) == (b"glTF", 2, len(data), 0x4E4F534A) and length % 4 == 0
        self.document = json.loads(data[20 : 20 + length])
        binary_length, binary_kind = struct.unpack_from("<II", data, 20 + length)
        assert binary_kind == 0x004E4942 and binary_length % 4 == 0 and 28 + length + binary_length == len(data)
        self.binary = data[28 + length :]
        assert self.document["buffers"] == [{"byteLength": binary_length}]

    def array(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        dtype, width = np.dtype(DTYPES[accessor["componentType"]]), NAMES[accessor["type"]]
        assert view["byteLength"] == accessor["count"] * width * dtype.itemsize
        count = accessor["count"] * width
        return np.frombuffer(self.binary, dtype, count, view["byteOffset"]).reshape(-1, width)


def test_glb_is_laid_out_as_gltf_demands():
    glb = Glb(encode_rigged_glb(bare_rig(), motion()))
    end = 0
    for view in glb.document["bufferViews"]:
        assert view["byteOffset"] == end and end % 4 == 0
        end += view["byteLength"]
    assert end == len(glb.binary)
    nodes, skin = glb.document["nodes"], glb.document["skins"][0]
    assert [nodes[joint]["name"] for joint in skin["joints"]] == list(CANONICAL_JOINTS)
    for number, node in enumerate(nodes[:JOINT_COUNT]):
        assert all(JOINT_PARENT[child] == number for child in node.get("children", []))
        assert np.linalg.norm(node["rotation"]) == pytest.approx(1, abs=1e-6)
    assert sum(len(node.get("children", [])) for node in nodes) == JOINT_COUNT - 1
    assert glb.document["scenes"][0]["nodes"] == [0, JOINT_COUNT] and nodes[JOINT_COUNT]["skin"] == 0
    inverse = glb.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    np.testing.assert_array_equal(inverse[:, 3], np.tile([0, 0, 0, 1], (JOINT_COUNT, 1)))
    attributes = glb.document["meshes"][0]["primitives"][0]["attributes"]
    position = glb.document["accessors"][attributes["POSITION"]]
    vertices = bare_rig().mesh.vertices
    np.testing.assert_allclose([position["min"], position["max"]], [vertices.min(0), vertices.max(0)])
    np.testing.assert_allclose(np.linalg.norm(glb.array(attributes["NORMAL"]), axis=1), 1, atol=1e-3)
    joints, weights = glb.array(attributes["JOINTS_0"]), glb.array(attributes["WEIGHTS_0"]).astype(np.float64)
    np.testing.assert_allclose(weights.sum(1), 1, atol=2e-7)
    assert (weights >= 0).all() and (joints[weights == 0] == 0).all() and joints.max() < JOINT_COUNT
    for row, share in zip(joints[::97], weights[::97], strict=True):
        used = row[share > 0]
        assert len(set(used)) == len(used)
    assert "materials" not in glb.document and "materials" in Glb(encode_rigged_glb(bare_rig(), matte=True)).document


def test_animation_is_laid_out_as_gltf_demands():
    glb = Glb(encode_rigged_glb(bare_rig(), motion()))
    animation = glb.document["animations"][0]
    targets = [(c["target"]["node"], c["target"]["path"]) for c in animation["channels"]]
    assert sorted(targets) == sorted([(j, "rotation") for j in range(JOINT_COUNT)] + [(0, "translation")])
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        key, times = glb.document["accessors"][sampler["input"]], glb.array(sampler["input"])[:, 0]
        np.testing.assert_allclose(times, np.arange(len(times)) / 20, atol=1e-6)
        assert key["min"] == [0.0] and key["max"] == [float(times[-1])] and sampler["interpolation"] == "LINEAR"
        values = glb.array(sampler["output"])
        assert len(values) == len(times) == len(motion().rotations)
        if channel["target"]["path"] == "rotation":
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
            assert ((values[1:] * values[:-1]).sum(1) > 0).all()
    assert "target" not in glb.document["bufferViews"][sampler["output"]]


def test_still_person_is_the_mesh(tmp_path):
    path = tmp_path / "person.glb"
    path.write_bytes(encode_rigged_glb(bare_rig()))
    person = GltfScene(path)
    assert person.animations == []
    mesh = person.mesh(finest=0)
    np.testing.assert_allclose(mesh.vertices, bare_rig().mesh.vertices, atol=2e-6)
    np.testing.assert_array_equal(np.round(mesh.colors * 255), np.round(bare_rig().mesh.colors * 255))
    grey = Rig(replace(bare_rig().mesh, colors=None), bare_rig().joints, bare_rig().rotations, bare_rig().weights)
    path.write_bytes(encode_rigged_glb(grey))
    assert np.ptp(GltfScene(path).mesh(finest=0).colors) == 0


def test_other_programs_can_read_it(tmp_path):
    path = tmp_path / "person.glb"
    path.write_bytes(encode_rigged_glb(bare_rig(), motion()))
    shape = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose(shape.vertices, bare_rig().mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(shape.faces, bare_rig().mesh.faces)
    assert shape.visual.kind == "vertex"
    scene = trimesh.load_scene(path)
    assert set(CANONICAL_JOINTS) <= set(scene.graph.nodes)
    # the nodes stand where the joints of the first frame are
    first = joint_places(bare_rig().offsets_m, motion().rotations[0], motion().pelvis_m[0])
    for joint, name in enumerate(CANONICAL_JOINTS):
        np.testing.assert_allclose(scene.graph[name][0][:3, 3], first[joint], atol=1e-5)
    np.testing.assert_allclose(load_mesh(path).vertices, bare_rig().mesh.vertices, atol=1e-6)


@pytest.mark.parametrize("in_tpose", [False, True])
def test_every_frame_is_linear_blend_skinning(tmp_path, in_tpose):
    rig, frames = bare_rig(in_tpose), len(motion().rotations)
    path = tmp_path / "walk.glb"
    path.write_bytes(encode_rigged_glb(rig, motion()))
    person = GltfScene(path)
    for frame in (0, 4, frames - 1):
        expected = blended(rig, motion().rotations[frame], motion().pelvis_m[frame])
        played = person.mesh(0, frame / (frames - 1), finest=0).vertices
        ours = posed(rig, motion().rotations[frame], motion().pelvis_m[frame]).vertices
        np.testing.assert_allclose(played, ours, atol=2e-5)
        # the fifth joint of a few vertices at the collar is left out
        assert np.abs(ours - expected).max() < 4e-3 and np.abs(ours - expected).mean() < 1e-5
    np.testing.assert_allclose(person.mesh(finest=0).vertices, person.mesh(0, 0.0, finest=0).vertices, atol=2e-6)


def test_one_frame_is_a_pose_without_animation(tmp_path):
    path = tmp_path / "person.glb"
    still = Motion(motion().rotations[:1], motion().pelvis_m[:1])
    path.write_bytes(encode_rigged_glb(bare_rig(True), still))
    person = GltfScene(path)
    body, joints = load_body().pose(SHAPE, motion().rotations[0])
    assert person.animations == []
    # A rig of the T-pose is the body table in any pose, but for the armpits: the table was made with lowered arms.
    distance = np.abs(person.mesh(finest=0).vertices - (body - joints[0] + motion().pelvis_m[0]))
    assert distance.max() < 0.03 and np.quantile(distance, 0.95) < 4e-3


def test_signs_of_quaternions_are_continuous():
    spin = about_axis("y", np.linspace(0, 6 * np.pi, 90))[:, None]
    quaternions = continuous_quaternions(spin)
    np.testing.assert_allclose(quaternion_to_matrix(quaternions), spin, atol=1e-12)
    assert ((quaternions[1:] * quaternions[:-1]).sum(-1) > 0.9).all()
    assert quaternions[30, 0, 3] < 0  # one turn on, the other sign: that it may stay near to the last


def test_weights_of_the_body_table_come_back():
    rig = bare_rig(True)
    weights = skin_weights(rig.mesh, rig.mesh.vertices)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    # smoothing moves the borders between joints by a vertex or two and nothing else
    assert np.abs(weights - rig.weights).mean() < 0.01
    assert (weights.argmax(1) == rig.weights.argmax(1)).mean() > 0.96
    assert np.abs(matching_body(rig.joints, rig.rotations) - rig.mesh.vertices).mean() < 0.01


def test_an_elbow_bends_without_tearing():
    rotations = np.array(TPOSE, np.float64)
    rotations[L_ELBOW : L_ELBOW + 2] = about_axis("y", np.radians(-110))
    rig = bare_rig(True)
    hung = Rig(rig.mesh, rig.joints, rig.rotations, skin_weights(rig.mesh, rig.mesh.vertices))
    bent = posed(hung, rotations, rig.joints[0])
    edges = rig.mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    before, after = (np.linalg.norm(np.subtract(*m.vertices[edges.T]), axis=1) for m in (rig.mesh, bent))
    assert after.max() < 2 * before.max()
    assert ((after - before) < 0.015).all()
    wrist = bent.vertices[rig.weights[:, L_ELBOW + 1] > 0.9].mean(0)
    assert wrist[2] > rig.joints[L_ELBOW, 2] + 0.2  # in front of the elbow now


def test_rig_of_a_received_person():
    rig = bare_rig()
    human = Human(rig.mesh, joints=rig.joints, rotations=rig.rotations)
    own, fitted = rig_human(human, rig.mesh.vertices), rig_human(human)
    assert (own.weights.argmax(1) == fitted.weights.argmax(1)).mean() > 0.9
    with pytest.raises(SomacastError, match="mesh, joints and rotations"):
        rig_human(Human(rig.mesh))


# -- BVH ---------------------------------------------------------------------------------------------------------------


def read_bvh(text: str) -> tuple[list[tuple[str, int, np.ndarray, list[str]]], float, np.ndarray]:
    """Strictly: joints in order (name, parent, offset, channels), seconds of a frame, table [T, channels]."""
    head, _, tail = text.partition("MOTION\n")
    words = iter(head.split())
    joints: list[tuple[str, int, np.ndarray, list[str]]] = []
    open_joints: list[int] = []
    assert next(words) == "HIERARCHY"
    for word in words:
        if word in ("ROOT", "JOINT"):
            assert (word == "ROOT") == (not joints)
            joints.append((next(words), open_joints[-1] if open_joints else -1, np.zeros(3), []))
            open_joints.append(len(joints) - 1)
            assert next(words) == "{"
        elif word == "End":
            assert [next(words) for _ in range(3)] == ["Site", "{", "OFFSET"]
            assert np.linalg.norm([float(next(words)) for _ in range(3)]) > 1
            assert next(words) == "}"
        elif word == "OFFSET":
            joints[open_joints[-1]][2][:] = [float(next(words)) for _ in range(3)]
        elif word == "CHANNELS":
            joints[open_joints[-1]][3].extend([next(words) for _ in range(int(next(words)))])
        else:
            assert word == "}"
            open_joints.pop()
    assert not open_joints
    lines = tail.splitlines()
    assert lines[0].startswith("Frames: ") and lines[1].startswith("Frame Time: ")
    table = np.array([[float(x) for x in line.split()] for line in lines[2:]])
    assert table.shape == (int(lines[0].split()[1]), sum(len(j[3]) for j in joints))
    return joints, float(lines[1].split()[2]), table


def bvh_world(joints, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [J, 3] and world rotations [J, 3, 3] of a frame: channels act in the order in which they are named."""
    worlds, at = [], 0
    for _, parent, offset, channels in joints:
        local = np.eye(4)
        local[:3, 3] = offset
        for channel in channels:
            step, axis = np.eye(4), channel[0].lower()
            if channel.endswith("position"):
                step["xyz".index(axis), 3] = row[at]
            else:
                step[:3, :3] = about_axis(axis, np.radians(row[at]))
            local, at = local @ step, at + 1
        worlds.append(local if parent < 0 else worlds[parent] @ local)
    world = np.array(worlds)
    return world[:, :3, 3], world[:, :3, :3]


def test_bvh_gives_joints_and_rotations_back():
    rig = bare_rig()
    joints, frame_s, table = read_bvh(encode_bvh(rig.joints, rig.rotations, motion()))
    assert [name for name, *_ in joints] == list(CANONICAL_JOINTS)
    assert [parent for _, parent, *_ in joints] == JOINT_PARENT.tolist()
    assert all(channels[-3:] == ["Zrotation", "Xrotation", "Yrotation"] for *_, channels in joints)
    assert frame_s == pytest.approx(0.05) and len(table) == len(motion().rotations)
    for frame in range(0, len(table), 3):
        rotations = motion().rotations[frame]
        body, expected = load_body().pose(SHAPE, rotations)
        assert len(body) == BODY_VERTICES
        places_cm, quaternions = bvh_world(joints, table[frame])
        np.testing.assert_allclose(quaternions, rotations, atol=1e-6)
        np.testing.assert_allclose(places_cm / 100, expected - expected[0] + motion().pelvis_m[frame], atol=1e-5)


def test_bvh_of_one_frame():
    rig = bare_rig()
    still = Motion(rig.rotations[None], rig.joints[:1])
    joints, _, table = read_bvh(encode_bvh(rig.joints, rig.rotations, still))
    np.testing.assert_allclose(bvh_world(joints, table[0])[0] / 100, rig.joints, atol=1e-6)


def test_angles_are_continuous_through_the_lock():
    swing = np.linspace(-2.5, 2.5, 101)[:, None]  # the middle angle goes through -90 and 90 degrees
    quaternions = about_axis("z", 0.3) @ about_axis("x", swing) @ about_axis("y", -0.4)
    angles = euler_zxy_deg(quaternions)
    z, x, y = (np.radians(angles[..., k]) for k in range(3))
    np.testing.assert_allclose(about_axis("z", z) @ about_axis("x", x) @ about_axis("y", y), quaternions, atol=1e-9)
    assert np.abs(np.diff(angles, axis=0)).max() < 4
    locked = about_axis("x", np.full((2, 1), np.pi / 2)) @ about_axis("y", 0.7)
    z, x, y = (np.radians(euler_zxy_deg(locked)[..., k]) for k in range(3))
    np.testing.assert_allclose(about_axis("z", z) @ about_axis("x", x) @ about_axis("y", y), locked, atol=1e-9)
    spin = euler_zxy_deg(about_axis("y", np.linspace(0, 4 * np.pi, 60))[:, None])
    assert spin[-1, 0, 2] == pytest.approx(720)


def test_kinematics_and_their_inverse():
    local = local_rotations(motion().rotations)
    np.testing.assert_allclose(world_rotations(local), motion().rotations, atol=1e-6)
    offsets = bare_rig().offsets_m
    places = joint_places(offsets, motion().rotations, motion().pelvis_m)
    assert places.shape == (len(local), JOINT_COUNT, 3)
    np.testing.assert_allclose(rest_offsets(places[2], motion().rotations[2]), offsets, atol=1e-6)


# -- what does not fit -------------------------------------------------------------------------------------------------

EYES = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
TRIANGLE = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
PLACES = np.zeros((JOINT_COUNT, 3))
EVEN = np.ones((3, JOINT_COUNT))


@pytest.mark.parametrize(("make", "reason"), [
    (lambda: Motion(EYES, PLACES[:1]), "motion rotations: expected shape"),
    (lambda: Motion(EYES[None], PLACES[:2]), "motion pelvis: expected shape"),
    (lambda: Motion(EYES[None][:0], PLACES[:0]), "at least one frame"),
    (lambda: Motion(EYES[None], PLACES[:1], 0.0), "frames per second, got 0"),
    (lambda: Motion(EYES[None], PLACES[:1], float("nan")), "frames per second, got nan"),
    (lambda: Motion(EYES[None] * 1.1, PLACES[:1]), "rotation matrices"),
    (lambda: Motion(-EYES[None], PLACES[:1]), "rotation matrices"),
    (lambda: Motion(EYES[None] * np.nan, PLACES[:1]), "rotation matrices"),
    (lambda: Motion(EYES[None], PLACES[:1] + np.inf), "motion pelvis: expected finite"),
    (lambda: Rig(TRIANGLE, PLACES[:20], EYES, EVEN), "joints: expected shape"),
    (lambda: Rig(TRIANGLE, PLACES, EYES[:20], EVEN), "rotations: expected shape"),
    (lambda: Rig(TRIANGLE, PLACES, EYES, EVEN[:2]), "weights: expected shape"),
    (lambda: Rig(TRIANGLE, PLACES, EYES, EVEN * 0), "weights: expected finite numbers from 0"),
    (lambda: Rig(TRIANGLE, PLACES, EYES, -EVEN), "weights: expected finite numbers from 0"),
    (lambda: Rig(replace(TRIANGLE, faces=TRIANGLE.faces + 1), PLACES, EYES, EVEN), "vertices 0 to 2, got vertices 1"),
    (lambda: Rig(replace(TRIANGLE, faces=TRIANGLE.faces[:0]), PLACES, EYES, EVEN), "got no faces"),
    (lambda: Rig(replace(TRIANGLE, colors=PLACES), PLACES, EYES, EVEN), "mesh colors: expected shape"),
    (lambda: skin_weights(TRIANGLE, PLACES), "body vertices: expected shape"),
    (lambda: posed(Rig(TRIANGLE, PLACES, EYES, EVEN), EYES[:3], PLACES[0]), "rotations: expected shape"),
    (lambda: encode_bvh(PLACES[:2], EYES, Motion(EYES[None], PLACES[:1])), "joints: expected shape"),
    (lambda: matching_body(PLACES, EYES[0]), "rotations: expected shape"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(make, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        make()
    assert "\n" not in str(caught.value)
