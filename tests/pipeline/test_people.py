"""Several people in one picture: who becomes a file, in which order, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest

import somacast
from somacast.capture.cropping import SquareBox
from somacast.capture.detector import DetectedPerson, PersonFrame, find_person
from somacast.capture.pictures import PictureFrame
from somacast.errors import SomacastError
from somacast.pipeline.still import people as room
from somacast.pipeline.still.people import HowMany, People, encode_people
from somacast.pipeline.still.sender import SenderResult
from somacast.types import Capture, Frame
from support.folders.group_cases import group_picture

WIDTH, HEIGHT = 400, 200


def person(x: float, half_width: float = 30, half_height: float = 80, score: float = 0.9) -> DetectedPerson:
    share = 4 * half_width * half_height / (WIDTH * HEIGHT)
    rectangle = (x - half_width, 100 - half_height, x + half_width, 100 + half_height)
    return DetectedPerson(SquareBox(x, 100, 2 * half_height), score, share, rectangle)


def encode(capture: Capture) -> SenderResult:
    """Sends where it looks; sees nobody right of 350."""
    box = find_person(capture.frame).box
    if box.cx > 350:
        raise SomacastError("no person found")
    corner = [float(v) for v in box.corner]
    box_px = [*corner, *(v + box.side for v in corner)]
    joints = [[box.cx + dx, box.cy + dy] for dx, dy in ((0, -50), (0, 0), (-10, 50), (10, 50))]
    return SenderResult(b"%d" % round(box.cx), {"person_box_px": box_px, "joints_2d_px": joints, "notes": []}, capture)


def send(monkeypatch, found: list[DetectedPerson], wanted: HowMany, **frame) -> People:
    monkeypatch.setattr(room, "find_people", lambda image, everywhere: found)
    image = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    return encode_people(encode, Capture([PictureFrame(image, source_size_px=(2 * WIDTH, HEIGHT), **frame)]), wanted)


def data(people: People) -> list[bytes]:
    return [result.data for result in people.results]


def test_all_or_so_many(monkeypatch):
    three = [person(100, 40), person(200, 30), person(300, 20)]
    assert data(send(monkeypatch, three, "all")) == [b"100", b"200", b"300"]
    assert data(send(monkeypatch, three, 2)) == [b"100", b"200"]
    assert not send(monkeypatch, three, 2).notes
    more = send(monkeypatch, three, 5)
    assert data(more) == [b"100", b"200", b"300"] and more.notes == ["5 people asked for, 3 found"]


def test_somebody_who_is_seen_twice_counts_once(monkeypatch):
    found = send(monkeypatch, [person(100, 40), person(104, 35), person(200)], "all")
    assert data(found) == [b"100", b"200"] and not found.notes
    assert data(send(monkeypatch, [person(100, 40), person(104, 35), person(200)], 2)) == [b"100", b"200"]


def test_who_cannot_be_sent_is_said_and_does_not_count(monkeypatch):
    found = send(monkeypatch, [person(370, 40), person(100), person(200)], 2)
    assert data(found) == [b"100", b"200"]
    assert found.notes == ["somebody may be at 740, 100 px and is left out: no person found"]  # pixels of the file
    part = send(monkeypatch, [person(330, 30), person(355, 10, 20)], "all")  # of somebody: a hand
    assert data(part) == [b"330"] and not part.notes
    with pytest.raises(SomacastError, match="no person found"):
        send(monkeypatch, [person(370), person(380)], "all")


def test_small_and_hidden_people_have_notes(monkeypatch):
    found = send(monkeypatch, [person(100, 40), person(130, 35), person(250, 10, 30)], "all")
    notes = [result.report["notes"] for result in found.results]
    assert notes[0] == []
    assert notes[1] == ["stands in front of person 1 or behind: what one hides of the other is guessed"]
    assert notes[2] == ["small in the picture (60 px): a coarse likeness at best"]


def test_notes_of_the_picture_stay_with_the_picture(monkeypatch):
    found = send(monkeypatch, [person(100), person(200)], "all", notes=["turned upright"])
    assert found.notes == ["turned upright"]
    assert all(result.capture.notes == [] for result in found.results)


def test_a_cut_out_is_one_person_and_a_height_of_several_is_refused(monkeypatch):
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[20:180, 80:120] = 1
    found = send(monkeypatch, [person(300)], "all", mask=mask)
    assert data(found) == [b"100"] and "mask" in found.notes[0]
    frame = Frame(np.zeros((HEIGHT, WIDTH, 3), np.float32))
    for capture in (Capture([frame], 1.7), Capture([frame, frame])):
        with pytest.raises(SomacastError, match="one view"):
            encode_people(encode, capture, "all")
    for wanted in (0, -1, True):
        with pytest.raises(SomacastError, match="expected largest, all, or a number"):
            encode_people(encode, Capture([frame]), wanted)


def test_a_frame_of_one_of_several_keeps_what_it_had():
    frame = PictureFrame(np.zeros((HEIGHT, WIDTH, 3), np.float32), time_s=2.0, source_size_px=(800, 400))
    one = PersonFrame.of(frame, person(30, 30))
    assert one.source_scale == (2.0, 2.0) and one.time_s == 2.0
    found = find_person(one)
    assert found.truncated_edges == ("left",) and found.people == 1 and not found.several_notes


def test_real_people_stand_where_they_stood():
    """Takes seconds: detector, sender and receiver on a picture of two people."""
    places = np.array([[-0.75, 0.0, 3.4], [0.9, 0.1, 4.6]])  # right, down, away
    files = somacast.encode(group_picture(places), people="all")
    assert len(files) == 2
    found = np.array([somacast.decode(one).pelvis_m for one in files])
    directions = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (found, places)]
    assert (directions[0] * directions[1]).sum(1).min() > np.cos(np.radians(3))
    assert np.abs(found[:, 2] / places[:, 2] - 1).max() < 0.25  # a picture does not tell how tall they are
