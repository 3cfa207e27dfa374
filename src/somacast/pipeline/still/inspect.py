"""What is inside a .soma file, for people and for programs: header, layers, every label group with its bits."""

from __future__ import annotations

import struct
from typing import Any

from somacast.bitstream import container
from somacast.bitstream.packets import TICK_SPAN, TICKS_PER_S, Motion, Person, Unwrapper, unpack_packet
from somacast.bitstream.video import VIDEO_VERSION, is_video, read_head, read_records
from somacast.errors import SomacastError
from somacast.pipeline.still.receiver import open_payload
from somacast.systems import registry


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
    """Header and packets of a .soma video, and who it is."""
    system, digest = read_head(data)
    description: dict[str, Any] = {
        "header": {
            "format_version": VIDEO_VERSION, "system": system, "weights_digest": digest.hex(), "bytes": len(data),
        },
        "layers": [], "groups": [], "labels": [], "notes": [], "packets": [],
    }  # fmt: skip
    tick, frames, first, last, container_bytes = Unwrapper(TICK_SPAN // 2), 0, None, 0, b""
    for packet in read_records(data):
        body = unpack_packet(packet, digest).body
        row: dict[str, Any] = {"kind": type(body).__name__.lower(), "bytes": len(packet)}
        if isinstance(body, Motion):
            start = tick(body.tick) or 0
            first = start if first is None else first
            last = start - first + (body.count - 1) * body.step
            frames += body.count
            row |= {
                "time_s": round((start - first) / TICKS_PER_S, 3), "frames": body.count, "network_state": body.state,
                "stands_alone": body.reference is None,
            }  # fmt: skip
        elif isinstance(body, Person):
            container_bytes = body.container
        description["packets"].append(row)
    description["header"] |= {"frames": frames, "seconds": round(last / TICKS_PER_S, 3)}
    if container_bytes:
        who = describe(container_bytes)
        description |= {"layers": who["layers"], "groups": who["groups"], "labels": who["labels"]}
        description["notes"] += who["notes"]
    return description
