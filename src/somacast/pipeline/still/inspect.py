"""What is inside a .soma file, for people and for programs: header, layers, every label group with its bits."""

from __future__ import annotations

import struct
from typing import Any

from somacast.bitstream import container
from somacast.bitstream.video import US_PER_S, Absent, End, Frames, RecordReader, Turn, Who, is_video
from somacast.errors import SomacastError
from somacast.pipeline.still.receiver import open_payload
from somacast.systems import registry

_KINDS = {Frames: "motion", Who: "person", Absent: "absent", Turn: "turn", End: "end"}


def describe(data: bytes) -> dict[str, Any]:
    """Describe the bytes of a .soma file without loading any network.

    Returns
    -------
    dict with `header` (format_version, system, weights_digest, bytes, header_bytes, and what the system adds), `layers`
    (index, bytes), `groups` (group, labels, sent, levels_sent, levels, bits), `labels` (name, group, symbols, levels,
    bits, value) and `notes`. A file for other weights than those installed has no groups and a note.

    A video has `packets` (time_s, kind, bytes, frames, network_state, reference) in place of layers, and describes who
    it is as it would a still. Raises BitstreamError if the bytes are no whole .soma base layer.
    """
    if is_video(data):
        return _describe_video(data)
    held, notes = container.unpack(data)
    header_bytes = len(data) - sum(len(layer) for layer in held.layers)
    description: dict[str, Any] = {
        "header": {
            "format_version": container.format_version(data),
            "system": held.system,
            "weights_digest": held.weights_digest.hex(),
            "bytes": len(data),
            "header_bytes": header_bytes,  # all that is not payload: header, lengths, checks
        },
        "layers": [{"index": i, "bytes": len(layer)} for i, layer in enumerate(held.layers)],
        "groups": [],
        "labels": [],
        "notes": list(notes),
    }
    try:
        payload, _ = open_payload(data)
        more = registry.get(payload.system).spec.describe(payload)
    except SomacastError as fault:  # whole and sound, but not for this installation
        description["notes"].append(str(fault))
        return description
    except (IndexError, KeyError, ValueError, struct.error) as fault:  # a system's own code on layers of others
        description["notes"].append(f"system {held.system} cannot read these layers ({fault})")
        return description
    tables = {name: more.pop(name, []) for name in ("groups", "labels")}
    description["header"] |= more
    return description | tables


def _describe_video(data: bytes) -> dict[str, Any]:
    """Header and records of a .soma video, and who comes first in it."""
    reader = RecordReader(data)
    description: dict[str, Any] = {
        "header": {
            "format_version": reader.version, "system": reader.system, "weights_digest": reader.digest.hex(),
            "bytes": len(data),
        },
        "layers": [], "groups": [], "labels": [], "notes": [], "packets": [],
    }  # fmt: skip
    frames, end_us, people = 0, 0, {}
    for record, whole in reader.with_bytes():
        row: dict[str, Any] = {"kind": _KINDS[type(record)], "bytes": len(whole)}
        if isinstance(record, Frames):
            frames, end_us = frames + len(record.times_us), record.times_us[-1]
            row |= {
                "time_s": round(record.times_us[0] / US_PER_S, 6), "frames": len(record.times_us),
                "network_state": record.motion.state, "stands_alone": record.motion.reference is None,
            }  # fmt: skip
        elif isinstance(record, Who):
            people[record.number] = record.container
            row |= {"person": record.number}
        elif isinstance(record, Turn):
            row |= {"person": record.number}
        elif isinstance(record, Absent):
            end_us = record.end_us
            row |= {"time_s": round(record.start_us / US_PER_S, 6), "until_s": round(end_us / US_PER_S, 6)}
        else:
            end_us = record.time_us
            row |= {"time_s": round(end_us / US_PER_S, 6)}
        description["packets"].append(row)
    description["header"] |= {
        "frames": frames, "seconds": round(end_us / US_PER_S, 3), "people": max(len(people), 1),
    }  # fmt: skip
    if reader.cut:
        description["notes"].append(f"The file is cut: {reader.used} of {len(data)} bytes are whole records.")
    if people:
        who = describe(people[min(people)])
        description |= {"layers": who["layers"], "groups": who["groups"], "labels": who["labels"]}
        of_the_file = ("header_bytes", "network_state")
        known = {name: value for name, value in who["header"].items() if name not in of_the_file}
        description["header"] = known | description["header"]
        description["notes"] += who["notes"]
    return description
