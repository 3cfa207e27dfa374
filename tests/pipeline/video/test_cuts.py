"""Films that cut: two people one after the other stay two, one person stays one."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.geometry.rig import Motion
from somacast.pipeline.video import encode
from somacast.pipeline.video.animate import Cast, own_stretches
from somacast.pipeline.video.cuts import OTHER_DELTA_E, Cuts, clothes_of, difference, looking_ahead
from somacast.pipeline.video.encode import encode_video
from somacast.pipeline.video.files import VideoWriter, read_video
from somacast.synthetic.walker import SyntheticWalker, WalkerConfig
from somacast.types import Capture, Encoded, Frame
from support.network.live_cases import SYSTEM
from support.network.video_cases import Watcher

GREEN, RED, BLUE = (0.3, 0.9, 0.3), (0.9, 0.2, 0.2), (0.2, 0.2, 0.9)


@dataclass
class Turning(Watcher):
    """A tracker that notes who was cut to what."""

    asked: list[str] = field(default_factory=list)
    name: int = 0

    def fresh(self):
        self.asked.append("fresh")
        return Turning(self.asked, self.name + 1)

    def cut(self) -> None:
        self.asked.append(f"cut {self.name}")


def film(colors, tracker=None) -> tuple[list[int], list[str], list[str]]:
    """A frame of each colour, 30 a second: who is to be seen in each stretch, what the tracker was asked, notes."""
    images = (np.full((64, 64, 3), color, np.float32) for color in colors)
    captures = ((k / 30, Capture([Frame(image)], None)) for k, image in enumerate(images))
    parts: list[bytes] = []
    tracker = tracker or Turning()
    report = encode_video(captures, VideoWriter(parts.append, SYSTEM), tracker)
    video = read_video(b"".join(parts))
    assert len(video.times_s) == len(colors)
    for one, other in pairwise(video.stretches):
        assert one.end_s == video.times_s[other.first], "nobody is missing at a cut"
    return [one.person for one in video.stretches], getattr(tracker, "asked", []), report.notes


@pytest.fixture
def dressed(monkeypatch) -> None:
    """Everybody wears the colour of the picture."""
    monkeypatch.setattr(encode, "clothes_of", lambda image: {"torso": 100 * image.mean((0, 1))})


def test_two_people_are_two_and_who_comes_back_is_known(dressed):
    people, asked, notes = film([GREEN] * 40 + [RED] * 30 + [GREEN] * 30 + [BLUE] * 20)
    assert people == [0, 1, 0, 2]
    assert asked == ["fresh", "cut 1", "cut 0", "fresh", "cut 1"]
    assert notes == ["the film cuts to somebody else at 1.3, 2.3, 3.3 s: it holds 3 people"]


def test_a_cut_in_one_persons_film_is_looked_at_anew_and_stays_one(monkeypatch):
    monkeypatch.setattr(encode, "clothes_of", lambda image: {"torso": np.array([50.0, 0, 0])})
    people, asked, notes = film([GREEN] * 40 + [RED] * 40)
    assert (people, asked, notes) == ([0], ["cut 0"], [])


def test_who_cannot_be_compared_is_the_same(monkeypatch):
    monkeypatch.setattr(encode, "clothes_of", lambda image: {} if image[0, 0, 0] > 0.5 else {"torso": np.zeros(3)})
    assert film([GREEN] * 40 + [RED] * 40)[0] == [0]


def test_a_flash_and_a_slow_change_are_no_cuts(dressed):
    flash = [GREEN] * 30 + [(1.0, 1.0, 1.0)] * 2 + [GREEN] * 30
    slow = [tuple((1 - k / 60) * np.array(GREEN) + k / 60 * np.array(RED)) for k in range(60)]
    assert film(flash)[:2] == ([0], []) and film(slow)[:2] == ([0], [])


def test_a_tracker_that_cannot_turn_keeps_the_first(dressed):
    assert film([GREEN] * 40 + [RED] * 40, Watcher())[0] == [0]


def test_a_restless_film_does_not_cut():
    rng, cuts = np.random.default_rng(0), Cuts()
    scenes = rng.random((2, 64, 64, 3)) * 0.5
    scenes[1, :, :20] = scenes[0, :, :20]
    images = [scenes[0] + 0.3 * rng.random((64, 64, 3)) for _ in range(40)]
    assert not any(cuts.change(image, later) for image, later in looking_ahead(images))


def test_looking_ahead_ends_with_the_last():
    assert list(looking_ahead(range(5), 2)) == [(0, 2), (1, 3), (2, 4), (3, 4), (4, 4)]
    assert list(looking_ahead([], 2)) == [] and list(looking_ahead([7], 3)) == [(7, 7)]


def test_people_are_told_apart_by_what_they_wear():
    """By the real networks: one person in two moments, and three others."""
    looks = [
        [clothes_of(SyntheticWalker(WalkerConfig(seed=seed, size_px=256)).frame(time_s).image) for time_s in (0.1, 0.6)]
        for seed in range(4)
    ]
    assert all({"torso", "thighs"} <= set(look) for pair in looks for look in pair)
    same = [difference(*pair) for pair in looks]
    others = [difference(looks[a][0], looks[b][1]) for a in range(4) for b in range(a)]
    assert max(same) < OTHER_DELTA_E and np.median(others) > OTHER_DELTA_E


@dataclass
class Picturing(Turning):
    """A tracker that makes pictures of who it follows, too; the redder a frame, the better."""

    made: list[tuple[float, int]] = field(default_factory=list)  # how red, for how many bytes

    def fresh(self):
        return Picturing(self.asked, self.name + 1, self.made)

    def look(self, capture: Capture, time_s: float):
        found = super().look(capture, time_s)
        found.red = float(capture.frame.image[..., 0].mean())
        return found

    def worth(self, observation) -> float:
        return observation.red

    def still(self, observation):
        def make(budget_bytes: int) -> Encoded | None:
            self.made.append((round(observation.red, 2), budget_bytes))
            fits = budget_bytes > 100
            return Encoded([*self.learn(observation, 0.0).layers, bytes([self.name]) * 40]) if fits else None

        return make


def people_of(colors, tracker, look_bytes: int | None) -> tuple[dict[int, list[bytes]], list[str]]:
    """What a film says last of each person, and notes."""
    images = (np.full((64, 64, 3), color, np.float32) for color in colors)
    captures = ((k / 30, Capture([Frame(image)], None)) for k, image in enumerate(images))
    parts: list[bytes] = []
    report = encode_video(captures, VideoWriter(parts.append, SYSTEM), tracker, look_bytes=look_bytes)
    known = read_video(b"".join(parts)).people
    return {number: payload.layers if payload else [] for number, payload in known.items()}, report.notes


def test_the_frame_that_shows_somebody_best_is_their_picture(dressed):
    """Once for each person, also for who comes back; what is learnt later does not take it away."""
    green = [(0.1 + 0.01 * (k % 7), 0.9, 0.3) for k in range(40)]
    colors = [*green, *[RED] * 30, *green[:30]]
    tracker = Picturing()
    people, notes = people_of(colors, tracker, 500)
    assert people[0][-1] == bytes([0]) * 40 and people[1][-1] == bytes([1]) * 40
    assert tracker.made == [(0.16, 500), (0.9, 500)] and len(notes) == 1  # of the cuts
    plain, _ = people_of(colors, Picturing(), None)
    assert all(layers[-1] != bytes([number]) * 40 for number, layers in plain.items()) and plain


def test_a_film_without_a_picture_says_so(dressed):
    people, notes = people_of([RED] * 40, Picturing(), 80)
    assert people[0] and notes == ["80 bytes hold no picture of the person, or no frame shows one well enough"]
    with pytest.raises(SomacastError, match="its videos hold no picture; expected no --budget-bytes"):
        people_of([RED] * 40, Watcher(), 500)


def test_files_of_one_person_say_who_is_left_out(dressed, tmp_path):
    parts: list[bytes] = []
    images = (np.full((64, 64, 3), color, np.float32) for color in [GREEN] * 40 + [RED] * 40)
    captures = ((k / 30, Capture([Frame(image)], None)) for k, image in enumerate(images))
    encode_video(captures, VideoWriter(parts.append, SYSTEM), Turning())
    video = read_video(b"".join(parts))
    own, (note,) = own_stretches(video)
    assert [one.person for one in own] == [0] and "another person" in note
    from somacast.pipeline.video.animate import keyed_motion
    from somacast.pipeline.video.clock import shots

    cast = Cast(video, SYSTEM, SYSTEM.decoder())
    motion: Motion = keyed_motion(cast, own)
    assert len(motion.keys_s) == 40 and np.array(motion.seen_s) == pytest.approx(np.array([(0.0, 40 / 30)]), abs=1e-5)
    assert [shot.stretch.person for shot in shots(video, 30.0) if shot.stretch] == [0] * 40 + [1] * 40
    assert cast.body(0) is not cast.body(1)
