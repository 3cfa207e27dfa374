"""Pictures that move (GIF, APNG, animated WebP and AVIF) as a film, through Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from somacast.capture.film import Film, Picture, check_frame_size, fitted_size
from somacast.capture.kinds import PICTURE_FORMATS
from somacast.errors import SomacastError

SHORTEST_S, SHORTEST_SHOWN_S = 0.011, 0.1  # browsers show what is meant to last less than the one for the other
GREY = 128  # stands where a frame shows nothing


class Animation(Film):
    """See `Film`. Frames last as long as browsers show them; what is transparent becomes grey."""

    def __init__(self, path: Path, max_side_px: int):
        from PIL import Image

        super().__init__(str(path), max_side_px)
        try:
            self._image: Any = Image.open(path, formats=PICTURE_FORMATS)
        except Exception as fault:  # decoders of foreign bytes fail in many ways
            raise SomacastError(f"{path}: the picture is damaged or cut short ({fault})") from fault
        check_frame_size(self.name, self._image.width, self._image.height)

    def close(self) -> None:
        self._image.close()

    def __iter__(self) -> Iterator[Picture]:
        time_s, count = 0.0, int(self._image.n_frames)
        for number in range(count):
            try:
                self._image.seek(number)
                image = self._frame()
            except SomacastError:
                raise
            except Exception as fault:
                if not number:
                    raise SomacastError(f"{self.name}: no frame can be decoded ({fault})") from fault
                self.notes.append(f"{self.name}: breaks off after {number} of {count} frames ({time_s:.1f} s)")
                return
            yield Picture(time_s, image)
            lasts_s = float(self._image.info.get("duration") or 0) / 1000
            time_s += lasts_s if lasts_s >= SHORTEST_S else SHORTEST_SHOWN_S

    def _frame(self) -> np.ndarray:
        from PIL import Image

        frame = self._image
        if frame.has_transparency_data:
            shown = frame.convert("RGBA")
            grey = Image.new("RGBA", shown.size, (GREY, GREY, GREY, 255))
            frame = Image.alpha_composite(grey, shown)
        size = fitted_size(self.name, frame.width, frame.height, self.max_side_px)
        rgb = frame.convert("RGB")
        return np.array(rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BOX))
