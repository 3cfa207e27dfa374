"""Colours of parts of a coloured figure, in several poses and through both kinds of camera."""

from dataclasses import replace

import numpy as np
import pytest

from somacast.body.rotations import rotvec_to_matrix
from somacast.body.skeleton import CANONICAL_JOINTS, local_rotations, world_rotations
from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.geometry.rasteriser import Rendering, level_camera, render_camera
from somacast.metrics.color import delta_e, srgb_to_lab
from somacast.metrics.image import normal_error_deg
from somacast.metrics.parts import (
    BODY_PARTS,
    MIN_PIXELS,
    PartColor,
    body_parts,
    part_colors,
    part_delta_e,
    visible_points,
)
from somacast.types import Camera, Mesh

RED, BLUE, GREEN = (0.8, 0.2, 0.15), (0.1, 0.25, 0.6), (0.2, 0.6, 0.3)


def turned(**degrees: tuple[float, float, float]) -> np.ndarray:
    """T-pose with some joints turned by rotation vectors in degrees; the joints below go along."""
    local = local_rotations(np.array(TPOSE, np.float64))
    for name, vector in degrees.items():
        local[CANONICAL_JOINTS.index(name)] = rotvec_to_matrix(np.radians(np.array(vector, float)))
    return world_rotations(local)


STANDING = turned(l_upper_arm=(0, 0, -65), r_upper_arm=(0, 0, 65))


