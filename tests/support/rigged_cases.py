"""Miniature rigged people: a box around every bone, painted by what it wears."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

SKIN, RED, BLUE, BLACK = (214, 160, 125), (190, 30, 40), (40, 60, 170), (20, 20, 22)
TEXTURE_PX, CELLS = 64, 8
_CENTRAL = [("Hips", "", (0, 1.0, 0)), ("Spine", "Hips", (0, 1.05, 0)), ("Spine1", "Spine", (0, 1.15, 0)),
            ("Spine2", "Spine1", (0, 1.25, 0)), ("Neck", "Spine2", (0, 1.45, 0)), ("Head", "Neck", (0, 1.55, 0)),
            ("HeadEnd", "Head", (0, 1.75, 0))]  # fmt: skip
_SIDED = [("Shoulder", "Spine2", (0.03, 1.4, 0)), ("Arm", "Shoulder", (0.17, 1.4, 0)),
          ("ForeArm", "Arm", (0.42, 1.4, 0)), ("Hand", "ForeArm", (0.66, 1.4, 0)),
          ("HandIndex1", "Hand", (0.75, 1.4, 0)), ("HandIndex2", "HandIndex1", (0.78, 1.4, 0)),
          ("HandIndex3", "HandIndex2", (0.8, 1.4, 0)),
          ("HandIndex4", "HandIndex3", (0.83, 1.4, 0)), ("UpLeg", "Hips", (0.09, 0.93, 0)),
          ("Leg", "UpLeg", (0.09, 0.51, 0)), ("Foot", "Leg", (0.09, 0.1, 0)), ("ToeBase", "Foot", (0.09, 0.03, 0.15)),
          ("ToeEnd", "ToeBase", (0.09, 0.02, 0.22))]  # fmt: skip
_WIDTH_M = 0.05


def bones() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, parent [B] and heads [B, 3]."""
    rows = list(_CENTRAL)
    for side, sign in (("Left", 1), ("Right", -1)):
        for name, above, (x, y, z) in _SIDED:
            rows.append((side + name, above if above in ("Spine2", "Hips") else side + above, (sign * x, y, z)))
    names = [name for name, _, _ in rows]
    parent = np.array([names.index(above) if above else -1 for _, above, _ in rows], np.int16)
    return names, parent, np.array([place for _, _, place in rows], np.float32)


def color_of(name: str) -> tuple[int, int, int]:
    """What the box of a bone is painted with."""
    for part, color in (("Toe", BLACK), ("Foot", BLACK), ("Hand", SKIN), ("Head", SKIN), ("Neck", SKIN), ("Leg", BLUE),
                        ("Hips", BLUE)):  # fmt: skip
        if part in name:
            return color
    return RED


def arrays(hair: bool = True) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    names, parent, heads = bones()
    image = np.zeros((TEXTURE_PX, TEXTURE_PX, 3), np.uint8)
    points, faces, uvs, joint, material = [], [], [], [], []
    cell = TEXTURE_PX // CELLS
    for bone, above in enumerate(parent):
        if above < 0:
            continue
        low, high = np.sort(heads[[above, bone]], axis=0) + [[-_WIDTH_M], [_WIDTH_M]]
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        row, column = divmod(bone, CELLS)
        image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = color_of(names[above])
        for a, b, c, d in ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)):
            first = len(points)
            points += [corners[k] for k in (a, b, c, d)]
            uvs += [(column + u, row + v) for u, v in ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))]
            faces += [(first, first + 1, first + 2), (first, first + 2, first + 3)]
            joint += [above] * 4
            material += [0, 0]
    textures = [image]
    if hair:
        first = len(points)
        points += [np.array(p) for p in ((-0.08, 1.8, 0), (0.08, 1.8, 0), (0, 1.6, -0.1))]
        uvs += [(0, 0), (CELLS - 1, 0), (0, CELLS - 1)]
        faces.append((first, first + 1, first + 2))
        joint += [names.index("Head")] * 3
        material.append(1)
        textures.append(np.full((32, 32, 3), 60, np.uint8))
    places = np.array(points)
    low, step = places.min(0), np.ptp(places, axis=0) / 60000
    out = {
        "vertices_u16": np.round((places - low) / step).astype(np.uint16),
        "vertices_low_m": low, "vertices_step_m": step,
        "faces": np.array(faces, np.uint16), "material": np.array(material, np.uint8),
        "uv_i16": np.round(np.array(uvs) / CELLS * 8192).astype(np.int16),
        "joint": np.repeat(np.array(joint, np.uint8)[:, None], 4, 1),
        "weight_u8": np.tile(np.array([255, 0, 0, 0], np.uint8), (len(points), 1)),
        "bones": np.array(names), "parent": parent, "rest_m": heads,
    }  # fmt: skip
    for number, texture in enumerate(textures):
        with io.BytesIO() as file:
            Image.fromarray(texture).save(file, "WEBP", lossless=True)
            out[f"texture_{number}_webp"] = np.frombuffer(file.getvalue(), np.uint8)
    return out


def write_figure(path: Path, **changes: np.ndarray | None) -> Path:
    """One file; changes replace arrays, None takes one away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in (arrays() | changes).items() if v is not None}
    np.savez(path, **kept)  # pyright: ignore[reportArgumentType]
    return path


def write_assets(folder: Path, names: tuple[str, ...]) -> Path:
    """An asset folder of rigged people alone; its motions are the built-in ones."""
    for name in names:
        write_figure(folder / "rigged" / f"{name}.npz")
    (folder / "poses").mkdir()
    (folder / "poses" / "index.json").write_text(json.dumps([]))
    return folder
