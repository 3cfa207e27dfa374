"""What the trainings share: the Muon optimiser, the moving average, and several processes by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

# Quintic whose iterates push singular values towards 1 (K. Jordan, "Muon", 2024)
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def join_processes() -> tuple[int, int]:
    """(rank, world size); joins the group if torchrun started this process, else (0, 1)."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0, 1
    if not dist.is_initialized():
        # the first process has other stages to do before this one
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=24))
    return dist.get_rank(), dist.get_world_size()


def pick_device(rank: int = 0) -> torch.device:
    """The GPU of this process, or the CPU."""
    return torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively; where it does not, bf16 is many times slower than float32."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def half_precision(device: torch.device) -> torch.autocast:
    """bf16 where the device multiplies it natively, else a context that does nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bf16(device))


def average_gradients(parameters: Iterable[nn.Parameter], world: int) -> None:
    """Mean of the gradients over all processes, as one message."""
    if world < 2:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= world
    for g, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        g.copy_(part.view_as(g))


class MovingAverage:
    """Exponential average of a network's state; buffers that count are copied."""

    def __init__(self, state: dict[str, Tensor], ceiling: float = 0.998):
        self.state, self.ceiling = {k: v.detach().clone() for k, v in state.items()}, ceiling

    @torch.no_grad()
    def update(self, state: dict[str, Tensor], step: int) -> None:
        """Take in `state` after step number `step`."""
        decay = min(self.ceiling, step / (step + 20))
        mine, theirs = zip(*((self.state[k], v) for k, v in state.items() if v.is_floating_point()), strict=True)
        torch._foreach_lerp_(list(mine), list(theirs), 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for k, v in state.items():
            if not v.is_floating_point():
                self.state[k].copy_(v)


def orthogonalise(update: Tensor) -> Tensor:
    """Matrix [R, C] to the nearest one with singular values about 1, by five Newton-Schulz steps in bf16 where
    that is native."""
    a, b, c = _NEWTON_SCHULZ
    x = update.bfloat16() if multiplies_bf16(update.device) else update
    x = x.T if len(x) > x.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if len(update) > update.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates, for matrices and convolution kernels (as [out, in * k * k]).

    With several processes each one works out a share of the updates and all exchange them.
    """

    def __init__(self, parameters: list[nn.Parameter], rate: float, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(parameters, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One update; gradients must be averaged over processes before."""
        world = dist.get_world_size() if dist.is_initialized() else 1
        rank = dist.get_rank() if world > 1 else 0
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
            parts = flat.split([p.numel() for p in parameters])
            load = [0] * world
            order = sorted(range(len(parameters)), key=lambda i: -parameters[i].numel())
            for i in order:
                p = parameters[i]
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                owner = load.index(min(load))
                matrix = p.shape[0], p.numel() // p.shape[0]
                load[owner] += min(matrix) * p.numel()
                if owner == rank:
                    update = orthogonalise(p.grad.lerp(state["momentum"], group["momentum"]).reshape(matrix))
                    parts[i].copy_(update.float().flatten() * max(1, matrix[0] / matrix[1]) ** 0.5)
            if world > 1:
                dist.all_reduce(flat)
            for p, part in zip(parameters, parts, strict=True):
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(part.view_as(p), alpha=-group["lr"])


def build_optimisers(net: nn.Module, rate: float, matrix_rate: float, first: tuple[str, ...]) -> list:
    """Muon for the wide matrices of the network, AdamW for all else and for names that start with one of `first`."""
    matrices, rest = [], []
    for name, p in net.named_parameters():
        wide = p.ndim in (2, 4) and min(p.shape[0], p.numel() // p.shape[0]) >= 32 and not name.startswith(first)
        (matrices if wide else rest).append(p)
    return [
        torch.optim.AdamW(rest, lr=rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True),
        Muon(matrices, matrix_rate),
    ]
