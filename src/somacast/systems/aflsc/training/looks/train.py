"""Training of the look tokens: rate and distortion of both sides, at every number of tokens at once."""

from __future__ import annotations

import json
import queue
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from somacast.systems.aflsc.networks.looks import LookCodec
from somacast.systems.aflsc.training.looks.batches import Batch, draw_kept, kept_cells, to_batch
from somacast.systems.aflsc.training.looks.examples import Examples
from somacast.systems.aflsc.training.looks.losses import Losses
from somacast.systems.aflsc.training.looks.recipe import LooksRecipe
from somacast.training.optimisers import MovingAverage, build_optimisers

CHECKPOINT = "looks.pt"
CUTS = ((0, 0.0), (1, 0.0), (2, 0.0), (2, 0.3), (3, 0.0))  # whole grids and share of the next that are judged


@torch.no_grad()
def watch(net: LookCodec, losses: Losses, examples: Examples, count: int = 48) -> dict[str, Any]:
    """Figures of people who are not learnt from, at several cuts of the stream."""
    net.eval()
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {}
    batches = [to_batch(rows) for rows in examples.held_out(count)]
    for pictured in (False, True):
        for grids, share in CUTS if not pictured else CUTS[:3]:
            rows = []
            for batch in batches:
                whole = torch.full((len(batch.picture),), float(grids))
                kept = [
                    kept_cells(v, o, (whole > k).float() + (whole == k).float() * share)
                    for k, (v, o) in enumerate(zip(batch.valid, batch.order, strict=True))
                ]
                figures = losses(net, batch, batch.pictured & pictured, kept, 1.0, rng)[1]
                rows.append(figures)
            name = f"{grids}+{share:g}" + ("+picture" if pictured else "")
            table[name] = {k: round(float(np.mean([r[k] for r in rows])), 4) for k in rows[0] if k in rows[-1]}
    net.train()
    return table


def train(recipe: LooksRecipe, examples: Examples, out: Path, resume: bool = False) -> None:
    """Learn for `minutes`, watching now and then; checkpoint and curve go into `out`."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    net = LookCodec().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    watched = LookCodec().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    average = MovingAverage(net.state_dict())
    optimisers = build_optimisers(net, recipe.rate, recipe.matrix_rate, ("place", "out", "refiner.last", "priors"))
    losses, step, spent = Losses(recipe), 0, 0.0
    path = out / CHECKPOINT
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        net.load_state_dict(saved["net"])
        average.state = saved["average"]
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        losses.rates, step, spent = saved["rates"], saved["step"], saved["spent"]
    rng = np.random.default_rng([recipe.seed, step])
    ready: queue.Queue[Batch] = queue.Queue(3)
    stop = threading.Event()

    def feed() -> None:
        own = np.random.default_rng([recipe.seed, step, 1])
        while not stop.is_set():
            batch = to_batch(examples.batch(own, recipe.batch), own)
            batch.picture = batch.picture.contiguous(memory_format=torch.channels_last)
            batch.condition = batch.condition.contiguous(memory_format=torch.channels_last)
            while not stop.is_set():
                try:
                    ready.put(batch, timeout=1)
                    break
                except queue.Full:
                    continue

    threading.Thread(target=feed, daemon=True).start()
    first = [recipe.rate, recipe.matrix_rate]
    began, said, recent = time.time() - spent, time.time(), []
    while True:
        progress = (time.time() - began) / (60 * recipe.minutes)
        if progress >= 1:
            break
        factor = min(1, (step + 1) / 200) * (0.02 + 0.98 * (0.5 + 0.5 * np.cos(np.pi * progress)))
        for optimiser, rate in zip(optimisers, first, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
        batch = ready.get()
        pictured = batch.pictured & (rng.random(len(batch.picture)) < recipe.pictured)
        kept = draw_kept(batch, pictured, rng)
        loss, figures = losses(net, batch, pictured, kept, progress, rng)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if torch.isfinite(norm):
            for optimiser in optimisers:
                optimiser.step()
        if progress >= recipe.free:
            losses.follow(figures)
        step += 1
        average.update(net.state_dict(), step)
        recent.append(figures["loss"])
        if time.time() - said > 300 or step in (20,):
            said = time.time()
            examples.refresh(4)
            watched.load_state_dict(average.state)
            found = watch(watched, losses, examples)
            line = {"minutes": round((time.time() - began) / 60, 1), "step": step, "examples": len(examples),
                    "loss": round(float(np.mean(recent)), 4), "rates": losses.rates, "watch": found}  # fmt: skip
            with (out / "curve.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            recent = []
            states = [o.state_dict() for o in optimisers]
            saved = {"net": net.state_dict(), "average": average.state, "optimisers": states, "rates": losses.rates,
                     "step": step, "spent": time.time() - began}  # fmt: skip
            torch.save(saved, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
    stop.set()
