"""Receiver, second half: the ViT-guided diffusion over the surface chart (AFLSC eq. 24-27, Algorithm 2 lines 17-23).

    s_1 .. s_3 -> parallel ViT paths at several scales, attention bias generated from s (eq. 24-25) -> u_m
    X_T -> at most 8 denoising steps conditioned on u_m, t and the labels' linear estimate -> X_0 [4, 128, 128]

X holds, per texel of the chart, colour and offset: an oriented, coloured point cloud with one point a texel, in rest
pose. The network predicts X_0. The paper's own steps (eq. 26-27) are `literal_forward` and `literal_reverse`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.nn.vit import Block, GeneratedBias, to_map, to_tokens
from somacast.systems.aflsc.labels.chart import CHART_PX
from somacast.systems.aflsc.networks.restore import FEATURES, LEVELS_PX

PATCH_PX = 8
CHANNELS = 4
SCALES_PX = (16, 32, 64)
MAX_STEPS = 8


@dataclass(frozen=True)
class DiffuseConfig:
    dim: int = 160
    heads: int = 5
    blocks: int = 4
    path_dim: int = 96
    path_blocks: int = 2


def _tokens_of(s: Tensor, side: int) -> Tensor:
    """Features [B, F, n, n] as side x side tokens [B, side^2, F]."""
    return to_tokens(F.adaptive_avg_pool2d(s, side) if s.shape[-1] != side else s)


class ScalePath(nn.Module):
    """ViT_k(Rescale(s_i, r_k)) of eq. 24: 64 tokens whatever the scale."""

    def __init__(self, scale_px: int, c: DiffuseConfig):
        super().__init__()
        self.scale_px = scale_px
        patch = scale_px // 8
        self.embed = nn.Conv2d(FEATURES * len(LEVELS_PX), c.path_dim, patch, patch)
        self.position = nn.Parameter(torch.randn(1, 64, c.path_dim) * 0.02)
        self.blocks = nn.ModuleList(Block(c.path_dim, 4, 2.0, mask_inside_scale=False) for _ in range(c.path_blocks))
        self.bias = GeneratedBias(FEATURES, 4)
        self.score = nn.Linear(c.path_dim, 1)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """s_1 .. s_3 to (tokens [B, 64, D], score [B, 1])."""
        n = self.scale_px
        resized = [m if m.shape[-1] == n else F.interpolate(m, size=(n, n), mode="bilinear") for m in maps]
        x = to_tokens(self.embed(torch.cat(resized, 1))) + self.position
        bias = self.bias(_tokens_of(maps[0], 8))
        for block in self.blocks:
            x = block(x, bias)
        return x, self.score(x.mean(1))


class MultiScaleViT(nn.Module):
    """Eq. 24: u_m = sum_k w_k ViT_k(Rescale(s_i, r_k)), weights by a softmax over the paths' own scores."""

    def __init__(self, c: DiffuseConfig):
        super().__init__()
        self.paths = nn.ModuleList(ScalePath(n, c) for n in SCALES_PX)
        self.out = nn.Linear(c.path_dim, c.dim)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """s_1 .. s_3 to u_m [B, dim, 8, 8]."""
        tokens, scores = zip(*(path(maps) for path in self.paths), strict=True)
        weights = torch.cat(scores, 1).softmax(1)
        mixed = sum(weights[:, k, None, None] * t for k, t in enumerate(tokens))
        return to_map(self.out(mixed), 8)


