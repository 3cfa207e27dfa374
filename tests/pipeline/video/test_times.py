"""Time is kept from the source to every kind of file: rates, pauses, starts, absence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from somacast.bench.users.drift import PHONE, RATES_FPS, ClockCoder, clock_film, follow, source_times
from somacast.bitstream.packets import Motion
from somacast.bitstream.video import Absent, End, Frames, RecordReader, RecordWriter, video_head
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.preview import SUPERSAMPLE
from somacast.geometry.rasteriser import MID_GREY
from somacast.pipeline.video import animate
from somacast.pipeline.video.animate import Cast, even_motion, keyed_motion, write_video_person
from somacast.pipeline.video.clock import even_fps, mean_fps, shots
from somacast.pipeline.video.encode import encode_video
from somacast.pipeline.video.files import VideoWriter, read_video
from somacast.types import Capture, Frame
from support.network.live_cases import SYSTEM, container
from support.network.motion_cases import moving
from support.network.video_cases import Watcher, film_at, written


@pytest.mark.parametrize("rate", [*RATES_FPS, PHONE, 5.0, 7.5])
def test_no_rate_drifts_or_stands_still(rate):
    times_s = source_times(rate, 40.0)
    found = follow(times_s, float(times_s[-1] + np.median(np.diff(times_s))))
    for name in ("film_drift_frames", "film_late_frames", "keys_drift_frames", "even_drift_frames"):
        assert found[name] < 0.5, name
    assert found["film_stand_still_share"] == 0
    assert found["film_length_off_frames"] <= 1 and found["length_off_frames"] < 0.1
    assert found["bytes_per_record_for_times"] < 7 or rate == PHONE


@pytest.mark.parametrize("rate", [*RATES_FPS, 5.0])
def test_the_rate_of_an_even_film_is_found(rate):
    for times_s in (np.arange(720) / rate, source_times(rate, 720 / rate)):
        coder: Any = ClockCoder()
        assert even_fps(read_video(clock_film(times_s, 720 / rate), coder)) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("pause_s", [0.3, 1.0, 7.0, 300.0, 600.0, 3600.0, 90_000.0])
def test_pauses_keep_their_length_and_are_not_blended(pause_s):
    times_s = np.concatenate([np.arange(45) / 30, 44 / 30 + pause_s + np.arange(45) / 30])
    video = read_video(film_at(times_s))
    assert video.times_s == pytest.approx(times_s, abs=1e-3) and len(video.stretches) == 1
    halfway = video.at(44 / 30 + pause_s / 2, video.stretches[0])
    if pause_s > 1:
        np.testing.assert_array_equal(halfway, video.row(44))
    plan = shots(video, even_fps(video))
    assert plan[-1].time_s == pytest.approx(times_s[-1], abs=0.04)
    assert len(plan) <= 3 * len(times_s) + 4000, "hours in which nothing moves are no pictures"


def test_times_at_any_distance_come_back():
    rng = np.random.default_rng(1)
    for _ in range(200):
        steps = rng.choice([1, 40, 900, 1100, 33_000, 4_000_000], rng.integers(0, 63)) * rng.integers(1, 3)
        times = np.concatenate([[0], np.cumsum(steps)]) + int(rng.integers(0, 1 << 40))
        sent = Frames(tuple(times.tolist()), Motion(0, 3, 4, len(times), 0, 0, 0, b"abc"), 3)
        (read,) = RecordReader(video_head("aflsc", b"abc") + RecordWriter(b"abc").record(sent))
        assert isinstance(read, Frames)
        coded = read.times_us
        assert coded[0] == times[0] and coded[-1] == times[-1] and (np.diff(coded) > 0).all()
        assert np.abs(np.array(coded) - times).max() <= 1000 + 64


def test_records_in_the_wrong_order_are_refused():
    writer = RecordWriter(b"abc")
    writer.record(Absent(0, 5000))
    with pytest.raises(SomacastError, match="times that rise"):
        writer.record(End(4000))
    video = film_at(np.arange(10) / 10)
    twice = [whole for record, whole in RecordReader(video).with_bytes() if isinstance(record, Frames)]
    head = video[: video.index(twice[0])]
    still = RecordReader(head + twice[0] + twice[0][:0])
    assert len(list(still)) == 2
    with pytest.raises(BitstreamError):
        read_video(head + twice[0][:-1] + bytes([twice[0][-1] ^ 1]))


def film_with_absence() -> bytes:
    """Nobody from 0 to 1 s, somebody to 2 s, nobody to 4 s, somebody to 5 s, nobody to 6 s; 25 frames a second."""

    def film(writer: VideoWriter) -> None:
        writer.absent(0, 1)
        writer.who(container())
        for start_s in (1, 4):
            for k in range(25):
                writer.frame(start_s + k / 25, moving()[k])
            writer.absent(start_s + 1, 4 if start_s == 1 else 6)

    return written(film, 6.0)


class Body:
    """A body whose reconstruction tells what it was made of."""

    rig = None

    def reconstruct(self, values):
        return SimpleNamespace(values=values)


@pytest.fixture
def cast() -> Cast:
    video = read_video(film_with_absence())
    return Cast(video, SYSTEM, None, {0: SYSTEM.live.body(SYSTEM.decoder(), video.people[0])})


def test_absence_is_shown_in_a_film(cast):
    video = cast.video
    assert [(float(video.times_s[one.first]), one.end_s) for one in video.stretches] == [(1.0, 2.0), (4.0, 5.0)]
    assert even_fps(video) == 25.0 and video.end_s == 6.0
    plan = shots(video, 25.0)
    there = [shot.stretch is not None for shot in plan]
    assert len(plan) == 150 and there == [25 <= k < 50 or 100 <= k < 125 for k in range(150)]
    empty = next(animate.pictures_of([None], animate.film_camera(cast, plan[20:30], 32 * SUPERSAMPLE)))
    assert empty.shape == (32, 32, 3) and (empty == np.float32(MID_GREY)).all()


def test_absence_is_hidden_in_keys_and_held_at_even_times(cast):
    keyed = keyed_motion(cast, cast.video.stretches)
    assert keyed.seen_s == ((1.0, 2.0), (4.0, 5.0))
    assert keyed.keys_s[:25] == pytest.approx(1 + np.arange(25) / 25, abs=1e-3)
    even = even_motion(cast, cast.video.stretches, mean_fps(cast.video))
    assert len(even.rotations) == 150 and even.fps == pytest.approx(25)
    for before, during in ((25, range(25)), (49, range(50, 99)), (124, range(126, 150))):
        for frame in during:
            np.testing.assert_array_equal(even.rotations[frame], even.rotations[before])
    assert np.abs(even.rotations[30] - even.rotations[25]).max() > 0.01


def test_decoders_say_what_bvh_cannot(cast, tmp_path):
    assert animate.write_motion(cast, tmp_path / "a.glb") == []
    (note,) = animate.write_motion(cast, tmp_path / "a.bvh")
    assert "4.0 s in which nobody is there" in note


@pytest.mark.parametrize(
    "times_s",
    [np.arange(16) / 16, np.arange(16) * 1001 / 30000, np.cumsum([0, *[0.03, 0.05, 0.04] * 4])],
    ids=["16 fps", "29.97 fps", "uneven"],
)
def test_a_decoded_film_lies_over_its_source(times_s, tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    video = read_video(film_at(times_s))
    monkeypatch.setattr(animate, "FILM_PX", 64)
    write_video_person(video, SYSTEM, SYSTEM.decoder(), tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as film:
        shown_s = [float(frame.time) for frame in film.decode(video=0)]
    assert shown_s == pytest.approx(times_s, abs=2e-3)


# -- from frames -------------------------------------------------------------------------------------------------------


def captures(times_s, there):
    for time_s in times_s:
        image = np.full((64, 64, 3), 1.0 if there(time_s) else 0.0, np.float32)
        yield float(time_s), Capture([Frame(image)], None)


def encoded(times_s, there) -> tuple[bytes, list[str]]:
    parts: list[bytes] = []
    report = encode_video(captures(times_s, there), VideoWriter(parts.append, SYSTEM), Watcher())
    return b"".join(parts), report.notes


@pytest.mark.parametrize("start_s", [0.0, 150.0])
def test_who_enters_late_and_leaves_early(start_s):
    """Three seconds of nobody come first; times count from the film's first frame, wherever its clock began."""
    times_s = start_s + np.arange(210) / 30
    data, notes = encoded(times_s, lambda t: 3 <= t - start_s < 5)
    video = read_video(data)
    (stretch,) = video.stretches
    assert (video.times_s[0], stretch.end_s, video.end_s) == pytest.approx((3.0, 5.0, 7.0), abs=1e-3)
    assert "for 5.0 s nobody is there" in notes[0]


def test_frames_in_which_a_person_is_overlooked_are_no_absence():
    data, notes = encoded(np.arange(60) / 30, lambda t: not 1.0 <= t < 1.2)
    assert len(read_video(data).stretches) == 1 and "goes on over them" in notes[0]


def test_a_source_that_fails_leaves_what_it_gave():
    def broken():
        yield from captures(np.arange(30) / 30, lambda t: True)
        raise SomacastError("webcam 0: has gone")

    parts: list[bytes] = []
    report = encode_video(broken(), VideoWriter(parts.append, SYSTEM), Watcher())
    assert report.notes == ["the source ended early: webcam 0: has gone"]
    assert len(read_video(b"".join(parts)).times_s) == 30


def test_an_empty_film_is_refused_and_leaves_nothing(tmp_path: Path):
    from somacast.pipeline.video.journal import video_file

    with pytest.raises(SomacastError, match="no person"), video_file(tmp_path / "a.soma", SYSTEM) as (_, writer):
        encode_video(captures(np.arange(9) / 30, lambda t: False), writer, Watcher())
    assert list(tmp_path.iterdir()) == []
