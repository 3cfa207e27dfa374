"""Drawing dressed people: textures with holes, two-sided cloth, two lamps under a sky; four samples a pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from somacast.geometry.rasteriser import Atlas, rasterize, texel_weights, texels_reference
from somacast.kernels import compiled


class Cloth(NamedTuple):
    """How the layers of an atlas look: matrices [L, 3, 4] on red, green, blue, 1 in [0, 255]; two_sided [L] bool."""

    matrices: np.ndarray
    two_sided: np.ndarray


def visible(points: np.ndarray, faces: np.ndarray, atlas: Atlas, size: int) -> tuple[np.ndarray, ...]:
    """What a camera sees of points [V, 3] float32 (pixel x, pixel y, nearness) through the holes of the textures.

    Returns nearness [S, S] float32, triangle [S, S] int32 (-1: nothing) and weights [S, S, 2] of its second and third
    corner, linear on the screen: triangles this small hardly show perspective.
    """
    nearness = np.empty((size, size), np.float32)
    triangle = np.empty((size, size), np.int32)
    weights = np.empty((size, size, 2))
    rasterize(points, faces, False, nearness, triangle, weights, atlas)
    return nearness, triangle, weights


@compiled(fastmath=True, nogil=True)
def shade(atlas, cloth, light, faces, normals, triangle, weights, image):
    """Draw visible triangles over image [S, S, 3] float32 in [0, 255]; normals [V, 3] in view axes, z to the camera."""
    size = triangle.shape[0]
    pixels, uvs, face_uvs, face_layer = atlas.textures, atlas.uvs, atlas.face_uvs, atlas.face_layer
    matrices, two_sided, ambient = cloth.matrices, cloth.two_sided, light.ambient
    dx, dy, dz = light.direction[0], light.direction[1], light.direction[2]
    fx, fy, fz = light.fill_direction[0], light.fill_direction[1], light.fill_direction[2]
    color, sky, ground, fill = light.color, light.sky, light.ground, light.fill_color
    rgb = np.empty(3)
    for row in range(size):
        for column in range(size):
            t = triangle[row, column]
            if t < 0:
                continue
            a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
            u, v = weights[row, column, 0], weights[row, column, 1]
            w = 1 - u - v
            nx = w * normals[a, 0] + u * normals[b, 0] + v * normals[c, 0]
            ny = w * normals[a, 1] + u * normals[b, 1] + v * normals[c, 1]
            nz = w * normals[a, 2] + u * normals[b, 2] + v * normals[c, 2]
            layer = face_layer[t]
            turn = 1 / (np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
            if two_sided[layer] and nz < 0:
                turn = -turn
            lamp = (1 - ambient) * max((nx * dx + ny * dy + nz * dz) * turn, 0.0)
            second = max((nx * fx + ny * fy + nz * fz) * turn, 0.0)
            above = 0.5 + 0.5 * ny * turn
            top, left, below, right, x, y = texel_weights(uvs, face_uvs[t], u, v, pixels.shape[1])
            for n in range(3):
                upper = (1 - x) * pixels[layer, top, left, n] + x * pixels[layer, top, right, n]
                lower = (1 - x) * pixels[layer, below, left, n] + x * pixels[layer, below, right, n]
                rgb[n] = (1 - y) * upper + y * lower
            for k in range(3):
                albedo = matrices[layer, k, 3]
                for n in range(3):
                    albedo += matrices[layer, k, n] * rgb[n]
                lit = color[k] * (ambient * (ground[k] + (sky[k] - ground[k]) * above) + lamp) + fill[k] * second
                image[row, column, k] = min(255.0, lit * min(255.0, max(0.0, albedo)))


def shade_reference(atlas, cloth, light, faces, normals, triangle, weights, image):
    """Readable twin of `shade`."""
    seen = triangle >= 0
    face, layer = triangle[seen], atlas.face_layer[triangle[seen]]
    share = np.concatenate([1 - weights[seen].sum(1, keepdims=True), weights[seen]], 1)
    normal = (normals[faces[face]] * share[..., None]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where((cloth.two_sided[layer] & (normal[:, 2] < 0))[:, None], -normal, normal)
    lamp = (1 - light.ambient) * np.maximum(normal @ light.direction, 0)[:, None]
    above = (1 + normal[:, 1:2]) / 2
    ambient = light.ambient * (above * light.sky + (1 - above) * light.ground)
    lit = light.color * (ambient + lamp) + np.maximum(normal @ light.fill_direction, 0)[:, None] * light.fill_color
    rgb1 = np.concatenate([texels_reference(atlas, face, share)[:, :3], np.ones((len(face), 1))], 1)
    albedo = np.clip(np.einsum("nij,nj->ni", cloth.matrices[layer], rgb1), 0, 255)
    image[seen] = np.minimum(lit * albedo, 255)


@compiled(nogil=True)
def halve(image, triangle, out, mask):
    """Average 2x2 pixels of image [2S, 2S, 3] into out [S, S, 3] uint8; mask [S, S] uint8 is coverage in 0..255."""
    size = out.shape[0]
    for y in range(size):
        for x in range(size):
            for k in range(3):
                left = image[2 * y, 2 * x, k] + image[2 * y + 1, 2 * x, k]
                total = left + image[2 * y, 2 * x + 1, k] + image[2 * y + 1, 2 * x + 1, k]
                out[y, x, k] = np.uint8(total * 0.25)
            hits = ((triangle[2 * y, 2 * x] >= 0) + (triangle[2 * y + 1, 2 * x] >= 0)
                    + (triangle[2 * y, 2 * x + 1] >= 0) + (triangle[2 * y + 1, 2 * x + 1] >= 0))  # fmt: skip
            mask[y, x] = np.uint8(hits * 255 // 4)


@compiled(fastmath=True, nogil=True)
def bounds(xyz, distance):
    """Range of x/(d-z) and y/(d-z) over vertices [V, 3]: (x0, x1, y0, y1)."""
    x0, x1, y0, y1 = 1e9, -1e9, 1e9, -1e9
    for v in range(xyz.shape[0]):
        w = 1 / (distance - xyz[v, 2])
        x = xyz[v, 0] * w
        y = xyz[v, 1] * w
        x0 = min(x0, x)
        x1 = max(x1, x)
        y0 = min(y0, y)
        y1 = max(y1, y)
    return x0, x1, y0, y1
