"""Receiver, first half: labels -> mixture latent -> three feature maps (AFLSC eq. 19-23, Algorithm 2 lines 3-16).

label values [B, L] (+ which are there, + how coarse) -> Gaussian mixture over z' -> mode or sample
  -> s_1 8x8, s_2 16x16, s_3 32x32 feature maps of the surface chart, a recurrent state between the levels
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.body.clothing import MATERIALS
from somacast.nn.mixture import Mixture, MixtureHead

FEATURES = 4 + len(MATERIALS)  # colour, offset, one-hot material: what the maps of eq. 22 hold
LEVELS_PX = (8, 16, 32)


@dataclass(frozen=True)
class RestoreConfig:
    """label_inputs: length of the label vector, see `label_inputs` in codec.py."""

    label_inputs: int
    hidden: int = 256
    latent: int = 64
    components: int = 4
    state: int = 40


class LabelEncoder(nn.Module):
    """Eq. 19-20: labels to the parameters of the mixture. Missing labels come marked as missing, not as zeros."""

    def __init__(self, c: RestoreConfig):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(c.label_inputs, c.hidden), nn.GELU(), nn.LayerNorm(c.hidden),
            nn.Linear(c.hidden, c.hidden), nn.GELU(), nn.LayerNorm(c.hidden),
        )  # fmt: skip
        self.head = MixtureHead(c.hidden, c.components, c.latent)

    def forward(self, labels: Tensor) -> Mixture:
        return self.head(self.body(labels))


class GatedCell(nn.Module):
    """Convolutional GRU: h_i = RNN(h_(i-1), s_i) of eq. 22."""

    def __init__(self, inputs: int, state: int):
        super().__init__()
        self.gates = nn.Conv2d(inputs + state, 2 * state, 3, 1, 1)
        self.candidate = nn.Conv2d(inputs + state, state, 3, 1, 1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        z, r = self.gates(torch.cat([x, h], 1)).sigmoid().chunk(2, 1)
        return (1 - z) * h + z * torch.tanh(self.candidate(torch.cat([x, r * h], 1)))


class LevelDecoder(nn.Module):
    """Eq. 22: s_i = f_i(h_(i-1), z'), h_i = RNN(h_(i-1), s_i), three levels from coarse to fine."""

    def __init__(self, c: RestoreConfig):
        super().__init__()
        self.state = c.state
        self.start = nn.Linear(c.latent, c.state * LEVELS_PX[0] ** 2)
        self.tell = nn.ModuleList(nn.Linear(c.latent, c.state) for _ in LEVELS_PX)
        self.position = nn.ParameterList(nn.Parameter(torch.randn(1, 8, n, n) * 0.3) for n in LEVELS_PX)
        self.local = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c.state + 8, c.state, 3, 1, 1),
                nn.GELU(),
                nn.Conv2d(c.state, c.state, 3, 1, 1),
                nn.GELU(),
                nn.Conv2d(c.state, FEATURES, 1),
            )
            for _ in LEVELS_PX
        )
        self.cells = nn.ModuleList(GatedCell(FEATURES, c.state) for _ in LEVELS_PX)

    def forward(self, z: Tensor) -> list[Tensor]:
        """z' [B, D] to s_1 .. s_3 [B, F, n, n]."""
        h = self.start(z).view(len(z), self.state, LEVELS_PX[0], LEVELS_PX[0])
        maps = []
        for level, n in enumerate(LEVELS_PX):
            if h.shape[-1] != n:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            known = F.gelu(h + self.tell[level](z)[:, :, None, None])
            place = self.position[level].expand(len(z), -1, -1, -1)
            s = self.local[level](torch.cat([known, place], 1))
            h = self.cells[level](s, h)
            maps.append(s)
        return maps


class Restorer(nn.Module):
    """Labels to feature maps. forward is the deterministic path; `sampled` draws z' from the mixture."""

    def __init__(self, config: RestoreConfig):
        super().__init__()
        self.config = config
        self.encoder = LabelEncoder(config)
        self.decoder = LevelDecoder(config)

    def forward(self, labels: Tensor) -> list[Tensor]:
        return self.decoder(self.encoder(labels).mode())

    def sampled(self, labels: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Eq. 21 with drawn eps and component."""
        return self.decoder(self.encoder(labels).sample(generator))


def level_targets(chart: Tensor, inside: Tensor) -> list[Tensor]:
    """S_i of eq. 23: the true chart [B, F, 128, 128] averaged over the texels inside the islands, three levels."""
    out = []
    for n in LEVELS_PX:
        k = chart.shape[-1] // n
        share = F.avg_pool2d(inside, k)
        out.append(F.avg_pool2d(chart * inside, k) / share.clamp_min(1e-3))
    return out
