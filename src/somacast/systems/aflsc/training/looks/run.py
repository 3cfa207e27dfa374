"""`somacast train aflsc looks`: people are drawn beside the training that learns from them."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import asdict
from pathlib import Path

from somacast.extras import require
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.training.config import LooksConfig
from somacast.systems.aflsc.training.looks.recipe import LooksRecipe

FIRST_SAMPLES = 1000  # that are there before learning begins
_POLL_S = 5.0


def main(config: LooksConfig) -> Path:
    """Run the recipe; returns the checkpoint."""
    for package in ("torch", "stlpips_pytorch"):
        require(package, "training")
    from somacast.systems.aflsc.training.looks.examples import Examples
    from somacast.systems.aflsc.training.looks.pool import SHARD_SAMPLES, produce
    from somacast.systems.aflsc.training.looks.train import CHECKPOINT, train

    out = config.out
    out.mkdir(parents=True, exist_ok=True)
    described = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    (out / "config.json").write_text(json.dumps(described, indent=1))
    context = multiprocessing.get_context("spawn")
    producers = [
        context.Process(
            target=produce,
            args=(out / "pool", config.seed, config.assets, range(k, config.shards, config.producers)),
            daemon=True,
        )
        for k in range(config.producers)
    ]
    for process in producers:
        process.start()
    try:
        examples = Examples(out / "pool", load_tables().space, config.shards * SHARD_SAMPLES)
        while examples.refresh() < min(FIRST_SAMPLES, config.shards * SHARD_SAMPLES // 2):
            if not any(process.is_alive() for process in producers):
                break
            time.sleep(_POLL_S)
        train(LooksRecipe(config.minutes, threads=config.threads, seed=config.seed), examples, out, config.resume)
    finally:
        for process in producers:
            process.terminate()
    return out / CHECKPOINT
