"""Drawing dressed people: a numba z-buffer with textures, cut-outs and two-sided cloth."""

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(fastmath=True, cache=True, nogil=True)
def draw(xyz, distance, cx, cy, scale, faces, face_uvs, uvs, face_layer, textures, two_sided, cut_out,
         matrices, normals, light, ambient, light_color, image, inverse_depth, triangle):  # fmt: skip
    """Pinhole picture of view-frame vertices with the camera at (0, 0, distance) looking along -z.

    xyz [V, 3]; a point lands on ((x/(d-z) - cx) * scale + S/2, S/2 - (y/(d-z) - cy) * scale); normals [V, 3] unit;
    textures [layers, T, T, 4] uint8; matrices [layers, 3, 4]; image [S, S, 3] float32 in [0, 255] is drawn over,
    inverse_depth [S, S] and triangle [S, S] int32 (-1 where empty) are filled.
    """
    size = inverse_depth.shape[0]
    edge = textures.shape[1]
    count = xyz.shape[0]
    screen = np.empty((count, 3), np.float32)
    for v in range(count):
        w = 1 / (distance - xyz[v, 2])
        screen[v, 0] = (xyz[v, 0] * w - cx) * scale + size / 2
        screen[v, 1] = size / 2 - (xyz[v, 1] * w - cy) * scale
        screen[v, 2] = w
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bx, by = screen[b, 0], screen[b, 1]
        ex, ey = screen[c, 0], screen[c, 1]
        low_y = max(0, int(np.ceil(min(ay, by, ey) - 0.5)))
        high_y = min(size - 1, int(np.floor(max(ay, by, ey) - 0.5)))
        if low_y > high_y:
            continue
        low_x = max(0, int(np.ceil(min(ax, bx, ex) - 0.5)))
        high_x = min(size - 1, int(np.floor(max(ax, bx, ex) - 0.5)))
        if low_x > high_x:
            continue
        area = (bx - ax) * (ey - ay) - (by - ay) * (ex - ax)
        if -1e-9 < area < 1e-9:
            continue
        inverse = 1 / area
        layer = face_layer[t]
        for y in range(low_y, high_y + 1):
            py = y + 0.5
            for x in range(low_x, high_x + 1):
                px = x + 0.5
                u = ((px - ax) * (ey - ay) - (py - ay) * (ex - ax)) * inverse
                v = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
                w = 1 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                near = w * screen[a, 2] + u * screen[b, 2] + v * screen[c, 2]
                if near <= inverse_depth[y, x]:
                    continue
                i, j, k = face_uvs[t, 0], face_uvs[t, 1], face_uvs[t, 2]
                tu = w * uvs[i, 0] + u * uvs[j, 0] + v * uvs[k, 0]
                tv = 1 - (w * uvs[i, 1] + u * uvs[j, 1] + v * uvs[k, 1])
                fx = (tu - np.floor(tu)) * (edge - 1)
                fy = (tv - np.floor(tv)) * (edge - 1)
                ix = int(fx)
                iy = int(fy)
                jx = min(ix + 1, edge - 1)
                jy = min(iy + 1, edge - 1)
                fx -= ix
                fy -= iy
                w0 = (1 - fx) * (1 - fy)
                w1 = fx * (1 - fy)
                w2 = (1 - fx) * fy
                w3 = fx * fy
                if cut_out[layer]:
                    alpha = (w0 * textures[layer, iy, ix, 3] + w1 * textures[layer, iy, jx, 3]
                             + w2 * textures[layer, jy, ix, 3] + w3 * textures[layer, jy, jx, 3])  # fmt: skip
                    if alpha < 110:
                        continue
                nx = w * normals[a, 0] + u * normals[b, 0] + v * normals[c, 0]
                ny = w * normals[a, 1] + u * normals[b, 1] + v * normals[c, 1]
                nz = w * normals[a, 2] + u * normals[b, 2] + v * normals[c, 2]
                shade = (nx * light[0] + ny * light[1] + nz * light[2]) / (np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
                if two_sided[layer] and nz < 0:
                    shade = -shade
                shade = ambient + (1 - ambient) * max(shade, 0.0)
                red = (w0 * textures[layer, iy, ix, 0] + w1 * textures[layer, iy, jx, 0]
                       + w2 * textures[layer, jy, ix, 0] + w3 * textures[layer, jy, jx, 0])  # fmt: skip
                green = (w0 * textures[layer, iy, ix, 1] + w1 * textures[layer, iy, jx, 1]
                         + w2 * textures[layer, jy, ix, 1] + w3 * textures[layer, jy, jx, 1])  # fmt: skip
                blue = (w0 * textures[layer, iy, ix, 2] + w1 * textures[layer, iy, jx, 2]
                        + w2 * textures[layer, jy, ix, 2] + w3 * textures[layer, jy, jx, 2])  # fmt: skip
                for k3 in range(3):
                    m = matrices[layer, k3]
                    albedo = min(255.0, max(0.0, m[0] * red + m[1] * green + m[2] * blue + m[3]))
                    image[y, x, k3] = min(255.0, shade * light_color[k3] * albedo)
                inverse_depth[y, x] = near
                triangle[y, x] = t


@nb.njit(cache=True, nogil=True)
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


@nb.njit(fastmath=True, cache=True, nogil=True)
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
