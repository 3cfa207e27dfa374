"""Training of the look tokens: rate and distortion of both sides, at every number of tokens at once."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from somacast.systems.aflsc.networks.looks import LookCodec
from somacast.systems.aflsc.training.looks.batches import draw_kept, kept_cells, to_batch, worth_of
from somacast.systems.aflsc.training.looks.examples import Examples
from somacast.systems.aflsc.training.looks.losses import Losses
from somacast.systems.aflsc.training.looks.recipe import LooksRecipe
from somacast.training.optimisers import MovingAverage, build_optimisers
from somacast.weights.arrays import pack, unpack

CHECKPOINT, WEIGHTS = "looks.pt", "looks.safetensors"
SAVED_S, NEW_SHARDS, WARM_STEPS = 480.0, 8, 100
CUTS = (0.0, 1.0, 2.0, 9.0)  # levels of cells in the mean at which people are judged


@torch.no_grad()
def watch(net: LookCodec, losses: Losses, examples: Examples, count: int = 32) -> dict[str, Any]:
    """Figures of people who are not learnt from, at several cuts of the stream."""
    net.eval()
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {}
    for pictured in (False, True):
        batches = [to_batch(rows) for rows in examples.held_out(count, pictured)]
        for level in CUTS if not pictured else CUTS[:2]:
            rows = []
            for batch in batches:
                deep, head = worth_of(batch)
                kept = kept_cells(batch.valid, (deep + head) / 2, torch.full((len(batch.picture),), level))
                rows.append(losses(net, batch, kept, 1.0, rng)[1])
            name = f"{level:g}" + ("+picture" if pictured else "")
            if rows:
                table[name] = {k: round(float(np.mean([r[k] for r in rows])), 4) for k in rows[0] if k in rows[-1]}
    net.train()
    return table


def train(recipe: LooksRecipe, examples: Examples, out: Path, resume: bool = False, start: Path | None = None) -> None:
    """Learn for `minutes`, watching now and then; checkpoint, curve and the averaged weights in few bytes go into
    `out`. start: such weights, the first ones."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    net, watched = (LookCodec().to(memory_format=torch.channels_last) for _ in range(2))  # pyright: ignore
    if start is not None:
        net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in unpack(load_file(start)).items()})
    average = MovingAverage(net.state_dict())
    optimisers = build_optimisers(net, recipe.rate, recipe.matrix_rate, ("place", "out", "refiner.last", "priors"))
    losses, step, spent_s = Losses(recipe), 0, 0.0
    path = out / CHECKPOINT
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        net.load_state_dict(saved["net"])
        average.state = saved["average"]
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        losses.rates, step, spent_s = saved["rates"], saved["step"], saved["spent_s"]
        losses.adversary.load(saved["adversary"])
    rng = np.random.default_rng([recipe.seed, step])
    began, said, recent = time.time() - spent_s, time.time() - 0.7 * SAVED_S, []

    def look_and_save() -> None:
        examples.refresh(NEW_SHARDS)
        watched.load_state_dict(average.state)
        spent = time.time() - began
        line = {"minutes": round(spent / 60, 1), "step": step, "examples": len(examples),
                "loss": round(float(np.mean(recent)), 4), "rates": losses.rates,
                "watch": watch(watched, losses, examples)}  # fmt: skip
        with (out / "curve.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        states = [optimiser.state_dict() for optimiser in optimisers]
        saved = {"net": net.state_dict(), "average": average.state, "optimisers": states, "rates": losses.rates,
                 "adversary": losses.adversary.state(), "step": step, "spent_s": spent}  # fmt: skip
        torch.save(saved, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
        save_file(pack({k: v.numpy() for k, v in average.state.items()}), out / WEIGHTS)

    while (progress := (time.time() - began) / (60 * recipe.minutes)) < 1:
        factor = min(1, (step + 1) / WARM_STEPS) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))
        for optimiser, rate in zip(optimisers, (recipe.rate, recipe.matrix_rate), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
        batch = to_batch(examples.batch(rng, recipe.batch), rng)
        loss, figures = losses(net, batch, draw_kept(batch, rng), progress, rng)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)):
            for optimiser in optimisers:
                optimiser.step()
        if progress >= recipe.free:
            losses.follow(figures)
        step += 1
        average.update(net.state_dict(), step)
        recent.append(figures["loss"])
        if time.time() - said > SAVED_S:
            look_and_save()
            said, recent = time.time(), []
    if recent:
        look_and_save()
