"""Several people in one picture: each becomes a file of their own, which says where they stood before the camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from somacast.capture.detector import NO_PERSON, DetectedPerson, PersonFrame, find_people
from somacast.capture.pictures import PictureFrame
from somacast.errors import SomacastError
from somacast.pipeline.still.sender import SenderResult
from somacast.types import Capture

HowMany = Literal["largest", "all"] | int
SMALL_PX = 96  # of the longer side of somebody of whom little is seen
HIDDEN_SHARE = 0.3  # of a rectangle that another covers, from which on it is said
SAME_JOINTS = 0.15  # mean distance between the joints of both, over the reach of one: one person seen twice
_ONE_VIEW = "several people are told apart in one picture only; expected one view without a mask and without a height"

Encode = Callable[[Capture], SenderResult]


@dataclass
class People:
    """Of one picture, the largest first: results, and notes about all of them together; each result has its own."""

    results: list[SenderResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def encode_people(encode: Encode, capture: Capture, people: HowMany) -> People:
    """Everybody of a picture, or the so many largest, by `encode` of a capture of one person (see `Sender.encode`).

    A picture with a cut-out (transparency) holds the one person that it shows. SomacastError if nobody can be sent, for
    several views and for a height, which several people do not share.
    """
    if people == "largest":
        return People([encode(capture)])
    if isinstance(people, bool) or (isinstance(people, int) and people < 1):
        raise SomacastError(f"people: expected largest, all, or a number from 1, got {people}")
    if len(capture.views) > 1 or capture.height_m is not None:
        raise SomacastError(_ONE_VIEW)
    frame = capture.frame
    if frame.mask is not None:
        return People([encode(capture)], ["people are not looked for where a mask or transparency marks one"])
    found = find_people(frame.image, everywhere=True)
    if not found:  # a system may see what the detector does not
        return People([encode(capture)], _counted(people, 1))
    taken: list[tuple[DetectedPerson, SenderResult]] = []
    refused: list[tuple[DetectedPerson, str]] = []
    for person in found:
        if isinstance(people, int) and len(taken) == people:
            break
        try:
            result = encode(Capture([PersonFrame.of(frame, person)]))
        except SomacastError as fault:
            refused.append((person, str(fault)))
            continue
        if not any(_same_person(result.report, other.report) for _, other in taken):
            result.report["notes"] = [*result.report["notes"], *_seen(person, [one for one, _ in taken])]
            taken.append((person, result))
    if not taken:
        raise SomacastError(refused[0][1] if len(refused) == 1 else NO_PERSON)
    scale = frame.source_scale if isinstance(frame, PictureFrame) else (1.0, 1.0)
    notes = [*capture.notes, *_counted(people, len(taken))]
    for person, reason in refused:
        if not any(_inside(person, other) for other, _ in taken):  # a part of somebody is nobody
            x, y = (round(v * k) for v, k in zip((person.box.cx, person.box.cy), scale, strict=True))
            notes.append(f"somebody may be at {x}, {y} px and is left out: {reason}")
    return People([result for _, result in taken], notes)


def _counted(people: HowMany, found: int) -> list[str]:
    return [f"{people} people asked for, {found} found"] if isinstance(people, int) and found < people else []


def _seen(person: DetectedPerson, larger: Sequence[DetectedPerson]) -> list[str]:
    """What makes somebody less certain than a person alone in a large picture."""
    left, top, right, bottom = person.rectangle
    notes = []
    if max(right - left, bottom - top) < SMALL_PX:
        notes.append(f"small in the picture ({round(max(right - left, bottom - top))} px): a coarse likeness at best")
    area = max((right - left) * (bottom - top), 1e-9)
    for number, other in enumerate(larger, 1):
        if _common(person, other) > HIDDEN_SHARE * area:
            notes.append(f"stands in front of person {number} or behind: what one hides of the other is guessed")
    return notes


def _common(one: DetectedPerson, other: DetectedPerson) -> float:
    """Area in pixels that both rectangles cover."""
    a, b = np.array(one.rectangle), np.array(other.rectangle)
    return float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())


def _inside(one: DetectedPerson, other: DetectedPerson) -> bool:
    left, top, right, bottom = other.rectangle
    return left <= one.box.cx <= right and top <= one.box.cy <= bottom


def _same_person(report: dict, other: dict) -> bool:
    """Whether two results are of one person: joints at the same places, or the same box where there are none."""
    ours, theirs = (np.asarray(one.get("joints_2d_px") or _corners(one), float) for one in (report, other))
    if ours.shape != theirs.shape or not ours.size:
        return False
    apart = np.linalg.norm(ours - theirs, axis=1).mean()
    return bool(apart < SAME_JOINTS * np.ptp(ours, axis=0).max())


def _corners(report: dict) -> list[list[float]]:
    box = report.get("person_box_px", [])
    return [list(box[:2]), list(box[2:])] if len(box) == 4 else []
