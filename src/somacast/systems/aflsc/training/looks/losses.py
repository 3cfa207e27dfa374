"""Rate and distortion of the look tokens: both sides in colour, cover and depth, as near and as like the truth as bits
allow (eq. 8-13, 19-27)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from somacast.systems.aflsc.look_tokens.diffusion import noise_share
from somacast.systems.aflsc.look_tokens.inputs import CHANGE_UNIT_M
from somacast.systems.aflsc.networks.looks import COLORS, GRIDS, LookCodec
from somacast.systems.aflsc.training.looks.adversary import Adversary
from somacast.systems.aflsc.training.looks.batches import GREY, Batch
from somacast.systems.aflsc.training.looks.perceptual_loss import PerceptualLoss
from somacast.systems.aflsc.training.looks.recipe import LooksRecipe
from somacast.training.optimisers import half_precision

FIRST_RATE, PRIOR_RATE = 1e-6, 1e-4  # what a bit costs at first; while only priors learn from it
DEPTH, DEPTH_SLOPE = 10.0, 10.0  # weights of metres, and of metres a pixel
BEHIND = 0.5  # weight of the side that the camera does not see
MORE_STEPS = 0.25  # share of samples at any level of noise
TONE = 0.5  # weight of a colour that all of a side lacks: what light there was no picture tells
NOISY = 0.5  # share of samples with noise: the product takes its mean
BEYOND = 0.05  # weight of wanting to say more than the largest symbol
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def likeness(a: Tensor, b: Tensor, weight: Tensor, fine: bool) -> tuple[Tensor, Tensor]:
    """How far pictures [B, 3, H, W] lie apart, and their squared error, [B] each; weight [B, 1, H, W] sums to one;
    fine: by their structure too."""
    mean = lambda x, w: (x * w).sum((1, 2, 3))  # noqa: E731
    absolute, squared = mean((a - b).abs().mean(1, True), weight), mean((a - b).square().mean(1, True), weight)
    if not fine:
        return 2.5 * absolute + 8 * squared, squared
    la, lb, w = (a * _LUMA).sum(1, True), (b * _LUMA).sum(1, True), weight
    slope = mean((la.diff(dim=3) - lb.diff(dim=3)).abs(), w[..., 1:])
    slope = slope + mean((la.diff(dim=2) - lb.diff(dim=2)).abs(), w[..., 1:, :])
    structure = a.new_zeros(len(a))
    for k, part in enumerate((0.45, 0.35, 0.2)):
        if k:
            la, lb, w = F.avg_pool2d(la, 2), F.avg_pool2d(lb, 2), 4 * F.avg_pool2d(w, 2)
        structure = structure + part * mean(1 - _structure(la, lb), w)
    return 2.5 * absolute + 8 * squared + 0.5 * structure + slope, squared


def toned(truth: Tensor, found: Tensor, weight: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """The truth in the mean colour of what is found, and by how much the two means differ, [B]."""
    shift = ((found - truth) * weight).sum((2, 3), keepdim=True)
    return truth + shift.detach() * cover, shift.abs().mean((1, 2, 3))


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


def depth_errors(found: Tensor, true: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute errors of depths [B, 2, H, W] in metres where they are known, [B, 2, H, W], and of their steps from
    pixel to pixel."""
    gap = (found - true) * known
    total = gap.abs().sum() / known.sum().clamp_min(1)
    steps = total.new_zeros(())
    for axis in (2, 3):
        size = gap.shape[axis] - 1
        both = known.narrow(axis, 1, size) * known.narrow(axis, 0, size)
        steps = steps + (gap.diff(dim=axis) * both).abs().sum() / both.sum().clamp_min(1)
    return total, steps


def _refined(net: LookCodec, out: dict[str, Any], batch: Batch, rng: np.random.Generator) -> Tensor:
    """Sharp colours [B, 6, H, W], in a training from noisy ones: mostly of the one step that the product takes, as with
    less noise the truth shows through."""
    coarse = out["coarse"]
    start, count = coarse[:, :COLORS].detach(), len(coarse)
    if not net.training:
        return net.refine(coarse, out["features"], start, torch.ones(count, 1, 1, 1))
    levels = np.where(rng.random(count) < MORE_STEPS, rng.random(count), 1).astype(np.float32)
    level = torch.from_numpy(levels).view(count, 1, 1, 1)
    true = torch.cat([batch.front, batch.back], 1) - 0.5
    share = noise_share(level) * torch.from_numpy((rng.random(count) < NOISY).astype(np.float32)).view(-1, 1, 1, 1)
    return net.refine(coarse, out["features"], true + level * (start - true) + share * torch.randn(true.shape), level)


