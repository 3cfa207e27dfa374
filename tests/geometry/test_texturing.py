"""Unwrapping of surfaces around the body, texels of triangles, and pictures baked into them."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.body.table import BODY_VERTICES, TPOSE, load_body, vertex_normals
from somacast.errors import SomacastError
from somacast.geometry.nearest import PointTree
from somacast.geometry.rasteriser import level_camera, render_camera, sample_texel
from somacast.geometry.surface import SurfaceConfig, closed_surface, connected_parts
from somacast.geometry.texturing.baking import View, colors_from_texture, look, look_reference
from somacast.geometry.texturing.islands import body_corners, islands, outer_islands
from somacast.geometry.texturing.seams import SEAM_PX, _enlarge, enlarge_reference, enlarged, seam_map
from somacast.geometry.texturing.sizes import check_texture_px
from somacast.geometry.texturing.texels import claim_texels, fill_texels, padded, texels_of
from somacast.geometry.texturing.unwrap import BodyPoints, smoothed_head, unwrap, uv_slopes, uv_slopes_reference
from somacast.types import Mesh, PointCloud, Texture

SIDE = 128


@pytest.fixture(scope="module")
def skin() -> np.ndarray:
    """The mean body in the T-pose [13380, 3]."""
    return load_body().pose(np.zeros(4), TPOSE)[0]


@pytest.fixture(scope="module")
def points(skin) -> BodyPoints:
    """The middles of its outer faces, with their map."""
    body, corners = load_body(), body_corners()
    normals = np.empty_like(skin)
    vertex_normals(skin, body.faces, normals)
    chosen = outer_islands() & ~body.inner_faces
    middle, normal = (x[body.faces[chosen]].mean(1) for x in (skin, normals))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    slopes = uv_slopes(skin, body.faces, corners)[chosen]
    return BodyPoints(middle, normal, corners[chosen].mean(1), slopes)


def outer_faces() -> np.ndarray:
    return np.flatnonzero(outer_islands() & ~load_body().inner_faces)


def test_the_body_gets_its_own_places_back(skin, points):
    chosen, vertices = outer_faces(), len(skin)
    got = unwrap(skin, load_body().faces[chosen], points)
    own = {
        tuple(face): corners
        for face, corners in zip(load_body().faces[chosen].tolist(), body_corners()[chosen], strict=True)
    }
    whole = [n for n, face in enumerate(got.faces.tolist()) if tuple(face) in own]
    assert len(whole) > 0.88 * len(own), "few lie at a cut"
    expected = np.stack([own[tuple(face)] for face in got.faces[whole].tolist()])
    error = np.linalg.norm(got.corners[whole] - expected, axis=2)
    assert np.median(error) < 2e-4 and np.quantile(error, 0.95) < 2e-3
    np.testing.assert_array_equal(got.vertices[:vertices], skin)
    assert got.corners.min() >= 0 and got.corners.max() <= 1


@pytest.fixture(scope="module")
def other(points) -> Mesh:
    """A surface through these points whose triangles are not the body's; what closes inside the body is left out."""
    mesh = closed_surface(PointCloud(points.points, points.normals, points.points), SurfaceConfig(resolution=128))
    near = PointTree(points.points).query(mesh.vertices[mesh.faces].mean(1))[0] < 0.012
    assert near.sum() > 20_000
    return Mesh(mesh.vertices, mesh.faces[near])


def test_no_triangle_is_stretched_over_the_square(points, other):
    got = unwrap(other.vertices, other.faces, points)
    assert np.isfinite(got.corners).all() and got.corners.min() >= 0 and got.corners.max() <= 1
    longest = np.linalg.norm(got.corners - np.roll(got.corners, 1, 1), axis=2).max(1)
    corner = got.vertices[got.faces]
    edges = np.linalg.norm(corner - np.roll(corner, 1, 1), axis=2).max(1)
    assert longest.max() < 0.1, "a triangle reaches from one part of the square to another"
    assert np.quantile(longest / edges, 0.5) < 0.7 and np.quantile(longest / edges, 0.99) < 2