class Denoiser(nn.Module):
    """Predicts X_0 from X_t, the step, u_m, the features and the linear estimate of the chart."""

    def __init__(self, config: DiffuseConfig | None = None):
        super().__init__()
        self.config = c = config or DiffuseConfig()
        self.side = CHART_PX // PATCH_PX
        self.condition = MultiScaleViT(c)
        self.embed = nn.Conv2d(2 * CHANNELS, c.dim, PATCH_PX, PATCH_PX)
        self.position = nn.Parameter(torch.randn(1, self.side**2, c.dim) * 0.02)
        self.time = nn.Sequential(nn.Linear(32, c.dim), nn.GELU(), nn.Linear(c.dim, c.dim))
        self.bias = GeneratedBias(FEATURES, c.heads)
        self.local = nn.Conv2d(FEATURES, c.dim, 2, 2)
        self.blocks = nn.ModuleList(Block(c.dim, c.heads, 3.0, mask_inside_scale=False) for _ in range(c.blocks))
        self.norm = nn.LayerNorm(c.dim)
        self.out = nn.Linear(c.dim, CHANNELS * PATCH_PX**2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.to_noise = nn.Linear(c.dim, CHANNELS)  # u_m as the factor of the noise in eq. 26

    def guide(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """What does not change over the steps: u_m [B, dim, 8, 8], token condition, attention bias."""
        u = self.condition(maps)
        token = to_tokens(F.interpolate(u, scale_factor=2.0, mode="bilinear") + self.local(maps[2]))
        return {"u": u, "token": token, "bias": self.bias(_tokens_of(maps[1], self.side))}

    def forward(self, x: Tensor, level: Tensor, base: Tensor, guide: dict[str, Tensor]) -> Tensor:
        """X_t [B, 4, 128, 128], noise level t in [0, 1] [B], linear estimate [B, 4, 128, 128] to X_0."""
        y = to_tokens(self.embed(torch.cat([x, base], 1))) + self.position + guide["token"]
        y = y + self.time(_waves(level))[:, None]
        for block in self.blocks:
            y = block(y, guide["bias"])
        patches = self.out(self.norm(y)).view(len(x), self.side, self.side, CHANNELS, PATCH_PX, PATCH_PX)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(len(x), CHANNELS, CHART_PX, CHART_PX)

    def noise_map(self, u: Tensor) -> Tensor:
        """u_m as a factor per texel and channel [B, 4, 128, 128] for eq. 26-27."""
        small = to_map(self.to_noise(to_tokens(u)), u.shape[-1])
        return F.interpolate(small, size=(CHART_PX, CHART_PX), mode="bilinear")


def _waves(level: Tensor) -> Tensor:
    rates = torch.exp(torch.arange(16) * (math.log(500.0) / 15))
    angle = level[:, None] * rates * (math.pi / 2)
    return torch.cat([angle.sin(), angle.cos()], 1)


def signal_and_noise(level: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine schedule: X_t = a X_0 + b eps with a^2 + b^2 = 1; level 0 is clean, 1 is noise."""
    return torch.cos(level * math.pi / 2), torch.sin(level * math.pi / 2)


def reverse(model: Denoiser, maps: list[Tensor], base: Tensor, steps: int, noise: Tensor | None = None) -> Tensor:
    """Deterministic reverse diffusion (DDIM) in at most 8 steps: X_0 [B, 4, 128, 128].

    noise: X_T; None starts from its mean, zero (the product's default). ValueError for steps outside 1..8.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps: expected 1 to {MAX_STEPS}, got {steps}")
    guide = model.guide(maps)
    x = torch.zeros_like(base) if noise is None else noise
    levels = torch.linspace(1, 0, steps + 1)
    clean = x
    for now, after in pairwise(levels):
        clean = model(x, now.expand(len(base)), base, guide)
        a, b = signal_and_noise(now)
        a2, b2 = signal_and_noise(after)
        x = a2 * clean + b2 / b * (x - a * clean)
    return clean


def literal_forward(x: Tensor, u: Tensor, c: float, noise: Tensor) -> Tensor:
    """Eq. 26 as printed: X_t = sqrt(c) X_(t-1) + sqrt(1 - c) (u_m * eps)."""
    return math.sqrt(c) * x + math.sqrt(1 - c) * (u * noise)


def literal_reverse(x: Tensor, u: Tensor, c: float) -> Tensor:
    """Eq. 27 as printed: X_(t-1) = (X_t - sqrt(1 - c) u_m) / sqrt(c). Not an inverse of eq. 26: eps is missing."""
    return (x - math.sqrt(1 - c) * u) / math.sqrt(c)


def literal_steps(model: Denoiser, maps: list[Tensor], base: Tensor, steps: int, c: float = 0.9) -> Tensor:
    """The ablation: eq. 27 applied `steps` times from X_T = 0, guided by u_m alone."""
    u = model.noise_map(model.guide(maps)["u"])
    x = torch.zeros_like(base)
    for _ in range(steps):
        x = literal_reverse(x, u, c)
    return x
