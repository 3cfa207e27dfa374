"""Textures in files: the picture's bytes, vertices at seams, and colours at vertices in the picture's place.

A file has one place in the picture for each vertex, a mesh of ours one for each corner of a triangle: where they differ
the vertex is written twice, with one place, one normal and one skin, so that the surface stays whole.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.formats.export import ImageKind
from somacast.geometry.rasteriser import sample_texel
from somacast.geometry.sampling import byte_colors
from somacast.geometry.subdivision import refine
from somacast.kernels import compiled
from somacast.types import Mesh, Texture

MAX_SIDE_PX = 8192  # of a picture: what programs and graphics cards take
MAX_DENSE_FACES = 400_000  # of a mesh whose colours stand at the vertices: a .ply of 8 MB
JPEG_QUALITY = 92
_SAME_PLACE = 1 << 20  # places in the picture that differ by less than one in so many are one
_SEEN = 5 / 255  # what a colour may differ from that of the texture
_EDGE_TEXELS = 1.5  # longest edge of triangles that show what stands in single texels
_STEPS = [(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]
_INNER = np.array([steps for steps in _STEPS if max(steps) < 4]) / 4  # places in a triangle, its corners left out


@dataclass(frozen=True)
class Split:
    """A surface with one place in the picture for each vertex: source [C] is the vertex that each stands for, uv [C, 2]
    float32 its place (v down) or None, faces [F, 3] of these. The first are the vertices themselves, in their order."""

    source: np.ndarray
    uv: np.ndarray | None
    faces: np.ndarray


def check_texture(texture: Texture, faces: np.ndarray) -> None:
    """SomacastError for a texture that does not fit triangles [F, 3], or that no program would open."""
    image, corners = np.asarray(texture.image), np.asarray(texture.corners)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise SomacastError(f"texture: expected an image [H, W, 3] uint8, got {image.dtype} {shown(image.shape)}")
    if max(image.shape[:2]) > MAX_SIDE_PX:
        raise SomacastError(f"texture: expected at most {MAX_SIDE_PX} texels a side, got {max(image.shape[:2])}")
    if corners.shape != (len(faces), 3, 2) or not np.isfinite(corners).all():
        expected = f"finite corners {(len(faces), 3, 2)}"
        raise SomacastError(f"texture: expected {expected}, got {shown(corners.shape)} or what is not finite")


def split_at_seams(mesh: Mesh) -> Split:
    """The vertices of a mesh as files want them; without a texture as they are."""
    faces, count = np.asarray(mesh.faces, np.int64), len(mesh.vertices)
    if mesh.texture is None:
        return Split(np.arange(count), None, faces)
    check_texture(mesh.texture, faces)
    places = np.asarray(mesh.texture.corners, np.float32).reshape(-1, 2)
    steps = np.rint(places.astype(np.float64) * _SAME_PLACE).astype(np.int64)
    place = np.unique(steps[:, 0] * (1 << 32) + steps[:, 1], return_inverse=True)[1].reshape(-1)
    _, first, pair = np.unique(
        faces.reshape(-1) * (place.max(initial=0) + 1) + place, return_index=True, return_inverse=True
    )
    vertex = faces.reshape(-1)[first]  # of each pair, rising
    leads = np.r_[True, vertex[1:] != vertex[:-1]][: len(vertex)]  # the first pair of its vertex keeps its number
    number = np.where(leads, vertex, 0)
    number[~leads] = count + np.arange((~leads).sum())
    source = np.concatenate([np.arange(count), vertex[~leads]])
    uv = np.zeros((len(source), 2), np.float32)
    uv[number] = places[first]
    return Split(source, uv, number[pair.reshape(-1)].reshape(-1, 3))


def join_at_seams(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of points [C, 3] float32 to keep, one of each place, and which of the kept ones each point is [C]. Points
    in the order of `split_at_seams` come back as the vertices were."""
    rows = np.ascontiguousarray(np.asarray(points, np.float32) + np.float32(0)).view([("", "<f4")] * 3).reshape(-1)
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[order] = np.arange(len(first))
    return first[order], rank[which.reshape(-1)]


def joined_at_seams(points: np.ndarray, faces: np.ndarray, texture: Texture, uv: np.ndarray) -> Mesh:
    """A mesh of vertices [C, 3] that stand twice at seams, with places uv [C, 2] in the picture (v down), as it was
    before it was split. SomacastError for a texture that does not fit."""
    check_texture(texture, faces)
    vertices = np.asarray(points, np.float32)
    kept, which = join_at_seams(vertices)
    colors = texture_colors(texture, uv[kept])
    return Mesh(vertices[kept], which[faces].astype(np.int32), colors, texture)


