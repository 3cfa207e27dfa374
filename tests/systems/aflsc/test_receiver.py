"""AFLSC's receiver: labels, surface chart, assembly (eq. 28)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from somacast.body.clothing import ATTRIBUTES, MATERIALS
from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import BODY_VERTICES, load_body, vertex_normals
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.shape import chamfer
from somacast.synthetic.people import Person, dress
from somacast.synthetic.wardrobe.garments import Garment, Layer, Outfit, scale_matrix
from somacast.systems.aflsc.labels.chart import CHART_PX, face_texels, load_chart
from somacast.systems.aflsc.labels.schema import APPEARANCE_LABELS, SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.receiver.assemble import build_human
from somacast.systems.aflsc.training.labels import chart_rows
from somacast.systems.aflsc.training.outer_surface import clean_offsets, inner_faces, outer_surface
from somacast.types import Mesh
from support import aflsc_cases as cases

# --- labels --------------------------------------------------------------------------------------------------------


def test_labels_come_back_as_the_state_they_were_made_from() -> None:
    space = cases.space()
    rng = np.random.default_rng(0)
    for values in cases.random_values(5):
        state = space.state(values)
        batch = {
            "rotations": state.rotations[None], "shape": state.shape[None], "codes": state.codes[None],
            "attributes": np.array([[ATTRIBUTES[k].index(v) for k, v in state.attributes.items()]]),
            "curl": state.curl[None], "pelvis": state.pelvis[None],
        }  # fmt: skip
        np.testing.assert_allclose(space.values(batch)[0], values, atol=1e-3)
    # and from the other side: a pose that the kept components can say
    kept = space.parts["pose"].numbers
    rotvecs = space.pose.mean + 0.5 * (rng.normal(0, space.pose.std[kept]) @ space.pose.basis[kept])
    values = cases.random_values(1)[0]
    values[space.vocabulary.group_indices("pose")] = (rotvecs - space.pose.mean) @ space.pose.basis[kept].T
    local = np.swapaxes(space.state(values).rotations[0], -1, -2) @ space.state(values).rotations[1]
    np.testing.assert_allclose(Rotation.from_matrix(local).as_rotvec(), rotvecs[:3], atol=1e-4)


def test_symbols_carry_the_state_to_within_half_a_bin() -> None:
    vocabulary = cases.space().vocabulary
    values = cases.random_values(5, strength=0.4)
    got, width, present = vocabulary.dequantise(vocabulary.quantise(values))
    assert present.all()
    for i, label in enumerate(vocabulary.labels):
        unit = {"scalar": label.std, "circular": 1.0, "class": 1.0}[label.kind]
        error = np.abs(got[:, i] - values[:, i])
        if label.kind == "circular":
            error = np.minimum(error, 2 * np.pi - error)
        inside = np.abs(values[:, i] - label.mean) <= label.span * unit if label.kind == "scalar" else error < 9
        assert np.all(error[inside] <= 2 * width[inside, i] * unit + 1e-5), label.name


def test_label_tables_survive_their_file_form() -> None:
    space = cases.space()
    again = LabelSpace.from_arrays(space.to_arrays())
    assert [label.name for label in again.vocabulary.labels] == [label.name for label in space.vocabulary.labels]
    np.testing.assert_allclose(
        again.appearance.basis, space.appearance.basis, atol=np.abs(space.appearance.basis).max() / 200
    )
    np.testing.assert_array_equal(again.bits, space.bits)
    assert np.all(again.appearance.basis[APPEARANCE_LABELS:, ~face_texels()] == 0)
    twice = LabelSpace.from_arrays(again.to_arrays())  # what is fitted after reading must be what is read again
    assert twice.vocabulary.to_json() == again.vocabulary.to_json()


# --- chart ---------------------------------------------------------------------------------------------------------


def test_chart_covers_the_body() -> None:
    chart, body = load_chart(), load_body()
    assert chart.face.shape == chart.inside.shape == (CHART_PX, CHART_PX)
    assert 0.5 < chart.inside.mean() < 0.9
    assert set(np.unique(chart.joint[chart.inside])) >= {CANONICAL_JOINTS.index(n) for n in ("head", "l_hand", "r_toe")}
    bary = chart.bary[chart.inside]
    assert bary.min() >= 0
    np.testing.assert_allclose(bary.sum(1), 1, atol=1e-5)
    rows, columns = np.nonzero(chart.inside)
    uv = (body.uvs[body.face_uvs[chart.face[chart.inside]]] * bary[..., None]).sum(1)
    np.testing.assert_allclose(uv, np.stack([columns + 0.5, CHART_PX - rows - 0.5], 1) / CHART_PX, atol=1e-4)
    # every part of the body has texels: the mean distance from a vertex to the nearest texel is small
    tri = body.shape_mean[body.faces[chart.face[chart.inside]]]
    points = (tri * bary[..., None]).sum(1)
    gap = trimesh.proximity.cKDTree(points).query(body.shape_mean[:BODY_VERTICES])[0]
    assert np.percentile(gap, 95) < 0.015


def bare_person(layers: list[Layer], color: int) -> Person:
    skin = np.full((256, 256, 4), 255, np.uint8)
    skin[..., :3] = color
    return dress(np.zeros(SHAPE_LABELS, np.float32), {}, Outfit(skin, scale_matrix(1.0), layers))


def shell(distance_m: float) -> Layer:
    """The whole body's skin moved out along its normals, as a garment that hides the body."""
    body = load_body()
    rest, _ = body.rest(np.zeros(SHAPE_LABELS, np.float32))
    normal = np.empty_like(rest)
    vertex_normals(rest, body.faces, normal)
    own = np.arange(BODY_VERTICES)
    texture = np.full((256, 256, 4), 255, np.uint8)
    texture[..., :3] = (200, 40, 20)
    garment = Garment(
        "shell", np.stack([own] * 3, 1), np.tile(np.float32([1, 0, 0]), (BODY_VERTICES, 1)),
        distance_m * normal, np.zeros((3, 2), int), np.zeros(3), body.uvs, body.faces, body.face_uvs,
        np.full(len(body.faces), MATERIALS.index("top"), np.uint8), own, 1, texture, False,
    )  # fmt: skip
    return Layer(garment, scale_matrix(1.0))


