"""Shards of the pool as batches: condition maps drawn once, truth on the scale of the body that is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.look_tokens.capsules import GRID, HEIGHT_PX, PARTS, WIDTH_PX, Capsules
from somacast.systems.aflsc.look_tokens.inputs import CHANNELS, DEPTH_UNIT_M, DEPTHS, attribute_row, base_maps
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.training.looks.pool import OUTSIDE_M
from somacast.training.pools import Pool

DEEP_M = 0.35  # how far a surface may lie from the body's
MIN_OVERLAP = 0.45  # of the body with the person: where the sender is all wrong tokens help nobody
HELD_OUT = 16  # every such person is watched, not learnt from


def prepared(path: Path, space: LabelSpace) -> dict[str, np.ndarray]:
    """The arrays that training needs of a shard: picture [N, H, W, 5] uint8, given [N, H, W, 6] uint8, sides
    [N, H, W, 7] uint8 (front, back, cover), condition [N, H, W, 15] uint8 for -1 .. 1, change_m [N, H, W, 2] float16
    (NaN where unknown), attributes [N, A], depths [N, parts, 36, 24] uint8 of capsules."""
    with np.load(path) as file:
        rows = {k: file[k] for k in file.files}
    count = len(rows["picture"])
    condition = np.empty((count, HEIGHT_PX, WIDTH_PX, CHANNELS), np.uint8)
    change = np.empty((count, HEIGHT_PX, WIDTH_PX, 2), np.float16)
    depths = np.empty((count, len(PARTS), *GRID), np.uint8)
    attributes, given = [], np.empty((count, HEIGHT_PX, WIDTH_PX, 6), np.uint8)
    for n in range(count):
        values, pictured = rows["sent"][n], bool(rows["pictured"][n])
        capsules = Capsules.of(values, space)
        depths[n] = capsules.depths
        body = PosedBody.of(space.state(values), space).aligned(rows["moves"][n]) if pictured else None
        maps, paint = base_maps(space, values, capsules.canvas, rows["codes"][n], body)
        given[n] = np.rint(255 * paint)
        if pictured:
            given[n, ..., :3] = rows["given"][n]
        condition[n] = np.rint(127.5 * (maps + 1))
        covered = maps[..., 0] > 0
        shift = None
        for k, name in enumerate(("front_m", "back_m")):
            there = rows[name][n].astype(np.float32)
            found = np.where(there < OUTSIDE_M - 1, -there * rows["size_ratio"][n], np.nan)
            gap = found - maps[..., DEPTHS[k]] * DEPTH_UNIT_M
            if shift is None:
                shift = np.nanmedian(gap[covered]) if np.isfinite(gap[covered]).any() else 0.0
            change[n, ..., k] = np.clip(gap - shift, -DEEP_M, DEEP_M)
        attributes.append(attribute_row(space, values))
    return {
        "picture": np.concatenate([rows["picture"], rows["mask"][..., None], rows["sensed"][..., None]], -1),
        "given": given, "pictured": rows["pictured"],
        "sides": np.concatenate([rows["front"], rows["back"], rows["cover"][..., None]], -1),
        "condition": condition, "change_m": change, "attributes": np.stack(attributes), "depths": depths,
        "person": rows["person"], "overlap": _overlap(condition[..., 0] > 191, rows["cover"] > 127),
    }  # fmt: skip


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union [N] of masks [N, H, W]."""
    return ((a & b).sum((1, 2)) / np.maximum((a | b).sum((1, 2)), 1)).astype(np.float32)


class Examples(Pool):
    """All shards of a folder in memory, prepared once beside it."""

    def __init__(self, folder: Path, space: LabelSpace, capacity: int):
        super().__init__(folder, capacity)
        self.space = space
        self.ready = folder.with_name(f"{folder.name}_prepared")
        self.ready.mkdir(exist_ok=True)

    def read(self, path: Path) -> dict[str, np.ndarray]:
        """A shard, prepared."""
        ready = self.ready / path.name
        if not ready.exists():
            temporary = ready.with_suffix(".tmp")
            with temporary.open("wb") as file:
                np.savez(file, **prepared(path, self.space))  # pyright: ignore[reportArgumentType]
            os.replace(temporary, ready)
        with np.load(ready) as file:
            return {k: file[k] for k in file.files}

    def weights(self, shard: dict[str, np.ndarray]) -> np.ndarray:
        """Rows of people who are learnt from, all alike."""
        return ((shard["person"] % HELD_OUT != 0) & (shard["overlap"] > MIN_OVERLAP)).astype(float)

    def held_out(self, count: int, pictured: bool) -> Iterator[dict[str, Any]]:
        """The first `count` rows of people who are watched, with a picture or without, of the first shards, 16 at a
        time."""
        watched = {
            name: np.flatnonzero((s["person"] % HELD_OUT == 0) & (s["pictured"] == pictured))
            for name, s in sorted(self.shards.items())
        }
        rows = [{k: v[i] for k, v in self.shards[name].items()} for name, numbers in watched.items() for i in numbers]
        for start in range(0, min(count, len(rows)), 16):
            part = rows[start : min(start + 16, count)]
            yield {k: np.stack([r[k] for r in part]) for k in part[0]}
