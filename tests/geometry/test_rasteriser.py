"""The rasteriser against closed forms and its readable twins; previews."""

import numpy as np
import pytest
import trimesh

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import load_body
from somacast.geometry import rasteriser as raster
from somacast.geometry.preview import contact_sheet, encode_png, to_bytes_image, turntable
from somacast.geometry.rasteriser import render_camera, render_orthographic
from somacast.types import Camera, Mesh, Texture

RED, GREEN, BLUE, YELLOW = ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])


def quad(z: float, half: float = 0.5, color=(1, 1, 1)) -> Mesh:
    """A square that faces +z."""
    vertices = np.array([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]], np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.tile(np.float32(color), (4, 1)))


def join(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=False)]).astype(np.int32),
        np.concatenate([m.colors for m in meshes if m.colors is not None]),
    )


def box_with_sides() -> Mesh:
    """A cube whose +z, +x, -z, -x sides are red, green, blue, yellow."""
    parts = []
    for azimuth, color in zip((0, 90, 180, 270), (RED, GREEN, BLUE, YELLOW), strict=True):
        side = quad(0.5, 0.5, color)
        side.vertices = (side.vertices @ raster.azimuth_rotation(azimuth)).astype(np.float32)
        parts.append(side)
    return join(*parts)


def test_square_covers_exactly_its_pixels():
    picture = render_orthographic(quad(0.0, 0.5, RED), 64, 2.0, center=np.zeros(3))
    expected = np.zeros((64, 64), bool)
    expected[16:48, 16:48] = True
    np.testing.assert_array_equal(picture.mask, expected)
    np.testing.assert_allclose(picture.rgb[expected], np.tile([1, 0, 0], (1024, 1)), atol=1e-6)
    np.testing.assert_allclose(picture.rgb[~expected], 0.5)
    np.testing.assert_allclose(picture.depth[expected], 20.0, atol=1e-4)
    assert (picture.depth[~expected] == 0).all()
    np.testing.assert_allclose(picture.normals[32, 32], [0, 0, 1], atol=1e-6)


@pytest.mark.parametrize("azimuth, color", [(0, RED), (90, GREEN), (180, BLUE), (270, YELLOW)])
def test_views_go_round_the_vertical_axis(azimuth, color):
    picture = render_orthographic(box_with_sides(), 32, 2.0, azimuth)
    np.testing.assert_allclose(picture.rgb[16, 16], color, atol=1e-6)
    np.testing.assert_allclose(picture.normals[16, 16], [0, 0, 1], atol=1e-6)


def test_picture_is_the_right_way_up_and_not_mirrored():
    """A dot above and to the right (+x, +y) of the middle is above and to the right in the picture."""
    dot = quad(0.0, 0.1)
    dot.vertices += np.float32([0.5, 0.6, 0])
    rows, columns = np.nonzero(render_orthographic(dot, 100, 2.0, center=np.zeros(3)).mask)
    assert columns.mean() + 0.5 == pytest.approx(75, abs=0.5) and rows.mean() + 0.5 == pytest.approx(20, abs=0.5)
    rows, columns = np.nonzero(render_orthographic(dot, 100, 2.0, 180, np.zeros(3)).mask)
    assert columns.mean() + 0.5 == pytest.approx(25, abs=0.5)


def test_nearer_surface_wins_whatever_the_order():
    near, far = quad(0.3, 0.2, RED), quad(-0.3, 0.4, BLUE)
    for mesh in (join(near, far), join(far, near)):
        front = render_orthographic(mesh, 50, 1.0, center=np.zeros(3))
        np.testing.assert_allclose(front.rgb[25, 25], RED, atol=1e-6)
        np.testing.assert_allclose(front.rgb[25, 6], BLUE, atol=1e-6)
        back = render_orthographic(mesh, 50, 1.0, 180, np.zeros(3))
        np.testing.assert_allclose(back.rgb[25, 25], BLUE, atol=1e-6)


