"""The sender of the picture systems: a square around the person, as the best file of a codec that fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from somacast.bitstream.container import packed_bytes
from somacast.capture.detector import find_person
from somacast.errors import SomacastError
from somacast.geometry.rasteriser import MID_GREY
from somacast.metrics.image import structure_distance
from somacast.systems.baselines.default_system import default_system
from somacast.systems.baselines.picture.codecs import SETTING_BYTES, check_codec, setting_of
from somacast.systems.baselines.picture.config import PictureConfig
from somacast.systems.baselines.picture.criterion import Criterion
from somacast.systems.baselines.picture.place import PLACE_BYTES, CropPlace
from somacast.systems.baselines.picture.rebuild import over_picture, rebuild, seen_silhouette
from somacast.systems.baselines.picture.search import Candidate, PersonCrop, PictureSearch
from somacast.types import Capture, Encoded, Frame


class PictureEncoder:
    """Holds what the last picture's search found, so that further budgets of the same person share its trials.
    criterion: by which candidates are chosen, to be replaced by whoever has a better one."""

    def __init__(self, codec: str, config: PictureConfig, device: str):
        check_codec(codec)
        self.codec, self.config = codec, config
        self.eyes = default_system(device)  # the receiver's, which must see the person in what is sent
        self.criterion: Criterion = structure_distance
        self._search: PictureSearch | None = None
        self._tried: dict[tuple[bytes, bool], float | None] = {}
        self._wanted: np.ndarray | None = None

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        """One layer: place of the square, settings, coded picture. Without a budget, the lowest quality that is good.

        SomacastError if there is nobody, or if nobody is seen in any picture that fits.
        """
        search, notes = self._look(capture.frame)
        if budget_bytes is None:
            batches: Iterable[list[Candidate]] = [[search.good(self.config.good_psnr_db)]]
        else:
            batches = self._fitting(search, self._room(budget_bytes))
        refused = 0
        for batch in batches:
            compare = self.config.rendered and len(batch) > 1
            found: list[tuple[float, Candidate]] = []
            for candidate in batch:
                error = self._error(capture.frame, search.crop, candidate, compare)
                if error is None:
                    refused += 1
                    continue
                found.append((error, candidate))
                if not compare:
                    break
            if found:
                best = min(found, key=lambda pair: pair[0])[1]
                return self._encoded(capture.frame, search.crop, best, notes, refused)
        if budget_bytes is None:
            raise SomacastError(f"{self.codec}: the receiver would see nobody in the coded picture of the person")
        raise SomacastError(
            f"a budget of {budget_bytes} bytes is too small for {self.codec}: "
            + ("the receiver would see nobody in any picture of that size" if refused else "no picture fits")
        )

    def encode_again(self, capture: Capture, setting: str, budget_bytes: int) -> Encoded | None:
        """See `systems.spec.SearchingEncoder`."""
        search, notes = self._look(capture.frame)
        candidate = search.again(setting)
        if candidate is None or len(candidate.data) > self._room(budget_bytes):
            return None
        if self._error(capture.frame, search.crop, candidate, False) is None:
            return None
        return self._encoded(capture.frame, search.crop, candidate, notes, 0)

    def _fitting(self, search: PictureSearch, room: int) -> Iterator[list[Candidate]]:
        """The best pictures by PSNR that fit into `room` bytes; then those into less of it: networks may see nobody in
        a picture, and somebody in a coarser one."""
        for share in self.config.shares:
            best = search.best(int(share * room)) if share * room > SETTING_BYTES else []
            if not best:
                return
            yield best[: self.config.attempts]

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
            self._search, self._tried, self._wanted = PictureSearch(self.codec, crop), {}, None
        return self._search, notes

    def _silhouette(self, frame: Frame) -> tuple[np.ndarray, list[str]]:
        """Where the default system sees the person, [H, W] float32: its silhouette, or else the detector's box."""
        found = self.eyes.encoder.encode(Capture([frame]))
        notes = list(found.report.get("notes", []))
        height, width = frame.image.shape[:2]
        silhouette = seen_silhouette(found, height, width)
        if silhouette is None:
            silhouette = over_picture(np.ones((64, 64), np.float32), find_person(frame).box, height, width)
        return silhouette, notes

    def _error(self, frame: Frame, crop: PersonCrop, candidate: Candidate, compare: bool) -> float | None:
        """How far the person whom the receiver will rebuild looks from `_target`, 0 if they are not to be
        compared; None if the receiver will see nobody."""
        place = CropPlace.unpack(CropPlace.of(crop.box, frame).pack())
        key = (place.pack() + candidate.data, compare)
        if key not in self._tried:
            self._tried[key] = self._errs(crop, place, candidate, compare)
        return self._tried[key]

    def _errs(self, crop: PersonCrop, place: CropPlace, candidate: Candidate, compare: bool) -> float | None:
        try:
            if not compare:
                self.eyes.encoder.encode(Capture([place.frame(candidate.picture)]))
                return 0.0
            seen = rebuild(self.eyes, place, candidate.picture, self.config.projected)
        except SomacastError:
            return None
        if seen.camera is None:  # a system that does not say where the person stands cannot be compared
            return 0.0
        return self.criterion(self._target(crop, place), seen.human.render(seen.camera, MID_GREY).rgb)

    def _target(self, crop: PersonCrop, place: CropPlace) -> np.ndarray:
        """What a rebuilt person should look like, [256, 256, 3] float32: the sender's own picture of the person without
        its light, on grey."""
        if self._wanted is None:
            try:
                image = rebuild(self.eyes, place, crop.reference, projected=False).unlit
            except SomacastError:
                image = crop.reference / np.float32(255)
            self._wanted = np.where(crop.inside[..., None], image, np.float32(MID_GREY))
        return self._wanted

    def _encoded(self, frame: Frame, crop: PersonCrop, candidate: Candidate, notes: list[str], refused: int) -> Encoded:
        """A file's layer and what is told of it; refused: how many pictures before it were of no use."""
        box = crop.box
        report = {
            "person_box_px": [float(v) for v in (*box.corner, *(box.corner + box.side))],
            "setting": setting_of(candidate.data),
            "search": {"picture_psnr_db": candidate.psnr_db, "attempt": refused},
            "notes": notes,
        }
        return Encoded(
            [CropPlace.of(box, frame).pack() + candidate.data],
            report,
            {"image": candidate.picture / np.float32(255), "silhouette": crop.inside.astype(np.float32)},
        )
