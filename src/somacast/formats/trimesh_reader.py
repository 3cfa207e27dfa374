"""PLY, OBJ, STL and OFF files of anybody, read by trimesh: one mesh with a colour per vertex."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.formats.gltf import GENERATOR, MAX_FACES
from somacast.formats.texture import joined_at_seams
from somacast.geometry.rasteriser import linear_to_srgb, sample_texture, srgb_to_linear
from somacast.geometry.sampling import DEFAULT_COLOR
from somacast.geometry.subdivision import refine
from somacast.types import Mesh, Texture


def read_mesh(path: Path, finest: float = 0.0) -> Mesh:
    """A file as one mesh, arguments and colours as of `load_mesh`; SomacastError for what is damaged."""
    try:
        import trimesh

        # Vertices are not merged: a seam in the texture needs both of its colours. None of these forms has transforms.
        scene = trimesh.load_scene(str(path), process=False)
        if _is_ours(path) and (own := _textured(scene)) is not None:
            return own
        longest = finest * float(scene.area) ** 0.5 if finest > 0 else 0.0
        parts = []
        for name in scene.graph.nodes_geometry:  # scene.dump() would lose vertex colours beside a material
            geometry = scene.geometry[scene.graph[name][1]]
            if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
                geometry = _refined(geometry, longest) if longest > 0 else geometry
                parts.append((np.asarray(geometry.vertices), np.asarray(geometry.faces), _colors_of(geometry)))
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SomacastError(f"{path}: cannot be read as a mesh ({reason[:120]})") from error
    return _join(parts, path)


def _is_ours(path: Path) -> bool:
    """Whether we wrote an .obj."""
    start = f"# {GENERATOR}".encode()
    with path.open("rb") as stream:
        return path.suffix.lower() == ".obj" and stream.read(len(start)) == start


def _textured(scene: Any) -> Mesh | None:
    """The mesh of an .obj of ours with its texture; None if it has none, or the picture beside it is gone."""
    (geometry,) = scene.geometry.values()
    visual = geometry.visual
    if visual.kind != "texture" or visual.uv is None or getattr(visual.material, "image", None) is None:
        return None
    uv = (np.asarray(visual.uv) * [1, -1] + [0, 1]).astype(np.float32)
    faces = np.asarray(geometry.faces)
    texture = Texture(np.asarray(visual.material.image.convert("RGB")), uv[faces])
    return joined_at_seams(np.asarray(geometry.vertices), faces, texture, uv)


def _picture_of(material: Any) -> np.ndarray | None:
    """The picture [H, W, 3] float32 sRGB of a trimesh material, if there is one."""
    picture = getattr(material, "image", None)
    return None if picture is None else np.asarray(picture.convert("RGB"), np.float32) / 255


def _factor_of(material: Any) -> np.ndarray:
    """Colour [3] of a trimesh material as sRGB float."""
    value = getattr(material, "diffuse", None)
    if value is None:
        return np.ones(3)
    array = np.asarray(value)[:3]
    return array / 255.0 if array.dtype.kind in "ui" else array.astype(np.float64)


def _colors_of(geometry: Any) -> np.ndarray | None:
    """A trimesh geometry's colours [V, 3] float32 sRGB, from vertex colours, texture or material; None if none."""
    visual = geometry.visual
    if visual.kind in ("vertex", "face"):
        return (np.asarray(visual.vertex_colors)[:, :3] / 255.0).astype(np.float32)
    if visual.kind != "texture":
        return None
    picture, factor = _picture_of(visual.material), _factor_of(visual.material)
    if picture is not None and visual.uv is not None:
        # An OBJ with a picture often carries a stray Kd that other programs ignore.
        return np.clip(sample_texture(picture, visual.uv), 0, 1).astype(np.float32)
    own = visual.vertex_attributes.get("color")
    if own is None or len(own) != len(geometry.vertices):
        return np.tile(factor, (len(geometry.vertices), 1)).astype(np.float32)
    own = np.asarray(own)[:, :3]
    own = own / np.iinfo(own.dtype).max if own.dtype.kind in "ui" else own
    return np.clip(linear_to_srgb(srgb_to_linear(own) * srgb_to_linear(factor)), 0, 1).astype(np.float32)


def _refined(geometry: Any, longest: float) -> Any:
    """A trimesh geometry with a texture in triangles whose edges are at most `longest`; others as they are."""
    visual = geometry.visual
    if visual.kind != "texture" or visual.uv is None or _picture_of(visual.material) is None:
        return geometry
    from trimesh import Trimesh
    from trimesh.visual import TextureVisuals

    points, faces = refine(np.c_[np.asarray(geometry.vertices), visual.uv], np.asarray(geometry.faces), longest)
    texture = TextureVisuals(uv=points[:, 3:], material=visual.material)
    return Trimesh(points[:, :3], faces, visual=texture, process=False)


def _join(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]], path: Path) -> Mesh:
    """Several (vertices, faces, colours) as one mesh; checks that there is something and that it is sound."""
    total = sum(len(faces) for _, faces, _ in parts)
    if not 0 < total <= MAX_FACES:
        raise SomacastError(f"{path}: expected 1 to {MAX_FACES} triangles, got {total}")
    starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts)])
    vertices = np.concatenate([vertices for vertices, _, _ in parts]).astype(np.float32)
    faces = np.concatenate([faces + start for (_, faces, _), start in zip(parts, starts, strict=False)])
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise SomacastError(f"{path}: expected finite vertices and faces that use them, got a damaged mesh")
    colors = None
    if any(color is not None for _, _, color in parts):
        colors = np.concatenate([np.full((len(v), 3), DEFAULT_COLOR, np.float32) if c is None else c
                                 for v, _, c in parts])  # fmt: skip
    return Mesh(vertices, np.ascontiguousarray(faces, np.int32), colors)
