"""The sender, whole on one screen: capture -> semantics -> entropy -> bitstream.

Capture --encoder of a system--> layers --container--> bytes of a .soma file
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from somacast.capture.pictures import (
    ALPHA_NOTES,
    PictureFrame,
    frame_from_array,
    mask_from_array,
    pixels_of,
    read_image,
    read_mask,
)
from somacast.errors import SomacastError
from somacast.systems import registry
from somacast.timing import StageClock
from somacast.types import Capture, Frame
from somacast.weights.sessions import one_blas_thread


@dataclass
class SenderResult:
    """data: the .soma file. report: what was found, plain values ready for JSON; lengths in pixels refer to the
    picture file. maps: what the encoder saw, in pixels of its crop: image [S, S, 3], silhouette, depth_m [H, W] (NaN
    outside), joints_px [21, 2]; empty if it has none."""

    data: bytes
    report: dict[str, Any]
    capture: Capture
    maps: dict[str, np.ndarray] = field(default_factory=dict)


class Sender:
    """Holds the loaded encoder of one system, so that further pictures cost no loading."""

    def __init__(self, system: str | None = None, device: str = "cpu"):
        self.system = registry.get(system or registry.DEFAULT)
        self.encoder = self.system.encoder(device)

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> SenderResult:
        """One capture to the bytes of a .soma file of at most `budget_bytes`. network_state: f of eq. 18 as 0 (send
        all) .. 255, see `NetworkMonitor.network_state`; the more, the coarser what matters less.

        Raises SomacastError if there is no person in the capture or the budget is too small for any person.
        """
        if not 0 <= network_state <= 255:
            raise SomacastError(f"network state: expected a whole number from 0 to 255, got {network_state}")
        clock = StageClock()
        with clock.stage("semantics"), one_blas_thread():
            encoded = self.encoder.encode(capture, budget_bytes, network_state)
        with clock.stage("bitstream"):
            data = self.system.pack(encoded.layers)
        if budget_bytes is not None and len(data) > budget_bytes:
            raise SomacastError(
                f"a budget of {budget_bytes} bytes is too small: system {self.system.name} made {len(data)}"
            )
        report, frame = dict(encoded.report), capture.frame
        if isinstance(frame, PictureFrame):
            report = in_source_pixels(report, frame.source_scale)
        report["bytes"] = len(data)
        report["notes"] = list(dict.fromkeys([*capture.notes, *report.get("notes", [])]))
        report["stage_times_s"] = clock.inside("semantics") | clock.times_s
        return SenderResult(data, plain(report), capture, encoded.maps)


def capture_of(image: Any, mask: Any = None, height_m: float | None = None) -> Capture:
    """A capture from what `somacast.encode` takes: path, array, Pillow image, Frame or Capture; mask as path or array;
    height in metres. What is given is not changed."""
    if isinstance(image, Capture):
        if mask is None:
            return image if height_m is None else replace(image, height_m=height_m)
        first = frame_of(image.frame, mask)
        return Capture([first, *image.views[1:]], image.height_m if height_m is None else height_m)
    return Capture([frame_of(image, mask)], height_m)


def frame_of(image: Any, mask: Any = None) -> Frame:
    """A frame from a path, array, Pillow image or Frame; mask as path or array."""
    if isinstance(image, (str, Path)):
        frame: Frame = read_image(image)
    elif isinstance(image, Frame):
        frame = image
    else:
        frame = frame_from_array(_array(image))
    if mask is None:
        return frame
    kept = [note for note in frame.notes if note not in ALPHA_NOTES]
    found, said = _given_mask(frame, mask)
    return replace(frame, mask=found, notes=[*kept, *said, "the given mask is used"])


def _array(image: Any, what: str = "image") -> np.ndarray:
    """An array from an array or a Pillow image, which is known without importing Pillow for it."""
    if hasattr(image, "convert") and hasattr(image, "mode"):
        return pixels_of(image, what)
    try:
        return np.asarray(image)
    except (TypeError, ValueError) as fault:
        raise SomacastError(f"{what}: expected a path, array, Pillow image or Frame, got {type(image)}") from fault


def _given_mask(frame: Frame, mask: Any) -> tuple[np.ndarray, list[str]]:
    """A mask for a frame, from a path, array or Pillow image, and notes."""
    if isinstance(mask, (str, Path)):
        return read_mask(mask, frame)
    return mask_from_array(_array(mask, "mask"), frame)


def in_source_pixels(value: Any, scale: tuple[float, float], key: str = "") -> Any:
    """A report whose values under keys ending in `_px` are in frame pixels, brought to pixels of the picture file.

    Such a value is a list of numbers with x and y in turn ([x, y], [x0, y0, x1, y1], ...) or nested lists of those.
    """
    if isinstance(value, dict):
        return {k: in_source_pixels(v, scale, k if k.endswith("_px") else key) for k, v in value.items()}
    if not key:
        return value
    if isinstance(value, (np.ndarray, list, tuple)):
        if len(value) and np.ndim(value[0]):
            return [in_source_pixels(v, scale, key) for v in value]
        return [float(v) * scale[i % 2] for i, v in enumerate(value)]
    if isinstance(value, (int, float)):
        return float(value) * scale[0]
    return value


def plain(value: Any) -> Any:
    """NumPy values and tuples to what JSON knows; numbers that are not finite become None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
