"""Rigged GLB against linear blend skinning and readers written apart from it."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, JOINT_PARENT, joint_places
from somacast.body.table import load_body
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.gltf_writer import encode_glb, encode_people_glb, encode_rigged_glb
from somacast.formats.meshes import load_mesh
from somacast.geometry.rig import Motion, Rig, posed
from somacast.types import Mesh
from support.format_cases import Glb
from support.rig_cases import SHAPE, bare_rig, blended, motion


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


def open_and_closed() -> tuple[Mesh, Mesh]:
    """A ball, and the same with a hole."""
    ball = trimesh.creation.icosphere(2, 0.5)
    vertices, faces = np.array(ball.vertices, np.float32), np.array(ball.faces, np.int32)
    return Mesh(vertices, faces), Mesh(vertices, faces[3:])


def test_the_material_is_matt_and_open_surfaces_show_both_sides():
    """glTF without a material is metal, which is black where there is nothing to mirror."""
    closed, holed = open_and_closed()
    documents = [Glb(encode_glb(m)).document for m in (closed, holed)]
    for document in [*documents, Glb(encode_rigged_glb(bare_rig(), motion())).document]:
        assert [m["primitives"][0]["material"] for m in document["meshes"]] == [0]
        surface = document["materials"][0]["pbrMetallicRoughness"]
        assert surface["metallicFactor"] == 0 and surface["roughnessFactor"] > 0.5
    assert [d["materials"][0].get("doubleSided", False) for d in documents] == [False, True]


def test_places_stand_in_the_nodes():
    """Several people and the camera that saw them: vertices keep the pelvis at the origin."""
    mesh, _ = open_and_closed()
    left, right, camera = np.array([-1.0, 0.9, 0.5]), np.array([1.0, 0.8, -0.25]), np.array([0.1, 1.5, 3.0])
    glb = Glb(encode_people_glb({"left": (mesh, left), "right": (mesh, right)}, camera))
    nodes = {node["name"]: node for node in glb.document["nodes"]}
    assert glb.document["scenes"][0]["nodes"] == [0, 1, 2]
    for name, place in (("left", left), ("right", right), ("camera", camera)):
        np.testing.assert_allclose(nodes[name]["translation"], place)
    assert nodes["left"]["mesh"] != nodes["right"]["mesh"] and nodes["camera"]["camera"] == 0
    for part in glb.document["meshes"]:
        position = glb.document["accessors"][part["primitives"][0]["attributes"]["POSITION"]]
        np.testing.assert_allclose(position["max"], [0.5] * 3, atol=0.01)
    assert "cameras" not in Glb(encode_glb(mesh)).document
