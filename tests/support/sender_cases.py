"""Shared by test_sender.py and test_sender_coder.py."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from somacast.systems.aflsc.networks.extract import (
    ExtractConfig,
    MultiTaskViT,
)
from somacast.training.pools import pack_samples
from support import aflsc_cases as cases

SMALL = ExtractConfig(size_px=64, stem=8, middle=12, dim=24, heads=3)


def small_net(seed: int = 0, **change: bool) -> MultiTaskViT:
    """The network at 64 px in evaluation mode, with all that starts at zero as training would leave it."""
    torch.manual_seed(seed)
    net = MultiTaskViT(replace(SMALL, **change)).eval()
    with torch.no_grad():
        for mask in net.masks.values():
            mask.normal_()
        for name, p in net.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.2.weight", "b.1.weight")):
                p.normal_(std=0.3)
    return net


def picture(seed: int = 5) -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


# --- eq. 7: the losses ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def shard() -> dict[str, np.ndarray]:
    return pack_samples(cases.people(), 0, cases.PEOPLE)


def batch() -> dict[str, np.ndarray]:
    """A fresh copy: `to_tensors` mirrors some of its arrays where they lie."""
    return {k: v.copy() for k, v in shard().items()}