class Losses:
    """Holds the rate of each grid, which follows the wanted bits."""

    def __init__(self, recipe: LooksRecipe):
        self.recipe = recipe
        self.rates = [FIRST_RATE] * len(GRIDS)
        self.running = list(recipe.bits)
        self.perceptual = PerceptualLoss()
        self.adversary = Adversary()

    def __call__(
        self, net: LookCodec, batch: Batch, kept: list[Tensor], progress: float, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch at a share of the training, and figures."""
        recipe, free = self.recipe, progress < self.recipe.free
        with half_precision(batch.picture.device):
            inputs = (batch.picture, batch.condition, batch.given, batch.attributes, batch.parts)
            out = net(*inputs, kept, batch.valid, recipe.noise if net.training else 0.0, free)
            sharp = _refined(net, out, batch, rng)
        coarse = out["coarse"]
        whole = torch.cat([sharp, coarse[:, COLORS:]], 1)
        loss, figures = self._likeness(coarse, whole, batch)
        if progress >= recipe.late and recipe.perceptual:
            found, seen = self._perceived(whole, batch, net.training)
            loss, figures = loss + recipe.perceptual * found, figures | seen
        if net.training and recipe.adversary and progress >= recipe.opposed:
            painted = torch.cat(composed(whole)[:2], 1)
            true = torch.cat([batch.front, batch.back], 1)
            opposed, figures["adversary_right"] = self.adversary(true, painted, batch.condition)
            loss = loss + recipe.adversary * opposed
        usage = [w.mean((0, 2, 3)) for w in out["weights"]]
        loss = loss + BEYOND * out["beyond"] + 0.002 * sum((u * (u + 1e-6).log()).sum() for u in usage)
        figures["bytes"] = loss.new_zeros(())
        for k, bits in enumerate(out["bits"]):
            spent = (bits * kept[k]).sum((1, 2, 3))
            figures["bytes"] = figures["bytes"] + spent.mean() / 8
            loss = loss + (PRIOR_RATE if free else self.rates[k]) * spent.mean()
            full = (kept[k].sum((1, 2, 3)) >= batch.valid[k].sum((1, 2, 3))) & ~torch.from_numpy(batch.pictured)
            if full.any():
                figures[f"bits{k}"] = spent[full]
        used = torch.stack([(-(u * (u + 1e-6).log()).sum()).exp() for u in usage]).mean()
        figures |= {"loss": loss, "used": used}
        return loss, {name: float(torch.as_tensor(values).detach().mean()) for name, values in figures.items()}

    def _likeness(self, coarse: Tensor, whole: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Errors of maps [B, 9, H, W] before and after the diffusion: colours of both sides, cover, depths."""
        union = F.max_pool2d(torch.maximum(batch.cover, batch.condition[:, :1]), 5, 1, 2)
        weight = union * (0.35 + 0.65 * batch.cover) * (1 + 2 * batch.head)
        weight = weight / weight.sum((1, 2, 3), keepdim=True)
        behind = batch.cover / batch.cover.sum((1, 2, 3), keepdim=True).clamp_min(1)
        figures: dict[str, Any] = {}
        loss, cover = coarse.new_zeros(()), coarse[:, COLORS : COLORS + 1].sigmoid()
        for name, maps, share in (("coarse", coarse, 0.5), ("sharp", whole, 1.0)):
            front, back, _ = composed(maps)
            sides = (("", front, batch.front, weight, 1.0), ("_back", back, batch.back, behind, BEHIND))
            for side, found, true, where, worth in sides:
                wanted, tone = toned(true, found, where, batch.cover)
                error, squared = likeness(found, wanted, where, name == "sharp")
                loss = loss + worth * share * (error + TONE * tone).mean()
                figures |= {f"{name}{side}_psnr": -10 * squared.log10(), f"{name}{side}_tone": tone}
        cover_error = ((cover - batch.cover).abs() * weight).sum((1, 2, 3)).mean() + (cover * (1 - union)).mean()
        depth_error, slope_error = depth_errors(CHANGE_UNIT_M * coarse[:, COLORS + 1 :], batch.change, batch.known)
        loss = loss + 1.5 * cover_error + DEPTH * depth_error + DEPTH_SLOPE * slope_error
        return loss, figures | {"cover": cover_error, "depth_cm": 100 * depth_error}

    def _perceived(self, whole: Tensor, batch: Batch, training: bool) -> tuple[Tensor, dict[str, Any]]:
        """The perceptual error of both sides, in a training of some people; of others beside that of the sides as they
        are given."""
        some = slice(0, max(round(self.recipe.judged * len(whole)), 1) if training else None)
        front, back, _ = composed(whole[some])
        seen, seen_behind = self._perceptual(batch.front[some], front), self._perceptual(batch.back[some], back)
        figures = {"stlpips": seen, "stlpips_back": seen_behind}
        if not training:
            front, back, _ = composed(torch.cat([batch.given[:, :COLORS], whole[:, COLORS:]], 1))
            given = (self._perceptual(batch.front, front), self._perceptual(batch.back, back))
            figures |= {"given": given[0], "given_back": given[1]}
        return (seen + BEHIND * seen_behind).mean(), figures

    def _perceptual(self, truth: Tensor, found: Tensor) -> Tensor:
        """In half precision and pixels first: a third less time for gradients that are the same but for .1 %."""
        pair = [x.contiguous(memory_format=torch.channels_last) for x in (truth, found)]
        with half_precision(found.device):
            return self.perceptual(*pair).float()

    def follow(self, figures: dict[str, float]) -> None:
        """Rates towards the wanted bits."""
        for k, wanted in enumerate(self.recipe.bits):
            if f"bits{k}" in figures:
                self.running[k] += 0.05 * (figures[f"bits{k}"] - self.running[k])
                step = np.clip(np.log(max(self.running[k], 1) / wanted), -1.5, 1.5)
                self.rates[k] = float(np.clip(self.rates[k] * np.exp(0.015 * step), 1e-8, 3e-3))
