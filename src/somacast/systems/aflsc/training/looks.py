"""Training of the look codec (eq. 8-13, 19-27): rate and distortion of both sides, at every number of tokens at once."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from somacast.systems.aflsc.look_tokens.capsules import PARTS
from somacast.systems.aflsc.look_tokens.examples import Examples
from somacast.systems.aflsc.look_tokens.networks import GRIDS, LookCodec, part_grids, token_cells
from somacast.systems.aflsc.training.perceptual_loss import PerceptualLoss
from somacast.training.optimisers import MovingAverage, build_optimisers, half_precision

GREY = 0.5
BEHIND = 0.5  # weight of the side that the camera does not see
FACE_FIRST = 1.5  # how much sooner cells of the head are sent than others
_MIRRORED_PARTS = [PARTS.index({"l": "r", "r": "l"}.get(p[0], p[0]) + p[1:] if p[1] == "_" else p) for p in PARTS]
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class LooksRecipe:
    """bits: wanted of each grid, coarse first; pictured: share of samples that come with a picture; perceptual: weight of the perceptual loss, from the share `late` of the
    minutes on; noise: of the mixture's components."""

    minutes: float = 60.0
    batch: int = 16
    threads: int = 1
    seed: int = 0
    rate: float = 1e-3
    matrix_rate: float = 0.012
    bits: tuple[float, ...] = (130.0, 500.0, 2000.0)
    perceptual: float = 1.0
    late: float = 0.1
    pictured: float = 0.45
    noise: float = 1.0


@dataclass
class Batch:
    """picture [B, 4, H, W] as the networks read it; front, back [B, 3, H, W] and cover [B, 1, H, W] true; condition
    [B, 15, H, W]; given [B, 4, H, W]; change [B, 2, H, W] metres and where it is known; attributes [B, A]; weight of each pixel for what the
    eye sees first; grids: valid cells, parts, order of cells."""

    picture: Tensor
    front: Tensor
    back: Tensor
    cover: Tensor
    condition: Tensor
    given: Tensor
    change: Tensor
    known: Tensor
    attributes: Tensor
    head: Tensor
    valid: list[Tensor]
    parts: list[Tensor]
    order: list[Tensor]


def _planes(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2).float()


def to_batch(rows: dict[str, Any], rng: np.random.Generator | None = None) -> Batch:
    """Rows of the pool; rng: mirrored and recoloured at random."""
    picture, sides, condition, given = (_planes(rows[k]) / 255 for k in ("picture", "sides", "condition", "given"))
    change, depths = _planes(rows["change_m"]), torch.from_numpy(rows["depths"]).float()
    cover = (condition[:, :1] > 0.5).float()
    condition = torch.cat([cover, (2 * condition[:, 1:] - 1) * cover], 1)
    attributes = torch.from_numpy(rows["attributes"]).float()
    if rng is not None:
        if rng.random() < 0.5:
            picture, sides, given, condition, change = (x.flip(3) for x in (picture, sides, given, condition, change))
            depths = depths.flip(3)[:, _MIRRORED_PARTS]
            for channel in (1, 4, 8, 11):
                condition[:, channel] = -condition[:, channel]
        picture, sides, given = _recoloured(picture, sides, given, rng)
    front, back, true = sides[:, :3], sides[:, 3:6], sides[:, 6:]
    known = torch.isfinite(change).float()
    # the head of the body at rest: its upper seventh
    head = ((condition[:, 2:3] > 0.66) * condition[:, :1]).float()
    parts = part_grids(depths)
    valid = token_cells(parts)
    order = [p.amax(1, True) + FACE_FIRST * p[:, :1] + 0.1 * torch.rand_like(p[:, :1]) for p in parts]
    grey = GREY * (1 - true)
    given = torch.cat([given - 0.5, torch.ones_like(given[:, :1])], 1)
    return Batch(picture - 0.5, front + grey, back + grey, true, condition, given, torch.nan_to_num(change), known, attributes,
                 head, valid, parts, order)  # fmt: skip


