"""The whole AFLSC recipe, from nothing to the files that ship: `somacast train aflsc`.

    charts (people without pictures) -> labels
    pool (pictures, drawn beside the training) -> extract -> fresh pictures -> semantic -> checkpoint -> files

Every stage leaves its files in the run's folder and is skipped when they are whole, so that `--resume` goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from somacast.extras import require
from somacast.synthetic.rigged.reader import FOLDER as RIGGED_FOLDER
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.training.charts import load_charts, produce_charts
from somacast.systems.aflsc.training.config import TrainConfig
from somacast.training.pools import SHARD_PEOPLE, Pool, PoolConfig, produce, produced, read_shard

CHARTS_FIRST = 0
WORKERS = 2
RIGGED_SHARE = 0.3  # of the pictures, where the assets hold rigged people: real faces and hair, but few of them
CHECKPOINT = "checkpoint.safetensors"  # tables and networks in one file; what ships is written from it
SHARE = {"extract": 0.76, "fresh": 0.04, "semantic": 0.12}  # of the minutes


def scene_of(assets: Path | None) -> SceneConfig:
    """How the pictures of training people are drawn; rigged people are among them where the asset folder has some."""
    rigged = assets is not None and (assets / RIGGED_FOLDER).is_dir()
    share = RIGGED_SHARE if rigged else 0.0
    return SceneConfig(asset_share=0.55, views_per_person=8, spoilt_share=0.25, rigged_share=share)


def _people(config: TrainConfig, split: str, seed: int) -> SyntheticPeople:
    """People for charts, which need a surface bound to the body table: none of the rigged ones."""
    return SyntheticPeople(split, seed, config.assets, replace(scene_of(config.assets), rigged_share=0.0))


def _after(folder: Path, name: str) -> list[Path]:
    """Shards of a folder written after the one of that name."""
    return [path for path in sorted(folder.glob("*.npz")) if path.name > name]


def label_stage(charts: dict[str, np.ndarray], assets: Path | None, out: Path) -> tuple[LabelSpace, np.ndarray]:
    """Label space and training poses, built once per run."""
    from somacast.systems.aflsc.training.labels import build

    file, poses_file = out / "space.npz", out / "poses.npy"
    if file.exists() and poses_file.exists():
        with np.load(file) as saved:
            return LabelSpace.from_arrays(dict(saved)), np.load(poses_file)
    space, poses, _ = build(charts, assets)
    np.save(poses_file, poses)
    arrays: dict[str, Any] = dict(space.to_arrays())
    np.savez(file, **arrays)
    return space, poses


def coding_values(space: LabelSpace, poses: np.ndarray, charts: dict) -> np.ndarray:
    """Label values [40000, L] of training people, from which the coding tables are counted."""
    from somacast.systems.aflsc.training.labels import chart_rows, training_values

    return training_values(space, poses, space.appearance.codes(chart_rows(charts)), charts, 40_000, 5)


def network_states(out: Path) -> dict[str, dict]:
    """States of the networks of a finished run, by the names that `save_checkpoint` knows them by."""
    import torch

    from somacast.systems.aflsc.training.extract import read_checkpoint

    return {
        "extract": read_checkpoint(out / "extract.pt")["average"],
        "semantic": torch.load(out / "semantic.pt", weights_only=True, map_location="cpu"),
    }


def pack_stage(space: LabelSpace, poses: np.ndarray, charts: dict, out: Path, target: Path) -> Path:
    """Coding tables, importance and all networks into one file."""
    from somacast.systems.aflsc.networks.loading import save_checkpoint
    from somacast.systems.aflsc.training.labels import build_tables, fit_importance

    tables = build_tables(space, coding_values(space, poses, charts), fit_importance(space.vocabulary))
    save_checkpoint(target, space, tables, network_states(out))
    return target


def _shard_features(task: tuple[str, str, bool]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features of one shard by the extractor of a checkpoint, plain or mirrored; runs in a worker process."""
    import torch

    from somacast.systems.aflsc.networks.extract import ExtractConfig, MultiTaskViT
    from somacast.systems.aflsc.training.extract import read_checkpoint
    from somacast.systems.aflsc.training.extract_losses import ATTRIBUTE_SIZES, SHAPE_COUNT
    from somacast.systems.aflsc.training.semantic import extract_features

    checkpoint, shard, flip = task
    torch.set_num_threads(1)
    saved = read_checkpoint(Path(checkpoint))
    config = ExtractConfig(saved["size_px"], shape_count=SHAPE_COUNT, attribute_logits=sum(ATTRIBUTE_SIZES))
    net = MultiTaskViT(config)
    net.load_state_dict(saved["average"])
    data = read_shard(Path(shard))
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return extract_features(net, data, flip)


