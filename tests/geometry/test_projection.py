"""A picture on the surface that its camera saw: it comes back, hidden things stay hidden, no background comes along."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.geometry.projection import ProjectionConfig, project_picture
from somacast.geometry.rasteriser import level_camera, render_camera
from somacast.geometry.subdivision import refine
from somacast.types import Camera, Mesh
from support.picture_cases import body

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
    return Mesh(mesh.vertices, mesh.faces, np.full(mesh.vertices.shape, value, np.float32))


def wall_behind_a_bar() -> Mesh:
    """A wall of 1.6 m at z = 0, and a bar 20 cm wide, 30 cm before it; both finely divided."""
    n = 41
    y, x = np.mgrid[-0.8 : 0.8 : n * 1j, -0.8 : 0.8 : n * 1j]
    wall = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    v, u = np.mgrid[-0.8 : 0.8 : n * 1j, -0.1:0.1:7j]
    bar = np.stack([u, v, np.full_like(u, 0.3)], -1).reshape(-1, 3)

    def faces(rows: int, columns: int, first: int) -> np.ndarray:
        a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel() + first
        return np.concatenate([np.stack([a, a + 1, a + columns], 1),
                               np.stack([a + 1, a + columns + 1, a + columns], 1)])  # fmt: skip

    parts = [faces(n, n, 0), faces(n, 7, n * n)]
    vertices = np.concatenate([wall, bar]).astype(np.float32)
    return Mesh(vertices, np.concatenate(parts).astype(np.int32), np.full(vertices.shape, 0.5, np.float32))


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_picture_comes_back_from_its_own_camera(camera):
    truth = painted(body())
    seen = render_camera(truth, camera, background=GREEN)
    result = project_picture(grey(body()), seen.rgb, camera, seen.mask)
    again = render_camera(result, camera, background=GREEN)
    assert (again.mask == seen.mask).mean() > 0.995
    both = again.mask & seen.mask
    error = np.abs(again.rgb - seen.rgb)[both].mean()
    unprojected = np.abs(render_camera(grey(body()), camera).rgb - seen.rgb)[both].mean()
    assert error < 0.05 and error < 0.2 * unprojected


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("shift_px", [0, 4])
def test_the_background_reaches_no_point_of_the_mesh(camera, shift_px):
    """Also where the person of the picture is smaller than the mesh, or stands beside it."""
    seen = render_camera(grey(body(1.6), 0.8), camera, background=GREEN)
    image, mask = np.roll(seen.rgb, shift_px, 1), np.roll(seen.mask, shift_px, 1)
    result = project_picture(grey(body(1.7)), image, camera, mask)
    assert result.colors is not None
    tint = np.ptp(result.colors, axis=1)
    assert tint.max() < 0.02, "a tint of green: neither the picture's person nor the mesh has any"
    assert result.colors.max() > 0.78


def test_what_an_arm_hides_does_not_take_the_colour_of_the_arm():
    mesh = wall_behind_a_bar()
    camera = PINHOLE
    red, blue = np.array([0.9, 0.1, 0.1], np.float32), np.array([0.1, 0.1, 0.9], np.float32)
    wall = mesh.vertices[:, 2] < 0.1
    seen = render_camera(Mesh(mesh.vertices, mesh.faces, np.where(wall[:, None], blue, red)), camera)
    result = project_picture(mesh, seen.rgb, camera, seen.mask)
    assert result.colors is not None
    on_wall = result.vertices[:, 2] < 0.1
    assert np.all(result.colors[on_wall, 0] < 0.5), "red on the wall"
    middle = ~on_wall & (np.abs(result.vertices[:, 0]) < 0.05)
    assert np.median(result.colors[middle, 0]) > 0.85
    # the part of the wall that is hidden takes the tone of the wall around it
    hidden = on_wall & (np.abs(result.vertices[:, 0]) < 0.05)
    assert hidden.sum() > 50 and np.median(result.colors[hidden, 2]) > 0.6


def test_the_back_keeps_its_own_pattern_and_takes_the_tone():
    base = painted(body())
    assert base.colors is not None
    darker = Mesh(base.vertices, base.faces, base.colors * 0.8)
    seen = render_camera(darker, PINHOLE)
    result = project_picture(base, seen.rgb, PINHOLE, seen.mask)
    again, truth, before = (
        render_camera(m, level_camera(SIDE_PX, 2.0, 180, np.zeros(3))).rgb for m in (result, darker, base)
    )
    assert np.abs(again - truth).mean() < 0.5 * np.abs(before - truth).mean()
    without = project_picture(base, np.zeros_like(seen.rgb), PINHOLE, np.zeros_like(seen.mask))
    assert without.colors is not None and np.array_equal(without.colors[: len(base.vertices)], base.colors)


def test_only_what_is_seen_becomes_finer_and_the_surface_stays_closed():
    mesh = body()
    image = np.full((SIDE_PX, SIDE_PX, 3), 0.7, np.float32)
    result = project_picture(mesh, image, PINHOLE, config=ProjectionConfig(longest_m=0.02))
    middle = result.vertices[result.faces].mean(1)[:, 2]
    corners = result.vertices[result.faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
    assert longest[middle > 0.05].max() <= 0.02 + 1e-6 < longest[middle < -0.1].max()
    ends = np.sort(np.concatenate([result.faces[:, [0, 1]], result.faces[:, [1, 2]], result.faces[:, [2, 0]]]), 1)
    ends = ends[np.linalg.norm(result.vertices[ends[:, 0]] - result.vertices[ends[:, 1]], axis=1) > 1e-7]
    _, count = np.unique(ends, axis=0, return_counts=True)
    assert set(count) == {2}
    assert np.array_equal(result.vertices[: len(mesh.vertices)], mesh.vertices)


def test_a_mesh_that_is_not_seen_comes_back_as_it_is():
    mesh = body()
    away = Camera(np.eye(3), np.array([0, 0, 4.0 + 50]), 64.0, 64.0, -500, 64, SIDE_PX, SIDE_PX)
    assert project_picture(mesh, np.zeros((SIDE_PX, SIDE_PX, 3), np.float32), away) is mesh
    with pytest.raises(ValueError, match="expected a picture of 128 x 128 x 3"):
        project_picture(mesh, np.zeros((64, 64, 3), np.float32), away)
    bare = Mesh(mesh.vertices, mesh.faces)
    assert project_picture(bare, np.zeros((SIDE_PX, SIDE_PX, 3), np.float32), PINHOLE).colors is not None
