"""What moving people cost and how they look: rates, errors and jitter of the stream, and what losses do to it.

Motions are of the test split and never played to anything that learns. Rates count every byte handed to the transport;
on the wire, the headers of the default transport too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from somacast.bench.network.config import VideoBench
from somacast.bench.network.live_stage import Stage, moving
from somacast.bench.results import Result, describe_run, write_result
from somacast.bitstream.container import unpack
from somacast.body.skeleton import joint_places
from somacast.errors import SomacastError
from somacast.files import check_output_path
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import posed
from somacast.metrics.protocol import ProtocolConfig, compare_views
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.transport.zenoh.ends import HEADER_BYTES_TLS
from somacast.pipeline.live.sender import LiveConfig
from somacast.pipeline.video.files import VideoWriter
from somacast.synthetic.walker import SyntheticWalker, WalkerConfig
from somacast.systems import registry
from somacast.systems.registry import System
from somacast.systems.spec import LiveBody
from somacast.types import Capture

ACTIONS = ("standing", "walking", "running", "jumping", "sitting")
HEADER_BYTES = HEADER_BYTES_TLS  # of the default transport with encryption
BATCH_S = 0.13
FULL = LiveConfig(batch_s=BATCH_S, adapt=False, copies=0, header_bytes=HEADER_BYTES)
PROTECTED = LiveConfig(batch_s=BATCH_S, adapt=False, copies=1, header_bytes=HEADER_BYTES)
AT_ONCE = LiveConfig(batch_s=0.0, adapt=False, copies=0, header_bytes=HEADER_BYTES)
SMALLEST = LiveConfig(batch_s=0.4, adapt=False, copies=0, lowest_state=112, stride=3, header_bytes=HEADER_BYTES)
QUALITIES = {"full": FULL, "full, protected": PROTECTED, "full, each frame at once": AT_ONCE, "smallest": SMALLEST}
LOSSES = {
    "no loss": {}, "10 % at random": {"loss": 0.1}, "30 % at random": {"loss": 0.3},
    "30 % in bursts of 4": {"loss": 0.3, "mean_burst": 4.0},
}  # fmt: skip
SETTLED_S = 2.0
KINDS = ("ssim_whole", "ssim_box", "own_ssim_whole", "own_ssim_box")


def _joints(body: LiveBody, values: np.ndarray) -> np.ndarray:
    """Joints [T, 21, 3] from the pelvis, of somebody in the poses of values [T, M]."""
    assert body.rig is not None
    offsets = body.rig.offsets_m
    return np.stack([joint_places(offsets, body.pose(row).rotations, np.zeros(3)) for row in values])


def _unsteadiness(joints: np.ndarray, step_s: float) -> float:
    """Mean acceleration of joints [T, 21, 3] at even times, in m/s^2."""
    return float(np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).mean() / step_s**2)


def _even(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Values shown and true values [T, M] at an even 30 a second of what a settled receiver shows."""
    shown = [(now, found) for now, found in stage.shown if now > SETTLED_S]
    shown = shown[:: max(1, round(1 / 30 / (shown[1][0] - shown[0][0])))]
    return (
        np.stack([found.values for _, found in shown]),
        np.stack([stage.true_values(found.sender_s) for _, found in shown]),
    )


def measure_rates(config: VideoBench) -> list[dict[str, Any]]:
    """One row for each action and quality, means over the clips."""
    system = registry.get(registry.DEFAULT)
    body, rows = system.live.body(system.decoder(), None), []
    for action in ACTIONS:
        clips = [moving(action, config.seconds, 30.0, config.seed + k) for k in range(config.clips)]
        for name, live in QUALITIES.items():
            parts = []
            for number, values in enumerate(clips):
                rng = np.random.default_rng([config.seed, number])
                link = LinkProfile(delay_s=0.02, header_bytes=0)
                stage = Stage(link.build(rng), link.build(rng), live, values)
                stage.run(config.seconds)
                counts, (shown, true) = stage.sender.counts, _even(stage)
                got, want = _joints(body, shown), _joints(body, true)
                wire = counts.payload_bytes + HEADER_BYTES * counts.packets
                parts.append(
                    {
                        "payload_kbit_s": 8 * counts.payload_bytes / config.seconds / 1000,
                        "wire_kbit_s": 8 * wire / config.seconds / 1000,
                        "bytes_per_frame": counts.payload_bytes / (config.seconds * 30),
                        "joint_error_mm": 1000 * float(np.linalg.norm(got - want, axis=-1).mean()),
                        "acceleration_m_s2": _unsteadiness(got, 1 / 30),
                        "true_acceleration_m_s2": _unsteadiness(want, 1 / 30),
                        "delay_s": float(np.median([now - f.sender_s for now, f in stage.shown if now > SETTLED_S])),
                    }
                )
            rows.append({"action": action, "quality": name} | _mean(parts))
        file = [_file_kbit_s(values) for values in clips]
        rows.append({"action": action, "quality": "file", "payload_kbit_s": float(np.mean(file))})
    return rows