def test_a_bare_body_stands_on_its_own_skin() -> None:
    inside = load_chart().inside
    offset, color, material = outer_surface(bare_person([], 90))
    assert np.all(offset[~inside] == 0)
    assert np.median(np.abs(offset[inside])) < 1e-4
    assert (np.abs(offset[inside]) < 1e-3).mean() > 0.93  # lips, eyelids and fingers see one another
    assert np.abs(color[inside] - 90 / 255).max() < 0.01
    assert set(np.unique(material[inside])) == {MATERIALS.index("skin") + 1}


def test_a_shell_stands_off_by_its_distance() -> None:
    inside = load_chart().inside
    offset, color, material = outer_surface(bare_person([shell(0.02)], 90))
    worn = material == MATERIALS.index("top") + 1
    assert worn[inside].mean() > 0.98
    assert np.median(offset[worn]) == pytest.approx(0.02, abs=5e-4)
    assert (np.abs(offset[worn] - 0.02) < 0.003).mean() > 0.85
    assert np.median(np.abs(color[worn] - np.array([200, 40, 20]) / 255)) < 0.01


def test_the_body_knows_the_faces_that_rays_find_to_be_inside() -> None:
    found, known = inner_faces(), load_body().inner_faces
    assert known.shape == (len(load_body().faces),) and 1000 < known.sum() < 3000
    np.testing.assert_array_equal(found, known)


