"""Packages that a plain install does without, and the extra of Somacast that brings each of them."""

from __future__ import annotations

import os
from importlib.util import find_spec

from somacast.cache import cache_folder
from somacast.errors import SomacastError

EXTRA_OF_PACKAGE = {
    "anny": "train",
    "onnx": "train",
    "scipy": "train",
    "torch": "train",
    "warp": "train",
    "av": "video",
    "zenoh": "live",
    "starlette": "live",
    "uvicorn": "live",
    "websockets": "live",
    "cryptography": "live",
    "aiortc": "webrtc",
    "sionna": "symbol",
    "DracoPy": "bench",
    "dlib": "bench",
    "face_recognition_models": "bench",
    "imageio_ffmpeg": "bench",
    "matplotlib": "bench",
    "stlpips_pytorch": "bench",
}


# Packages that write into the user's home unasked, and what tells them of a better place.
_PLACE_OF_PACKAGE = {"matplotlib": "MPLCONFIGDIR"}


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported here."""
    return find_spec(package) is not None


def lacking(what: str, package: str, extra: str | None = None) -> str:
    """One line that says what needs the package and how to get it. extra: for a package that several extras bring."""
    return f"{what} needs the package {package}: pip install 'somacast[{extra or EXTRA_OF_PACKAGE[package]}]'"


def require(package: str, what: str, extra: str | None = None) -> None:
    """Raise SomacastError if a package of EXTRA_OF_PACKAGE is not installed; `what` needs it. extra: see `lacking`. One
    that writes unasked writes into our cache from then on, unless the user has named a place."""
    if not installed(package):
        raise SomacastError(lacking(what, package, extra))
    folder = cache_folder()
    if package in _PLACE_OF_PACKAGE and folder is not None:
        os.environ.setdefault(_PLACE_OF_PACKAGE[package], str(folder / package))