def open_edges(faces: np.ndarray) -> int:
    """Edges that one triangle alone has, or more than two."""
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    return int((np.unique(ends, axis=0, return_counts=True)[1] != 2).sum())


def test_what_is_split_at_cuts_is_the_same_closed_surface(points):
    closed = closed_surface(PointCloud(points.points, points.normals, points.points), SurfaceConfig(resolution=64))
    got = unwrap(closed.vertices, closed.faces, points)
    assert len(closed.faces) < len(got.faces) < 1.5 * len(closed.faces)
    assert open_edges(closed.faces) == open_edges(got.faces) == 0
    normal, before = np.zeros((2, 3)), np.zeros(2)
    for n, (vertices, faces) in enumerate(((closed.vertices, closed.faces), (got.vertices, got.faces))):
        a, b, c = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
        cross = np.cross(b - a, c - a) / 2
        normal[n], before[n] = (cross * (a + b + c) / 9).sum(0), np.linalg.norm(cross, axis=1).sum()
    np.testing.assert_allclose(normal[0], normal[1], rtol=1e-4)  # volume, by each axis
    assert before[1] == pytest.approx(before[0], rel=1e-4)  # area


def smooth_colors(points: np.ndarray) -> np.ndarray:
    """Colours in [0, 1] of places [..., 3]."""
    return (0.5 + 0.3 * np.sin(40 * points)).astype(np.float32)


def test_no_seam_is_seen(skin, points, other):
    """Colours that are smooth on the body, in its UV square: on another surface around it they are so as well, where
    its triangles cross a cut too."""
    body = load_body()
    face, bary = texels_of(body_corners(), SEAM_PX)
    inside = seam_map().inside.reshape(face.shape)
    image = np.zeros((SEAM_PX, SEAM_PX, 3), np.uint8)
    image[inside] = 255 * smooth_colors(np.einsum("nkc,nk->nc", skin[body.faces[face[inside]]], bary[inside]))
    texture = enlarged(image, 512)
    got = unwrap(other.vertices, other.faces, points)
    for share in ([1 / 3] * 3, [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]):
        place = np.einsum("fkc,k->fc", got.vertices[got.faces], share)
        shown = np.empty_like(place, np.float32)
        for f, uv in enumerate(np.einsum("fkc,k->fc", got.corners, share)):
            sample_texel(texture, uv[0], uv[1], shown[f])
        error = np.abs(shown - smooth_colors(place)).max(1)
        assert np.quantile(error, 0.5) < 0.02 and (error > 0.15).mean() < 1e-3


def test_beyond_an_island_lies_what_is_across_the_cut():
    """The body red on the left and blue on the right: the cut along the back has the other colour beyond it."""
    body, found = load_body(), seam_map()
    face, bary = texels_of(body_corners(), SEAM_PX)
    left = np.einsum("yxk,yxk->yx", body.shape_mean[body.faces[face], 0], bary) > 0
    image = np.where(left[..., None], [220, 20, 30], [20, 30, 220]).astype(np.uint8)
    inside = found.inside.reshape(face.shape)
    got = enlarged(np.where(inside[..., None], image, 0).astype(np.uint8), 512)
    assert (got.astype(int).sum(-1) > 200).all(), "nothing is black"
    beyond = got[1::2, 1::2, 0].ravel()[found.beyond].astype(int)
    changed = np.abs(beyond - padded(image, inside)[..., 0].ravel()[found.beyond])
    assert 0.03 < (changed > 150).mean() < 0.5
    with pytest.raises(ValueError, match="expected a picture of 256 x 256"):
        enlarged(image[:128, :128], 512)