def _recoloured(
    picture: Tensor, sides: Tensor, given: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours of the person changed alike in both pictures and in truth."""
    count = len(picture)
    draw = lambda low, high, n: torch.from_numpy(rng.uniform(low, high, (count, n, 1, 1)).astype(np.float32))  # noqa: E731
    gain = draw(0.8, 1.2, 1) * draw(0.92, 1.08, 3)
    gamma = draw(0.85, 1.2, 1)
    order = [0, 1, 2] if rng.random() < 0.75 else [int(k) for k in rng.permutation(3)]
    change = lambda x: (x[:, order].clamp_min(1e-3) ** gamma * gain).clamp(0, 1)  # noqa: E731
    cover = sides[:, 6:]
    front, back = (change(sides[:, a : a + 3]) * (cover > 0) for a in (0, 3))
    rgb = picture[:, :3] + cover * (change(picture[:, :3]) - picture[:, :3])
    return torch.cat([rgb, picture[:, 3:]], 1), torch.cat([front, back, cover], 1), change(given)


def draw_kept(batch: Batch, pictured: np.ndarray, rng: np.random.Generator) -> list[Tensor]:
    """Which cells are sent [B, 1, h, w] of each grid, as any cut of the stream leaves them; with a picture [B] bool
    often none."""
    count = len(batch.picture)
    whole = rng.choice(4, count, p=[0.1, 0.2, 0.3, 0.4])
    share = (rng.random(count) < 0.6) * rng.random(count)
    none = pictured & (rng.random(count) < 0.6)
    whole, share = torch.from_numpy(np.where(none, 0, whole)), torch.from_numpy(np.where(none, 0, share)).float()
    kept = []
    for k, valid in enumerate(batch.valid):
        order = batch.order[k] if rng.random() < 0.8 else torch.rand_like(batch.order[k])
        kept.append(kept_cells(valid, order, (whole > k).float() + (whole == k).float() * share))
    return kept


def kept_cells(valid: Tensor, order: Tensor, share: Tensor) -> Tensor:
    """The first cells in order, a share [B] of the valid ones, as a mask."""
    ranked = torch.where(valid > 0, order, torch.full_like(order, -1)).flatten(1)
    rank = ranked.argsort(1, descending=True).argsort(1).view_as(valid)
    wanted = (valid.sum((1, 2, 3)) * share).view(-1, 1, 1, 1)
    return valid * (rank < wanted).float()


def likeness(a: Tensor, b: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """How far pictures [B, 3, H, W] lie apart, and their squared error, [B] each; weight [B, 1, H, W] sums to one."""
    mean = lambda x, w: (x * w).sum((1, 2, 3))  # noqa: E731
    absolute, squared = mean((a - b).abs().mean(1, True), weight), mean((a - b).square().mean(1, True), weight)
    la, lb, w = (a * _LUMA).sum(1, True), (b * _LUMA).sum(1, True), weight
    slope = mean((la.diff(dim=3) - lb.diff(dim=3)).abs(), w[..., 1:])
    slope = slope + mean((la.diff(dim=2) - lb.diff(dim=2)).abs(), w[..., 1:, :])
    structure = a.new_zeros(len(a))
    for k, part in enumerate((0.45, 0.35, 0.2)):
        if k:
            la, lb, w = F.avg_pool2d(la, 2), F.avg_pool2d(lb, 2), 4 * F.avg_pool2d(w, 2)
        structure = structure + part * mean(1 - _structure(la, lb), w)
    return 2.5 * absolute + 8 * squared + 0.5 * structure + slope, squared


def _structure(a: Tensor, b: Tensor) -> Tensor:
    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, 1, 3, count_include_pad=False)

    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    return ((2 * ma * mb + 1e-4) * (2 * both + 9e-4)) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4))


def composed(out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Front and back over grey [B, 3, H, W], and cover [B, 1, H, W], of what the networks give."""
    cover = out[:, 6:7].sigmoid()
    return tuple((out[:, a : a + 3] + 0.5) * cover + GREY * (1 - cover) for a in (0, 3)) + (cover,)  # type: ignore[return-value]


class Losses:
    """Holds the rate of each grid, which follows the wanted bits."""

    def __init__(self, recipe: LooksRecipe):
        self.recipe = recipe
        self.rates = [3e-5] * len(GRIDS)
        self.running = list(recipe.bits)
        self.perceptual = PerceptualLoss()

    def __call__(
        self, net: LookCodec, batch: Batch, pictured: np.ndarray, kept: list[Tensor], progress: float,
        rng: np.random.Generator,
    ) -> tuple[Tensor, dict[str, float]]:  # fmt: skip
        """Loss of a batch, of which some [B] bool come with a picture, at a share of the training, and figures."""
        recipe = self.recipe
        count = len(batch.picture)
        noise = recipe.noise if net.training else 0.0
        level = torch.from_numpy(rng.random((count, 1, 1, 1)).astype(np.float32)) if net.training else torch.ones(1)
        level = level.expand(count, 1, 1, 1)
        with half_precision(batch.picture.device):
            given = batch.given * torch.from_numpy(pictured).view(-1, 1, 1, 1)
            out = net(batch.picture, batch.condition, given, batch.attributes, batch.parts, kept, batch.valid, noise)
            coarse = out["coarse"]
            true = torch.cat([batch.front, batch.back], 1) - 0.5
            start = coarse[:, :6].detach()
            drawn = torch.randn(true.shape) if net.training else torch.zeros_like(true)
            noisy = true + level * (start - true) + 0.25 * level * (1 - 0.5 * level) * drawn
            sharp = net.refine(coarse, out["features"], noisy, level)
        whole = torch.cat([sharp, coarse[:, 6:]], 1)
        union = F.max_pool2d(torch.maximum(batch.cover, batch.condition[:, :1]), 5, 1, 2)
        weight = union * (0.35 + 0.65 * batch.cover) * (1 + 2 * batch.head)
        weight = weight / weight.sum((1, 2, 3), keepdim=True)
        behind = batch.cover / batch.cover.sum((1, 2, 3), keepdim=True).clamp_min(1)
        figures: dict[str, float] = {}
        loss = true.new_zeros(())
        for name, found, share in (("coarse", coarse, 0.5), ("sharp", whole, 1.0)):
            front, back, cover = composed(found)
            here, error = likeness(front, batch.front, weight)
            there, error_behind = likeness(back, batch.back, behind)
            loss = loss + share * (here + BEHIND * there).mean()
            figures |= {name: float(here.mean()), f"{name}_psnr": float((-10 * error.log10()).mean()),
                        f"{name}_back_psnr": float((-10 * error_behind.log10()).mean())}  # fmt: skip
        cover_error = ((cover - batch.cover).abs() * weight).sum((1, 2, 3)).mean()
        depth = (0.1 * coarse[:, 7:] - batch.change).abs() * batch.known
        depth_error = (depth.sum((1, 2, 3)) / batch.known.sum((1, 2, 3)).clamp_min(1)).mean()
        loss = loss + 1.5 * cover_error + 1.5 * depth_error
        if progress >= recipe.late and recipe.perceptual:
            some = slice(None) if not net.training else slice(0, max(count // 4, 1))
            front, back, _ = composed(whole[some])
            seen = self.perceptual(batch.front[some], front)
            seen_behind = self.perceptual(batch.back[some], back)
            loss = loss + recipe.perceptual * (seen + BEHIND * seen_behind).mean()
            figures |= {"stlpips": float(seen.mean()), "stlpips_back": float(seen_behind.mean())}
        usage = [w.mean((0, 2, 3)) for w in out["weights"]]
        loss = loss + 0.002 * sum((u * (u + 1e-6).log()).sum() for u in usage)
        for k, bits in enumerate(out["bits"]):
            spent = (bits * kept[k]).sum((1, 2, 3))
            total = spent.detach() if k == 0 else total + spent.detach()
            loss = loss + self.rates[k] * spent.mean()
            full = (kept[k].sum((1, 2, 3)) >= batch.valid[k].sum((1, 2, 3))) & ~torch.from_numpy(pictured)
            if full.any():
                figures[f"bits{k}"] = float(spent[full].mean())
        figures |= {"bytes": float(total.mean()) / 8, "cover": float(cover_error), "depth_cm": 100 * float(depth_error), "loss": float(loss),
                    "used": float(torch.stack([(-(u * (u + 1e-6).log()).sum()).exp() for u in usage]).mean())}  # fmt: skip
        return loss, figures

    def follow(self, figures: dict[str, float]) -> None:
        """Rates towards the wanted bits."""
        for k, wanted in enumerate(self.recipe.bits):
            if f"bits{k}" in figures:
                self.running[k] += 0.05 * (figures[f"bits{k}"] - self.running[k])
                step = np.clip(np.log(max(self.running[k], 1) / wanted), -1.5, 1.5)
                self.rates[k] = float(np.clip(self.rates[k] * np.exp(0.01 * step), 1e-7, 3e-3))


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
                figures = losses(net, batch, np.full(len(whole), pictured), kept, 1.0, rng)[1]
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
    path = out / "looks.pt"
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
    base = [[g["lr"] for g in o.param_groups] for o in optimisers]
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
        pictured = rng.random(len(batch.picture)) < recipe.pictured
        kept = draw_kept(batch, pictured, rng)
        loss, figures = losses(net, batch, pictured, kept, progress, rng)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if torch.isfinite(norm):
            for optimiser in optimisers:
                optimiser.step()
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
