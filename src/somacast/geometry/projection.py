"""A picture on the surface that its camera saw: colours for what can be seen, and their tone for all the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from somacast.body.table import vertex_normals
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.rasteriser import Rendering, render_camera
from somacast.geometry.texturing.baking import Baked, View, bake, colors_from_texture, look
from somacast.geometry.texturing.texels import padded
from somacast.kernels import compiled
from somacast.types import Camera, Mesh

Completion = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
_FAR_M = 1e6


@dataclass(frozen=True)
class ProjectionConfig:
    """behind_m: how far behind the surface a point may lie and be seen; jump_m: a step in depth between neighbouring
    pixels that is an edge; edge: what is not believed along edges, as a share of the picture's side; beyond: how far
    the person's colours are carried on beyond the silhouette, likewise; grazing, facing: cosines of the viewing angle
    at which the picture counts for nothing, and for all.

    tone_m, tone: how near, in metres and in colour, a seen point must be to set the tone of an unseen one.
    """

    behind_m: float = 0.012
    jump_m: float = 0.05
    edge: float = 0.004
    beyond: float = 0.03
    grazing: float = 0.1
    facing: float = 0.45
    tone_m: float = 0.15
    tone: float = 0.12


def project_picture(
    mesh: Mesh,
    image: np.ndarray,
    camera: Camera,
    silhouette: np.ndarray | None = None,
    config: ProjectionConfig | None = None,
    complete: Completion | None = None,
    behind: np.ndarray | None = None,
) -> Mesh:
    """The mesh with the picture in the texels of what `camera` sees of it; world and metres of the mesh, which must
    have a texture.

    Parameters
    ----------
    image
        [H, W, 3] float32 sRGB in [0, 1], of the camera's size.
    silhouette
        [H, W] float32 in [0, 1] or bool, where the picture shows the mesh (default: where the mesh is seen). Nothing of
        what lies outside reaches the mesh: along the border the person's own colours are carried on.
    complete
        Color, weight and base of `Baked` to what is shown where nothing is seen: for meshes in the body's UV square,
        `texturing.completion.completed`.
    behind
        [H, W, 3] likewise: what the camera would see last through the mesh, in place of the mesh's own colours on what
        faces away from it.

    What the camera does not see, or sees at a grazing angle or beside an edge in depth, keeps the mesh's own colours,
    moved by the difference between picture and mesh at seen points near by that had a like colour, and completed if
    so asked. A mesh of which nothing is seen comes back as it is.
    """
    baked = baked_picture(mesh, image, camera, silhouette, config, behind)
    if baked is None or mesh.texture is None:
        return mesh
    if complete is not None:
        baked = replace(baked, base=complete(baked.color, baked.weight, baked.base))
    texture = replace(mesh.texture, image=baked.image())
    return replace(mesh, colors=colors_from_texture(mesh, texture), texture=texture)


def baked_picture(
    mesh: Mesh,
    image: np.ndarray,
    camera: Camera,
    silhouette: np.ndarray | None = None,
    config: ProjectionConfig | None = None,
    behind: np.ndarray | None = None,
) -> Baked | None:
    """What `project_picture` puts into the texels, before it is blended; None if the camera sees nothing of the mesh.
    ValueError for a picture of another size than the camera's, or a mesh without texture."""
    config = config or ProjectionConfig()
    if mesh.texture is None:
        raise ValueError("expected a mesh with a texture to bake a picture into, got one without")
    vertices, normals, view = _seen_by(mesh, image, camera, silhouette, config)
    found, weight = np.empty_like(vertices), np.empty(len(vertices), np.float32)
    look(view, vertices, normals, found, weight)
    if not weight.any():
        return None
    base = mesh.colors if mesh.colors is not None else colors_from_texture(mesh, mesh.texture)
    tone = _tone(vertices, np.asarray(base, np.float32), found, weight, config)
    if behind is not None:
        turned, away, far_view = _seen_by(inside_out(mesh, camera), behind, camera, silhouette, config)
        far, share = np.empty_like(vertices), np.empty(len(vertices), np.float32)
        look(far_view, turned, away, far, share)
        tone = tone + share[:, None] * (far - base - tone)
    return bake(mesh, view, normals, weight > 0, tone)


