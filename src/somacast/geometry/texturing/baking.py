"""A picture in the texels of a mesh: what each texel is shown to be, and how far that is to be believed.

    corners --texels_of--> triangle of each texel --look--> color, weight --Baked.blended--> texture

Colour and weight are kept apart from what is shown where nothing was seen, so that a better guess can replace that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from somacast.geometry.rasteriser import sample_texel
from somacast.geometry.texturing.texels import claim_texels, padded, texels_of
from somacast.kernels import compiled
from somacast.types import Camera, Mesh, Texture


@dataclass(frozen=True)
class Baked:
    """A picture in a UV square of S x S texels: color [S, S, 3] float32 sRGB, and weight [S, S] float32 in [0, 1], how
    far it is believed; base [S, S, 3] float32: what else is shown; known [S, S] bool: texels that lie on the mesh."""

    color: np.ndarray
    weight: np.ndarray
    base: np.ndarray
    known: np.ndarray

    def image(self) -> np.ndarray:
        """The texture [S, S, 3] uint8, colours carried on around the islands."""
        out = np.empty(self.color.shape, np.uint8)
        _blend(self.color, self.weight, self.base, out)
        return padded(out, self.known)


class View(NamedTuple):
    """What one camera knows of a surface. pixels [H, W, 4] float32: colours of the person without a background, and
    trust in them; reach_m [H, W] float32: depth down to which a pixel shows the surface; grazing, facing: cosines of
    the viewing angle at which it counts for nothing, and for all; turn [3, 3], shift, place, ahead [3]: of the camera,
    world to camera, where it stands and looks; lens [4]: fx, fy, cx, cy."""

    pixels: np.ndarray
    reach_m: np.ndarray
    grazing: float
    facing: float
    turn: np.ndarray
    shift: np.ndarray
    place: np.ndarray
    ahead: np.ndarray
    lens: np.ndarray
    orthographic: bool

    @classmethod
    def of(cls, camera: Camera, pixels: np.ndarray, reach_m: np.ndarray, grazing: float, facing: float) -> View:
        """Through a camera."""
        turn, shift = np.asarray(camera.rotation, np.float64), np.asarray(camera.translation, np.float64)
        lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float64)
        pixels, reach_m = (np.ascontiguousarray(a, np.float32) for a in (pixels, reach_m))
        ahead = np.ascontiguousarray(turn[2])
        return cls(pixels, reach_m, grazing, facing, turn, shift, -turn.T @ shift, ahead, lens, camera.orthographic)


@compiled(fastmath=True, nogil=True)
def look(view, points, normals, color, weight):
    """What a view shows at points [N, 3] with normals [N, 3] of any length: fills color [N, 3] and weight [N] in
    [0, 1], 0 for points that lie outside the picture, behind another surface, or turn away."""
    pixels, reach_m, grazing, facing, turn, shift, place, ahead, lens, orthographic = view
    height, width = reach_m.shape
    for n in range(len(points)):
        color[n] = 0
        weight[n] = 0
        x, y, z = np.float64(points[n, 0]), np.float64(points[n, 1]), np.float64(points[n, 2])
        depth = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z + shift[2]
        if depth <= 0:
            continue
        scale = 1.0 if orthographic else 1 / depth
        column = lens[0] * scale * (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z + shift[0]) + lens[2]
        row = lens[1] * scale * (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z + shift[1]) + lens[3]
        if not (0 <= column < width and 0 <= row < height) or depth >= reach_m[int(row), int(column)]:
            continue
        if orthographic:
            tx, ty, tz = -ahead[0], -ahead[1], -ahead[2]
        else:
            tx, ty, tz = place[0] - x, place[1] - y, place[2] - z
        nx, ny, nz = normals[n, 0], normals[n, 1], normals[n, 2]
        length = np.sqrt((tx * tx + ty * ty + tz * tz) * (nx * nx + ny * ny + nz * nz))
        share = ((nx * tx + ny * ty + nz * tz) / max(length, 1e-12) - grazing) / (facing - grazing)
        if share <= 0:
            continue
        share = min(share, 1.0)
        column, row = min(max(column - 0.5, 0.0), width - 1.0), min(max(row - 0.5, 0.0), height - 1.0)
        left, top = int(column), int(row)
        right, down = min(left + 1, width - 1), min(top + 1, height - 1)
        fx, fy = np.float32(column - left), np.float32(row - top)
        a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
        for k in range(3):
            color[n, k] = (
                a * pixels[top, left, k] + b * pixels[top, right, k] + c * pixels[down, left, k]
                + d * pixels[down, right, k]
            )  # fmt: skip
        trust = (
            a * pixels[top, left, 3] + b * pixels[top, right, 3] + c * pixels[down, left, 3]
            + d * pixels[down, right, 3]
        )  # fmt: skip
        weight[n] = trust * share * share * (3 - 2 * share)


def look_reference(view: View, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Readable twin of `look`: color [N, 3], weight [N]."""
    height, width = view.reach_m.shape
    local = points.astype(np.float64) @ view.turn.T + view.shift
    scale = 1.0 if view.orthographic else 1 / local[:, 2:]
    column, row = (local[:, :2] * scale * view.lens[:2] + view.lens[2:]).T
    seen = (local[:, 2] > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    at = np.clip(row, 0, height - 1).astype(int), np.clip(column, 0, width - 1).astype(int)
    seen &= local[:, 2] < view.reach_m[at]
    towards = np.broadcast_to(-view.ahead, points.shape) if view.orthographic else view.place - points
    length = np.linalg.norm(towards, axis=1) * np.linalg.norm(normals, axis=1)
    cosine = (normals * towards).sum(1) / np.maximum(length, 1e-12)
    share = np.clip((cosine - view.grazing) / (view.facing - view.grazing), 0, 1)
    column, row = np.clip(column - 0.5, 0, width - 1), np.clip(row - 0.5, 0, height - 1)
    left, top = column.astype(int), row.astype(int)
    right, down = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (column - left)[:, None], (row - top)[:, None]
    upper = view.pixels[top, left] * (1 - fx) + view.pixels[top, right] * fx
    lower = view.pixels[down, left] * (1 - fx) + view.pixels[down, right] * fx
    found = upper * (1 - fy) + lower * fy
    weight = np.where(seen, found[:, 3] * share * share * (3 - 2 * share), 0)
    return np.where((seen & (share > 0))[:, None], found[:, :3], 0), weight


@compiled(fastmath=True, nogil=True)
def _look_at_texels(view, surface, faces, looked_at, face, bary, color, weight):
    """`look` at the texels of triangles that are looked_at [F]: fills color [S, S, 3] and weight [S, S]; surface
    [V, 6]: vertices and normals."""
    height, width = face.shape
    at = np.empty(width, np.int64)
    places = np.empty((width, 6), np.float32)
    found, believed = np.empty((width, 3), np.float32), np.empty(width, np.float32)
    for y in range(height):
        n = 0
        for x in range(width):
            t = face[y, x]
            if t >= 0 and looked_at[t]:
                a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
                for k in range(6):
                    places[n, k] = (
                        bary[y, x, 0] * surface[a, k] + bary[y, x, 1] * surface[b, k] + bary[y, x, 2] * surface[c, k]
                    )
                at[n] = x
                n += 1
        look(view, places[:n, :3], places[:n, 3:], found, believed)
        for i in range(n):
            weight[y, at[i]] = believed[i]
            for k in range(3):
                color[y, at[i], k] = found[i, k]


@compiled(fastmath=True, nogil=True)
def _move_base(image, tone, faces, face, bary, out):
    """The texture [S, S, 3] uint8 moved by tone [V, 3] of the mesh, where it lies: out [S, S, 3] float32."""
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            t = face[y, x]
            for k in range(3):
                out[y, x, k] = image[y, x, k] * np.float32(1 / 255)
                if t >= 0:
                    for i in range(3):
                        out[y, x, k] += bary[y, x, i] * tone[faces[t, i], k]


@compiled(fastmath=True, nogil=True)
def _blend(color, weight, base, out):
    """A texture out [S, S, 3] uint8 of colours over others."""
    for y in range(weight.shape[0]):
        for x in range(weight.shape[1]):
            w = weight[y, x]
            for k in range(3):
                value = base[y, x, k] + w * (color[y, x, k] - base[y, x, k])
                out[y, x, k] = np.uint8(min(max(255 * value + np.float32(0.5), np.float32(0)), np.float32(255)))


def bake(mesh: Mesh, view: View, normals: np.ndarray, seen: np.ndarray, tone: np.ndarray) -> Baked:
    """A view in the texels of a mesh with a texture; normals [V, 3]; seen [V] bool: vertices that the view shows, whose
    triangles alone are looked at; tone [V, 3]: by how much the texture is to be moved where nothing is seen.

    Where triangles lie over each other in the square, one that is seen counts.
    """
    texture = mesh.texture
    if texture is None:
        raise ValueError("expected a mesh with a texture, got one without")
    size = texture.image.shape[0]
    faces = np.ascontiguousarray(mesh.faces, np.int32)
    looked_at = np.any(seen[faces], axis=1)
    face, bary = texels_of(texture.corners, size, np.argsort(looked_at, kind="stable"))
    claim_texels(texture.corners, face, bary)
    base = np.empty((size, size, 3), np.float32)
    _move_base(texture.image, np.ascontiguousarray(tone, np.float32), faces, face, bary, base)
    surface = np.concatenate([mesh.vertices, normals], 1).astype(np.float32)
    color, weight = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    _look_at_texels(view, surface, faces, looked_at, face, bary, color, weight)
    return Baked(color, weight, base, face >= 0)


def colors_from_texture(mesh: Mesh, texture: Texture) -> np.ndarray:
    """Colours [V, 3] float32 in [0, 1] of the vertices of a mesh, from a texture at one corner of each."""
    out = np.full(mesh.vertices.shape, 0.5, np.float32)
    _vertex_colors(texture.image, texture.corners, np.ascontiguousarray(mesh.faces, np.int32), out)
    return out


@compiled(fastmath=True, nogil=True)
def _vertex_colors(image, corners, faces, out):
    for f in range(len(faces)):
        for k in range(3):
            sample_texel(image, corners[f, k, 0], corners[f, k, 1], out[faces[f, k]])
