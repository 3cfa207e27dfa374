"""Stage 3 of the AFLSC recipe: the receiver, from true labels (it needs no pictures): eq. 19-27."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.body.clothing import MATERIALS
from somacast.nn.mixture import diversity
from somacast.systems.aflsc.labels.appearance_basis import COLOR_UNIT, RESIDUAL_UNIT
from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, load_chart
from somacast.systems.aflsc.labels.codec import label_input_count, label_inputs
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.networks.diffuse import Denoiser, reverse, signal_and_noise
from somacast.systems.aflsc.networks.loading import RECEIVER_PARTS, load_states
from somacast.systems.aflsc.networks.restore import RestoreConfig, Restorer, level_targets
from somacast.training.optimisers import pick_device


@dataclass(frozen=True)
class ReceiverRecipe:
    """g_*: weights of eq. 23; minutes: wall clock, the schedule is stretched over it."""

    minutes: float = 20
    batch: int = 12
    rate: float = 1e-3
    threads: int = 1
    seed: int = 0
    recolor: float = 0.5  # share of charts whose garments get new colours
    g_level: float = 1.0
    g_kl: float = 2e-4
    g_reg: float = 2e-3
    warm_start: str = ""  # weights file whose matching tensors are taken over
    literal: float = 0.05  # weight of the loss that teaches u_m to be the noise map of eq. 26-27 (ablation)


class Receiver(nn.Module):
    """Restorer and denoiser together, as they are trained and shipped."""

    def __init__(self, label_inputs: int):
        super().__init__()
        self.restorer = Restorer(RestoreConfig(label_inputs))
        self.denoiser = Denoiser()


def linear_estimate(space: LabelSpace, codes: np.ndarray) -> Tensor:
    """Codes [N, K] to the labels' linear estimate of the chart [N, 4, 128, 128] in basis units, zero outside."""
    inside = load_chart().inside
    out = np.zeros((len(codes), *inside.shape, 4), np.float32)
    out[:, inside] = space.appearance.rows(codes.astype(np.float32))
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def recolor(rows: np.ndarray, material: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows [T, 4] with top, bottom, shoes and hair in new colours; material [T] as in the charts."""
    out = rows.copy()
    for name in ("top", "bottom", "shoes", "hair"):
        at = material == MATERIALS.index(name) + 1
        if at.any() and rng.random() < 0.7:
            grey = out[at, :3].mean(1, keepdims=True)
            share = rng.uniform(0, 1)
            tint = rng.uniform(0.1, 2.0, 3) if rng.random() < 0.7 else np.full(3, rng.uniform(0.1, 2.0))
            mixed = (share * grey + (1 - share) * out[at, :3]) * tint + rng.uniform(-0.3, 0.6)
            out[at, :3] = np.clip(mixed, 0, 1 / COLOR_UNIT)
    return out


def coarsen(symbols: np.ndarray, rng: np.random.Generator, vocabulary) -> np.ndarray:
    """Symbols [N, L, levels] as a receiver may get them: whole, or with refinements and optional labels cut."""
    out = symbols.copy()
    n, count, levels = out.shape
    for row in range(n):
        if rng.random() < 0.35:
            continue
        depth = (
            rng.integers(1, levels + 1, count) if rng.random() < 0.5 else np.full(count, rng.integers(1, levels + 1))
        )
        depth[vocabulary.group_indices("attributes")] = levels
        drop = (vocabulary.minimum_levels == 0) & (rng.random(count) < rng.choice([0.0, 0.3, 1.0]))
        depth[drop] = 0
        out[row][np.arange(levels)[None] >= depth[:, None]] = -1
    return out


class Batches:
    """Draws training batches: label inputs, linear estimate, true chart with materials."""

    def __init__(self, space: LabelSpace, charts: dict[str, np.ndarray], poses: np.ndarray, seed: int):
        from somacast.systems.aflsc.training.labels import chart_rows, draw_scalars

        self.space, self.charts, self.poses = space, charts, poses
        self.rows = chart_rows(charts).astype(np.float16)
        self.material = charts["material"][:, load_chart().inside]
        self.scalars = draw_scalars(4000, seed)
        self.rng = np.random.default_rng(seed)

    def draw(self, size: int, share: float, whole: bool = False, pick: np.ndarray | None = None) -> dict[str, Tensor]:
        rng, space = self.rng, self.space
        who = rng.integers(0, len(self.rows), size) if pick is None else pick
        rows = np.stack([
            recolor(self.rows[i].astype(np.float32), self.material[i], rng) if rng.random() < share
            else self.rows[i].astype(np.float32) for i in who
        ])  # fmt: skip
        extra = {k: v[rng.integers(0, len(v), size)] for k, v in self.scalars.items()}
        state = {
            "rotations": self.poses[rng.integers(0, len(self.poses), size)],
            "shape": self.charts["shape"][who],
            "attributes": self.charts["attributes"][who],
            "codes": space.appearance.codes(rows),
            "curl": np.stack([extra["curl_left"], extra["curl_right"]], 1),
            "pelvis": np.stack([extra[n] for n in ("pelvis_x", "pelvis_y", "log_depth")], 1),
        }
        vocabulary = space.vocabulary
        symbols = vocabulary.quantise(space.values(state))
        values, width, present = vocabulary.dequantise(symbols if whole else coarsen(symbols, rng, vocabulary))
        inside = load_chart().inside
        chart = np.zeros((size, *inside.shape, 4), np.float32)
        chart[:, inside] = rows
        material = np.zeros((size, *inside.shape), np.int64)
        material[:, inside] = self.material[who]
        hot = F.one_hot(torch.from_numpy(material), len(MATERIALS) + 1)[..., 1:].permute(0, 3, 1, 2).float()
        true = torch.from_numpy(chart).permute(0, 3, 1, 2)
        return {
            "labels": torch.from_numpy(label_inputs(vocabulary, values, width, present)),
            "base": linear_estimate(space, space.part_of(values, "codes")),
            "chart": true,
            "features": torch.cat([true, hot], 1),
        }


def losses(
    model: Receiver, batch: dict[str, Tensor], inside: Tensor, recipe: ReceiverRecipe, generator
) -> dict[str, Tensor]:
    """Eq. 23 for the levels and the latent, X_0 error for the diffusion, and the ablation's noise map."""
    mixture = model.restorer.encoder(batch["labels"])
    z = mixture.sample(generator, soft=True)
    maps = model.restorer.decoder(z)
    targets = level_targets(batch["features"], inside)
    level = sum((a - b).square().mean() for a, b in zip(maps, targets, strict=True))
    base = batch["base"]
    clean = (batch["chart"] - base) / RESIDUAL_UNIT * inside
    t = torch.rand(len(base), generator=generator)
    t = torch.where(torch.rand(len(base), generator=generator) < 0.3, torch.ones_like(t), t).clamp_min(0.02)
    t = t.to(base.device)
    a, b = (x[:, None, None, None] for x in signal_and_noise(t))
    noise = torch.randn(clean.shape, generator=generator).to(base.device)
    # the product starts from the mean of X_T: half of the samples carry no noise, only the attenuation
    quiet = (torch.rand(len(base), 1, 1, 1, generator=generator) < 0.5).float().to(base.device)
    noisy = a * clean + b * noise * (1 - quiet)
    guide = model.denoiser.guide(maps)
    predicted = model.denoiser(noisy, t, base, guide)
    error = ((predicted - clean).square() * inside).sum() / inside.sum() / clean.shape[1] / len(clean)
    absolute = ((predicted - clean).abs() * inside).sum() / inside.sum() / clean.shape[1] / len(clean)
    literal = ((model.denoiser.noise_map(guide["u"].detach()) + clean) * inside).square().mean()
    return {
        "level": recipe.g_level * level,  # pyright: ignore[reportReturnType] - a sum of tensors is one
        "kl": recipe.g_kl * mixture.kl_to_standard().mean(),
        "diversity": recipe.g_reg * diversity(z),
        "diffusion": error + 0.3 * absolute,
        "literal": recipe.literal * literal,
    }


def evaluate(model: Receiver, held_out: Batches, inside: Tensor, count: int = 24) -> dict[str, float]:
    """RMSE of colour and offset (mm) over held-out charts: linear estimate alone, and with 1, 4, 8 steps."""
    model.eval()
    rng = held_out.rng
    held_out.rng = np.random.default_rng(0)
    out: dict[str, float] = {}
    with torch.inference_mode():
        batch = held_out.draw(count, 0.0, whole=True, pick=np.arange(count) % len(held_out.rows))
        batch = {k: v.to(inside.device) for k, v in batch.items()}
        maps = model.restorer(batch["labels"])
        for steps in (0, 1, 4, 8):
            x = batch["base"]
            if steps:
                x = x + reverse(model.denoiser, maps, batch["base"], steps) * RESIDUAL_UNIT
            e = (x - batch["chart"]).square() * inside
            scale = inside.sum() * count
            out[f"color_{steps}"] = float((e[:, :3].sum() / scale / 3).sqrt()) * COLOR_UNIT
            out[f"offset_mm_{steps}"] = float((e[:, 3].sum() / scale).sqrt()) * OFFSET_UNIT_M * 1000
    held_out.rng = rng
    model.train()
    return {k: round(v, 4) for k, v in out.items()}


def train(
    recipe: ReceiverRecipe, space: LabelSpace, train_set: Batches, held_out: Batches, out: Path, resume: bool = False
) -> Path:
    """Train; checkpoint in `out`/receiver.pt, curve in `out`/receiver.jsonl."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    device = pick_device()
    model = Receiver(label_input_count(space.vocabulary)).to(device)
    if recipe.warm_start:
        states, own = load_states(Path(recipe.warm_start), RECEIVER_PARTS), model.state_dict()
        known = {f"{part}.{k}": v for part in RECEIVER_PARTS for k, v in states[part].items()}
        model.load_state_dict(own | {k: v for k, v in known.items() if k in own and own[k].shape == v.shape})
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.01, fused=True)
    path, spent, step = out / "receiver.pt", 0.0, 0
    if resume and path.exists():
        state = torch.load(path, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent_s"], state["step"]
    out.mkdir(parents=True, exist_ok=True)
    (out / "receiver.json").write_text(json.dumps(asdict(recipe), indent=1))
    inside = torch.from_numpy(load_chart().inside.astype(np.float32))[None, None].to(device)
    start, last, running = time.time() - spent, time.time(), {}
    while (elapsed := time.time() - start) < recipe.minutes * 60:
        progress = elapsed / (recipe.minutes * 60)
        for group in optimiser.param_groups:
            slow = 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress))
            group["lr"] = recipe.rate * min(1, step / 100 + 0.02) * slow
        batch = {k: v.to(device) for k, v in train_set.draw(recipe.batch, recipe.recolor).items()}
        terms = losses(model, batch, inside, recipe, generator)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        for k, v in terms.items():
            running[k] = 0.98 * running.get(k, v.item()) + 0.02 * v.item()
        if time.time() - last > 120 or step == 50:
            last = time.time()
            row = {"min": round(elapsed / 60, 1), "samples": step * recipe.batch} | evaluate(model, held_out, inside)
            with (out / "receiver.jsonl").open("a") as file:
                file.write(json.dumps(row | {k: round(v, 4) for k, v in running.items()}) + "\n")
            _save(path, model, optimiser, elapsed, step)
    _save(path, model, optimiser, recipe.minutes * 60, step)
    return path


def _save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, spent_s: float, step: int) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(
        {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "spent_s": spent_s, "step": step}, temporary
    )
    temporary.replace(path)