def camera(size: int = 64, distance: float = 3.0) -> Camera:
    """At (0, 0, distance), looking at the origin, upright."""
    return Camera(np.diag([1.0, -1.0, -1.0]), np.array([0, 0, distance]), size, size, size / 2, size / 2, size, size)


def test_pinhole_agrees_with_the_projection_of_the_camera():
    view = camera(64)
    mesh = quad(0.0, 0.6)
    mesh.vertices[:, 2] = [0.5, -0.5, -0.5, 0.5]  # slanted: the left side is nearer
    mesh.colors = np.clip(mesh.vertices + 0.5, 0, 1)
    picture = render_camera(mesh, view)
    # Where a known point of the plane lands, depth and colour must be that point's.
    for point in ([0.3, 0.2, -0.25], [-0.3, -0.4, 0.25], [0.0, 0.0, 0.0]):
        x, y, z = view.project(np.array([point]))[0]
        row, column = int(y), int(x)
        ray = np.array([(column + 0.5 - view.cx) / view.fx, -(row + 0.5 - view.cy) / view.fy, -1.0])
        normal = np.array([0.5, 0, 0.6])  # of the plane z = -x 0.5 / 0.6
        depth = -normal @ [0, 0, 3.0] / (normal @ ray)
        assert picture.mask[row, column]
        assert picture.depth[row, column] == pytest.approx(depth, abs=1e-4)
        hit = np.array([0, 0, 3.0]) + depth * ray
        expected = [np.interp(hit[0], [-0.6, 0.6], [0, 1]), np.interp(hit[1], [-0.6, 0.6], [0, 1])]
        np.testing.assert_allclose(picture.rgb[row, column, :2], expected, atol=1e-4)
        assert abs(z - depth) < 0.05
    np.testing.assert_allclose(picture.normals[32, 32], normal / np.linalg.norm(normal), atol=1e-5)


def test_triangles_behind_the_camera_are_left_out():
    assert not render_camera(quad(4.0), camera()).mask.any()
    crossing = quad(0.0)
    crossing.vertices[2:, 2] = 5.0
    assert not render_camera(crossing, camera()).mask.any()


def test_ball_has_the_depth_and_normals_of_a_ball():
    shape = trimesh.creation.icosphere(5, 0.5)
    mesh = Mesh(np.array(shape.vertices, np.float32), np.array(shape.faces, np.int32))
    picture = render_orthographic(mesh, 128, 1.2, 33, np.zeros(3))
    y, x = (0.5 * 1.2 - (np.mgrid[:128, :128] + 0.5) * 1.2 / 128) * np.array([1, -1])[:, None, None]
    inside = np.hypot(x, y) < 0.45
    z = np.sqrt(np.maximum(0.25 - x**2 - y**2, 0))
    np.testing.assert_allclose((12 - picture.depth)[inside], z[inside], atol=2e-3)
    np.testing.assert_allclose(picture.normals[inside], np.stack([x, y, z], 2)[inside] * 2, atol=0.02)
    assert picture.mask.mean() == pytest.approx(np.pi * 0.25 / 1.44, rel=0.01)


