"""A picture on the surface that its camera saw: it comes back, hidden things stay hidden, no background comes along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somacast.body.table import vertex_normals_reference
from somacast.geometry.projection import (
    _bell_means,
    baked_picture,
    bell_means_reference,
    inside_out,
    project_picture,
)
from somacast.geometry.rasteriser import level_camera, render_camera
from somacast.geometry.subdivision import refine
from somacast.geometry.texturing.texels import texels_of
from somacast.types import Camera, Mesh, Texture
from support.picture_cases import TEXELS, body, textured

SIDE_PX = 128
GREEN = np.array([0.0, 1.0, 0.0], np.float32)
PINHOLE = Camera(np.diag([1.0, -1, -1]), np.array([0, 0, 4.0]), 256.0, 256.0, 64, 64, SIDE_PX, SIDE_PX)
CAMERAS = [pytest.param(PINHOLE, id="pinhole"), pytest.param(level_camera(SIDE_PX, 2.0, 0, np.zeros(3)), id="parallel")]


def painted(mesh: Mesh) -> Mesh:
    """Stripes and a red half: nothing of the base."""
    points, faces = refine(mesh.vertices, mesh.faces, 0.01)
    stripes = 0.5 + 0.4 * np.sign(np.sin(30 * points[:, 1]))
    colors = np.stack([np.where(points[:, 0] > 0, 0.9, 0.2), 0.3 * stripes, stripes], 1)
    return Mesh(points.astype(np.float32), faces.astype(np.int32), colors.astype(np.float32))


def grey(mesh: Mesh, value: float = 0.5) -> Mesh:
    return replace(mesh, colors=np.full(mesh.vertices.shape, value, np.float32))


def texels(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Places [N, 3] on a mesh and colours [N, 3] of all its texels."""
    assert mesh.texture is not None
    face, bary = texels_of(mesh.texture.corners, TEXELS)
    on = face >= 0
    points = (mesh.vertices[mesh.faces[face[on]]] * bary[on][..., None]).sum(1)
    return points, mesh.texture.image[on].astype(np.float32) / 255


def wall_behind_a_bar() -> Mesh:
    """A wall of 1.6 m at z = 0, and a bar 20 cm wide, 30 cm before it; both finely divided, grey."""
    n = 41
    y, x = np.mgrid[-0.8 : 0.8 : n * 1j, -0.8 : 0.8 : n * 1j]
    wall = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    v, u = np.mgrid[-0.8 : 0.8 : n * 1j, -0.1:0.1:7j]
    bar = np.stack([u, v, np.full_like(u, 0.3)], -1).reshape(-1, 3)

    def faces(rows: int, columns: int, first: int) -> np.ndarray:
        a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel() + first
        return np.concatenate([np.stack([a, a + 1, a + columns], 1),
                               np.stack([a + 1, a + columns + 1, a + columns], 1)])  # fmt: skip

    parts = np.concatenate([faces(n, n, 0), faces(n, 7, n * n)]).astype(np.int32)
    vertices = np.concatenate([wall, bar]).astype(np.float32)
    place = np.stack([0.3 + vertices[:, 0] / 3, 0.5 - vertices[:, 1] / 1.7], 1)
    place[n * n :, 0] += 0.5
    mesh = Mesh(vertices, parts)
    return textured(grey(mesh), place[parts].astype(np.float32))


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_picture_comes_back_from_its_own_camera(camera):
    truth = painted(body())
    seen = render_camera(truth, camera, background=GREEN)
    result = project_picture(textured(grey(body())), seen.rgb, camera, seen.mask)
    again = render_camera(result, camera, background=GREEN)
    assert (again.mask == seen.mask).mean() > 0.995
    both = again.mask & seen.mask
    error = np.abs(again.rgb - seen.rgb)[both].mean()
    unprojected = np.abs(render_camera(textured(grey(body())), camera).rgb - seen.rgb)[both].mean()
    assert error < 0.05 and error < 0.2 * unprojected
    plain = render_camera(replace(result, texture=None), camera)
    assert np.abs(plain.rgb - seen.rgb)[both].mean() < 0.5 * unprojected, "the vertices have the texture's colours too"


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("shift_px", [0, 4])
def test_the_background_reaches_no_texel_of_the_mesh(camera, shift_px):
    """Also where the person of the picture is smaller than the mesh, or stands beside it."""
    seen = render_camera(grey(body(1.6), 0.8), camera, background=GREEN)
    image, mask = np.roll(seen.rgb, shift_px, 1), np.roll(seen.mask, shift_px, 1)
    result = project_picture(textured(grey(body(1.7))), image, camera, mask)
    assert result.texture is not None
    tint = np.ptp(result.texture.image, axis=2)
    assert tint.max() < 6, "a tint of green: neither the picture's person nor the mesh has any"
    assert result.texture.image.max() > 198


def test_what_an_arm_hides_does_not_take_the_colour_of_the_arm():
    mesh = wall_behind_a_bar()
    red, blue = np.array([0.9, 0.1, 0.1], np.float32), np.array([0.1, 0.1, 0.9], np.float32)
    wall = mesh.vertices[:, 2] < 0.1
    seen = render_camera(Mesh(mesh.vertices, mesh.faces, np.where(wall[:, None], blue, red)), PINHOLE)
    result = project_picture(mesh, seen.rgb, PINHOLE, seen.mask)
    points, colors = texels(result)
    on_wall, behind = points[:, 2] < 0.1, np.abs(points[:, 0]) < 0.05
    assert np.all(colors[on_wall, 0] < 0.5), "red on the wall"
    assert np.median(colors[~on_wall & behind, 0]) > 0.85
    # the part of the wall that is hidden takes the tone of the wall around it
    hidden = on_wall & behind
    assert hidden.sum() > 50 and np.median(colors[hidden, 2]) > 0.6