def test_clean_offsets_remove_lone_spikes_but_keep_hair() -> None:
    chart = load_chart()
    row, column = np.argwhere(chart.inside & (np.arange(CHART_PX)[:, None] > CHART_PX // 4))[4000]
    flat = np.full(chart.inside.shape, 0.01, np.float32)
    flat[row, column] = 0.13
    skin = np.ones(flat.shape, np.uint8)
    cleaned = clean_offsets(flat, skin)
    np.testing.assert_allclose(cleaned[chart.inside], 0.01, atol=1e-6)
    assert np.all(cleaned[~chart.inside] == 0)
    hair = np.full(flat.shape, MATERIALS.index("hair") + 1, np.uint8)
    flat[row, column] = 0.05  # within what hair may do
    assert clean_offsets(flat, hair)[row, column] == pytest.approx(0.05)
    assert clean_offsets(flat, skin)[row, column] == pytest.approx(0.01)
    wide = np.full(flat.shape, 0.25, np.float32)
    assert clean_offsets(wide, skin).max() == pytest.approx(0.14)
    assert clean_offsets(wide, hair).max() == pytest.approx(0.25)


# --- assembly: eq. 28 ----------------------------------------------------------------------------------------------


def check_person(human: Reconstruction) -> None:
    """A whole, closed person, head up, of a person's size."""
    assert human.mesh is not None and human.joints is not None and human.mesh.colors is not None
    mesh = trimesh.Trimesh(human.mesh.vertices, human.mesh.faces, process=False)
    assert mesh.is_watertight and mesh.volume > 0.02
    assert max(len(part.vertices) for part in mesh.split(only_watertight=False)) > 0.95 * len(mesh.vertices)
    low, high = mesh.bounds
    assert 1.0 < (high - low).max() < 2.6
    assert np.all(human.joints > low - 0.05) and np.all(human.joints < high + 0.05)
    assert np.abs(human.joints[0]).max() < 1e-5
    names = {n: human.joints[i] for i, n in enumerate(CANONICAL_JOINTS)}
    assert names["head"][1] > names["pelvis"][1] + 0.2
    assert min(names["l_foot"][1], names["r_foot"][1]) < names["pelvis"][1] - 0.2
    assert human.mesh.colors.min() >= 0 and human.mesh.colors.max() <= 1


@lru_cache(maxsize=1)
def true_labels() -> np.ndarray:
    """Label values [1, L] of the first person, read off the truth."""
    sample, space = cases.sample(0), cases.space()
    rows = chart_rows({name: maps[:1] for name, maps in cases.charts().items()})
    return space.values(
        {
            "rotations": sample.rotations[None],
            "shape": sample.person.shape[None],
            "attributes": cases.attribute_numbers(sample)[None],
            "codes": space.appearance.codes(rows),
            "curl": sample.curl[None],
            "pelvis": np.array([[0.1, -0.05, np.log(3.0)]]),
        }
    )


@lru_cache(maxsize=1)
def truth_mesh() -> Mesh:
    return cases.sample(0).truth_mesh()


def test_true_chart_and_pose_give_the_person_back() -> None:
    sample = cases.sample(0)
    state = PersonState(
        sample.rotations, sample.person.shape[:SHAPE_LABELS], sample.curl, np.array([0.1, -0.05, np.log(3.0)]),
        sample.person.outfit.attributes, np.zeros(0),
    )  # fmt: skip
    charts = cases.charts()
    human = build_human(state, charts["color"][0] / 255.0, charts["offset"][0].astype(np.float32))
    check_person(human)
    assert human.mesh is not None and human.joints is not None and human.pelvis_m is not None
    assert chamfer(truth_mesh(), human.mesh, 20_000) < 0.015
    np.testing.assert_allclose(human.joints, sample.joints_m, atol=0.03)
    np.testing.assert_allclose(human.pelvis_m, [0.3, -0.15, 3.0], atol=1e-5)
    # colours are where they belong: each truth vertex against the nearest of the result
    near = trimesh.proximity.cKDTree(human.mesh.vertices).query(truth_mesh().vertices[::97])[1]
    assert human.mesh.colors is not None and truth_mesh().colors is not None
    assert np.median(np.abs(human.mesh.colors[near] - truth_mesh().colors[::97])) < 0.1


def test_labels_alone_carry_the_person() -> None:
    space = cases.space()
    values, _, present = space.vocabulary.dequantise(space.vocabulary.quantise(true_labels()))
    assert present.all()
    state = space.state(values[0])
    human = build_human(state, *space.appearance.chart_maps(state.codes))
    check_person(human)
    assert human.mesh is not None
    assert chamfer(truth_mesh(), human.mesh, 20_000) < 0.03


def test_coarse_and_missing_labels_still_give_a_whole_person() -> None:
    space = cases.space()
    symbols = space.vocabulary.quantise(true_labels())
    symbols[:, :, 1:] = -1
    symbols[:, space.vocabulary.minimum_levels == 0] = -1
    values, _, present = space.vocabulary.dequantise(symbols)
    assert 0.3 < present.mean() < 0.95
    state = space.state(values[0])
    human = build_human(state, *space.appearance.chart_maps(state.codes))
    check_person(human)
    assert human.mesh is not None
    assert chamfer(truth_mesh(), human.mesh, 20_000) < 0.15
