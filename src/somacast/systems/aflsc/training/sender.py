"""The sender's networks trained on from those that ship: `somacast train aflsc sender`.

    pool (pictures, drawn beside the training) -> extract, from the package's -> semantic, from nothing -> ONNX

The labels and their coding tables stay as they are, so that files and streams do not change.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from somacast.extras import require
from somacast.systems.aflsc.networks.loading import FAST_SENDER, WEIGHTS, load_tables, save_checkpoint
from somacast.systems.aflsc.training.config import SenderConfig
from somacast.systems.aflsc.training.recipe import CHECKPOINT, network_states, scene_of, semantic_stage
from somacast.training.pools import SHARD_PEOPLE, Pool, PoolConfig, produce, produced
from somacast.weights.manifest import weights_path

FIRST_SAMPLES = 4000  # pictures that are there before learning begins


def main(config: SenderConfig) -> Path:
    """Run the recipe; returns the ONNX file. Nothing in the package is replaced."""
    for package in ("torch", "onnx", "scipy"):
        require(package, "training")
    from somacast.systems.aflsc.training.shipping import export_sender

    out = config.out
    out.mkdir(parents=True, exist_ok=True)
    described = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    (out / "config.json").write_text(json.dumps(described, indent=1))
    scene, assets = scene_of(config.assets), str(config.assets) if config.assets else None
    seed = config.seed
    pool_config = PoolConfig("train", seed, assets, scene)
    rows = [
        (pool_config, out / "pool", 10**6, k, config.producers, 2 * config.pool_shards) for k in range(config.producers)
    ]
    started, times = time.time(), {}
    with produced(produce, rows):
        produce(PoolConfig("train", seed + 1001, assets, scene), out / "held_out", 1)
        seen = _extract_stage(config, out, scene.views_per_person)
        times["extract"] = round(time.time() - started, 1)
    # Every picture that is there once, half of them mirrored: the extractor errs on fresh ones almost as on others.
    shards = [(path, k % 2 == 1) for k, path in enumerate(sorted((out / "pool").glob("*.npz")))]
    semantic_stage(
        load_tables().space, shards, sorted((out / "held_out").glob("*.npz")), out, config.semantic_minutes,
        config.threads,
    )  # fmt: skip
    times["semantic"] = round(time.time() - started - times["extract"], 1)
    pack_sender(out)
    times["difference to torch"] = export_sender(out / CHECKPOINT, out / FAST_SENDER)
    (out / "time.json").write_text(json.dumps({"seconds": times, "shards": seen}))
    return out / FAST_SENDER


def pack_sender(out: Path) -> Path:
    """The package's tables with the sender's networks of a run, as one checkpoint."""
    tables = load_tables()
    save_checkpoint(out / CHECKPOINT, tables.space, tables.codec.tables, network_states(out))
    return out / CHECKPOINT


def _extract_stage(config: SenderConfig, out: Path, views: int) -> int:
    """The extractor on the growing pool, unless it is there; returns how many shards it has seen."""
    from somacast.systems.aflsc.training.extract import ExtractRecipe, train

    pool = Pool(out / "pool", config.pool_shards * SHARD_PEOPLE * views, config.focus)
    done = out / "extract.done.json"
    if config.resume and done.exists():
        return json.loads(done.read_text())
    held = Pool(out / "held_out", 10**6)
    held.wait(1)
    pool.wait(FIRST_SAMPLES)
    recipe = ExtractRecipe(
        config.minutes, rate=config.rate, matrix_rate=config.matrix_rate, sizes=((0.0, 128),), threads=config.threads,
        seed=config.seed, warm_start=str(weights_path(WEIGHTS)),
    )  # fmt: skip
    train(recipe, pool, {k: v[:400] for k, v in held.all().items()}, out, config.resume)
    done.write_text(json.dumps(len(pool.shards)))
    return len(pool.shards)
