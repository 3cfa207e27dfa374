"""The adversary of what the receiver paints (eq. 10, 11): are these both sides of the person whom the labels place?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from somacast.systems.aflsc.networks.looks import COLORS, CONDITION_CHANNELS

RATE = 4e-4


class SidesDiscriminator(nn.Module):
    """Painted sides [B, 6, H, W] on condition maps [B, 15, H, W] to logits of patches [B, 1, H / 8, W / 8]."""

    def __init__(self, width: int = 40):
        super().__init__()
        steps = (4 * (COLORS + CONDITION_CHANNELS), width, 2 * width, 3 * width)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 3 if k == 0 else 4, 1 if k == 0 else 2, 1))
            for k, (a, b) in enumerate(pairwise(steps))
        )
        self.last = spectral_norm(nn.Conv2d(steps[-1], 1, 3, 1, 1))

    def forward(self, sides: Tensor, condition: Tensor) -> Tensor:
        x = F.pixel_unshuffle(torch.cat([sides - 0.5, condition], 1), 2)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return self.last(x)


class Adversary:
    """Learns by the hinge loss beside what it judges."""

    def __init__(self) -> None:
        self.net = SidesDiscriminator()
        self.optimiser = torch.optim.Adam(self.net.parameters(), RATE, (0.5, 0.99))

    def __call__(self, true: Tensor, found: Tensor, condition: Tensor) -> tuple[Tensor, float]:
        """How far painted sides [B, 6, H, W] are from convincing, after a step on them and on true ones; and the share
        of patches that it has right."""
        self.net.requires_grad_(True)
        real, fake = self.net(true, condition), self.net(found.detach(), condition)
        self.optimiser.zero_grad(set_to_none=True)
        (F.relu(1 - real).mean() + F.relu(1 + fake).mean()).backward()
        self.optimiser.step()
        right = float(((real > 0).float().mean() + (fake < 0).float().mean()) / 2)
        self.net.requires_grad_(False)
        return -self.net(found, condition).mean(), right

    def state(self) -> dict[str, Any]:
        """For a checkpoint; `load` is the inverse."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