def test_islands_that_lie_near_each_other_are_not_mixed():
    """The trunk red, all else blue: the square enlarged is one or the other."""
    body = load_body()
    face, _ = texels_of(body_corners(), SEAM_PX)
    part = np.arange(len(body.uvs))
    connected_parts(body.face_uvs, part)
    island = part[body.face_uvs[:, 0]]
    trunk = island == np.bincount(island).argmax()
    image = np.where(trunk[face][..., None], [220, 20, 30], [20, 30, 220]).astype(np.uint8)
    got = enlarged(image, 1024)
    large, _ = texels_of(body_corners(), 1024)
    inner = islands().distance.repeat(2, 0).repeat(2, 1) * 1024 > 4
    on = (large >= 0) & inner & (outer_islands() & ~body.inner_faces)[large]
    red = got[..., 0].astype(int) - got[..., 2]
    assert red[on & trunk[large]].min() > 100 and red[on & ~trunk[large]].max() < -100


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_square_enlarged_equals_the_reference(size):
    rng = np.random.default_rng(7)
    on, off = rng.integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    trunk = rng.random((32, 32)) < 0.5
    got = np.empty((size, size, 3), np.uint8)
    _enlarge(on, off, trunk, got)
    assert np.abs(got - enlarge_reference(on, off, trunk, size)).max() < 0.51


def test_slopes_equal_the_reference(skin):
    faces, corners = load_body().faces[:500], body_corners()[:500]
    got, expected = uv_slopes(skin, faces, corners), uv_slopes_reference(skin, faces, corners)
    np.testing.assert_allclose(got, expected, atol=2e-3 * np.abs(expected).max())
    edge = skin[faces[:, 1]] - skin[faces[:, 0]]
    np.testing.assert_allclose(np.einsum("fki,fi->fk", got, edge), corners[:, 1] - corners[:, 0], atol=1e-5)
    flat = uv_slopes(np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32), corners[:1])
    assert np.array_equal(flat, np.zeros((1, 2, 3)))


