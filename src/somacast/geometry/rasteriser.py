"""A z-buffer rasteriser for meshes with colours at the corners or a texture: NumPy and numba, no GPU.

One sample per pixel at its centre, both sides of a triangle are drawn, nearer wins, on a tie the earlier triangle.
Normals come in view axes (x right, y up, z towards the camera), whatever the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from somacast.body.table import vertex_normals
from somacast.geometry.sampling import DEFAULT_COLOR
from somacast.kernels import compiled
from somacast.types import Camera, Mesh, Texture

MID_GREY = 0.5
MIN_ALPHA = 110  # of 255: a cut-out texture is a hole below it
NEAR_M = 0.01  # pinhole: triangles with a corner nearer than this are left out


@dataclass
class Rendering:
    """rgb [H, W, 3] float32 sRGB with the background filled in; mask [H, W] bool; depth [H, W] float32 metres along
    the viewing direction, 0 where nothing is; normals [H, W, 3] float32 in view axes, 0 where nothing is."""

    rgb: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


class Atlas(NamedTuple):
    """Textures of a mesh, of which some have transparent texels that are holes.

    textures [L, T, T, 4] uint8, first row on top; uvs [N, 2], v up, the pattern repeats; face_uvs [F, 3] int32 into
    uvs; face_layer [F] int32 into textures; has_holes [L] bool: layers whose alpha counts.
    """

    textures: np.ndarray
    uvs: np.ndarray
    face_uvs: np.ndarray
    face_layer: np.ndarray
    has_holes: np.ndarray


@compiled(fastmath=True, nogil=True)
def texel_weights(uvs, corners, u, v, edge):
    """Where in its texture of edge x edge texels a triangle has the point with weights u, v of the second and third
    corner; corners [3]: its rows of uvs. Texel n stands at n / (edge - 1).

    Returns row, column, next row, next column, and the share of the next column and of the next row.
    """
    w = 1 - u - v
    x = w * uvs[corners[0], 0] + u * uvs[corners[1], 0] + v * uvs[corners[2], 0]
    y = 1 - (w * uvs[corners[0], 1] + u * uvs[corners[1], 1] + v * uvs[corners[2], 1])
    x = (x - np.floor(x)) * (edge - 1)
    y = (y - np.floor(y)) * (edge - 1)
    column, row = int(x), int(y)
    return row, column, min(row + 1, edge - 1), min(column + 1, edge - 1), x - column, y - row


@compiled(fastmath=True, nogil=True)
def _alpha(textures, layer, uvs, corners, u, v):
    """Alpha in [0, 255] of a texture at a point of a triangle, arguments as of `texel_weights`."""
    row, column, below, right, x, y = texel_weights(uvs, corners, u, v, textures.shape[1])
    upper = (1 - x) * textures[layer, row, column, 3] + x * textures[layer, row, right, 3]
    lower = (1 - x) * textures[layer, below, column, 3] + x * textures[layer, below, right, 3]
    return (1 - y) * upper + y * lower


@compiled(fastmath=True, nogil=True)
def rasterize(points, faces, perspective, nearness, triangle, weights, atlas=None):
    """Visible triangle and barycentric weights of every pixel.

    points [V, 3] float32: pixel x, pixel y and nearness, which grows towards the camera and is linear on the screen
    (1/z for a pinhole, minus the depth for a parallel view); corners with nearness -inf drop their triangles.
    Fills nearness [H, W], triangle [H, W] int32 (-1: nothing), weights [H, W, 2] of the second and third corner,
    correct in perspective if `perspective`. Holes in the textures of `atlas`, if given, let through what lies behind;
    they are looked up by weights that are linear on the screen.
    """
    height, width = nearness.shape
    nearness[:] = -np.float32(3e38)
    triangle[:] = -1
    if atlas is not None:  # numba compiles one kernel with it and one without
        textures, uvs, face_uvs, face_layer, has_holes = atlas
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        az, bz, cz = points[a, 2], points[b, 2], points[c, 2]
        if min(az, bz, cz) < -np.float32(1e38):
            continue
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        # Clamp as floats first: a corner far outside would overflow the integer.
        low_y = int(np.ceil(max(min(ay, by, cy), np.float32(0)) - np.float32(0.5)))
        high_y = int(np.floor(min(max(ay, by, cy), np.float32(height)) - np.float32(0.5)))
        if low_y > high_y:
            continue
        low_x = int(np.ceil(max(min(ax, bx, cx), np.float32(0)) - np.float32(0.5)))
        high_x = int(np.floor(min(max(ax, bx, cx), np.float32(width)) - np.float32(0.5)))
        if low_x > high_x:
            continue
        doubled = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(doubled) <= 1e-12:
            continue
        inverse = np.float32(1) / doubled
        if atlas is not None:
            layer = face_layer[t]
            corners = face_uvs[t]
            holes = has_holes[layer]
        for y in range(max(low_y, 0), min(high_y, height - 1) + 1):
            dy = y + np.float32(0.5) - ay
            for x in range(max(low_x, 0), min(high_x, width - 1) + 1):
                dx = x + np.float32(0.5) - ax
                u = (dx * (cy - ay) - dy * (cx - ax)) * inverse
                v = ((bx - ax) * dy - (by - ay) * dx) * inverse
                w = np.float32(1) - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                near = w * az + u * bz + v * cz
                if near <= nearness[y, x]:
                    continue
                if atlas is not None:  # noqa: SIM102 (numba leaves out what stands under a plain test of None)
                    if holes and _alpha(textures, layer, uvs, corners, u, v) < MIN_ALPHA:
                        continue
                nearness[y, x] = near
                triangle[y, x] = t
                if perspective:
                    u, v = u * bz / near, v * cz / near
                weights[y, x, 0] = u
                weights[y, x, 1] = v


def rasterize_reference(points, faces, perspective, height, width, atlas=None):
    """Readable twin of `rasterize`: returns (nearness, triangle, weights); every triangle is tried at every pixel."""
    nearness = np.full((height, width), -3e38)
    triangle = np.full((height, width), -1)
    weights = np.zeros((height, width, 2))
    y, x = np.mgrid[:height, :width] + 0.5
    for t, face in enumerate(faces):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[face].astype(np.float64)
        doubled = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(doubled) <= 1e-12 or min(az, bz, cz) < -1e38:
            continue
        u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / doubled
        v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / doubled
        near = (1 - u - v) * az + u * bz + v * cz
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (near > nearness)
        if atlas is not None and atlas.has_holes[atlas.face_layer[t]]:
            share = np.stack([1 - u[hit] - v[hit], u[hit], v[hit]], 1)
            hit[hit] = texels_reference(atlas, np.full(len(share), t), share)[:, 3] >= MIN_ALPHA
        nearness[hit] = near[hit]
        triangle[hit] = t
        ratio = np.stack([bz / near[hit], cz / near[hit]], 1) if perspective else 1.0
        weights[hit] = np.stack([u[hit], v[hit]], 1) * ratio
    return nearness, triangle, weights


def texels_reference(atlas: Atlas, face: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Readable twin of `texel_weights`: red, green, blue, alpha [N, 4] in [0, 255] of triangles face [N] at weights
    share [N, 3] of their corners."""
    edge = atlas.textures.shape[1]
    uv = (atlas.uvs[atlas.face_uvs[face]] * share[..., None]).sum(1)
    place = (np.stack([1 - uv[:, 1], uv[:, 0]], 1) % 1.0) * (edge - 1)  # row, column
    (row, column), (y, x) = place.astype(int).T, (place % 1.0).T[..., None]
    below, right = np.minimum(row + 1, edge - 1), np.minimum(column + 1, edge - 1)
    image = atlas.textures[atlas.face_layer[face]]
    n = np.arange(len(face))
    upper = image[n, row, column] * (1 - x) + image[n, row, right] * x
    lower = image[n, below, column] * (1 - x) + image[n, below, right] * x
    return upper * (1 - y) + lower * y