@pytest.mark.parametrize("perspective", [False, True])
def test_kernels_match_their_readable_twins(perspective):
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.random((60, 2)) * 50 - 5, rng.random((60, 1)) * 0.5 + 0.2], 1).astype(np.float32)
    points[5, 2] = -3e38  # a dropped corner
    faces = rng.integers(0, 60, (40, 3)).astype(np.int32)
    nearness, triangle = np.empty((40, 36), np.float32), np.empty((40, 36), np.int32)
    weights = np.zeros((40, 36, 2), np.float32)
    raster.rasterize(points, faces, perspective, nearness, triangle, weights)
    near, who, share = raster.rasterize_reference(points, faces, perspective, 40, 36)
    same = triangle == who
    assert same.mean() > 0.998 and (who >= 0).mean() > 0.5  # rounding decides pixels that lie on an edge
    hit = same & (who >= 0)
    np.testing.assert_allclose(nearness[hit], near[hit], rtol=1e-4)
    np.testing.assert_allclose(weights[hit], share[hit], atol=1e-3)
    values = rng.random((60, 4)).astype(np.float32)
    out, expected = np.full((40, 36, 4), 7, np.float32), np.full((40, 36, 4), 7, np.float32)
    raster.interpolate(values, faces, triangle, weights, out)
    raster.interpolate_reference(values, faces, triangle, weights, expected)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_holes_show_what_lies_behind():
    """Against the readable twin, and one alpha for a whole layer as the plain truth."""
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.random((60, 2)) * 50 - 5, rng.random((60, 1)) * 0.5 + 0.2], 1).astype(np.float32)
    faces = rng.integers(0, 60, (40, 3)).astype(np.int32)
    textures = rng.integers(0, 256, (3, 8, 8, 4)).astype(np.uint8)
    layer = rng.integers(0, 3, 40).astype(np.int32)
    uvs, face_uvs = (rng.random((50, 2)) * 4 - 2).astype(np.float32), rng.integers(0, 50, (40, 3)).astype(np.int32)
    atlas = raster.Atlas(textures, uvs, face_uvs, layer, np.array([True, False, True]))

    def seen(faces, atlas=None):
        nearness, triangle = np.empty((40, 36), np.float32), np.empty((40, 36), np.int32)
        raster.rasterize(points, faces, False, nearness, triangle, np.zeros((40, 36, 2)), atlas)
        return nearness, triangle

    near, triangle = seen(faces, atlas)
    expected_near, expected, _ = raster.rasterize_reference(points, faces, False, 40, 36, atlas)
    same = triangle == expected
    assert same.mean() > 0.998 and (triangle != seen(faces)[1]).mean() > 0.1
    np.testing.assert_allclose(near[same & (triangle >= 0)], expected_near[same & (triangle >= 0)], rtol=1e-4)
    textures[..., 3] = np.array([raster.MIN_ALPHA - 1, 0, raster.MIN_ALPHA])[:, None, None]  # layer 1 counts nowhere
    np.testing.assert_array_equal(seen(faces, atlas)[0], seen(faces[layer > 0])[0])


def test_texture_is_upright_and_bilinear():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1], image[1, 0], image[1, 1] = (255 * np.array(c) for c in (RED, GREEN, BLUE, YELLOW))
    square = quad(0.0)
    places = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)  # v down
    square.texture = Texture(image, places[square.faces])
    picture = render_orthographic(square, 64, 1.0, center=np.zeros(3))
    np.testing.assert_allclose(picture.rgb[2, 2], RED, atol=1e-5)
    np.testing.assert_allclose(picture.rgb[2, 61], GREEN, atol=1e-5)
    np.testing.assert_allclose(picture.rgb[61, 2], BLUE, atol=1e-5)
    np.testing.assert_allclose(picture.rgb[31:33, 31:33].mean((0, 1)), image.mean((0, 1)) / 255, atol=1e-5)
    square.texture = None
    np.testing.assert_allclose(render_orthographic(square, 64, 1.0, center=np.zeros(3)).rgb[2, 2], [1, 1, 1], atol=1e-5)
    pixels = image.astype(np.float32) / 255
    np.testing.assert_allclose(raster.sample_texture(pixels, np.array([[1.25, 0.25], [0.25, -0.75]])), [BLUE, BLUE])


