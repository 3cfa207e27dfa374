"""What the look tokens learn from: people as the sender sees them, on the body that it would send, both sides true.

person -> picture -> labels as they travel -> canvas around the decoded body
          -> on it: picture, silhouette, decoded picture of the layer above; true colours, cover and depth of both sides
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from somacast.capture.pictures import frame_from_array
from somacast.errors import SomacastError
from somacast.geometry.rasteriser import Atlas
from somacast.geometry.silhouette import sample
from somacast.synthetic.compression import spoil
from somacast.synthetic.rendering import Cloth, shade, visible
from somacast.synthetic.samples import Sample, SceneConfig, SyntheticPeople
from somacast.synthetic.scenes import Light, Shot
from somacast.systems.aflsc.config import EncoderConfig
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX, Capsules
from somacast.systems.aflsc.look_tokens.inputs import look_input
from somacast.systems.aflsc.picture_layer.canvas import grid_places
from somacast.systems.aflsc.picture_layer.send import FrameOnCanvas
from somacast.systems.aflsc.picture_layer.share import label_state
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.picture_layer.warp import NO_WARP, Warp
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.sender.look import Look
from somacast.types import Capture, Frame

FLAT = Light(np.array([0, 0, 1], np.float32), 1.0, np.ones(3, np.float32))  # shows colours as they are
SHARD_SAMPLES = 256
OUTSIDE_M = 9.0  # depth of what is not there
_PICTURED = 0.6  # share of rows that come with a picture
_BUDGETS = ((120, 400), (400, 2500))  # bytes of a file with a picture: half of the rows each, evenly by logarithm
_LABEL_BYTES = (85, 150)  # of a file without one, evenly


def true_side(sample: Sample, size: int, behind: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the sample's camera sees of the person, unlit, or what it would see last through them: colours [S, S, 3]
    uint8 on black, coverage [S, S] uint8 and depth behind the pelvis [S, S] metres, OUTSIDE_M where nobody is."""
    person, shot = sample.person, sample.shot
    scale = shot.scale * size / len(sample.image)
    fine = Shot(shot.distance_m, shot.cx, shot.cy, scale)
    nearness = 1 / (shot.distance_m - sample.vertices[:, 2:].astype(np.float64))
    order = -nearness if behind else nearness
    points = np.concatenate([fine.project(sample.vertices.astype(np.float64), size), order], 1).astype(np.float32)
    atlas = Atlas(person.textures, person.uvs, person.face_uvs, person.face_layer, person.cut_out)
    seen, triangle, weights = visible(points, person.faces, atlas, size)
    image = np.zeros((size, size, 3), np.float32)
    normals = person.normals(sample.vertices)
    cloth = Cloth(person.matrices, person.two_sided)
    shade(atlas, cloth, FLAT, person.faces, normals, triangle, weights, image)
    depth = np.full((size, size), OUTSIDE_M, np.float32)
    depth[triangle >= 0] = 1 / np.abs(seen[triangle >= 0]) - shot.distance_m
    return image, (triangle >= 0).astype(np.float32), depth