@compiled(fastmath=True, nogil=True)
def interpolate(values, faces, triangle, weights, out):
    """Corner values [V, C] over the picture: fills out [H, W, C] where triangle >= 0, leaves the rest."""
    height, width = triangle.shape
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
            u, v = weights[y, x, 0], weights[y, x, 1]
            w = np.float32(1) - u - v
            for k in range(out.shape[2]):
                out[y, x, k] = w * values[a, k] + u * values[b, k] + v * values[c, k]


def interpolate_reference(values, faces, triangle, weights, out):
    """Readable twin of `interpolate`."""
    hit = triangle >= 0
    u, v = weights[hit].T
    corners = values[faces[triangle[hit]]]
    out[hit] = (corners * np.stack([1 - u - v, u, v], 1)[..., None]).sum(1)


def sample_texture(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear colours [N, C] of image [H, W, C] at uv [N, 2] (v up, pattern repeats, texel centres at .5)."""
    height, width = image.shape[:2]
    # Whole repeats are kept out of [0, 1], so that exactly 1 stays at the far edge.
    uv = np.nan_to_num(uv.astype(np.float64))
    uv = np.where((uv < 0) | (uv > 1), uv - np.floor(uv), uv)
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    left, top = x.astype(np.int64), y.astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = image[top, left] * (1 - fx) + image[top, right] * fx
    lower = image[bottom, left] * (1 - fx) + image[bottom, right] * fx
    return (upper * (1 - fy) + lower * fy).astype(np.float32)


@compiled(fastmath=True, nogil=True)
def sample_texel(image, u, v, out):
    """Bilinear colour of image [H, W, 3] uint8 at u, v (shares to the right and down; the border goes on): fills
    out [3] in [0, 1]."""
    height, width = image.shape[:2]
    x = min(max(u * width - np.float32(0.5), np.float32(0)), np.float32(width - 1))
    y = min(max(v * height - np.float32(0.5), np.float32(0)), np.float32(height - 1))
    left, top = int(x), int(y)
    right, down = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = x - left, y - top
    for k in range(3):
        upper = (1 - fx) * image[top, left, k] + fx * image[top, right, k]
        lower = (1 - fx) * image[down, left, k] + fx * image[down, right, k]
        out[k] = ((1 - fy) * upper + fy * lower) * np.float32(1 / 255)


@compiled(fastmath=True, nogil=True)
def draw_texture(image, corners, triangle, weights, out):
    """Colours of a texture, image [H, W, 3] uint8 on corners [F, 3, 2], over the picture: fills out [H, W, 3] where
    triangle >= 0, leaves the rest."""
    height, width = triangle.shape
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            b, c = weights[y, x, 0], weights[y, x, 1]
            a = np.float32(1) - b - c
            u = a * corners[t, 0, 0] + b * corners[t, 1, 0] + c * corners[t, 2, 0]
            v = a * corners[t, 0, 1] + b * corners[t, 1, 1] + c * corners[t, 2, 1]
            sample_texel(image, u, v, out[y, x])


def draw_texture_reference(texture: Texture, triangle: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Readable twin of `draw_texture` and `sample_texel`."""
    hit = triangle >= 0
    b, c = weights[hit].T
    uv = (texture.corners[triangle[hit]] * np.stack([1 - b - c, b, c], 1)[..., None]).sum(1)
    height, width = texture.image.shape[:2]
    place = np.clip(uv * [width, height] - 0.5, 0, [width - 1, height - 1])
    (left, top), (x, y) = place.astype(int).T, (place % 1.0).T[..., None]
    right, down = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    image = texture.image / 255
    upper = image[top, left] * (1 - x) + image[top, right] * x
    lower = image[down, left] * (1 - x) + image[down, right] * x
    out[hit] = upper * (1 - y) + lower * y


def _shade(mesh: Mesh, points: np.ndarray, perspective: bool, shape: tuple[int, int], turn: np.ndarray,
           background: float | np.ndarray) -> Rendering:  # fmt: skip
    """Everything after projection; turn [3, 3]: world to view axes (x right, y up, z towards the camera)."""
    height, width = shape
    faces = np.ascontiguousarray(mesh.faces, np.int32)
    nearness = np.empty((height, width), np.float32)
    triangle = np.empty((height, width), np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    rasterize(points, faces, perspective, nearness, triangle, weights)
    mask = triangle >= 0
    rgb = np.empty((height, width, 3), np.float32)
    rgb[:] = background
    if mesh.texture is not None:
        corners = np.ascontiguousarray(mesh.texture.corners, np.float32)
        draw_texture(np.ascontiguousarray(mesh.texture.image), corners, triangle, weights, rgb)
    elif mesh.colors is not None:
        interpolate(np.ascontiguousarray(mesh.colors, np.float32), faces, triangle, weights, rgb)
    else:
        rgb[mask] = DEFAULT_COLOR
    corner = np.empty((len(mesh.vertices), 3), np.float32)
    vertex_normals(np.ascontiguousarray(mesh.vertices, np.float32), faces, corner)
    normals = np.zeros((height, width, 3), np.float32)
    interpolate(np.ascontiguousarray(corner @ turn.T.astype(np.float32)), faces, triangle, weights, normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
    depth = np.zeros((height, width), np.float32)
    depth[mask] = 1 / nearness[mask] if perspective else -nearness[mask]
    return Rendering(rgb, mask, depth, normals)


def azimuth_rotation(azimuth_deg: float) -> np.ndarray:
    """World to view axes [3, 3] for a level camera at (sin a, 0, cos a): 0 looks at the front, 90 stands at +x."""
    angle = np.deg2rad(azimuth_deg)
    # Exact zeros at quarter turns keep views of symmetric things symmetric.
    s, c = np.round(np.sin(angle), 12), np.round(np.cos(angle), 12)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def render_orthographic(
    mesh: Mesh,
    size_px: int,
    extent_m: float,
    azimuth_deg: float = 0.0,
    center: np.ndarray | None = None,
    background: float | np.ndarray = MID_GREY,
) -> Rendering:
    """Parallel view of a square of `extent_m` metres around `center` [3] (default: middle of the bounding box).

    The camera stands at (sin a, 0, cos a) from the centre, level, y up. Depth is measured from the plane through
    the point 10 extents before the centre, so that it is positive for anything a person can be. Unlit colours.
    """
    if center is None:
        center = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return render_camera(mesh, level_camera(size_px, extent_m, azimuth_deg, np.asarray(center)), background)


def level_camera(size_px: int, extent_m: float, azimuth_deg: float, center: np.ndarray) -> Camera:
    """The parallel camera of `render_orthographic`: a square of `extent_m` metres around `center` [3], level, at
    (sin a, 0, cos a); depth is measured from 10 extents before the centre."""
    rotation = np.diag([1.0, -1.0, -1.0]) @ azimuth_rotation(azimuth_deg)
    translation = -rotation @ np.asarray(center, np.float64) + [0, 0, 10 * extent_m]
    scale = size_px / extent_m
    return Camera(rotation, translation, scale, scale, size_px / 2, size_px / 2, size_px, size_px, orthographic=True)


def render_camera(mesh: Mesh, camera: Camera, background: float | np.ndarray = MID_GREY) -> Rendering:
    """The mesh (world, metres) through an OpenCV camera; depth is the z of the camera. Unlit colours.

    Triangles with a corner nearer than NEAR_M are left out whole: a person never crosses the lens.
    """
    projected = camera.project(mesh.vertices.astype(np.float64))
    visible = projected[:, 2] > NEAR_M
    points = np.full((len(projected), 3), -3e38, np.float32)
    points[visible, :2] = projected[visible, :2]
    points[visible, 2] = -projected[visible, 2] if camera.orthographic else 1 / projected[visible, 2]
    axes = np.diag([1.0, -1.0, -1.0]) @ camera.rotation
    return _shade(mesh, points, not camera.orthographic, (camera.height, camera.width), axes, background)


def srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB: inverse of `srgb_to_linear`."""
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * np.maximum(value, 0.0031308) ** (1 / 2.4) - 0.055)


LIGHTS = (  # direction in view axes, strength: key from above left, fill from the right, a rim from behind
    ((-0.45, 0.65, 0.75), 0.62),
    ((0.8, 0.1, 0.45), 0.18),
    ((0.2, 0.8, -0.6), 0.18),
)


def light(rendering: Rendering, ambient: float = 0.36) -> np.ndarray:
    """Matte picture [H, W, 3] float32 of a rendering under fixed lights that turn with the camera."""
    normals = rendering.normals
    shade = ambient * (0.8 + 0.2 * normals[..., 1])  # the sky gives more than the floor
    for direction, strength in LIGHTS:
        towards = np.array(direction, np.float32) / np.float32(np.linalg.norm(direction))
        shade = shade + strength * np.maximum(normals @ towards, 0)
    lit = linear_to_srgb(np.clip(srgb_to_linear(rendering.rgb) * shade[..., None], 0, 1))
    return np.where(rendering.mask[..., None], lit, rendering.rgb).astype(np.float32)
