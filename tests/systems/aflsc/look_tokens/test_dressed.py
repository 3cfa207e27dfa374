"""The body where both sides lie: clothes stand off the skin, the rest gets points."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX, Capsules
from somacast.systems.aflsc.look_tokens.dressed import _along_rays, dressed
from somacast.systems.aflsc.look_tokens.show import Sides
from somacast.systems.aflsc.look_tokens.surfaces import Surfaces
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody, PosedBody
from somacast.systems.aflsc.picture_layer.warp import NO_WARP

SPACE = load_tables().space


@pytest.fixture(scope="module")
def body() -> tuple[AlignedBody, Capsules]:
    values = np.array([label.mean for label in SPACE.vocabulary.labels])
    values[SPACE.vocabulary.group_indices("camera")] = [0.05, -0.02, np.log(3.0)]
    return PosedBody.of(SPACE.state(values), SPACE).aligned(NO_WARP.heights), Capsules.of(values, SPACE)


def sides_of(vertices: np.ndarray, capsules: Capsules, margin_px: int = 0) -> Sides:
    """What cameras would see of a skin, covers widened by some pixels."""
    surfaces = Surfaces.of(vertices, capsules.canvas, WIDTH_PX, HEIGHT_PX)
    cover = surfaces.on.copy()
    for _ in range(margin_px):
        cover[:, 1:] |= cover[:, :-1].copy()
    grey = np.full((HEIGHT_PX, WIDTH_PX, 3), 0.5, np.float32)
    depth = surfaces.depth.copy()
    for side in (0, 1):  # goes on to the right
        for column in range(1, WIDTH_PX):
            empty = ~surfaces.on[:, column] & (depth[side][:, column] == 0)
            depth[side][empty, column] = depth[side][empty, column - 1]
    return Sides(capsules.canvas, grey, grey, cover.astype(np.float32), depth)


def test_nothing_moves_where_both_sides_are_the_bodys(body):
    aligned, capsules = body
    moved, beyond = dressed(aligned, sides_of(aligned.skin.vertices, capsules))
    off = np.linalg.norm(moved.vertices - aligned.skin.vertices, axis=1)
    assert np.median(off) < 0.002 and np.quantile(off, 0.95) < 0.01
    assert len(beyond.points) == 0
    assert np.array_equal(moved.joints, aligned.skin.joints)


def test_a_coat_stands_off_the_body_and_joints_stay(body):
    aligned, capsules = body
    skin = aligned.skin
    sides = sides_of(skin.vertices, capsules)
    sides.depth[0] += 0.06
    moved, _ = dressed(aligned, sides)
    faces_camera = skin.normals[:, 2] > 0.9
    forward = moved.vertices[faces_camera, 2] - skin.vertices[faces_camera, 2]
    assert 0.04 < np.median(forward) < 0.065
    assert np.median(np.abs((moved.vertices - skin.vertices)[skin.normals[:, 2] < -0.9, 2])) < 0.005
    assert np.array_equal(moved.joints, skin.joints)


def test_depths_far_within_the_body_are_not_believed(body):
    aligned, capsules = body
    sides = sides_of(aligned.skin.vertices, capsules)
    sides.depth[0] -= 0.2
    moved, _ = dressed(aligned, sides)
    assert (moved.vertices - aligned.skin.vertices)[:, 2].min() > -0.025


def test_what_lies_beyond_the_body_gets_points_that_face_away(body):
    aligned, capsules = body
    sides = sides_of(aligned.skin.vertices, capsules, margin_px=3)
    _, beyond = dressed(aligned, sides)
    extra = int(sides.cover.sum()) - int(
        Surfaces.of(aligned.skin.vertices, capsules.canvas, WIDTH_PX, HEIGHT_PX).on.sum()
    )
    assert len(beyond.points) == 2 * extra > 100
    np.testing.assert_allclose(np.linalg.norm(beyond.normals, axis=1), 1, atol=1e-5)
    front, back = np.split(beyond.points, 2)
    assert (front[:, 2] > back[:, 2]).all() and (beyond.normals[: len(front), 2] > 0).all()
    places = capsules.canvas.places(beyond.points)
    assert ((places > 0) & (places < 1)).all()


def test_points_move_along_the_ray_of_their_pixel(body):
    aligned, capsules = body
    moved = _along_rays(aligned.skin.vertices, np.full(len(aligned.skin.vertices), 0.1), capsules.canvas)
    np.testing.assert_allclose(moved[:, 2], aligned.skin.vertices[:, 2] + 0.1, atol=1e-5)
    before, after = (capsules.canvas.places(v) for v in (aligned.skin.vertices, moved))
    np.testing.assert_allclose(before, after, atol=1e-5)