class SampleMaker:
    """Holds the sender whose labels, canvas and pictures the samples have."""

    def __init__(self) -> None:
        self.encoder = Encoder(config=EncoderConfig(mirrored=False))

    def make(self, sample_: Sample, rng: np.random.Generator, spoilt_share: float) -> dict[str, np.ndarray] | None:
        """One row of the pool; None if the sender sees nobody."""
        encoder, space = self.encoder, self.encoder.space
        image = spoil(sample_.image, rng, spoilt_share, sample_.silhouette)
        frame = frame_from_array(image)
        try:
            values, _, look = encoder.see(Capture([frame]))
        except SomacastError:
            return None
        pictured = self._pictured(frame, look, values, rng) if rng.random() < _PICTURED else None
        if pictured is None:
            budget = round(rng.uniform(*_LABEL_BYTES))
            symbols = encoder.codec.symbols(encoder.labelled(frame, look, values, budget, 0))
            sent_values = space.vocabulary.dequantise(symbols[None])[0][0]
            shown, warp, codes = None, NO_WARP, space.state(sent_values).codes
        else:
            sent_values, shown, warp, codes = pictured
        canvas = Capsules.of(sent_values, space).canvas
        given = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.float32)
        if shown is not None and shown.picture is not None:
            given = canvas.cut(shown.picture, shown.body.canvas, WIDTH_PX, HEIGHT_PX)
        lens, size = frame.lens, len(image)
        seen = look_input(FrameOnCanvas(frame, look, canvas))
        pixels = canvas.tangents(grid_places(2 * WIDTH_PX, 2 * HEIGHT_PX)) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
        own_m_px = sample_.shot.distance_m / sample_.shot.scale
        row = {
            "picture": _bytes(255 * seen[..., :3]),
            "mask": _bytes(255 * seen[..., 3]),
            "sensed": _bytes(255 * seen[..., 4]),
            "given": _bytes(255 * given),
            "pictured": np.bool_(shown is not None),
            "sent": sent_values.astype(np.float32),
            "moves": warp.heights.astype(np.float32),
            "codes": codes.astype(np.float32),
            "size_ratio": np.float32(float(canvas.pelvis_m[2]) / lens.fx / own_m_px),
        }
        for name, behind_ in (("front", False), ("back", True)):
            color, cover, depth = true_side(sample_, 2 * size, behind_)
            row[name] = _bytes(_halved(sample(color, 2 * pixels)))
            row["cover"] = _bytes(255 * _halved(sample(cover, 2 * pixels)[..., None])[..., 0])
            row[name + "_m"] = _mean_depth(depth[_whole(pixels, 2 * size)])
        return row

    def _pictured(self, frame: Frame, look: Look, values: np.ndarray, rng: np.random.Generator) -> Any:
        """Label values [L] as they are sent before a picture of some size, what that shows, its warp, and the codes [K]
        that the receiver reads off it; None if there is no picture."""
        encoder, space = self.encoder, self.encoder.space
        budget = round(float(np.exp(rng.uniform(*np.log(_BUDGETS[int(rng.random() < 0.5)])))))
        state, codec = label_state(budget), encoder.codec
        layers = codec.layers_before_look(encoder.symbols(frame, look, values, state, True), state)
        sent = space.vocabulary.dequantise(codec.symbols_before_look(layers)[None])[0][0]
        found = encoder.look_sender.pictured(frame, look, values, sent, [*map(len, layers)], budget)
        if found is None:
            return None
        shown = Shown.of(space.state(sent), space, found[1])
        return sent, shown, Warp.decode(found[1][0]), space.state(sent).codes if shown.codes is None else shown.codes


def _halved(plane: np.ndarray) -> np.ndarray:
    return plane.reshape(HEIGHT_PX, 2, WIDTH_PX, 2, -1).mean((1, 3))


def _mean_depth(depth: np.ndarray) -> np.ndarray:
    """Of two by two pixels [2 H, 2 W] those that show somebody; OUTSIDE_M where none does."""
    near = np.where(depth < OUTSIDE_M, depth, np.nan).reshape(HEIGHT_PX, 2, WIDTH_PX, 2)
    known = np.isfinite(near).any((1, 3))
    mean = np.full(known.shape, OUTSIDE_M, np.float16)
    mean[known] = np.nanmean(near.transpose(0, 2, 1, 3).reshape(HEIGHT_PX, WIDTH_PX, 4)[known], 1)
    return mean


def _whole(pixels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of a picture of size x size that is twice as large as the one they are of."""
    at = np.clip((2 * pixels).astype(int), 0, size - 1)
    return at[..., 1], at[..., 0]


def _bytes(plane: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def produce(folder: Path, seed: int, assets: Path | None, shards: range, split: str = "train") -> None:
    """Write shards of SHARD_SAMPLES rows into a folder; those that are there are skipped. Of all people 45 % are
    rigged where the asset folder has some: they alone have true faces and hair."""
    scene = SceneConfig(size_px=384, asset_share=0.65, rigged_share=0.45 if assets else 0.0, views_per_person=3)
    people = SyntheticPeople(split, seed, assets, scene)
    maker = SampleMaker()
    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        path = folder / f"{shard:06d}.npz"
        if path.exists():
            continue
        rows = []
        for number in range(SHARD_SAMPLES // scene.views_per_person):
            index = shard * SHARD_SAMPLES + number
            for view, sample_ in enumerate(people.samples(index)):
                row = maker.make(sample_, np.random.default_rng([seed, index, view, 7]), 0.3)
                if row is not None:
                    rows.append(row | {"person": np.int32(index)})
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, **{k: np.stack([r[k] for r in rows]) for k in rows[0]})  # pyright: ignore[reportArgumentType]
        os.replace(temporary, path)
