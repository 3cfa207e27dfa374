"""People cut by the picture's lower edge at the knees, hips, waist or chest: is a whole person made of them, or is it
said why not?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.capture.pictures import read_image
from somacast.errors import SomacastError
from somacast.types import Capture, Frame

CUTS = ("chest", "waist", "hips", "knees")
PEOPLE = 6
SIZE_PX = 384
VIEWS_DEG = (0.0, 20.0, -35.0, 10.0, 50.0, -15.0)
ROOMS = (np.inf, 0.4, 0.2)  # beside a person, in heights
HEAD = 0.12  # from the joint of the head to above its top, in heights
# What a whole person must keep of the true one: extent from head to feet, places of what is seen (in heights of the
# person), legs as straight as those of who stands, and the lean of the trunk.
EXTENT, PLACE, STRAIGHT, LEAN_DEG = (0.8, 1.25), 0.08, 0.85, 30.0


@dataclass(frozen=True)
class Half:
    """One case: picture [H, W, 3], joints of the whole person in its pixels [21, 2] and in metres from the pelvis
    [21, 3], y up."""

    name: str
    image: np.ndarray
    joints_px: np.ndarray
    joints_m: np.ndarray


def _joint(name: str) -> int:
    return CANONICAL_JOINTS.index(name)


def cut_row(joints_px: np.ndarray, where: str) -> int:
    """The row at which somebody with joints [21, 2] is cut."""
    row = {
        "chest": joints_px[_joint("chest"), 1],
        "waist": joints_px[[_joint("spine"), _joint("pelvis")], 1].mean(),
        "hips": joints_px[[_joint("l_upper_leg"), _joint("r_upper_leg")], 1].mean(),
        "knees": joints_px[[_joint("l_lower_leg"), _joint("r_lower_leg")], 1].mean(),
    }[where]
    return int(row)


def cut(name: str, image: np.ndarray, joints_px: np.ndarray, joints_m: np.ndarray, where: str, room: float) -> Half:
    """A picture cut at one height, and at `room` heights of the person on both sides of the neck and above the head
    (inf: not at all)."""
    joints_px = joints_px.astype(np.float64)
    height_px, neck = float(np.ptp(joints_px[:, 1])), joints_px[_joint("neck")]
    below = cut_row(joints_px, where)
    left, top, right = 0, 0, image.shape[1]
    if room < np.inf:
        left, right = max(0, int(neck[0] - room * height_px)), min(right, int(neck[0] + room * height_px))
        top = max(0, int(joints_px[_joint("head"), 1] - (HEAD + room / 4) * height_px))
    part = np.ascontiguousarray(image[top:below, left:right])
    return Half(f"{name} {where} {room:g}", part, joints_px - [left, top], joints_m)


def synthetic_halves(split: str, people: int = PEOPLE, seed: int = 0) -> Iterator[Half]:
    """Synthetic people who stand, each cut at every height."""
    from somacast.synthetic.walker import SyntheticWalker, WalkerConfig

    for number in range(people):
        view = VIEWS_DEG[number % len(VIEWS_DEG)]
        walker = SyntheticWalker(WalkerConfig("standing", split, seed + number, SIZE_PX, view_deg=view))
        truth, camera = walker.truth(0.4), walker.camera
        joints = truth.joints_m + (truth.pelvis_m - camera.translation) @ camera.rotation
        joints_px = camera.project(joints)[:, :2]
        for where in CUTS:
            yield cut(f"{split} {seed + number}", walker.frame(0.4).image, joints_px, truth.joints_m, where, np.inf)


def photographed_halves(folder: Path, sender: Any) -> Iterator[Half]:
    """Photographs of whole people, each cut at every height, at full width, narrow and close; what `sender` makes of
    the whole picture stands for the truth."""
    for path in sorted(folder.glob("yogait*.jpg")):
        frame = read_image(path)
        report = sender.encode(Capture([frame])).report
        joints_px = np.array(report["joints_2d_px"])
        joints_m = np.array([report["joints_3d_m"][name] for name in CANONICAL_JOINTS])
        for where in CUTS:
            for room in ROOMS:
                yield cut(path.stem, frame.image, joints_px, joints_m, where, room)


def faults(half: Half, report: dict[str, Any]) -> list[str]:
    """What is wrong with the person of a report (see `SenderResult`) against the true one; empty if nothing is."""
    found_px = np.array(report["joints_2d_px"])
    found_m = np.array([report["joints_3d_m"][name] for name in CANONICAL_JOINTS])
    out = []
    if not any("guessed" in note and "leg" in note for note in report["notes"]):
        out.append("no note")
    head, feet, pelvis = _joint("head"), [_joint("l_foot"), _joint("r_foot")], _joint("pelvis")
    extent, true = (float(np.ptp([m[head, 1], *m[feet, 1]])) for m in (found_m, half.joints_m))
    if not EXTENT[0] < extent / true < EXTENT[1]:
        out.append(f"extent {extent:.2f} m, not {true:.2f}")
    inside = (half.joints_px[:, 1] < half.image.shape[0]) & (half.joints_px[:, 0] > 0)
    inside &= half.joints_px[:, 0] < half.image.shape[1]
    height_px = float(np.ptp(half.joints_px[:, 1]))
    away = float(np.linalg.norm(found_px - half.joints_px, axis=1)[inside].mean()) / height_px
    if away > PLACE:
        out.append(f"off by {away:.2f} heights")
    for side in "lr":
        hip, knee, ankle = (found_m[_joint(f"{side}_{n}")] for n in ("upper_leg", "lower_leg", "foot"))
        length = np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle)
        true_hip, true_ankle = (half.joints_m[_joint(f"{side}_{n}"), 1] for n in ("upper_leg", "foot"))
        if (hip - ankle)[1] / length < STRAIGHT < (true_hip - true_ankle) / length:
            out.append(f"{side} leg bent")
    trunk, true_trunk = (m[head] - m[pelvis] for m in (found_m, half.joints_m))
    cosine = float(trunk @ true_trunk / (np.linalg.norm(trunk) * np.linalg.norm(true_trunk)))
    lean_deg = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    if lean_deg > LEAN_DEG:
        out.append(f"leans {lean_deg:.0f} degrees")
    return out


def measure(photographs: Path | None = None, people: int = PEOPLE, split: str = "test") -> dict[str, Any]:
    """Cases by kind: how many, how many right (a whole person with a note, or a refusal in one line that says why), how
    many of those refused, and what is wrong with the others."""
    from somacast.pipeline.still.sender import Sender

    sender = Sender()
    kinds: dict[str, Iterator[Half]] = {"synthetic": synthetic_halves(split, people)}
    if photographs is not None:
        kinds["photographs"] = photographed_halves(photographs, sender)
    out: dict[str, Any] = {}
    for kind, halves in kinds.items():
        row: dict[str, Any] = {"cases": 0, "right": 0, "refused": 0, "wrong": {}}
        for half in halves:
            row["cases"] += 1
            try:
                wrong = faults(half, sender.encode(Capture([Frame(half.image)])).report)
            except SomacastError as refusal:
                row["refused"] += 1
                wrong = [str(refusal)] if "\n" in str(refusal) else []
            row["right"] += not wrong
            if wrong:
                row["wrong"][half.name] = wrong
        out[kind] = row
    return out
