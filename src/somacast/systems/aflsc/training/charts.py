"""Charts of dressed people, which labels of appearance come from: offset and colour maps, no pictures needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from somacast.synthetic.samples import SyntheticPeople
from somacast.systems.aflsc.training.outer_surface import clean_offsets, outer_surface
from somacast.training.pools import attribute_numbers

SHARD = 100
_ARRAYS = ("color", "offset", "shape", "attributes")


def produce_charts(people: SyntheticPeople, folder: Path, first: int, count: int) -> None:
    """Write shards of 100 people: color [N, 128, 128, 3] uint8, offset [N, 128, 128] float16 metres, shape, attributes.
    Whole shards that exist are skipped."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(first, first + count, SHARD):
        path = folder / f"{start:06d}.npz"
        if path.exists():
            continue
        rows: dict[str, list] = {k: [] for k in _ARRAYS}
        for index in range(start, min(start + SHARD, first + count)):
            person, _ = people.person(index)
            offset, color, material = outer_surface(person)
            rows["color"].append((color * 255 + 0.5).astype(np.uint8))
            rows["offset"].append(clean_offsets(offset, material).astype(np.float16))
            rows["shape"].append(person.shape)
            rows["attributes"].append(attribute_numbers(person).tolist())
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez_compressed(file, **{k: np.stack(v) for k, v in rows.items()})  # pyright: ignore[reportArgumentType]
        os.replace(temporary, path)


def load_charts(folder: Path) -> dict[str, np.ndarray]:
    """All shards of a folder as one set of arrays."""
    parts = [np.load(p, allow_pickle=False) for p in sorted(folder.glob("*.npz"))]
    return {k: np.concatenate([p[k] for p in parts]) for k in _ARRAYS}