def test_of_triangles_that_share_texels_the_one_that_is_seen_counts():
    mesh = wall_behind_a_bar()
    assert mesh.texture is not None
    corners = mesh.texture.corners.copy()
    corners[corners[..., 0].mean(1) > 0.65, :, 0] -= 0.5  # the bar over the middle of the wall, which it hides
    mesh.texture = Texture(mesh.texture.image, corners)
    image = np.full((SIDE_PX, SIDE_PX, 3), 0.9, np.float32)
    for order in (slice(None), slice(None, None, -1)):
        turned = Mesh(mesh.vertices, mesh.faces[order], mesh.colors, Texture(mesh.texture.image, corners[order]))
        result = project_picture(turned, image, PINHOLE)
        bar = np.abs(result.vertices[:, 0]) < 0.05
        assert result.colors is not None and result.colors[bar & (result.vertices[:, 2] > 0.1)].min() > 0.85


def test_the_back_keeps_its_own_pattern_and_takes_the_tone():
    front, back = (level_camera(SIDE_PX, 2.0, azimuth, np.zeros(3)) for azimuth in (0, 180))
    blank = textured(grey(body()))
    base = project_picture(blank, render_camera(painted(body()), back).rgb, back)
    seen = render_camera(base, front).rgb * 0.8
    result = project_picture(base, seen, front)
    again, before = (render_camera(m, back) for m in (result, base))
    inside = before.mask
    wanted = 0.8 * before.rgb[inside]
    assert np.abs(again.rgb[inside] - wanted).mean() < 0.5 * np.abs(before.rgb[inside] - wanted).mean()
    nothing = project_picture(base, np.zeros_like(seen), front, np.zeros(seen.shape[:2], bool))
    assert nothing is base


def test_colour_and_weight_are_known_before_they_are_blended():
    truth = painted(body())
    seen = render_camera(truth, PINHOLE, background=GREEN)
    baked = baked_picture(textured(grey(body())), seen.rgb, PINHOLE, seen.mask)
    assert baked is not None and baked.color.shape == baked.base.shape == (TEXELS, TEXELS, 3)
    assert baked.weight.min() == 0 and 0.99 < baked.weight.max() <= 1 and not baked.weight[~baked.known].any()
    share = (baked.weight[baked.known] > 0.5).mean()
    assert 0.25 < share < 0.5, "a camera sees less than half of a body"
    sure = baked.weight == 1
    np.testing.assert_allclose(baked.image()[sure] / 255, np.clip(baked.color[sure], 0, 1), atol=0.003)


def test_a_mesh_that_is_not_seen_comes_back_as_it_is():
    mesh = textured(grey(body()))
    away = Camera(np.eye(3), np.array([0, 0, 4.0 + 50]), 64.0, 64.0, -500, 64, SIDE_PX, SIDE_PX)
    picture = np.zeros((SIDE_PX, SIDE_PX, 3), np.float32)
    assert project_picture(mesh, picture, away) is mesh
    with pytest.raises(ValueError, match="expected a picture of 128 x 128 x 3"):
        project_picture(mesh, np.zeros((64, 64, 3), np.float32), away)
    with pytest.raises(ValueError, match="expected a mesh with a texture"):
        project_picture(body(), picture, PINHOLE)
    bare = replace(mesh, colors=None)
    assert project_picture(bare, picture, PINHOLE).colors is not None


def test_the_tone_equals_the_reference():
    rng = np.random.default_rng(6)
    places, anchors = (rng.normal(size=(count, 6)).astype(np.float32) for count in (70, 25))
    share, values = rng.uniform(0.5, 2, 25).astype(np.float32), rng.normal(size=(25, 3)).astype(np.float32)
    got = np.empty((70, 3), np.float32)
    _bell_means(places, anchors, share, values, got)
    np.testing.assert_allclose(got, bell_means_reference(places, anchors, share, values), atol=1e-4)


@pytest.mark.parametrize("camera", CAMERAS)
def test_what_lies_behind_comes_from_the_picture_behind(camera):
    mesh = textured(body())
    height, width = camera.height, camera.width
    blue, red = (np.broadcast_to(np.array(c, np.float32), (height, width, 3)) for c in ((0, 0, 1), (1, 0, 0)))
    shown = project_picture(mesh, np.array(blue), camera, behind=np.array(red))
    assert shown.colors is not None
    normals = vertex_normals_reference(shown.vertices, shown.faces)
    facing = normals @ np.asarray(camera.rotation)[2]  # along the view: faces away
    front, back = shown.colors[facing < -0.7].mean(0), shown.colors[facing > 0.7].mean(0)
    assert front[2] > 0.9 > 0.3 > front[0] and back[0] > 0.8 > 0.3 > back[2]


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_mesh_turned_inside_out_keeps_its_pixels(camera):
    mesh = grey(body())
    turned = inside_out(mesh, camera)
    before, after = (camera.project(m.vertices.astype(np.float64)) for m in (mesh, turned))
    np.testing.assert_allclose(before[:, :2], after[:, :2], atol=1e-2)
    order = np.argsort(before[:, 2])
    assert (np.diff(after[order, 2]) <= 1e-5).all()
    twice = inside_out(turned, camera)
    np.testing.assert_allclose(twice.vertices, mesh.vertices, atol=1e-4)
