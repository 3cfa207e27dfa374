"""The perceptual measure as a loss: metrics/perceptual.py in torch, with gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.metrics.perceptual import weights_file
from somacast.metrics.torch_file import read_torch_file

_NORM_FLOOR = 1e-10


class PerceptualLoss(nn.Module):
    """ST-LPIPS of pictures [B, 3, H, W] in [0, 1], one number each; its own weights do not learn."""

    def __init__(self) -> None:
        super().__init__()
        found = read_torch_file(weights_file().read_bytes())
        for name, values in found.items():
            self.register_buffer(name.replace(".", "_"), torch.from_numpy(values.copy()), persistent=False)

    def _weight(self, name: str) -> Tensor:
        return getattr(self, name.replace(".", "_"))

    def _conv(self, x: Tensor, name: str, padding: int) -> Tensor:
        return F.conv2d(x, self._weight(f"{name}.weight"), self._weight(f"{name}.bias"), padding=padding)

    def _blur(self, x: Tensor, name: str) -> Tensor:
        kernel = self._weight(f"{name}.filt")
        return F.conv2d(F.pad(x, (2, 2, 2, 2), "reflect"), kernel, stride=2, groups=len(kernel))

    def layers(self, images: Tensor) -> list[Tensor]:
        """See `metrics.perceptual.layers`."""
        scale, shift = self._weight("scaling_layer.scale"), self._weight("scaling_layer.shift")
        out = []

        def weighted(x: Tensor) -> None:
            number = len(out)
            root = self._weight(f"lin{number}.model.1.weight").sqrt()
            out.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt() * root)

        x = (2 * images - 1 - shift) / scale
        x = F.relu(self._blur(self._conv(x, "net.slice1.0", 2), "net.slice1.1"))
        weighted(x)
        x = self._blur(F.max_pool2d(x, 3, 1), "net.slice2.4")
        x = F.relu(self._conv(x, "net.slice2.5", 2))
        weighted(x)
        x = self._blur(F.max_pool2d(x, 3, 1), "net.slice3.8")
        for name in ("net.slice3.9", "net.slice4.11", "net.slice5.13"):
            x = F.relu(self._conv(x, name, 1))
            weighted(x)
        return out

    def forward(self, truth: Tensor, result: Tensor) -> Tensor:
        """[B]."""
        with torch.no_grad():
            wanted = self.layers(truth)
        found = self.layers(result)
        return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in zip(wanted, found, strict=True)]).sum(0)
