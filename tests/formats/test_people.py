"""People into files of other programs: where they stand, in which units, and what is refused before any work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somacast.body.skeleton import joint_places
from somacast.errors import SomacastError
from somacast.formats.export import Export, VrmTerms
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.meshes import load_mesh
from somacast.formats.people import save_motion, save_person
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Motion, standing
from support.format_cases import Glb, bvh_world, read_bvh
from support.rig_cases import bare_rig, motion

SEEN_M = np.array([0.4, 0.2, 3.5], np.float32)  # right of, below and before the camera


def person() -> Reconstruction:
    """Somebody in the frame of a system: pelvis at the origin, seen SEEN_M from the camera."""
    rig = bare_rig()
    at_pelvis = Reconstruction(rig.mesh, None, rig.joints, rig.rotations).translated(-rig.joints[0])
    return replace(at_pelvis, pelvis_m=SEEN_M)


def low(path: Path) -> np.ndarray:
    """The middle and the height of the lowest vertex of a written file [3]."""
    vertices = GltfScene(path).mesh(finest=0).vertices if path.suffix == ".glb" else load_mesh(path).vertices
    return np.array([vertices[:, 0].mean(), vertices[:, 1].min(), vertices[:, 2].mean()])


@pytest.mark.parametrize(("suffix", "rigged"), [(".glb", False), (".glb", True), (".ply", False), (".obj", False)])
def test_every_form_stands_where_it_is_asked_to(tmp_path, suffix, rigged):
    human = person()
    assert human.mesh is not None
    bottom = float(human.mesh.vertices[:, 1].min())
    middle = human.mesh.vertices.mean(0)
    for origin, height in (("ground", 0.0), ("pelvis", bottom)):
        path = tmp_path / f"{origin}{suffix}"
        save_person(human, path, Export(origin), rigged)
        np.testing.assert_allclose(low(path), [middle[0], height, middle[2]], atol=1e-4)
    save_person(human, tmp_path / f"plain{suffix}", rigged=rigged)
    assert (tmp_path / f"plain{suffix}").read_bytes() == (tmp_path / f"ground{suffix}").read_bytes()


@pytest.mark.parametrize("rigged", [False, True])
@pytest.mark.parametrize("origin", ["ground", "pelvis"])
def test_where_the_camera_saw_the_person_is_kept(tmp_path, origin, rigged):
    """From the camera's node the pelvis is where the sender's camera saw it: x right, y up, z back."""
    path = tmp_path / "person.glb"
    save_person(person(), path, Export(origin), rigged)
    document = Glb(path.read_bytes()).document
    nodes = {node["name"]: np.array(node.get("translation", (0, 0, 0))) for node in document["nodes"]}
    pelvis = nodes["pelvis" if rigged else "person"]
    np.testing.assert_allclose(pelvis - nodes["camera"], SEEN_M * [1, -1, -1], atol=1e-5)
    save_person(replace(person(), pelvis_m=None), path, Export(origin), rigged)
    assert "camera" not in str(Glb(path.read_bytes()).document["nodes"])


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".bvh"])
def test_centimetres(tmp_path, suffix):
    sizes = []
    for units in ("m", "cm"):
        path = tmp_path / f"{units}{suffix}"
        save_person(person(), path, Export(units=units))
        points = bvh_points(path) if suffix == ".bvh" else load_mesh(path).vertices
        sizes.append(np.ptp(points, axis=0))
    np.testing.assert_allclose(sizes[1], 100 * sizes[0], rtol=1e-4)


def bvh_points(path: Path) -> np.ndarray:
    joints, _, table = read_bvh(path.read_text())
    return bvh_world(joints, table[0])[0]


def test_bvh_of_a_still_stands_on_the_ground_of_its_mesh(tmp_path):
    human = person()
    assert human.mesh is not None and human.joints is not None
    save_person(human, tmp_path / "a.bvh")
    up = [0, -float(human.mesh.vertices[:, 1].min()), 0]
    np.testing.assert_allclose(bvh_points(tmp_path / "a.bvh"), human.joints + up, atol=1e-5)
    save_person(human, tmp_path / "b.bvh", Export("pelvis"))
    np.testing.assert_allclose(bvh_points(tmp_path / "b.bvh"), human.joints, atol=1e-5)


def test_motion_and_its_rest_pose(tmp_path):
    """What moves is written as it is; the rest pose, which editors show, stands on the ground."""
    rig, path = standing(bare_rig(True)), tmp_path / "walk.glb"
    save_motion(rig, motion(), path)
    first = joint_places(rig.offsets_m, motion().rotations[0], motion().pelvis_m[0])
    nodes = GltfScene(path).node_places(0, 0.0)
    np.testing.assert_allclose(nodes["l_toe"][:3, 3], first[16], atol=1e-5)
    assert load_mesh(path).vertices[:, 1].min() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "export", "words"),
    [
        ("a.glb", Export(units="cm"), "--units cm is for"),
        ("a.vrm", Export(units="cm"), "--units cm is for"),
        ("a.mp4", Export(units="cm"), "--units cm is for"),
        ("a.vrm", Export("pelvis"), "--origin pelvis is for"),
        ("a.WEBM", Export("pelvis"), "--origin pelvis is for"),
        ("a.glb", Export(vrm=VrmTerms(author="me")), "are for .vrm"),
        ("a.ply", Export(vrm=VrmTerms(version="0.x")), "are for .vrm"),
    ],
)
def test_choices_that_do_not_fit_are_one_line(tmp_path, name, export, words):
    for write in (export.check, lambda path: save_person(person(), path, export)):
        with pytest.raises(SomacastError, match=words) as caught:
            write(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_people_without_joints_have_meshes_alone(tmp_path):
    human = replace(person(), joints=None, rotations=None)
    save_person(human, tmp_path / "a.glb")
    for name, rigged in (("b.bvh", False), ("b.glb", True)):
        with pytest.raises(SomacastError, match="joints and rotations"):
            save_person(human, tmp_path / name, rigged=rigged)
    with pytest.raises(SomacastError, match="no mesh"):
        save_person(replace(human, mesh=None), tmp_path / "c.ply")
    assert [p.name for p in tmp_path.iterdir()] == ["a.glb"]


def test_one_frame_needs_no_animation(tmp_path):
    save_motion(bare_rig(), Motion(motion().rotations[:1], motion().pelvis_m[:1]), tmp_path / "a.glb")
    assert GltfScene(tmp_path / "a.glb").animations == []