def _seen_by(
    mesh: Mesh, image: np.ndarray, camera: Camera, silhouette: np.ndarray | None, config: ProjectionConfig
) -> tuple[np.ndarray, np.ndarray, View]:
    """Vertices [V, 3] and normals [V, 3] of a mesh, and the view of it that a picture is."""
    if image.shape != (camera.height, camera.width, 3):
        raise ValueError(f"expected a picture of {camera.height} x {camera.width} x 3, got {image.shape}")
    rendering = render_camera(mesh, camera)
    inside = rendering.mask if silhouette is None else np.asarray(silhouette) > 0.5
    colors, trust = _believed(image, inside, rendering, config)
    # A pixel's nearest surface may be that of its neighbours, as it was looked at in its middle only.
    reach_m = _largest(np.where(rendering.mask, rendering.depth + config.behind_m, 0))
    pixels = np.concatenate([colors, trust[..., None]], 2)
    view = View.of(camera, pixels, reach_m, config.grazing, config.facing)

    vertices = np.ascontiguousarray(mesh.vertices, np.float32)
    normals = np.empty_like(vertices)
    vertex_normals(vertices, np.ascontiguousarray(mesh.faces, np.int32), normals)
    return vertices, normals, view


def inside_out(mesh: Mesh, camera: Camera) -> Mesh:
    """The mesh with all depths turned around: every point on the same pixel, the farthest surface nearest."""
    local = mesh.vertices.astype(np.float64) @ camera.rotation.T + camera.translation
    depth = local[:, 2:]
    turned = depth.min() + depth.max() - depth
    across = local[:, :2] if camera.orthographic else local[:, :2] * turned / np.maximum(depth, 1e-6)
    vertices = (np.concatenate([across, turned], 1) - camera.translation) @ camera.rotation
    return replace(mesh, vertices=vertices.astype(np.float32), faces=np.ascontiguousarray(mesh.faces[:, ::-1]),
                   texture=None if mesh.texture is None else replace(
                       mesh.texture, corners=np.ascontiguousarray(mesh.texture.corners[:, ::-1])))  # fmt: skip


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _largest(plane: np.ndarray) -> np.ndarray:
    """Largest value of each pixel [H, W] and its eight neighbours; the border goes on."""
    for axis in (0, 1):
        moved = np.pad(plane, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], "edge")
        parts = [np.take(moved, np.arange(plane.shape[axis]) + k, axis) for k in range(3)]
        plane = np.maximum(np.maximum(parts[0], parts[1]), parts[2])
    return plane


def grown(mask: np.ndarray, steps: int) -> np.ndarray:
    """A mask [H, W] bool widened by some pixels on all sides."""
    for _ in range(steps):
        mask = _largest(mask)
    return mask


def carried_on(
    image: np.ndarray, sure: np.ndarray, beyond_px: float, reaches: tuple[float, ...] = (0.15, 0.5, 2.0)
) -> tuple[np.ndarray, np.ndarray]:
    """A picture [H, W, 3] whose colours are carried on from where it is `sure` [H, W] bool over all else, float32, and
    where they are known then, [H, W] bool: near colours where there are any, else those from farther away, in shares
    of beyond_px."""
    colors, known = np.where(sure[..., None], image, 0).astype(np.float32), sure.copy()
    for reach in reaches:
        sigma = max(0.7, reach * beyond_px)
        stack = np.concatenate([colors, known[..., None].astype(np.float32)], 2)
        blurred = gaussian_filter(stack, sigma, int(3 * sigma) + 1, (0, 1))
        fill = ~known & (blurred[..., 3] > 0.02)
        colors[fill] = blurred[fill][:, :3] / blurred[fill][:, 3:]
        known |= fill
    return colors, known