def figure(rotations: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """The average person, red above and blue below, in a pose; joints [21, 3]."""
    vertices, joints = load_body().pose(np.zeros(1), rotations)
    part = body_parts(*load_body().pose(np.zeros(1), TPOSE))
    below = np.isin(part, [k for k, name in enumerate(BODY_PARTS) if name[2:] in ("thigh", "shin", "foot")])
    colors = np.where((below | (part == BODY_PARTS.index("lower_trunk")))[:, None], BLUE, RED).astype(np.float32)
    return Mesh(vertices, load_body().faces, colors), joints


def view(rotations: np.ndarray = STANDING, azimuth_deg: float = 0.0) -> tuple[Rendering, Camera, np.ndarray]:
    mesh, joints = figure(rotations)
    camera = level_camera(160, 2.2, azimuth_deg, np.zeros(3))
    return render_camera(mesh, camera), camera, joints


def recolored(rendering: Rendering, camera: Camera, joints: np.ndarray, name: str, color) -> Rendering:
    part = body_parts(visible_points(rendering, camera), joints)
    rgb = rendering.rgb.copy()
    row, column = np.nonzero(rendering.mask)
    own = part == BODY_PARTS.index(name)
    rgb[row[own], column[own]] = color
    return replace(rendering, rgb=rgb)


def test_points_on_the_bones_get_the_part_of_the_bone():
    _, joints = figure(TPOSE)
    place = dict(zip(CANONICAL_JOINTS, joints, strict=True))
    middle = {
        "head": (place["head"], place["head"]),
        "upper_trunk": (place["chest"], place["neck"]),
        "lower_trunk": (place["pelvis"], place["chest"]),
        "l_upper_arm": (place["l_upper_arm"], place["l_lower_arm"]),
        "r_forearm": (place["r_lower_arm"], place["r_hand"]),
        "l_thigh": (place["l_upper_leg"], place["l_lower_leg"]),
        "r_shin": (place["r_lower_leg"], place["r_foot"]),
        "r_foot": (place["r_foot"], place["r_toe"]),
    }
    points = np.array([(a + b) / 2 for a, b in middle.values()])
    assert [BODY_PARTS[k] for k in body_parts(points, joints)] == list(middle)
    ends = np.array([[0, 0.8, 0.1], [0.82, 0.52, 0.03], [-0.82, 0.52, 0.03], [0.09, -0.8, 0.2]])
    assert [BODY_PARTS[k] for k in body_parts(ends, joints)] == ["head", "l_hand", "r_hand", "l_foot"]
    assert body_parts(points, joints).dtype == np.int8 and len(body_parts(points[:0], joints)) == 0


def test_parts_do_not_depend_on_size_or_place():
    mesh, joints = figure(STANDING)
    part = body_parts(mesh.vertices, joints)
    np.testing.assert_array_equal(body_parts(mesh.vertices * 1.5 + [3, 1, -2], joints * 1.5 + [3, 1, -2]), part)


def test_parts_go_along_with_the_pose():
    """Most of the skin keeps its part when the person moves; hanging arms do not take the trunk's flanks."""
    rest = body_parts(*load_body().pose(np.zeros(1), TPOSE))
    for pose in (STANDING, turned(l_upper_leg=(-80, 0, 0), l_lower_leg=(80, 0, 0), r_upper_arm=(0, 0, 78))):
        moved = body_parts(*load_body().pose(np.zeros(1), pose))
        assert (moved == rest).mean() > 0.9
        trunk = np.isin(rest, [1, 2])
        arms = np.isin(moved, [k for k, name in enumerate(BODY_PARTS) if name[2:] in ("forearm", "hand")])
        assert (trunk & arms).sum() < 0.02 * trunk.sum()


@pytest.mark.parametrize("orthographic", [True, False])
def test_visible_points_lie_on_the_surface(orthographic):
    mesh, _ = figure(STANDING)
    camera = level_camera(96, 2.2, 30.0, np.zeros(3))
    if not orthographic:
        camera = replace(camera, fx=130.0, fy=125.0, translation=np.array([0.1, 0.05, 3.0]), orthographic=False)
    rendering = render_camera(mesh, camera)
    points = visible_points(rendering, camera)
    row, column = np.nonzero(rendering.mask)
    back = camera.project(points)
    np.testing.assert_allclose(back[:, :2], np.stack([column, row], 1) + 0.5, atol=1e-6)
    nearest = np.linalg.norm(points[::50, None] - mesh.vertices, axis=2).min(1)
    assert nearest.max() < 0.03


def test_a_figure_is_equal_to_itself():
    parts = part_colors(*view())
    assert set(parts) == set(BODY_PARTS)
    assert sum(p.pixels for p in parts.values()) == view()[0].mask.sum()
    assert part_delta_e(parts, parts) == 0
    np.testing.assert_allclose(parts["head"].lab, srgb_to_lab(np.array(RED)), atol=1e-3)
    np.testing.assert_allclose(parts["l_shin"].lab, srgb_to_lab(np.array(BLUE)), atol=1e-3)


def test_a_recolored_arm_counts_as_one_part():
    rendering, camera, joints = view()
    parts = part_colors(rendering, camera, joints)
    other = part_colors(recolored(rendering, camera, joints, "l_forearm", GREEN), camera, joints)
    own = delta_e(parts["l_forearm"].lab, srgb_to_lab(np.array(GREEN, np.float32)))
    assert own > 20
    assert part_delta_e(parts, other) == pytest.approx(own / len(parts), abs=1e-6)


def test_another_pose_of_the_same_person_is_almost_equal():
    pose = turned(l_upper_arm=(0, 0, 35), r_upper_arm=(0, 0, 50), l_upper_leg=(-30, 0, 0), l_lower_leg=(30, 0, 0))
    truth, moved = view(), view(pose)
    assert part_delta_e(part_colors(*truth), part_colors(*moved)) < 0.6
    far = delta_e(*(srgb_to_lab(rendering.rgb[truth[0].mask]) for rendering, _, _ in (truth, moved)))
    assert far.mean() > 4  # while pixel by pixel they differ


def test_hidden_parts_are_compared_with_the_whole_person():
    red, blue = srgb_to_lab(np.array(RED)), srgb_to_lab(np.array(BLUE))
    truth = {"head": PartColor(red, 40), "l_foot": PartColor(blue, 20)}
    assert part_delta_e(truth, {"head": PartColor(red, 50)}) == pytest.approx(delta_e(red, blue) / 2, abs=1e-6)
    both = {"head": PartColor(red, 30), "l_hand": PartColor(blue, 30)}  # mean half and half in linear light
    half = part_delta_e({"l_foot": PartColor(blue, 20)}, both)
    assert 0 < half < delta_e(red, blue)
    assert part_delta_e(truth, {**truth, "l_hand": PartColor(red, 999)}) == 0  # what the truth hides does not count


def test_small_parts_are_not_visible_and_nothing_is_a_fault():
    rendering, camera, joints = view()
    part = body_parts(visible_points(rendering, camera), joints)
    row, column = (index[part == BODY_PARTS.index("l_hand")] for index in np.nonzero(rendering.mask))
    for kept, seen in ((MIN_PIXELS - 1, False), (MIN_PIXELS, True)):
        mask = rendering.mask.copy()
        mask[row[kept:], column[kept:]] = False
        assert ("l_hand" in part_colors(replace(rendering, mask=mask), camera, joints)) == seen
    parts = part_colors(rendering, camera, joints)
    nothing = part_colors(replace(rendering, mask=np.zeros_like(rendering.mask)), camera, joints)
    assert nothing == {}
    with pytest.raises(SomacastError, match="the result shows none"):
        part_delta_e(parts, nothing)
    with pytest.raises(SomacastError, match="the truth shows none"):
        part_delta_e(nothing, parts)


def test_normal_error_is_the_angle_where_both_show_the_person():
    rendering, _, _ = view()
    assert normal_error_deg(rendering, rendering) == pytest.approx(0, abs=1e-4)
    turn = rotvec_to_matrix(np.radians(np.array([0, 0, 90.0])))
    normals = np.zeros_like(rendering.normals)
    normals[rendering.mask] = [0.6, 0, 0.8]
    flat = replace(rendering, normals=normals)
    tilted = replace(rendering, normals=(normals @ turn.T).astype(np.float32))
    assert normal_error_deg(flat, tilted) == pytest.approx(np.degrees(np.arccos(0.64)), abs=1e-3)
    rows = np.arange(len(rendering.mask))[:, None]
    upper, lower = (replace(flat, mask=rendering.mask & side) for side in (rows < 80, rows >= 80))
    assert normal_error_deg(flat, upper) == pytest.approx(0, abs=1e-4)
    assert normal_error_deg(lower, upper) is None
