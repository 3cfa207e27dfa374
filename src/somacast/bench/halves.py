"""Sender and receiver of a system, loaded for a benchmark; who chooses by looks is given the measure of the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from somacast.extras import installed
from somacast.metrics.perceptual import PACKAGE, distances, features


@runtime_checkable
class Choosy(Protocol):
    """An encoder that chooses between files by how the person rebuilt from each looks: criterion(truth, result) of
    pictures [S, S, 3] in [0, 1], less is better."""

    criterion: Callable[[np.ndarray, np.ndarray], float]


def measures_looks() -> bool:
    """Whether the packages of the perceptual measure are installed."""
    return installed(PACKAGE) and installed("onnx")


class LooksApart:
    """ST-LPIPS of two pictures, by one thread: other processes may measure other people. What the last truth looked
    like is remembered, as many results are compared with it."""

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, truth: np.ndarray, result: np.ndarray) -> float:
        """See `Choosy.criterion`."""
        if truth.shape != result.shape:
            raise ValueError(f"expected two pictures of one shape, got {truth.shape} and {result.shape}")
        last = self._last
        if last is None or not np.array_equal(truth, last[0]):
            last = self._last = truth.copy(), features(truth[None], threads=1)[0]
        return float(distances(last[1], features(result[None], threads=1))[0])


def load_halves(system: str, device: str, by_looks: bool = True) -> tuple[Any, Any]:
    """Sender and receiver of a system, loaded. by_looks: who chooses between files does it by the measure that results
    are judged by, if it is installed; else as the product does."""
    from somacast.pipeline.still.receiver import Receiver
    from somacast.pipeline.still.sender import Sender

    sender = Sender(system, device)
    if by_looks and isinstance(sender.encoder, Choosy) and measures_looks():
        sender.encoder.criterion = LooksApart()
    base = sender.system.spec.name
    receiver = Receiver(device, {base: system})
    receiver.load(base)
    return sender, receiver
