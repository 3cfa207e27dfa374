"""Receiver, last step: chart and pose -> oriented, coloured cloud -> watertight mesh (Algorithm 2 line 24, eq. 28)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from somacast.body.table import BODY_VERTICES, hand_and_jaw_rotations, load_body, skin_vertices, vertex_normals
from somacast.geometry.nearest import PointTree
from somacast.geometry.preview import to_bytes_image
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.surface import SurfaceConfig, closed_surface
from somacast.geometry.texturing.baking import colors_from_texture
from somacast.geometry.texturing.islands import body_corners, outer_islands
from somacast.geometry.texturing.seams import SEAM_PX, enlarged
from somacast.geometry.texturing.sizes import DEFAULT_TEXTURE_PX
from somacast.geometry.texturing.texels import padded
from somacast.geometry.texturing.unwrap import BodyPoints, smoothed_head, unwrap, uv_slopes
from somacast.systems.aflsc.labels.chart import OFFSET_HIGH_M, OFFSET_LOW_M, load_chart
from somacast.systems.aflsc.labels.state import PersonState
from somacast.timing import stage
from somacast.types import Mesh, PointCloud, Texture

CLOUD_POINTS = 40_000


@dataclass(frozen=True)
class _Layout:
    """Where the cloud's points sit: body face, barycentric [N, 3], and their texels in the chart."""

    face: np.ndarray
    bary: np.ndarray
    texel: tuple[np.ndarray, np.ndarray]
    vertex_texel: tuple[np.ndarray, np.ndarray]


def _nearest_inside(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texel of the chart next to each UV [N, 2] that lies inside an island."""
    inside = load_chart().inside
    size = len(inside)
    y = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
    x = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    texels = np.argwhere(inside)
    rows, columns = texels[PointTree(texels).query(np.stack([y, x], 1))[1]].T
    return rows, columns


@lru_cache(maxsize=1)
def _layout(points: int = CLOUD_POINTS) -> _Layout:
    """The same area-uniform points on the mean body for everyone; drawn once with a fixed seed."""
    body = load_body()
    rest = body.shape_mean[:BODY_VERTICES]
    tri = rest[body.faces]
    area = np.linalg.norm(np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0]), axis=1)
    joint = body.bone_joint[body.skin_index[body.faces[:, 0], body.skin_weight[body.faces[:, 0]].argmax(1)]]
    area = area * np.where(np.isin(joint, [4, 8, 12]), 2.0, 1.0)  # head and hands are small and matter
    area[body.inner_faces | ~outer_islands()] = 0  # teeth and eyeballs would make holes in the face
    rng = np.random.default_rng(20)
    face = rng.choice(len(area), points, p=area / area.sum())
    r1, r2 = np.sqrt(rng.random(points)), rng.random(points)
    bary = np.stack([1 - r1, r1 * (1 - r2), r1 * r2], 1).astype(np.float32)
    uv = (body.uvs[body.face_uvs[face]] * bary[..., None]).sum(1)
    vertex_uv = np.zeros((BODY_VERTICES, 2), np.float32)
    vertex_uv[body.faces.ravel()] = body.uvs[body.face_uvs.ravel()]
    return _Layout(face, bary, _nearest_inside(uv), _nearest_inside(vertex_uv))


def texel_of_vertex(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column [N] in the chart of skin vertices [N]."""
    rows, columns = _layout().vertex_texel
    return rows[vertices], columns[vertices]


class PosedSkin(NamedTuple):
    """Vertices [13380, 3] and their normals, joints [21, 3]; view frame, metres, the pelvis at the origin."""

    vertices: np.ndarray
    normals: np.ndarray
    joints: np.ndarray


def displaced_body(state: PersonState, offset: np.ndarray) -> PosedSkin:
    """Posed skin moved out by the chart's offsets."""
    body = load_body()
    rest, bones = body.rest(state.shape)
    normal = np.empty_like(rest)
    vertex_normals(rest, body.faces, normal)
    rows, columns = _layout().vertex_texel
    outward = np.clip(offset[rows, columns], OFFSET_LOW_M, OFFSET_HIGH_M).astype(np.float32)
    moved = np.ascontiguousarray(rest + outward[:, None] * normal)
    transform, joints = body.transforms(bones, state.rotations, hand_and_jaw_rotations(*state.curl))
    out = np.empty_like(moved)
    skin_vertices(moved, body.skin_index[:BODY_VERTICES], body.skin_weight[:BODY_VERTICES], transform, out)
    out -= joints[0]
    vertex_normals(out, body.faces, normal)
    return PosedSkin(out, normal, joints - joints[0])


def point_cloud(vertices: np.ndarray, normals: np.ndarray, color: np.ndarray) -> PointCloud:
    """The posed skin [13380, 3] with normals, and the chart's colours [H, W, 3] in [0, 1], to the cloud."""
    layout = _layout()
    corner = load_body().faces[layout.face]
    points = np.einsum("nkc,nk->nc", vertices[corner], layout.bary)
    normal = np.einsum("nkc,nk->nc", normals[corner], layout.bary)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-8)
    return PointCloud(points.astype(np.float32), normal.astype(np.float32), np.clip(color[layout.texel], 0, 1))


