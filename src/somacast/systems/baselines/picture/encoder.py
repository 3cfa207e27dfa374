"""The sender of the picture systems: a square around the person, as the best file of a codec that fits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from somacast.bitstream.container import packed_bytes
from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.detector import find_person
from somacast.errors import SomacastError
from somacast.systems.baselines.default_system import default_system
from somacast.systems.baselines.picture.codecs import SETTING_BYTES, check_codec, setting_of
from somacast.systems.baselines.picture.config import PictureConfig
from somacast.systems.baselines.picture.place import PLACE_BYTES, CropPlace
from somacast.systems.baselines.picture.search import Candidate, PersonCrop, PictureSearch
from somacast.types import Capture, Encoded, Frame


class PictureEncoder:
    """Holds what the last picture's search found, so that further budgets of the same person share its trials."""

    def __init__(self, codec: str, config: PictureConfig, device: str):
        check_codec(codec)
        self.codec, self.config = codec, config
        self.eyes = default_system(device)  # the receiver's, which must see the person in what is sent
        self._search: PictureSearch | None = None
        self._seen: dict[bytes, bool] = {}

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        """One layer: place of the square, settings, coded picture. Without a budget, the lowest quality that is good.

        SomacastError if there is nobody, or if nobody is seen in any picture that fits.
        """
        search, notes = self._look(capture.frame)
        if budget_bytes is None:
            candidates = iter([search.good(self.config.good_psnr_db)])
        else:
            candidates = self._fitting(search, self._room(budget_bytes))
        tried = 0
        for attempt, candidate in enumerate(candidates):
            tried += 1
            encoded = self._encoded(capture.frame, search.crop, candidate)
            if encoded is not None:
                encoded.report |= {"notes": notes, "search": encoded.report["search"] | {"attempt": attempt}}
                return encoded
        if budget_bytes is None:
            raise SomacastError(f"{self.codec}: the receiver would see nobody in the coded picture of the person")
        raise SomacastError(
            f"a budget of {budget_bytes} bytes is too small for {self.codec}: "
            + ("the receiver would see nobody in any picture of that size" if tried else "no picture fits")
        )

    def encode_again(self, capture: Capture, setting: str, budget_bytes: int) -> Encoded | None:
        """See `systems.spec.SearchingEncoder`."""
        search, notes = self._look(capture.frame)
        candidate = search.again(setting)
        if candidate is None or len(candidate.data) > self._room(budget_bytes):
            return None
        encoded = self._encoded(capture.frame, search.crop, candidate)
        if encoded is not None:
            encoded.report |= {"notes": notes, "search": encoded.report["search"] | {"attempt": 0}}
        return encoded

    def _fitting(self, search: PictureSearch, room: int) -> Iterator[Candidate]:
        """The best pictures that fit into `room` bytes; then those into less of it: networks may see nobody in a
        picture, and somebody in a coarser one."""
        for share in self.config.shares:
            best = search.best(int(share * room)) if share * room > SETTING_BYTES else []
            yield from best[: self.config.attempts]
            if not best:
                return

    def _room(self, budget_bytes: int) -> int:
        """Bytes that are left for the coded picture in a file of a budget."""
        room = budget_bytes - packed_bytes(self.codec, [PLACE_BYTES])
        while room > 0 and packed_bytes(self.codec, [PLACE_BYTES + room]) > budget_bytes:
            room -= 1  # the length itself takes a byte more
        return room

    def _look(self, frame: Frame) -> tuple[PictureSearch, list[str]]:
        """The search for a frame's person, the last one if that showed the same, and notes for the user."""
        silhouette, notes = (frame.mask, []) if frame.mask is not None else self._silhouette(frame)
        crop = PersonCrop.of(frame.image, silhouette, self.config.sides_px, self.config.flat)
        if self._search is None or not self._search.crop.shows_the_same(crop):
            self._search, self._seen = PictureSearch(self.codec, crop), {}
        return self._search, notes

    def _silhouette(self, frame: Frame) -> tuple[np.ndarray, list[str]]:
        """Where the default system sees the person, [H, W] float32: its silhouette, or else the detector's box."""
        found = self.eyes.encoder.encode(Capture([frame]))
        notes = list(found.report.get("notes", []))
        height, width = frame.image.shape[:2]
        box, silhouette = found.report.get("person_box_px"), found.maps.get("silhouette")
        if box is None or silhouette is None or not (silhouette > 0.5).any():
            square = find_person(frame).box
            silhouette = np.ones((64, 64), np.float32)
        else:
            square = SquareBox((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0])
        side, size = len(silhouette), max(height, width)
        # The map of the square, empty around, brought to the pixels of the frame.
        middle = square.to_crop(np.array([size / 2, size / 2]), side) + 1
        plane = np.pad(np.asarray(silhouette, np.float32), 1)
        return square_crop(plane, (*middle, size * side / square.side), size)[:height, :width], notes

    def _encoded(self, frame: Frame, crop: PersonCrop, candidate: Candidate) -> Encoded | None:
        """A file's layer and what is told of it; None if the receiver would see nobody."""
        place = CropPlace.of(crop.box, frame).pack()
        layer = place + candidate.data
        if layer not in self._seen:
            try:
                self.eyes.encoder.encode(Capture([CropPlace.unpack(place).frame(candidate.picture)]))
                self._seen[layer] = True
            except SomacastError:
                self._seen[layer] = False
        if not self._seen[layer]:
            return None
        box = crop.box
        report = {
            "person_box_px": [float(v) for v in (*box.corner, *(box.corner + box.side))],
            "setting": setting_of(candidate.data),
            "search": {"picture_psnr_db": candidate.psnr_db},
        }
        return Encoded(
            [layer],
            report,
            {"image": candidate.picture / np.float32(255), "silhouette": crop.inside.astype(np.float32)},
        )