def encode_image(image: np.ndarray, kind: ImageKind = "jpeg", quality: int = JPEG_QUALITY) -> bytes:
    """The file of a picture [H, W, 3] uint8. JPEG keeps colours at full resolution, so that none runs over the edge of
    an island; quality: of a JPEG, 1 to 95."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if kind == "png":
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def texture_colors(texture: Texture, uv: np.ndarray) -> np.ndarray:
    """Colours [N, 3] float32 sRGB in [0, 1] of a texture at places [N, 2] (v down)."""
    out = np.empty((len(uv), 3), np.float32)
    _sample(np.ascontiguousarray(texture.image), np.ascontiguousarray(uv, np.float32), out)
    return out


@compiled(fastmath=True, nogil=True)
def _sample(image, uv, out):
    """Bilinear colours of image [H, W, 3] uint8 at uv [N, 2]: fills out [N, 3]."""
    for n in range(len(uv)):
        sample_texel(image, uv[n, 0], uv[n, 1], out[n])


def dense_colors(mesh: Mesh) -> Mesh:
    """The same surface with colours alone, at so many more vertices that they show what its texture shows, as far as
    MAX_DENSE_FACES triangles allow. Triangles are halved as long as the picture does not run evenly over them, down to
    single texels; all others stay. A mesh without a texture comes back as it is."""
    texture = mesh.texture
    if texture is None:
        return mesh
    split = split_at_seams(mesh)
    assert split.uv is not None
    points = np.concatenate([np.asarray(mesh.vertices, np.float64)[split.source], split.uv], 1)
    faces, longest = split.faces, float(_edges(points[:, :3], split.faces).max())
    while True:
        chosen = _uneven(texture, points, faces, longest)
        longest /= 2
        if not chosen.any():
            break
        dense, finer = refine(points, faces, longest, chosen)
        if len(finer) > MAX_DENSE_FACES:
            break
        points, faces = dense, finer
    colors = texture_colors(texture, points[:, 3:])
    vertices = points[:, :3].astype(np.float32)
    kept, which = join_at_seams(vertices)
    both = np.stack([np.bincount(which, colors[:, c]) for c in range(3)], 1) / np.bincount(which)[:, None]
    return Mesh(vertices[kept], which[faces].astype(np.int32), both.astype(np.float32))


def _edges(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The longest edge of each triangle [F]."""
    corners = points[faces]
    return np.linalg.norm(corners - corners[:, [1, 2, 0]], axis=2).max(1)


def _uneven(texture: Texture, points: np.ndarray, faces: np.ndarray, longest: float) -> np.ndarray:
    """Triangles [F] bool to be halved next: those of edges up to `longest`, since larger ones have been looked at,
    larger than a texel, over which the picture does not run evenly from corner to corner; points [C, 5]: place, and
    place in the picture."""
    edge = _edges(points[:, :3], faces)
    out = (edge > longest / 2) & (edge <= longest)
    out &= _edges(points[:, 3:] * texture.image.shape[1::-1], faces) > _EDGE_TEXELS
    some = faces[out]
    corners, at_corners = points[some, 3:], texture_colors(texture, points[:, 3:])[some]
    uneven = np.zeros(len(some), bool)
    for weights in _INNER:
        found = texture_colors(texture, np.einsum("k,fkc->fc", weights, corners))
        uneven |= np.abs(found - np.einsum("k,fkc->fc", weights, at_corners)).max(1) > _SEEN
    out[out] = uneven
    return out


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one, their textures side by side in one picture; where some have none, colours alone."""
    if len(meshes) == 1:
        return meshes[0]
    textures = [mesh.texture for mesh in meshes]
    if None in textures:
        meshes = [dense_colors(mesh) for mesh in meshes]
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]).astype(np.int32),
        np.concatenate([byte_colors(mesh) / np.float32(255) for mesh in meshes]).astype(np.float32),
        None if None in textures else _side_by_side([one for one in textures if one is not None]),
    )


def _side_by_side(textures: Sequence[Texture]) -> Texture:
    """Several textures as one, triangles in their order. It has no more than MAX_SIDE_PX texels a side; what is larger
    is made smaller."""
    from PIL import Image

    columns = int(np.ceil(len(textures) ** 0.5))
    cell = min(max(max(t.image.shape[:2]) for t in textures), MAX_SIDE_PX // columns)
    rows = -(-len(textures) // columns)
    image = np.zeros((rows * cell, columns * cell, 3), np.uint8)
    corners = []
    for number, texture in enumerate(textures):
        row, column = divmod(number, columns)
        picture = Image.fromarray(texture.image).resize((cell, cell), Image.Resampling.LANCZOS)
        image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = np.asarray(picture)
        corners.append((texture.corners + [column, row]) / [columns, rows])
    return Texture(image, np.concatenate(corners).astype(np.float32))
