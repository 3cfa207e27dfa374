"""A pool of drawn samples on disk: producers write shards, the trainer reads the newest ones.

Making people costs about as much as learning from them on one core, so that each picture is used a few times.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from somacast.body.clothing import ATTRIBUTES
from somacast.capture.landmarks import INPUT_PX, find_landmarks
from somacast.synthetic.compression import spoil
from somacast.synthetic.motion.clips import ACTIONS
from somacast.synthetic.people import Person
from somacast.synthetic.samples import SceneConfig, SyntheticPeople

SHARD_PEOPLE = 128
_SPOIL_STREAM = 0xC0DEC  # what codecs do is drawn apart from the samples, so that it changes none of them


@dataclass(frozen=True)
class PoolConfig:
    """What the producers draw: split, seed, asset folder or None, first person, scene."""

    split: str = "train"
    seed: int = 1
    assets: str | None = None
    scene: SceneConfig = SceneConfig()


def picture_landmarks(images: np.ndarray) -> np.ndarray:
    """Landmarks [N, 33, 8] float16 of pictures [N, S, S, 3] uint8."""
    edge = (INPUT_PX, INPUT_PX)
    found = []
    for start in range(0, len(images), 16):
        part = [Image.fromarray(x).resize(edge, Image.Resampling.BICUBIC) for x in images[start : start + 16]]
        found.append(find_landmarks(np.stack([np.asarray(x, np.float32) / 255 for x in part]))[0])
    return np.concatenate(found).astype(np.float16)


def attribute_numbers(person: Person) -> np.ndarray:
    """What somebody wears, numbers [5] uint8 of the classes of ATTRIBUTES; 0 where it is unknown."""
    worn = person.outfit.attributes
    return np.array([ATTRIBUTES[k].index(worn[k]) if k in worn else 0 for k in ATTRIBUTES], np.uint8)


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a shard; one without columns of what is known knows everybody's shape and attributes."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {k: file[k] for k in file.files}
    known = np.ones(len(arrays["image"]), np.uint8)
    return {"shape_known": known, "attributes_known": known} | arrays


def pack_samples(people: SyntheticPeople, first: int, count: int) -> dict[str, np.ndarray]:
    """Arrays of all samples of people first .. first+count-1, small enough to keep tens of thousands in memory.

    Of the pictures the scene's `spoilt_share` has gone through a codec; landmarks are those of what is left.
    """
    rows: list[dict] = []
    for index in range(first, first + count):
        for view, s in enumerate(people.samples(index)):
            rng = np.random.default_rng([people.seed, index, view, _SPOIL_STREAM])
            size = s.image.shape[0]
            depth = s.depth_m[::2, ::2]
            rows.append(
                {
                    "image": spoil(s.image, rng, people.config.spoilt_share, s.silhouette),
                    "silhouette": np.packbits(s.silhouette >= 128, axis=1),
                    "depth": np.where(np.isnan(depth), 9, depth).astype(np.float16),
                    "parts": s.part[size // 64 :: size // 32, size // 64 :: size // 32],
                    "material": s.material[size // 64 :: size // 32, size // 64 :: size // 32],
                    "rotations": s.rotations,
                    "joints_px": s.joints_px / size - 0.5,
                    "joints_m": s.joints_m,
                    "shape": s.person.shape,
                    "curl": s.curl,
                    "shot": np.array([s.shot.distance_m, s.shot.cx, s.shot.cy, s.shot.scale / size], np.float32),
                    "shape_known": np.uint8(s.person.shape_known),
                    "attributes": attribute_numbers(s.person),
                    "attributes_known": np.uint8(s.person.attributes_known),
                    "person": np.int32(index),
                    "action": np.array(s.action),
                }
            )
    out = {k: np.stack([r[k] for r in rows]) for k in rows[0]}
    out["landmarks"] = picture_landmarks(out["image"])
    return {k: (v.astype(np.float32) if v.dtype == np.float64 else v) for k, v in out.items()}


def produce(
    config: PoolConfig, folder: Path, shards: int, worker: int = 0, workers: int = 1, keep: int = 10**9
) -> None:
    """Write shards number worker, worker + workers, ... into `folder`; whole ones are skipped, old ones removed."""
    people = SyntheticPeople(config.split, config.seed, Path(config.assets) if config.assets else None, config.scene)
    folder.mkdir(parents=True, exist_ok=True)
    if worker == 0:
        (folder / "config.txt").write_text(repr(asdict(config)))
    for number in range(worker, shards, workers):
        path = folder / f"{number:06d}.npz"
        if path.exists():
            continue
        part = pack_samples(people, number * SHARD_PEOPLE, SHARD_PEOPLE)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, **part)  # pyright: ignore[reportArgumentType]
        os.replace(temporary, path)
        for old in sorted(folder.glob("*.npz"))[:-keep]:
            old.unlink(missing_ok=True)


@contextmanager
def produced(target: Callable[..., None], rows: Iterable[tuple[Any, ...]]) -> Iterator[list[SpawnProcess]]:
    """Processes that call target with each row of arguments, as long as the block lasts and this process lives."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_while_parent_lives, args=(target, *row), daemon=True) for row in rows]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()


def _while_parent_lives(target: Callable[..., None], *row: Any) -> None:
    """A parent that is killed cannot end its children: they look after that themselves."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
    target(*row)


class Pool:
    """The newest `capacity` samples of a folder in memory, those of ACTIONS drawn `focus` times as often.

    `refresh` takes in shards written since.
    """

    def __init__(self, folder: Path, capacity: int, focus: float = 1.0):
        self.folder, self.capacity, self.focus = folder, capacity, focus
        self.shards: dict[str, dict[str, np.ndarray]] = {}
        self._read: set[str] = set()  # those since removed too: several producers finish out of order

    def refresh(self, limit: int = 2) -> int:
        """Read at most `limit` new shards, newest first; returns how many samples there are."""
        names = sorted(p.name for p in self.folder.glob("*.npz"))
        for name in [n for n in reversed(names) if n not in self._read][:limit]:
            try:
                self.shards[name] = self.read(self.folder / name)
            except (OSError, ValueError):
                continue
            self._read.add(name)
        while len(self.shards) > 1 and len(self) > self.capacity:
            del self.shards[min(self.shards)]
        return len(self)

    def wait(self, samples: int, poll_s: float = 2.0) -> None:
        """Block until that many samples are there."""
        while self.refresh(1000) < samples:
            time.sleep(poll_s)

    def __len__(self) -> int:
        return sum(len(next(iter(s.values()))) for s in self.shards.values())

    def read(self, path: Path) -> dict[str, np.ndarray]:
        """A shard as it is kept in memory."""
        return read_shard(path)

    def weights(self, shard: dict[str, np.ndarray]) -> np.ndarray:
        """How often each row of a shard is drawn, beside others."""
        return np.where(np.isin(shard["action"], ACTIONS), self.focus, 1.0)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
        """A batch drawn from a few shards."""
        names = list(self.shards)
        rows = []
        for part in np.array_split(np.arange(size), min(4, len(names))):
            shard = self.shards[names[rng.integers(len(names))]]
            weight = self.weights(shard)
            pick = rng.choice(len(weight), len(part), p=weight / weight.sum())
            rows.append({k: v[pick] for k, v in shard.items()})
        return {k: np.concatenate([r[k] for r in rows]) for k in rows[0]}

    def all(self) -> dict[str, np.ndarray]:
        """Every sample in memory, oldest shard first."""
        parts = [self.shards[n] for n in sorted(self.shards)]
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
