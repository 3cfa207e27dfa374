"""The best file of a picture codec for each budget: every side, every chroma, the highest quality that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import SquareBox, box_of_mask, square_crop
from somacast.geometry.preview import to_bytes_image
from somacast.systems.baselines.picture.codecs import PICTURE_CODECS, decode_picture, encode_picture, parse_setting

REFERENCE_PX = 256  # the crop that decoded pictures are enlarged to, compared with, and rebuilt from
SEAM = 0.004  # of the square's side: what is kept of the background around the person before it becomes one colour
MARGIN = 0.05  # around the true person's box, each side
FULL_ENOUGH = 0.97  # a file that fills this share of its budget is taken without looking for a larger one
# Bits per pixel outside of which a side is never the best one: not tried at all, which saves most of the time.
MIN_BPP, MAX_BPP = 0.06, 2.5


@dataclass(frozen=True)
class Candidate:
    """One file: its bytes, the picture in it at REFERENCE_PX [256, 256, 3] uint8, PSNR inside the silhouette."""

    data: bytes
    picture: np.ndarray
    psnr_db: float


@dataclass(frozen=True)
class PersonCrop:
    """The true person's square in a picture: box, its pixels by side, reference picture and silhouette at 256 px."""

    box: SquareBox
    by_side: dict[int, np.ndarray]
    reference: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, silhouette: np.ndarray, sides_px: Sequence[int], flat: bool = False) -> PersonCrop:
        """From image [H, W, 3] and silhouette [H, W], floats in [0, 1]. flat: everything but the person, with a seam of
        SEAM, becomes one colour, the mean of what was there."""
        box = box_of_mask(silhouette, MARGIN)
        if flat:
            image = _flattened(image, silhouette, max(1, round(SEAM * box.side)))
        by_side = {side: to_bytes_image(square_crop(image, box, side)) for side in sides_px}
        reference = to_bytes_image(square_crop(image, box, REFERENCE_PX))
        return cls(box, by_side, reference, square_crop(silhouette, box, REFERENCE_PX) > 0.5)

    def shows_the_same(self, other: PersonCrop) -> bool:
        """Whether the other crop has the same pixels at every side, and the same person in them."""
        return (
            self.by_side.keys() == other.by_side.keys()
            and all(np.array_equal(pixels, other.by_side[side]) for side, pixels in self.by_side.items())
            and np.array_equal(self.reference, other.reference)
            and np.array_equal(self.inside, other.inside)
        )

    def psnr_db(self, picture: np.ndarray) -> float:
        """Of a picture at REFERENCE_PX, inside the silhouette; at most 100."""
        gap = picture[self.inside].astype(np.float64) - self.reference[self.inside]
        return min(100.0, 10 * math.log10(255**2 / max(float(np.mean(gap**2)), 1e-9)))


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """A decoded picture [S, S, 3] uint8 at REFERENCE_PX (Lanczos)."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((REFERENCE_PX, REFERENCE_PX), Image.Resampling.LANCZOS))


def _flattened(image: np.ndarray, silhouette: np.ndarray, seam_px: int) -> np.ndarray:
    from PIL import Image, ImageFilter

    person = Image.fromarray(to_bytes_image(silhouette)[..., 0]).filter(ImageFilter.MaxFilter(2 * seam_px + 1))
    keep = np.asarray(person, np.float32)[..., None] / 255
    beyond = keep[..., 0] == 0
    fill = image[beyond].mean(0) if beyond.any() else np.full(3, 0.5)
    return (image * keep + fill * (1 - keep)).astype(np.float32)


class PictureSearch:
    """Files of one codec for one person; what was coded once is remembered, so that budgets share their trials."""

    def __init__(self, codec: str, crop: PersonCrop):
        self.codec = PICTURE_CODECS[codec]
        self.crop = crop
        self.trials = 0
        self._guess = self.codec.steps // 4
        self._files: dict[tuple[int, str, int], bytes] = {}
        self._decoded: dict[tuple[int, str, int], Candidate] = {}

    def _file(self, side: int, chroma: str, step: int) -> bytes:
        key = (side, chroma, step)
        if key not in self._files:
            self._files[key] = encode_picture(self.codec.name, self.crop.by_side[side], chroma, step)
            self.trials += 1
        return self._files[key]

    def _largest(self, side: int, chroma: str, budget_bytes: int) -> int | None:
        """The highest step whose file fits, or None. Bytes about double every ninth of all steps: the first trials
        follow that, the next stand where the line through log bytes meets the budget, the last halve what is left."""
        last, doubling = self.codec.steps - 1, self.codec.steps / 9
        sizes = {step: len(data) for (s, c, step), data in self._files.items() if (s, c) == (side, chroma)}

        def bits_over(step: int) -> float:
            if step not in sizes:
                sizes[step] = len(self._file(side, chroma, step))
            return math.log2(sizes[step] / budget_bytes)

        def bracket() -> tuple[int | None, int | None]:
            fitting = [step for step in sizes if sizes[step] <= budget_bytes]
            beyond = [step for step in sizes if sizes[step] > budget_bytes and step > max(fitting, default=-1)]
            return max(fitting, default=None), min(beyond, default=None)

        if not sizes:
            bits_over(min(self._guess, last))
        low, high = bracket()
        while low is None or high is None:
            if low is None:
                assert high is not None
                if high == 0:
                    return None
                bits_over(max(0, high - 1 - round(bits_over(high) * doubling)))
            elif low == last:
                return low
            else:
                bits_over(min(last, low + 1 + round(-bits_over(low) * doubling)))
            low, high = bracket()
        rounds = 0
        while high - low > 1 and sizes[low] < FULL_ENOUGH * budget_bytes:
            bottom, top = bits_over(low), bits_over(high)
            share = 0.5 if rounds > 2 else -bottom / max(top - bottom, 1e-9)
            bits_over(min(max(low + round(share * (high - low)), low + 1), high - 1))
            low, high = bracket()
            rounds += 1
            assert low is not None and high is not None
        self._guess = low
        return low

    def best(self, budget_bytes: int) -> list[Candidate]:
        """What fits, one file for each side and chroma, best PSNR inside the silhouette first; [] if nothing does."""
        found = []
        for side in self.crop.by_side:
            if not MIN_BPP <= 8 * budget_bytes / side**2 <= MAX_BPP and not self._only(side, budget_bytes):
                continue
            for chroma in self.codec.chromas:
                step = self._largest(side, chroma, budget_bytes)
                if step is not None:
                    found.append(self._candidate(side, chroma, step))
        return sorted(found, key=lambda c: -c.psnr_db)

    def good(self, psnr_db: float) -> Candidate:
        """The smallest file at the largest side that reaches a PSNR inside the silhouette: of each chroma the lowest
        step that does; the best there is if none does."""
        side = max(self.crop.by_side)
        guess, found = self.codec.steps // 4, []
        for chroma in self.codec.chromas:
            guess = self._lowest_good(side, chroma, psnr_db, guess)
            found.append(self._candidate(side, chroma, guess))
        enough = [c for c in found if c.psnr_db >= psnr_db]
        return min(enough, key=lambda c: len(c.data)) if enough else max(found, key=lambda c: c.psnr_db)

    def _lowest_good(self, side: int, chroma: str, psnr_db: float, guess: int) -> int:
        """The lowest step that reaches a PSNR, or the highest there is. Bytes double every ninth of all steps, and
        about 3 dB come with that: the next trial stands where that line meets the goal."""
        low, high, step = -1, self.codec.steps - 1, guess  # low is too low, high is good or the last
        while high - low > 1:
            gap = psnr_db - self._candidate(side, chroma, step).psnr_db
            low, high = (step, high) if gap > 0 else (low, step)
            ahead = max(1, round(abs(gap) / 3 * self.codec.steps / 9))
            step = min(max(step + (ahead if gap > 0 else -ahead), low + 1), high - 1)
        return high

    def again(self, setting: str) -> Candidate | None:
        """The file of a setting that an earlier search found, coded anew; None if it is none of this search's."""
        try:
            side, chroma, step = parse_setting(setting)
        except ValueError:
            return None
        if side not in self.crop.by_side or chroma not in self.codec.chromas or not 0 <= step < self.codec.steps:
            return None
        return self._candidate(side, chroma, step)

    def _only(self, side: int, budget_bytes: int) -> bool:
        """Whether a side outside the range is the nearest there is: few sides may have been asked for."""
        sides = list(self.crop.by_side)
        if any(MIN_BPP <= 8 * budget_bytes / s**2 <= MAX_BPP for s in sides):
            return False
        return side == min(sides, key=lambda s: abs(math.log(8 * budget_bytes / s**2)))

    def _candidate(self, side: int, chroma: str, step: int) -> Candidate:
        key = (side, chroma, step)
        if key not in self._decoded:
            data = self._file(*key)
            picture = enlarged(decode_picture(self.codec.name, data))
            self._decoded[key] = Candidate(data, picture, self.crop.psnr_db(picture))
        return self._decoded[key]
