"""What a long benchmark has finished, on the disk, so that a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.results import rounded
from somacast.files import write_atomically
from somacast.geometry.preview import encode_png


def settings_key(settings: Mapping[str, Any]) -> str:
    """Twelve digits that change with any of the settings."""
    text = json.dumps(rounded(dict(settings)), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Progress:
    """Finished people of one run in a folder; those of other settings are no use and are thrown away."""

    def __init__(self, folder: Path, key: str):
        self.folder, self.key = folder, key

    def _path(self, number: int, name: str) -> Path:
        return self.folder / f"{number:06d}{name}"

    def load(self, number: int) -> dict[str, Any] | None:
        """What was stored of a person, or None; a damaged file, or one of other settings, counts as none."""
        try:
            found = json.loads(self._path(number, ".json").read_text())
        except (OSError, ValueError):
            return None
        return found["found"] if isinstance(found, dict) and found.get("key") == self.key else None

    def store(self, number: int, found: Mapping[str, Any], picture: np.ndarray | None = None) -> None:
        """Keep a person's figures [plain values], and a picture [H, W, 3]."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if picture is not None:
            write_atomically(self._path(number, ".png"), encode_png(picture))
        write_atomically(self._path(number, ".json"), json.dumps({"key": self.key, "found": found}).encode())

    def picture(self, number: int) -> np.ndarray | None:
        """The picture of a person, uint8 [H, W, 3], or None."""
        from PIL import Image

        path = self._path(number, ".png")
        return np.asarray(Image.open(path).convert("RGB")) if path.is_file() else None

    def clear(self) -> None:
        """Remove everything: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
