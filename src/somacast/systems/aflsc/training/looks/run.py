"""`somacast train aflsc looks`: people are drawn beside the training that learns from them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.training.config import LooksConfig
from somacast.systems.aflsc.training.looks.recipe import LooksRecipe
from somacast.training.pools import produced

IMPORTANCE_BATCHES = 60  # from which it is fitted
FIRST_SAMPLES = 1000  # that are there before learning begins
_POLL_S = 5.0


def main(config: LooksConfig) -> Path:
    """Run the recipe; returns the checkpoint, beside which lies what ships."""
    for package in ("torch", "stlpips_pytorch"):
        require(package, "training")
    import torch

    from somacast.systems.aflsc.networks.looks import LookCodec
    from somacast.systems.aflsc.training.looks.batches import to_batch
    from somacast.systems.aflsc.training.looks.examples import Examples
    from somacast.systems.aflsc.training.looks.importance import fitted, sensitivities
    from somacast.systems.aflsc.training.looks.perceptual_loss import PerceptualLoss
    from somacast.systems.aflsc.training.looks.pool import SHARD_SAMPLES, produce
    from somacast.systems.aflsc.training.looks.train import CHECKPOINT, train
    from somacast.systems.aflsc.training.shipping import export_looks

    out = config.out
    out.mkdir(parents=True, exist_ok=True)
    described = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    (out / "config.json").write_text(json.dumps(described, indent=1))
    rows = [
        (out / "pool", config.seed, config.assets, range(k, config.shards, config.producers))
        for k in range(config.producers)
    ]
    (out / "pool").mkdir(exist_ok=True)
    with produced(produce, rows) as producers:
        examples = Examples(out / "pool", load_tables().space, config.shards * SHARD_SAMPLES)
        while examples.refresh(config.shards) < FIRST_SAMPLES and any(p.is_alive() for p in producers):
            time.sleep(_POLL_S)
        if not examples:
            raise SomacastError(f"{out / 'pool'}: expected shards of people to learn from, got none")
        recipe = LooksRecipe(config.minutes, threads=config.threads, seed=config.seed)
        train(recipe, examples, out, config.resume, config.start)
        codec = LookCodec()
        codec.load_state_dict(torch.load(out / CHECKPOINT, weights_only=True)["average"])
        rng = np.random.default_rng(config.seed)
        batches = (to_batch(examples.batch(rng, recipe.batch)) for _ in range(IMPORTANCE_BATCHES))
        importance, fit = fitted(sensitivities(codec, PerceptualLoss(), batches), config.seed)
    difference = export_looks(codec, out, importance)
    (out / "shipped.json").write_text(json.dumps({"difference to torch": difference, "importance": fit}))
    return out / CHECKPOINT
