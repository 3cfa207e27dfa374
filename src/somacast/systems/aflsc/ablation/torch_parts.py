"""The look reader in torch with one of its parts taken away, in the place of its ONNX Runtime session."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from somacast.systems.aflsc.look_tokens.runner import READER_INPUTS
from somacast.systems.aflsc.networks.loading import LOOK_READER, LOOK_REFINER
from somacast.systems.aflsc.networks.looks import LookCodec, TokenMixture
from somacast.systems.aflsc.training.shipping import LookReaderNet
from somacast.weights.arrays import read_onnx, unpack
from somacast.weights.manifest import weights_path


class _Session:
    def __init__(self, net: nn.Module):
        self.net = net.eval()

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            found = self.net(*(torch.from_numpy(feed[name]) for name in READER_INPUTS))
        return [tensor.numpy() for tensor in found]


class _Alike(nn.Module):
    """A mixture whose weights are all alike, or in which one component, that with most weight, is all."""

    def __init__(self, mixture: TokenMixture, one: bool):
        super().__init__()
        self.mixture, self.one = mixture, one

    def forward(self, symbols: Tensor, condition: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        _, weight = self.mixture(symbols, condition)
        alike = torch.full_like(weight, 1 / weight.shape[1])
        if self.one:
            best = weight.mean((2, 3), keepdim=True).argmax(1, keepdim=True)
            alike = torch.zeros_like(weight).scatter(1, best.expand(-1, 1, *weight.shape[2:]), 1.0)
        mean = self.mixture.means(symbols).unflatten(1, (self.mixture.components, -1))
        return (alike[:, :, None] * mean).sum(1), alike


class _Forgetful(nn.Module):
    """A recurrent level that takes what is new and forgets what came before."""

    def __init__(self, gate: nn.Module):
        super().__init__()
        self.gate = gate

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return self.gate(torch.zeros_like(h), x)


def shipped_codec() -> LookCodec:
    """The receiver's half of the look codec of the package in torch."""
    codec = LookCodec().eval()
    for name in (LOOK_READER, LOOK_REFINER):
        arrays = unpack(read_onnx(weights_path(name)))
        state = {n.removeprefix("codec."): torch.from_numpy(np.array(a)) for n, a in arrays.items()}
        codec.load_state_dict(state, strict=False)
    return codec


def without(part: str) -> Any:
    """The look reader of the package without a part: weights, components, memory, vit, bias."""
    codec = shipped_codec()
    if part in ("weights", "components"):
        codec.mixtures = nn.ModuleList(_Alike(m, part == "components") for m in codec.mixtures)  # type: ignore[arg-type]
    elif part == "memory":
        codec.gates = nn.ModuleList(_Forgetful(gate) for gate in codec.gates)
    elif part == "vit":
        codec.attend = lambda state, cond: state  # type: ignore[method-assign]
    elif part == "bias":
        with torch.no_grad():
            codec.bias.gain.zero_()
    return _Session(LookReaderNet(codec))