def semantic_sets(
    checkpoint: Path, shards: list[tuple[Path, bool]], held_out: list[Path]
) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Features and truths of shards (each plain or mirrored) as "train" and of others as "held_out"."""

    def features(files: list[tuple[Path, bool]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        tasks = [(str(checkpoint), str(path), flip) for path, flip in files]
        with multiprocessing.get_context("spawn").Pool(WORKERS) as workers:
            parts = workers.map(_shard_features, tasks, chunksize=1)
        truths = {k: np.concatenate([t[k] for _, t in parts]) for k in parts[0][1]}
        return np.concatenate([f for f, _ in parts]), truths

    return {"train": features(shards), "held_out": features([(path, False) for path in held_out])}


def semantic_stage(
    space: LabelSpace, shards: list[tuple[Path, bool]], held_out: list[Path], out: Path, minutes: float, threads: int
) -> None:
    """Features of shards (each plain or mirrored), then the adversarial coder on them.

    The extractor errs on fresh pictures almost as it does on those it learnt from, so both kinds may be given.
    """
    from somacast.systems.aflsc.training.semantic import SemanticRecipe, train

    sets = semantic_sets(out / "extract.pt", shards, held_out)
    train(SemanticRecipe(minutes=minutes, threads=threads), space, sets, out)


def main(config: TrainConfig) -> Path:
    """Run the recipe; returns the checkpoint. What ships lies beside it, and nothing in the package is replaced.

    Under torchrun the first process does all of it; the others take part in the longest, the extractor.
    """
    for package in ("torch", "onnx", "scipy"):
        require(package, "training")
    from somacast.systems.aflsc.training.shipping import ship

    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    out = Path(config.out)
    if config.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the stages take a GPU where they see one
    if rank:
        _extract_stage(config, out)
        return out / CHECKPOINT
    out.mkdir(parents=True, exist_ok=True)
    described = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    (out / "config.json").write_text(json.dumps(described | {"processes": world}, indent=1))
    assets = str(config.assets) if config.assets else None
    pool_config = PoolConfig("train", config.seed, assets, scene_of(config.assets))
    keep = config.pool_shards + config.fresh_shards
    rows = [(pool_config, out / "pool", 10**6, k, config.producers, keep) for k in range(config.producers)]
    started, times = time.time(), {}

    def mark(stage: str) -> None:
        times[stage] = round(time.time() - started - sum(times.values()), 1)
        (out / "time.json").write_text(json.dumps({"seconds": times}))

    with produced(produce, rows):
        produce(PoolConfig("train", config.seed + 1001, assets, scene_of(config.assets)), out / "held_out", 1)
        produce_charts(_people(config, "train", config.seed + 10), out / "charts", CHARTS_FIRST, config.charts)
        charts = load_charts(out / "charts")
        space, poses = label_stage(charts, config.assets, out)
        mark("charts and labels")
        seen = _extract_stage(config, out)
        mark("extract")
        last = max(seen)
        deadline = time.time() + config.minutes * 60 * SHARE["fresh"]
        while time.time() < deadline and len(_after(out / "pool", last)) < config.fresh_shards:
            time.sleep(5)
        mark("fresh pictures")
    shards = [(path, flip) for path in _after(out / "pool", last) for flip in (False, True)]
    # pictures that the extractor learnt from serve too: it errs on fresh ones almost as it does on them
    shards += [(out / "pool" / name, k % 2 == 1) for k, name in enumerate(seen) if (out / "pool" / name).exists()]
    held_shards = sorted((out / "held_out").glob("*.npz"))
    semantic_stage(space, shards, held_shards, out, config.minutes * SHARE["semantic"], config.threads)
    mark("semantic")
    path = pack_stage(space, poses, charts, out, out / CHECKPOINT)
    times["difference to torch"] = ship(path, out)
    mark("weights")
    return path


def _extract_stage(config: TrainConfig, out: Path) -> list[str]:
    """The extractor on the growing pool, unless it is there; returns the names of the shards it learnt from."""
    from somacast.systems.aflsc.training.extract import ExtractRecipe, train

    held = Pool(out / "held_out", 10**6)
    held.wait(1)
    pool = Pool(
        out / "pool", config.pool_shards * SHARD_PEOPLE * scene_of(config.assets).views_per_person, config.focus
    )
    pool.wait(2000)
    done = out / "extract.done.json"
    if config.resume and done.exists():
        return json.loads(done.read_text())
    minutes = config.minutes * SHARE["extract"]
    recipe = ExtractRecipe(minutes, threads=config.threads, seed=config.seed, warm_start=str(config.warm_start or ""))
    train(recipe, pool, {k: v[:400] for k, v in held.all().items()}, out, config.resume)
    if int(os.environ.get("RANK", "0")) == 0:
        done.write_text(json.dumps(sorted(pool.shards)))
    return sorted(pool.shards)
