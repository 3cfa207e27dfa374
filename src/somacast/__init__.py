"""Somacast sends a person, not pixels: a picture becomes a few hundred bytes, and those become a person in 3D.

    data = somacast.encode("person.jpg")
    human = somacast.decode(data)

Importing this package does no work; what a call needs is loaded when it is made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from somacast.geometry.reconstruction import Reconstruction
    from somacast.types import Capture, Frame

__version__ = "0.1.0"
__all__ = ["__version__", "decode", "encode"]

# Nothing leaves the machine. ONNX Runtime 1.31 and later reports its use to its makers and keeps a device id in the
# user's cache, unless it finds this when it is loaded; this package is imported before whatever in it loads networks.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@overload
def encode(
    image: Any,
    *,
    budget_bytes: int | None = None,
    mask: str | Path | np.ndarray | None = None,
    height_m: float | None = None,
    system: str | None = None,
    device: str = "cpu",
    people: Literal["largest"] = "largest",
) -> bytes: ...


@overload
def encode(
    image: Any,
    *,
    budget_bytes: int | None = None,
    system: str | None = None,
    device: str = "cpu",
    people: Literal["all"] | int,
) -> list[bytes]: ...


def encode(
    image: str | Path | np.ndarray | Frame | Capture | Any,
    *,
    budget_bytes: int | None = None,
    mask: str | Path | np.ndarray | None = None,
    height_m: float | None = None,
    system: str | None = None,
    device: str = "cpu",
    people: Literal["largest", "all"] | int = "largest",
) -> bytes | list[bytes]:
    """Turn a picture of a person into the bytes of a .soma file, or each of its people into one.

    Parameters
    ----------
    image : path of a picture, told by its content, not by its name; array [H, W], [H, W, 3] or [H, W, 4], uint8 or
        float in [0, 1]; Pillow image; Frame; Capture of several views, for systems that want them. Transparency that
        looks like somebody cut out is taken as the mask.
    budget_bytes : the most bytes the result may have; None for full quality.
    mask : where the person is: path of a picture, Pillow image or array [H, W], bright or opaque there; None to find
        the person.
    height_m : how tall the person stands, barefoot; one picture does not tell it, and guesses err by a tenth.
    system : NAME or NAME:VARIANT from the table of systems; None for the default.
    device : "cpu", "cuda" or "cuda:N".
    people : "largest" for the bytes of one file; "all", or how many of the largest, for a list of files, the largest
        person first, each of at most the budget. Each says where the person stood (`Reconstruction.pelvis_m`).

    Raises SomacastError for a picture that cannot be used, a film (the message says what takes films), a picture
    without a person, a mask that is none, a budget that is too small.
    """
    from somacast.pipeline.still.people import encode_people
    from somacast.pipeline.still.sender import Sender, capture_of

    sender, capture = Sender(system, device), capture_of(image, mask, height_m)
    files = [one.data for one in encode_people(lambda one: sender.encode(one, budget_bytes), capture, people).results]
    return files[0] if people == "largest" else files


def decode(data: bytes, *, device: str = "cpu") -> Reconstruction:
    """Turn the bytes of a .soma file into a person in 3D; BitstreamError if they are damaged, foreign or a video (the
    message says what takes videos)."""
    from somacast.bitstream.video import is_video
    from somacast.errors import BitstreamError
    from somacast.pipeline.still.receiver import Receiver

    if is_video(data[:3]):
        raise BitstreamError(
            "this .soma file holds a person who moves; expected one of a picture. For videos: `somacast decode "
            "FILE.soma -o PERSON.glb`, or somacast.pipeline.video.files.read_video"
        )
    return Receiver(device).decode(data).human
