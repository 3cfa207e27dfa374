"""Who is it? Ranks among many, embeddings of whole people, faces of made and of scanned people."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from somacast import extras
from somacast.body.rotations import rotvec_to_matrix
from somacast.body.skeleton import JOINT_COUNT
from somacast.errors import SomacastError
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.rasteriser import render_camera
from somacast.metrics import identity
from somacast.metrics.identity import (
    NO_FACE_DISTANCE,
    Face,
    FaceIdentity,
    contrast,
    distance,
    embed,
    face_box,
    face_distance,
    head_camera,
    nearest_rank,
)
from somacast.synthetic.samples import SyntheticPeople
from somacast.types import Mesh
from support.assets import ASSETS, needs_rigged
from support.picture_cases import picture

T_POSE = np.tile(np.eye(3, dtype=np.float32), (JOINT_COUNT, 1, 1))
needs_features = pytest.mark.skipif(
    not (extras.installed("stlpips_pytorch") and extras.installed("onnx")),
    reason="the identity of people needs stlpips-pytorch and onnx of the extra bench",
)
needs_dlib = pytest.mark.skipif(
    not (extras.installed("dlib") and extras.installed("face_recognition_models")),
    reason="the identity of faces needs dlib-bin and face-recognition-models of the extra bench",
)


def test_rank_is_one_for_the_nearest_and_ties_stand_before():
    gallery = np.array([[0.0, 0], [1, 0], [0, 2], [3, 3]])
    assert [nearest_rank(np.array([0.9, 0]), gallery, k) for k in range(4)] == [2, 1, 3, 4]
    assert nearest_rank(np.zeros(2), np.ones((5, 2)), 3) == 5, "as near to all as to the right one"
    assert nearest_rank(np.array([np.nan, 0]), gallery, 1) == 4
    assert distance(np.array([3.0, 4]), gallery[:1]).tolist() == [5]
    with pytest.raises(ValueError, match="number of one of 4 people, got 4"):
        nearest_rank(np.zeros(2), gallery, 4)


def dressed(k: int) -> np.ndarray:
    """The person of sorts on grey, in other colours."""
    image = np.full((96, 96, 3), 0.5, np.float32)
    colors = np.random.default_rng(k).random((2, 3)).astype(np.float32)
    sketch = picture(96).astype(np.float32) / 255
    y, x = (np.mgrid[0:96, 0:96] + 0.5) / 96
    inside = (abs(x - 0.5) < 0.12) & (y > 0.3) & (y < 0.9)
    image[inside] = np.where(y[inside, None] < 0.6, colors[0], colors[1])
    head = np.hypot(x - 0.5, y - 0.2) < 0.09
    image[head] = sketch[head]
    return image


@needs_features
def test_people_are_found_again_blurred_and_moved():
    people = np.stack([dressed(k) for k in range(6)])
    gallery = embed(people)
    assert gallery.shape == (6, 8192) and gallery.dtype == np.float32
    blurred = [gaussian_filter(p.astype(np.float64), 2.5, 8, (0, 1), mirror=True).astype(np.float32) for p in people]
    moved = [np.roll(p, (2, -3), (0, 1)) for p in people]
    for queries in (blurred, moved):
        assert [nearest_rank(q, gallery, k) for k, q in enumerate(embed(np.stack(queries)))] == [1] * 6
    grey = embed(np.full((1, 96, 96, 3), 0.5, np.float32))[0]
    assert distance(gallery[0], gallery[:1]).tolist() == [0] and distance(grey, gallery).min() > 0.05
    assert embed(people[:0]).shape == (0, 0)


def test_the_head_camera_looks_at_the_face_upright():
    joints = np.random.default_rng(0).normal(size=(JOINT_COUNT, 3))
    for turn in (np.eye(3), rotvec_to_matrix(np.array([0.4, -1.2, 0.3]))):
        rotations = np.tile(turn, (JOINT_COUNT, 1, 1))
        camera = head_camera(joints, rotations, size_px=128, extent_m=0.32)
        local = np.array([[0, 0.06, 0], [0, 0.16, 0], [0.1, 0.06, 0], [0, 0.06, 0.1]])
        middle, top, left, nose = camera.project(joints[4] + local @ turn.T)
        assert middle[:2] == pytest.approx([64, 64])
        assert top[:2] == pytest.approx([64, 24]) and left[:2] == pytest.approx([104, 64])
        assert nose[:2] == pytest.approx([64, 64]) and middle[2] - nose[2] == pytest.approx(0.1) and nose[2] > 0.5
    assert camera.orthographic and (camera.width, camera.height) == (128, 128)


def test_contrast_and_box():
    image = np.full((256, 256, 3), 90, np.uint8)
    left, top, right, bottom = face_box()
    assert (left + right) / 2 == pytest.approx(128, abs=1) and 90 < right - left < 115 and bottom - top < 115
    assert contrast(image, face_box()) == 0
    image[top:bottom, left : (left + right) // 2, 1] = 141
    assert contrast(image, face_box()) == pytest.approx(0.1, abs=1e-3)


def test_distances_of_faces():
    face = Face(np.zeros(128), True)
    assert face_distance(face, None) == NO_FACE_DISTANCE
    assert face_distance(face, Face(np.full(128, 0.05), False)) == pytest.approx(0.05 * 128**0.5)
    assert face_distance(face, Face(np.ones(128), True)) == NO_FACE_DISTANCE


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    with pytest.raises(SomacastError, match=r"^the identity of faces needs the package dlib: .*somacast\[bench\]'$"):
        FaceIdentity()
    with pytest.raises(SomacastError, match="needs the package face_recognition_models"):
        identity.model_file("a.dat")


@lru_cache(maxsize=1)
def faces() -> FaceIdentity:
    return FaceIdentity()


def shown(mesh: Mesh, joints: np.ndarray) -> np.ndarray:
    rgb = render_camera(mesh, head_camera(joints, T_POSE)).rgb
    return (255 * np.clip(rgb, 0, 1) + 0.5).astype(np.uint8)


@needs_dlib
def test_a_mannequin_has_no_face_and_a_made_person_has():
    person, _ = SyntheticPeople("train", 77).person(0)
    vertices, joints = person.pose(T_POSE)
    mesh = person.colored_mesh(vertices)
    found = faces().embed(shown(mesh, joints))
    assert found is not None and found.detected and found.embedding.shape == (128,)
    assert faces().embed(shown(mesh, joints)).embedding == pytest.approx(found.embedding), "the same every time"
    grey = shown(Mesh(mesh.vertices, mesh.faces, np.full_like(mesh.vertices, 0.5)), joints)
    assert faces().embed(grey) is None and faces().embed(grey, face_box()) is None
    with pytest.raises(ValueError, match="uint8"):
        faces().embed(grey.astype(np.float32))


@needs_dlib
def test_a_blurred_face_is_taken_from_the_box():
    person, _ = SyntheticPeople("train", 77).person(0)
    vertices, joints = person.pose(T_POSE)
    image = shown(person.colored_mesh(vertices), joints)
    blurred = gaussian_filter(image.astype(np.float64), 9.0, 27, (0, 1), mirror=True).astype(np.uint8)
    assert faces().embed(blurred) is None
    found = faces().embed(blurred, face_box())
    assert found is not None and not found.detected
    assert 0 < face_distance(faces().embed(image), found) < NO_FACE_DISTANCE


def rigged_head(name: str) -> np.ndarray:
    """A rigged person's head from the front, T-pose, colours of the texture at the corners."""
    with np.load(ASSETS / "rigged" / f"{name}.npz") as z:
        vertices = (z["vertices_low_m"] + z["vertices_u16"] * z["vertices_step_m"]).astype(np.float32)
        head = z["rest_m"][[str(b) for b in z["bones"]].index("Head")]
        faces_, material, uv = z["faces"].astype(np.int32), z["material"], z["uv_i16"] / 8192.0
        colors = np.zeros_like(vertices)
        opaque = np.ones(len(vertices), bool)
        for number, key in enumerate(sorted(k for k in z.files if k.startswith("texture_"))):
            image = np.asarray(Image.open(io.BytesIO(z[key].tobytes())).convert("RGBA"))
            used = np.unique(faces_[material == number])
            place = (uv[used] % 1.0 * (np.array(image.shape[1::-1]) - 1)).astype(int)
            colors[used] = image[place[:, 1], place[:, 0], :3] / 255
            opaque[used] = image[place[:, 1], place[:, 0], 3] > 110
    joints = np.zeros((JOINT_COUNT, 3))
    joints[4] = head
    near = (abs(vertices - head) < 0.5).all(1) & opaque
    return shown(Mesh(vertices, faces_[near[faces_].all(1)], colors), joints)


@needs_dlib
@needs_rigged
def test_one_man_in_two_outfits_is_nearer_than_another():
    one, again, other = (
        faces().embed(rigged_head(n)) for n in ("White_M_2_Casual", "White_M_2_Busi", "Asian_M_3_Busi")
    )
    assert one is not None and again is not None and other is not None
    assert one.detected and again.detected and other.detected
    assert face_distance(one, again) < 0.42 and face_distance(one, other) > 0.6