def _file_kbit_s(values: np.ndarray) -> float:
    from somacast.bench.network.live_stage import container

    parts: list[bytes] = []
    writer = VideoWriter(parts.append, registry.get(registry.DEFAULT))
    writer.who(container())
    for number, row in enumerate(values):
        writer.frame(number / 30, row)
    writer.end(len(values) / 30)
    return 8 * sum(map(len, parts)) / (len(values) / 30) / 1000


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@dataclass
class _Tracked:
    """A synthetic person as the sender saw them."""

    walker: SyntheticWalker
    values: np.ndarray
    who: bytes
    body: LiveBody


def track(config: VideoBench, seed: int, action: str, system: System, decoder: Any) -> _Tracked:
    """Look at every picture of a synthetic person, as a live sender would."""
    from somacast.weights.sessions import one_blas_thread

    walker, values, who, learnt_s = SyntheticWalker(WalkerConfig(action=action, seed=seed)), [], None, -1.0
    tracker = system.tracker()
    with one_blas_thread():
        for number in range(round(config.seconds * 30) + 8):
            time_s = number / 30
            try:
                seen = tracker.look(Capture([walker.frame(time_s)]), time_s)
            except SomacastError:
                if not values:
                    raise
                values.append(values[-1])  # nobody seen: the sender would send nothing, here the last pose holds
                continue
            values.append(seen.moving)
            if time_s - learnt_s >= 0.4:
                who, learnt_s = tracker.learn(seen, time_s), time_s
    assert who is not None
    container = system.pack(who.layers)
    return _Tracked(walker, np.stack(values), container, system.live.body(decoder, unpack(container)[0]))


def measure_losses(config: VideoBench) -> list[dict[str, Any]]:
    """SSIM of what is shown against the truth at the sender's time, over links that lose."""
    system = registry.get(registry.DEFAULT)
    decoder = system.decoder()
    people = [track(config, config.seed + k, "walking", system, decoder) for k in range(config.people)]
    rows = []
    for name, loss in LOSSES.items():
        parts = []
        for number, person in enumerate(people):
            rng = np.random.default_rng([config.seed, number])
            link = LinkProfile(**{"delay_s": 0.05, "header_bytes": 0} | loss)
            live = LiveConfig(batch_s=BATCH_S, header_bytes=HEADER_BYTES)
            stage = Stage(link.build(rng), link.build(rng), live, person.values, who=person.who)
            stage.run(config.seconds)
            parts.append(_looks(stage, person) | {"repaired_frames": float(stage.receiver.counts.repaired)})
        rows.append({"link": name} | _mean(parts))
    for row in rows[1:]:
        row |= {f"{kind}_lost": rows[0][kind] - row[kind] for kind in KINDS}
    return rows


def _looks(stage: Stage, person: _Tracked, every: int = 24) -> dict[str, float]:
    """Mean SSIM of what is shown against the truth, and against the sender's own labels without any coding ("own_"),
    which tells more; how long nothing new was shown at most."""
    rows, view, rig = [], ProtocolConfig(azimuths_deg=(0.0,)), person.body.rig
    assert rig is not None
    for _, found in [row for row in stage.shown if row[0] > SETTLED_S][::every]:
        shown = Reconstruction(posed(rig, person.body.pose(found.values).rotations, np.zeros(3)))
        figures = compare_views(person.walker.mesh(max(found.sender_s, 0.0)), shown, view)
        sent = person.body.pose(stage.true_values(max(found.sender_s, 0.0)))
        own = compare_views(posed(rig, sent.rotations, np.zeros(3)), shown, view)
        rows.append(
            {name: figures[name] for name in ("ssim_whole", "ssim_box", "iou")}
            | {f"own_{name}": own[name] for name in ("ssim_whole", "ssim_box")}
        )
    overdue = max(found.overdue_s for now, found in stage.shown if now > SETTLED_S)
    delay = float(np.median([now - found.sender_s for now, found in stage.shown if now > SETTLED_S]))
    return _mean(rows) | {"longest_without_news_s": overdue, "delay_s": delay}


def run(config: VideoBench) -> Result:
    """Measure, write the JSON, return it."""
    check_output_path(config.json)
    results = {"header_bytes": HEADER_BYTES, "rates": measure_rates(config), "losses": measure_losses(config)}
    return write_result(config.json, Result("video", describe_run("video", config, system=registry.DEFAULT), results))
