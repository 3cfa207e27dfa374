"""Sender and receiver of a system, loaded for a benchmark; who chooses by looks is given the measure of the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from somacast.extras import installed
from somacast.metrics.perceptual import PACKAGE, distance


@runtime_checkable
class Choosy(Protocol):
    """An encoder that chooses between files by how the person rebuilt from each looks: criterion(truth, result) of
    pictures [S, S, 3] in [0, 1], less is better."""

    criterion: Callable[[np.ndarray, np.ndarray], float]


def measures_looks() -> bool:
    """Whether the packages of the perceptual measure are installed."""
    return installed(PACKAGE) and installed("onnx")


def looks_apart(truth: np.ndarray, result: np.ndarray) -> float:
    """ST-LPIPS of two pictures, by one thread: other processes may measure other people."""
    return distance(truth, result, threads=1)


def load_halves(system: str, device: str, by_looks: bool = True) -> tuple[Any, Any]:
    """Sender and receiver of a system, loaded. by_looks: who chooses between files does it by the measure that results
    are judged by, if it is installed; else as the product does."""
    from somacast.pipeline.still.receiver import Receiver
    from somacast.pipeline.still.sender import Sender

    sender = Sender(system, device)
    if by_looks and isinstance(sender.encoder, Choosy) and measures_looks():
        sender.encoder.criterion = looks_apart
    base = sender.system.spec.name
    receiver = Receiver(device, {base: system})
    receiver.load(base)
    return sender, receiver
