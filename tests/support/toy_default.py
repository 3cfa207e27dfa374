"""A small system in the place of the default one, for systems and benchmarks that rebuild people with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from somacast.bitstream.container import packed_bytes
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.systems import registry
from somacast.systems.baselines.default_system import default_system
from somacast.systems.baselines.picture.config import PictureConfig
from somacast.systems.spec import Inputs, Kind, SystemSpec
from somacast.types import Capture, Encoded, Payload
from support.picture_cases import body, textured

SMALLEST, LARGEST = 40, 120  # bytes of its files
QUICK = PictureConfig(sides_px=(32, 48), good_psnr_db=25.0)


class ToyDefault:
    """Sends how much detail a picture has, in as many bytes as the budget allows; rebuilds a body whose height errs by
    what is missing. Sees nobody in an even picture. seen: mean detail of all pictures it was shown."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        image = capture.frame.image
        detail = float(np.abs(np.diff(image, axis=1)).mean())
        self.seen.append(detail)
        if detail < 1e-3:
            raise SomacastError("no person in the picture")
        size = min(budget_bytes or LARGEST, LARGEST)
        if size < SMALLEST:
            raise SomacastError("budget too small")
        layer = bytes([min(255, round(2000 * detail))]) * (size - packed_bytes(registry.DEFAULT, [0]))
        side = len(image)
        report = {"person_box_px": [0.25 * side, 0.0, 1.25 * side, float(side)], "notes": ["seen by a toy"]}
        silhouette = np.zeros((64, 64), np.float32)
        silhouette[8:56, 16:40] = 1
        return Encoded([layer], report, {"silhouette": silhouette})

    def decode(self, payload: Payload) -> Reconstruction:
        detail, size = payload.layers[0][0] / 255, len(payload.layers[0])
        height = 1.7 + 0.3 * (1 - detail * size / LARGEST)
        return Reconstruction(textured(body(height)), joints=np.zeros((21, 3)), pelvis_m=np.array([0.1, 0.2, 4.0]))


@contextmanager
def toy_default(monkeypatch: pytest.MonkeyPatch, **specs: SystemSpec) -> Iterator[ToyDefault]:
    """The toy as the default system of the registry, with a variant "literal", and pictures of few sides; `specs` stand
    in the places of others."""
    toy = ToyDefault()
    spec = SystemSpec(
        registry.DEFAULT, "Toy", Inputs(), frozenset({Kind.MESH}), config=lambda: None, variants={"literal": 1},
        encoder=lambda config, device: toy, decoder=lambda config, device: toy,
    )  # fmt: skip
    real = registry._spec

    def found(name: str) -> SystemSpec:
        if name in specs or name == registry.DEFAULT:
            return specs.get(name, spec)
        known = real(name)
        quick = {
            "config": lambda: QUICK,
            "variants": {"plain": replace(QUICK, flat=False, projected=False, rendered=False)},
        }
        return replace(known, **quick) if Kind.IMAGE in known.outputs else known

    monkeypatch.setattr(registry, "_spec", found)
    default_system.cache_clear()
    yield toy
    default_system.cache_clear()