def _believed(
    image: np.ndarray, inside: np.ndarray, rendering: Rendering, config: ProjectionConfig
) -> tuple[np.ndarray, np.ndarray]:
    """The picture with the person's own colours carried on over all else, and how far each pixel is to be believed."""
    side = max(image.shape[:2])
    edge = max(1, round(config.edge * side))
    beyond = max(1.0, config.beyond * side)
    sure = ~grown(~inside, edge)
    colors = padded(np.asarray(image, np.float32), sure)
    colors = np.where(sure[..., None], colors, gaussian_filter(colors, edge, 3 * edge, (0, 1)))
    near = gaussian_filter(sure.astype(np.float32), beyond / 2, int(1.5 * beyond) + 1, (0, 1))
    trust = np.where(sure, 1.0, _ramp(near, 0.0, 0.35))

    # An edge in depth within the mesh: the picture's own edge may lie beside it.
    far = np.where(rendering.mask, rendering.depth, -_FAR_M)
    close = -_largest(np.where(rendering.mask, -rendering.depth, -_FAR_M))
    jump = (_largest(far) - close > config.jump_m) & rendering.mask
    soft = gaussian_filter(grown(jump, edge - 1).astype(np.float32), 0.7 * edge, 2 * edge, (0, 1))
    return colors, (trust * (1 - np.clip(2 * soft, 0, 1))).astype(np.float32)


def _tone(
    points: np.ndarray, base: np.ndarray, colors: np.ndarray, weights: np.ndarray, config: ProjectionConfig
) -> np.ndarray:
    """How the mesh's own colours [V, 3] are to be moved, from what the picture moves at the points it shows: a mean
    over those near in space and in colour, by a bell with long ends, so that there is always one."""
    places = np.concatenate([points / config.tone_m, base / config.tone], 1).astype(np.float32)
    # Cells of a bell's width stand for all points in them.
    cells = np.floor(places).astype(np.int64)
    cells -= cells.min(0)
    key = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(0) + 1))
    _, which = np.unique(key, return_inverse=True)

    def means(values: np.ndarray, by: np.ndarray) -> np.ndarray:
        total = np.bincount(which, by)
        sums = np.stack([np.bincount(which, by * column) for column in values.T], 1)
        return sums / np.maximum(total, 1e-9)[:, None]

    total = np.bincount(which, weights)
    has = total > 0.05
    if not has.any():
        return np.zeros_like(base)
    anchors = means(places, weights)[has].astype(np.float32)
    moved = means(colors - base, weights)[has].astype(np.float32)
    out = np.empty(base.shape, np.float32)
    _bell_means(places, anchors, np.cbrt(total[has]).astype(np.float32), moved, out)
    return out


@compiled(fastmath=True, nogil=True)
def _bell_means(places, anchors, share, values, out):
    """Means out [N, 3] of values [A, 3] at places [N, 6], by the distance to anchors [A, 6] and their share [A]."""
    for n in range(len(places)):
        total = np.float32(0)
        a, b, c = np.float32(0), np.float32(0), np.float32(0)
        for m in range(len(anchors)):
            square = np.float32(1)
            for k in range(6):
                way = places[n, k] - anchors[m, k]
                square += way * way
            near = share[m] / square
            near *= near * near
            total += near
            a += near * values[m, 0]
            b += near * values[m, 1]
            c += near * values[m, 2]
        out[n, 0], out[n, 1], out[n, 2] = a / total, b / total, c / total


def bell_means_reference(places, anchors, share, values):
    """Readable twin of `_bell_means`."""
    square = 1 + ((places[:, None] - anchors) ** 2).sum(2)
    near = (share / square) ** 3
    return near @ values / near.sum(1, keepdims=True)