def test_a_texel_belongs_to_the_triangle_over_its_centre():
    rng, size = np.random.default_rng(1), 32
    left = np.array([[k // 3, k % 3] for k in range(9)]) / 3  # one triangle in each of nine fields: none overlap
    corners = (left[:, None] + rng.uniform(0, 1 / 3, (9, 3, 2))).astype(np.float32)
    face, bary = texels_of(corners, size)
    row, column = np.indices((size, size)) + 0.5
    centre = np.stack([column / size, row / size, np.ones_like(row)], -1)
    expected, shares = np.full((size, size), -1), np.zeros((size, size, 3))
    for number, triangle in enumerate(corners.astype(np.float64)):
        share = centre @ np.linalg.inv(np.concatenate([triangle, np.ones((3, 1))], 1))
        inside = (share >= 0).all(-1)
        expected[inside], shares[inside] = number, share[inside]
    assert (expected >= 0).mean() > 0.05
    np.testing.assert_array_equal(face, expected)
    np.testing.assert_allclose(bary, shares, atol=1e-4)


def test_the_last_of_overlapping_triangles_counts():
    corners = np.array([[[0, 0], [1, 0], [0, 1]]] * 2, np.float32)
    for order, expected in (([0, 1], 1), ([1, 0], 0)):
        face = np.full((8, 8), -1, np.int32)
        fill_texels(corners, np.array(order), face, np.zeros((8, 8, 3), np.float32))
        assert face[0, 0] == expected and face[7, 7] == -1


def test_a_triangle_between_the_middles_of_texels_gets_one_that_is_free():
    tiny = np.array([[0.3, 0.3], [0.31, 0.3], [0.3, 0.31]])
    corners = np.array([[[0, 0], [0.5, 0], [0, 0.5]], tiny + 0.32, tiny - 0.18], np.float32)
    face, bary = texels_of(corners, 8)
    assert set(face.ravel()) == {-1, 0}
    claim_texels(corners, face, bary)
    assert face[4, 4] == 1 and bary[4, 4] == pytest.approx(1 / 3) and set(face.ravel()) == {-1, 0, 1}


def test_padding_takes_the_nearest_colour_and_leaves_nothing_black():
    rng = np.random.default_rng(4)
    known = rng.random((40, 56)) < 0.02
    image = np.where(known[..., None], rng.integers(1, 256, (40, 56, 3)), 0).astype(np.uint8)
    got = padded(image, known)
    np.testing.assert_array_equal(got[known], image[known])
    assert got.min() > 0
    rows, columns = np.nonzero(known)
    y, x = np.mgrid[:40, :56]
    squares = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
    found = (got[..., None, :] == image[rows, columns]).all(-1)
    taken = np.where(found, squares, 10**6).min(-1)
    assert (taken == squares.min(-1)).mean() > 0.98 and (np.sqrt(taken) - np.sqrt(squares.min(-1))).max() < 1
    assert padded(image, np.zeros_like(known)) is image and padded(image, np.ones_like(known)) is image


@pytest.mark.parametrize("size", [0, 256, 1000, 4096, -512])
def test_other_sizes_of_textures_are_refused(size):
    with pytest.raises(SomacastError, match=f"a side of 512, 1024, 2048 texels, got {size}"):
        check_texture_px(size)


@pytest.mark.parametrize("orthographic", [False, True])
def test_what_a_view_shows_equals_the_reference(orthographic):
    rng = np.random.default_rng(3)
    camera = level_camera(24, 2.0, 30, np.zeros(3))
    if not orthographic:
        camera = type(camera)(camera.rotation, camera.translation - [0, 0, 15], 60.0, 62.0, 11, 13, 24, 24)
    reach = rng.uniform(*((19, 21) if orthographic else (4, 6)), (24, 24))
    view = View.of(camera, rng.random((24, 24, 4)), reach, 0.1, 0.45)
    points = rng.uniform(-1.2, 1.2, (500, 3)).astype(np.float32)
    normals = rng.normal(size=(500, 3)).astype(np.float32)
    color, weight = np.empty((500, 3), np.float32), np.empty(500, np.float32)
    look(view, points, normals, color, weight)
    expected, counts = look_reference(view, points, normals)
    assert 0.05 < (counts > 0).mean() < 0.6
    np.testing.assert_allclose(weight, counts, atol=1e-4)
    np.testing.assert_allclose(color, expected, atol=1e-4)


def test_a_texture_of_vertex_colours_looks_like_them(skin):
    """The body with smooth colours, and with the same colours in its texels."""
    body = load_body()
    faces, corners = body.faces[outer_faces()], body_corners()[outer_faces()]
    colors = (0.5 + 0.4 * np.sin(6 * skin)).astype(np.float32)
    face, bary = texels_of(corners, 512)
    image = np.zeros((512, 512, 3), np.uint8)
    inside = face >= 0
    image[inside] = np.round(255 * (colors[faces[face[inside]]] * bary[inside][..., None]).sum(1))
    mesh = Mesh(skin, faces, colors)
    textured = Mesh(skin, faces, None, Texture(padded(image, inside), corners))
    for azimuth in (0, 135):
        camera = level_camera(SIDE, 2.2, azimuth, skin.mean(0))
        one, other = render_camera(mesh, camera), render_camera(textured, camera)
        assert np.abs(one.rgb - other.rgb).max() < 0.06 and np.abs(one.rgb - other.rgb)[one.mask].mean() < 0.006
    used = np.zeros(BODY_VERTICES, bool)
    used[faces] = True
    assert textured.texture is not None
    assert np.abs(colors_from_texture(textured, textured.texture) - colors)[used].max() < 0.12


def test_ears_are_smoothed_and_nothing_below_the_head(skin):
    """Longest way from a point of the head to its neighbours shrinks most where it is folded."""
    got = smoothed_head(skin)
    moved = np.linalg.norm(got - skin, axis=1)
    head = moved > 0
    assert 0.2 < head.mean() < 0.5 and skin[head, 1].min() > skin[:, 1].max() - 0.4
    assert np.median(moved[head]) < 0.003 < moved.max() < 0.02
    assert np.array_equal(smoothed_head(skin, 0), skin)
