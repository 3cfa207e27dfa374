"""AFLSC live, sender: one picture after the other to what moves and who it is.

picture -> Tracker.look -> values of the labels that move (each frame)
                   .learn -> who it is: running means of the other labels (now and then) -> layers
                   .worth, .still -> who it is with the picture of the frame that shows it best -> layers
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from somacast.body.rotations import wrap_angle
from somacast.capture.cropping import SquareBox
from somacast.capture.detector import NO_PERSON, find_people
from somacast.errors import SomacastError
from somacast.systems.aflsc.live.motion import MotionSpace, load_motion
from somacast.systems.aflsc.live.worth import worth_of
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.sender.look import Look, closer_box
from somacast.systems.aflsc.sender.rendered_body import WeakCamera
from somacast.types import Capture, Encoded, Frame

LOST_CONFIDENCE = 0.04  # mean peak of the trunk's heat maps under which the person is looked for again
LOST_FRAMES = 5
LIVE_ALIGNMENT_ROUNDS = 0
REMEMBERED_S = 20.0  # over which looks at who it is are averaged
SHAPE_STD = 0.15  # how far a frame's build may leave the running mean, in standard deviations
BOX_SHARE = 0.6  # how much of the way the crop goes to where the person is
# One Euro filter: cut-off at rest, and how it opens with speed; chosen on synthetic people (docs/log.md).
CUTOFF_HZ, OPENING = 1.5, 1.5


@dataclass
class OneEuro:
    """Low-pass filter of rows of numbers whose cut-off rises with their speed (in `unit`s a second); `circular`:
    columns that are angles. Casiez, Roussel, Vogel: 1 Euro Filter, CHI 2012."""

    unit: np.ndarray
    circular: np.ndarray
    cutoff_hz: float = CUTOFF_HZ
    opening: float = OPENING
    _time_s: float | None = None
    _value: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _speed: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def forget(self) -> None:
        """The next row stands for itself."""
        self._time_s = None

    def __call__(self, time_s: float, value: np.ndarray) -> np.ndarray:
        """The filtered row; a time that does not go on, or a gap of a second, starts anew."""
        gap = 0.0 if self._time_s is None else time_s - self._time_s
        if not 0 < gap < 1:
            self._time_s, self._value, self._speed = time_s, value.copy(), np.zeros_like(value)
            return value
        step = value - self._value
        step = np.where(self.circular, wrap_angle(step), step)
        self._speed += _share(1.0, gap) * (step / gap - self._speed)
        cutoff = self.cutoff_hz + self.opening * np.abs(self._speed) / self.unit
        self._value = self._value + _share(cutoff, gap) * step
        self._value = np.where(self.circular, wrap_angle(self._value), self._value)
        self._time_s = time_s
        return self._value.copy()


def _share(cutoff_hz: np.ndarray | float, gap_s: float) -> np.ndarray | float:
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * gap_s))


@dataclass
class Seen:
    """One frame: values of the labels that move [M], filtered; all label values as they were found [L]; confidence of
    the trunk; what is needed to learn from it later."""

    moving: np.ndarray
    values: np.ndarray
    confidence: float
    frame: Frame
    look: Look
    camera: WeakCamera


class Tracker:
    """Follows one person through the frames of one camera. Not for several threads."""

    def __init__(
        self, device: str = "cpu", smooth: bool = True, mirrored: bool = False, encoder: Encoder | None = None
    ):
        self.encoder = encoder or Encoder(device)
        self.motion: MotionSpace = load_motion()
        self.space = self.encoder.space
        self.smooth, self.mirrored = smooth, mirrored
        self.notes: list[str] = []
        self._box: SquareBox | None = None
        self._misses = 0
        labels = self.motion.model.vocabulary.labels
        self._filter = OneEuro(
            np.array([label.std if label.kind == "scalar" else 1.0 for label in labels]), self.motion.model.circular
        )
        self._mean = np.array([label.mean for label in self.space.vocabulary.labels])
        self._weight = np.zeros(len(self._mean))
        self._votes = [np.zeros(max(label.alphabets[0], 1)) for label in self.space.vocabulary.labels]
        self._learnt_s: float | None = None
        self._shape = self.space.vocabulary.group_indices("shape")

    def warm_up(self) -> None:
        """Run everything once on a blank picture, so that the first frame does not pay for loading."""
        blank = Frame(np.full((256, 256, 3), 0.5, np.float32))
        box = SquareBox(128.0, 128.0, 256.0)
        find_people(blank.image)
        look = self.encoder.look(blank, box, None, self.mirrored)
        values, camera, _ = self.encoder.label(blank, look)
        self.encoder.appearance(blank, look, values, camera)

    def look(self, capture: Capture, time_s: float) -> Seen:
        """What moves in a frame of time `time_s`. SomacastError if no person is seen; the next frame is then searched
        anew after a few such."""
        encoder, frame = self.encoder, capture.frame
        if self._box is None:
            sighting = encoder.detect(frame)
            look, self.notes = sighting.look, sighting.detection.notes
        else:
            look = encoder.look(frame, self._box, None, self.mirrored)
            if look.confidence < LOST_CONFIDENCE:
                self._misses += 1
                if self._misses >= LOST_FRAMES:
                    self._box = None
                raise SomacastError(NO_PERSON)
        self._misses = 0
        if self._weight[self._shape].min() > 0:  # the build is known better from all frames than from one
            look.values[self._shape] = self._mean[self._shape]
            std = np.array([self.space.vocabulary.labels[i].std for i in self._shape])
            look.value_std[self._shape] = np.minimum(look.value_std[self._shape], SHAPE_STD * std)
        rounds = encoder.config.alignment_rounds if self.mirrored else LIVE_ALIGNMENT_ROUNDS
        values, camera, _ = encoder.label(frame, look, rounds, capture.height_m)
        values[self.space.vocabulary.group_indices("camera")] = encoder.place(frame, look, camera)
        self._follow(look)
        moving = values[self.motion.columns]
        if self.smooth:
            moving = self._filter(time_s, moving)
        return Seen(moving, values, look.confidence, frame, look, camera)

    def cut(self) -> None:
        """See `systems.spec.TurningTracker`."""
        self._box, self._misses = None, 0
        self._filter.forget()

    def fresh(self) -> Tracker:
        """See `systems.spec.TurningTracker`."""
        return Tracker(smooth=self.smooth, mirrored=self.mirrored, encoder=self.encoder)

    def _follow(self, look: Look) -> None:
        """The crop of the next frame: part of the way to where this one shows the person."""
        closer = closer_box(look)
        here = look.box
        if closer is None:
            self._box = here
            return
        mix = {
            name: (1 - BOX_SHARE) * getattr(here, name) + BOX_SHARE * getattr(closer, name)
            for name in ("cx", "cy", "side")
        }
        self._box = SquareBox(mix["cx"], mix["cy"], mix["side"])

    def learn(self, seen: Seen, time_s: float) -> Encoded:
        """Take a frame into account for who it is: layers of all labels, at running means, in this frame's pose."""
        values, _, share = self.encoder.appearance(seen.frame, seen.look, seen.values, seen.camera)
        self._note(seen, values, share, time_s)
        known = self._known(values)
        known[self.motion.columns] = seen.moving
        return Encoded(self.encoder.codec.layers(self.space.vocabulary.quantise(known[None])[0]))

    def _note(self, seen: Seen, values: np.ndarray, share: float, time_s: float) -> None:
        """Running means and votes of who it is."""
        gap = 0.0 if self._learnt_s is None else max(time_s - self._learnt_s, 0.0)
        self._learnt_s = time_s
        weight = max(seen.confidence, 1e-3) * max(share, 0.05)
        self._weight *= np.exp(-gap / REMEMBERED_S)
        rows = self.motion.resting
        self._weight[rows] += weight
        self._mean[rows] += weight / self._weight[rows] * (values[rows] - self._mean[rows])
        for index in rows:
            if self.space.vocabulary.labels[index].kind == "class":
                self._votes[index] *= np.exp(-gap / REMEMBERED_S)
                self._votes[index][round(float(values[index]))] += weight

    def _known(self, values: np.ndarray) -> np.ndarray:
        """Values of all labels [L] with those of who it is as they are known by now."""
        out, rows = values.copy(), self.motion.resting
        if self._learnt_s is None:
            return out
        out[rows] = self._mean[rows]
        for index in rows:
            if self.space.vocabulary.labels[index].kind == "class":
                out[index] = int(self._votes[index].argmax())
        return out

    def worth(self, seen: Seen) -> float:
        """See `systems.spec.PicturingTracker`."""
        return worth_of(self.space, seen.frame, seen.look, seen.values)

    def still(self, seen: Seen) -> Callable[[int], Encoded | None]:
        """See `systems.spec.PicturingTracker`."""
        values, encoder = self._known(seen.values), self.encoder

        def make(budget_bytes: int) -> Encoded | None:
            layers = encoder.looked(seen.frame, seen.look, values, budget_bytes, 0, strict=True)
            return None if layers is None else Encoded(layers)

        return make
