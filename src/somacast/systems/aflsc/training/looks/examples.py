"""Shards of the pool as batches: condition maps drawn once, truth on the scale of the body that is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.look_tokens.capsules import GRID, HEIGHT_PX, PARTS, WIDTH_PX, Capsules
from somacast.systems.aflsc.look_tokens.inputs import CHANNELS, DEPTH_UNIT_M, DEPTHS, attribute_row, condition_maps
from somacast.systems.aflsc.training.looks.pool import OUTSIDE_M

DEEP_M = 0.35  # how far a surface may lie from the body's
_LOW = np.array([0, *(-1, -1, -1, -1, -1, -1, -1) * 2], np.float32)
_HIGH = np.array([1, *(1, 1, 1, 1, 1, 1, 1) * 2], np.float32)
MIN_OVERLAP = 0.45  # of the body with the person: where the sender is all wrong tokens help nobody
HELD_OUT = 16  # every such person is watched, not learnt from


def prepared(path: Path, space: LabelSpace) -> dict[str, np.ndarray]:
    """The arrays that training needs of a shard: picture [N, H, W, 5] uint8, given [N, H, W, 3] uint8, sides
    [N, H, W, 7] uint8 (front, back, cover), condition [N, H, W, 15] uint8, change_m [N, H, W, 2] float16 (NaN where
    unknown), attributes [N, A], depths [N, parts, 36, 24] uint8 of capsules."""
    with np.load(path) as file:
        rows = {k: file[k] for k in file.files}
    count = len(rows["picture"])
    offset = space.appearance.offset_map(np.zeros(len(space.appearance.std), np.float32))
    condition = np.empty((count, HEIGHT_PX, WIDTH_PX, CHANNELS), np.uint8)
    change = np.empty((count, HEIGHT_PX, WIDTH_PX, 2), np.float16)
    depths = np.empty((count, len(PARTS), *GRID), np.uint8)
    attributes = []
    for n in range(count):
        capsules = Capsules.of(rows["sent"][n], space)
        canvas, depths[n] = capsules.canvas, capsules.depths
        maps = condition_maps(space.state(rows["sent"][n]), offset, canvas)
        condition[n] = np.rint(np.clip((maps - _LOW) / (_HIGH - _LOW), 0, 1) * 255)
        covered = maps[..., 0] > 0
        shift = None
        for k, name in enumerate(("front_m", "back_m")):
            there = rows[name][n].astype(np.float32)
            found = np.where(there < OUTSIDE_M - 1, -there * rows["size_ratio"][n], np.nan)
            gap = found - maps[..., DEPTHS[k]] * DEPTH_UNIT_M
            if shift is None:
                shift = np.nanmedian(gap[covered]) if np.isfinite(gap[covered]).any() else 0.0
            change[n, ..., k] = np.clip(gap - shift, -DEEP_M, DEEP_M)
        attributes.append(attribute_row(space, rows["sent"][n]))
    return {
        "picture": np.concatenate([rows["picture"], rows["mask"][..., None], rows["sensed"][..., None]], -1),
        "given": rows["given"], "pictured": rows["pictured"],
        "sides": np.concatenate([rows["front"], rows["back"], rows["cover"][..., None]], -1),
        "condition": condition, "change_m": change, "attributes": np.stack(attributes), "depths": depths,
        "person": rows["person"], "overlap": _overlap(condition[..., 0] > 127, rows["cover"] > 127),
    }  # fmt: skip


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union [N] of masks [N, H, W]."""
    return ((a & b).sum((1, 2)) / np.maximum((a | b).sum((1, 2)), 1)).astype(np.float32)


class Examples:
    """All shards of a folder in memory; new ones are taken in by `refresh`."""

    def __init__(self, folder: Path, space: LabelSpace, capacity: int = 16_000):
        self.folder, self.space, self.capacity = folder, space, capacity
        self.shards: dict[str, dict[str, np.ndarray]] = {}

    def refresh(self, limit: int = 1000) -> int:
        """Read new shards, drawing their condition maps beside them once; how many rows there are."""
        cache = self.folder.with_name(self.folder.name + "_prepared")
        cache.mkdir(exist_ok=True)
        new = [p for p in sorted(self.folder.glob("*.npz")) if p.name not in self.shards][:limit]
        for path in new:
            ready = cache / path.name
            if not ready.exists():
                temporary = ready.with_suffix(".tmp")
                with temporary.open("wb") as file:
                    np.savez(file, **prepared(path, self.space))  # pyright: ignore[reportArgumentType]
                os.replace(temporary, ready)
            with np.load(ready) as file:
                self.shards[path.name] = {k: file[k] for k in file.files}
        while len(self) > self.capacity:
            del self.shards[next(iter(self.shards))]
        return len(self)

    def __len__(self) -> int:
        return sum(len(s["person"]) for s in self.shards.values())

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """Rows of people who are learnt from."""
        names = list(self.shards)
        parts = []
        for _ in range(min(4, size)):
            shard = self.shards[names[rng.integers(len(names))]]
            learnt = np.flatnonzero((shard["person"] % HELD_OUT != 0) & (shard["overlap"] > MIN_OVERLAP))
            pick = rng.choice(learnt, size // min(4, size))
            parts.append({k: v[pick] for k, v in shard.items()})
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    def held_out(self, count: int) -> Iterator[dict[str, Any]]:
        """The first `count` rows of people who are watched, of the first shards, 16 at a time."""
        rows: list[dict[str, Any]] = []
        for name in sorted(self.shards):
            shard = self.shards[name]
            watched = np.flatnonzero(shard["person"] % HELD_OUT == 0)
            rows += [{k: v[i] for k, v in shard.items()} for i in watched]
            if len(rows) >= count:
                break
        for start in range(0, min(count, len(rows)), 16):
            part = rows[start : min(start + 16, count)]
            yield {k: np.stack([r[k] for r in part]) for k in part[0]}