def joined_clouds(*clouds: PointCloud) -> PointCloud:
    """All points as one cloud."""
    return PointCloud(*(np.concatenate([getattr(c, name) for c in clouds]) for name in ("points", "normals", "colors")))


def chart_texture(color: np.ndarray, size: int) -> np.ndarray:
    """The chart's colours [H, W, 3] in [0, 1] as the picture of a texture, [size, size, 3] uint8, carried on around the
    islands."""
    from PIL import Image

    chart = load_chart(len(color))
    pixels = padded(to_bytes_image(color), chart.inside & ~load_body().inner_faces[chart.face])
    pixels = np.asarray(Image.fromarray(pixels).resize((SEAM_PX, SEAM_PX), Image.Resampling.BILINEAR))
    return enlarged(pixels, size)


def _map_of(vertices: np.ndarray) -> BodyPoints:
    """Where every other of the cloud's points around the posed skin [13380, 3] lies in the UV square."""
    layout, faces, corners = _layout(), load_body().faces, body_corners()
    face, bary = layout.face[::2], layout.bary[::2]
    skin = smoothed_head(vertices)
    normals = np.empty_like(skin)
    vertex_normals(skin, faces, normals)
    points, normal = (np.einsum("nkc,nk->nc", x[faces[face]], bary) for x in (skin, normals))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-8)
    uv = np.einsum("nkc,nk->nc", corners[face], bary)
    return BodyPoints(points, normal, uv, uv_slopes(skin, faces, corners)[face])


def skinned_mesh(
    state: PersonState, color: np.ndarray, offset: np.ndarray, texture_px: int | None = None,
    posed: PosedSkin | None = None,
) -> Mesh:  # fmt: skip
    """The displaced body itself as a mesh (not watertight): quick previews, rigs, and the sender's look at its own
    result. With a texture of that side, in which its faces lie as in the body's UV square, if one is asked for; posed:
    as of `build_human`."""
    vertices, _, _ = posed or displaced_body(state, offset)
    body = load_body()
    outside = ~body.inner_faces
    texture = None
    if texture_px is not None:
        texture = Texture(chart_texture(color, texture_px), body_corners()[outside])
    return Mesh(vertices, body.faces[outside], skin_colors(color), texture)


def skin_colors(color: np.ndarray) -> np.ndarray:
    """The chart's colours [H, W, 3] at the skin's vertices, [13380, 3] float32 in [0, 1]."""
    return np.clip(color[_layout().vertex_texel], 0, 1).astype(np.float32)


def build_human(
    state: PersonState,
    color: np.ndarray,
    offset: np.ndarray,
    surface: SurfaceConfig | None = None,
    texture_px: int = DEFAULT_TEXTURE_PX,
    posed: PosedSkin | None = None,
    beyond: PointCloud | None = None,
) -> Reconstruction:
    """The person as a watertight mesh with the chart's colours as a texture, with cloud, joints and rotations; posed:
    where the skin is, if it is not where state and offset say; beyond: points of the surface that lie off the skin."""
    with stage("cloud"):
        vertices, normals, joints = posed or displaced_body(state, offset)
        cloud = point_cloud(vertices, normals, color)
    with stage("surface"):
        points = cloud if beyond is None else joined_clouds(cloud, beyond)
        mesh = closed_surface(points, surface or SurfaceConfig())
    with stage("unwrap"):
        found = unwrap(mesh.vertices, mesh.faces, _map_of(vertices))
        texture = Texture(chart_texture(color, texture_px), found.corners)
        mesh = Mesh(found.vertices, found.faces, None, texture)
        mesh.colors = colors_from_texture(mesh, texture)
    return Reconstruction(mesh, cloud, joints, state.rotations, pelvis_place(state))


def pelvis_place(state: PersonState) -> np.ndarray:
    """Where the pelvis stands before the sender's camera (OpenCV axes), metres [3] float32."""
    x, y, log_depth = (float(v) for v in state.pelvis)
    depth = float(np.exp(np.clip(log_depth, -3, 5)))
    return np.array([x * depth, y * depth, depth], np.float32)