def test_textured_pixels_equal_the_reference():
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (13, 17, 3)).astype(np.uint8)
    texture = Texture(image, rng.uniform(-0.1, 1.1, (40, 3, 2)).astype(np.float32))
    triangle = rng.integers(-1, 40, (24, 31)).astype(np.int32)
    weights = rng.dirichlet(np.ones(3), (24, 31))[..., 1:].astype(np.float32)
    got, expected = np.full((24, 31, 3), 0.3, np.float32), np.full((24, 31, 3), 0.3)
    raster.draw_texture(image, texture.corners, triangle, weights, got)
    raster.draw_texture_reference(texture, triangle, weights, expected)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_srgb_is_inverted_exactly_and_light_leaves_the_ground():
    value = np.linspace(0, 1, 256)
    np.testing.assert_allclose(raster.linear_to_srgb(raster.srgb_to_linear(value)), value, atol=1e-7)
    picture = render_orthographic(quad(0.0, 0.3, (0.8, 0.4, 0.2)), 32, 1.0)
    lit = raster.light(picture)
    np.testing.assert_array_equal(lit[~picture.mask], picture.rgb[~picture.mask])
    assert lit[16, 16, 0] > lit[16, 16, 1] > lit[16, 16, 2] > 0 and (lit <= 1).all()


@pytest.fixture(scope="module")
def person() -> Mesh:
    vertices, _ = load_body().pose(np.zeros(4), np.tile(np.eye(3, dtype=np.float32), (21, 1, 1)))
    colors = np.where(vertices[:, :1] > 0, [RED], [BLUE]).astype(np.float32)
    return Mesh(vertices, load_body().faces, colors)


def test_person_faces_the_camera_and_stands_upright(person):
    front = render_orthographic(person, 128, 2.2)
    rows, columns = np.nonzero(front.mask)
    head = rows < rows.min() + 12
    assert np.ptp(columns[head]) < 20 and abs(columns[head].mean() - 63.5) < 2  # the narrow end is on top
    # Facing the camera, the person's left (red) is at the right of the picture.
    assert front.rgb[front.mask & (np.arange(128) > 66)][:, 0].min() > 0.9
    # From the person's left side the toes point to the left of the picture.
    side = render_orthographic(person, 128, 2.2, 90)
    rows, columns = np.nonzero(side.mask)
    feet, hips = columns[rows > rows.max() - 4], columns[np.abs(rows - 64) < 3]
    assert feet.min() < hips.min() - 2
    joint = load_body().pose(np.zeros(4), np.tile(np.eye(3, dtype=np.float32), (21, 1, 1)))[1]
    assert joint[CANONICAL_JOINTS.index("l_toe"), 2] > joint[CANONICAL_JOINTS.index("l_foot"), 2]


def test_turntable_and_sheet(person):
    views = turntable(person, (0, 120, 240), 64)
    assert views.shape == (64, 192, 3) and views.dtype == np.float32
    assert views.min() >= 0 and views.max() <= 1
    np.testing.assert_allclose(views[:2], 0.5, atol=1e-6)  # nothing touches the border
    np.testing.assert_allclose(views[:, :1], 0.5, atol=1e-6)
    tiles = [("turn", views), ("mask", np.zeros((30, 20), bool)), ("grey", np.full((10, 10, 1), 255, np.uint8))]
    sheet = contact_sheet(tiles, 2)
    again = contact_sheet(tiles, 2)
    np.testing.assert_array_equal(sheet, again)
    assert sheet.shape[0] > 2 * 64 and sheet.shape[1] >= 192 + 43
    # The first picture stands there unchanged, under its caption.
    found = sheet[8 + 24 : 8 + 24 + 64, 8 : 8 + 192]
    np.testing.assert_allclose(found, views, atol=1 / 255)
    assert sheet[8:32, 8:60].min() < 0.5  # letters
    with pytest.raises(ValueError, match="at least one tile"):
        contact_sheet([], 2)


def test_png_bytes_hold_the_picture():
    import io

    from PIL import Image

    picture = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    read = np.asarray(Image.open(io.BytesIO(encode_png(picture))))
    np.testing.assert_array_equal(read, to_bytes_image(picture))
    assert np.abs(read / 255 - picture).max() <= 0.5 / 255 + 1e-6
