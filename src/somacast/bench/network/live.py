"""Live, for real: processes, sockets, the emulated link. Delay from camera to screen, how soon somebody is seen, and
how soon they wear their picture.

The sender is a process of its own (`somacast send`), the receiver runs here and draws every pose with our rasteriser;
both read the same monotonic clock. Run it on a quiet machine: both share its cores, as the figures ask.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.network.config import LiveBench
from somacast.bench.results import Result, describe_run, write_result
from somacast.bitstream.packets import TICK_SPAN, TICKS_PER_S
from somacast.errors import SomacastError
from somacast.files import check_output_path
from somacast.geometry.rasteriser import render_orthographic
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import posed
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.emulation.emulator import UdpLinkEmulator
from somacast.network.keys import load_keys, make_keys
from somacast.network.transport.base import Transport, TransportOptions
from somacast.network.transport.open import open_receiver
from somacast.pipeline.live.sessions import LIVE_TEXTURE_PX, ReceiveSession
from somacast.systems import registry
from somacast.systems.spec import LiveBody, LivePose
from somacast.types import Payload

LOADED_S = 30.0  # until a sender has loaded its networks
VIEW_PX, EXTENT_M = 256, 2.2
DISPLAY_S = 1 / 30
SETTLE_S = 6.0  # who it is has been looked at several times by then, and the playout has found its offset
PICTURE_BYTES = 300  # of a picture by which one recognises somebody, at least
PICTURE_S = 12.0  # how long it is waited for
_WRAP_S = TICK_SPAN / TICKS_PER_S


class _Screen:
    """Draws what is received and keeps how long it took since the sender's camera."""

    def __init__(self) -> None:
        self.delays_s: list[float] = []
        self.ticks: set[int] = set()
        self.rendered_s: list[float] = []
        self.first_s: float | None = None
        self.textured_s: float | None = None
        self.number = -1
        self._pictured = False
        self._body: LiveBody | None = None

    def person(self, body: LiveBody, number: int, who: Payload | None) -> None:
        self._body, self.number = body, number
        self._pictured |= who is not None and max(map(len, who.layers)) >= PICTURE_BYTES

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None:
        pass

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        if self._body is None or self._body.rig is None:
            return
        pictured, mesh = self._pictured, posed(self._body.rig, pose.rotations, np.zeros(3))
        render_orthographic(mesh, VIEW_PX, EXTENT_M, 0.0, np.zeros(3))
        end = time.monotonic()
        self.rendered_s.append(end)
        self.delays_s.append((end - tick / TICKS_PER_S) % _WRAP_S)
        if self.first_s is None and self.number >= 0:
            self.first_s = end
        if self.textured_s is None and pictured:
            self.textured_s = end

    def silence(self, now_s: float) -> None:
        pass

    def status(self, status: dict[str, Any]) -> None:
        pass

    def picture(self, jpeg: bytes) -> None:
        pass


class _Sender:
    """`somacast send` in a process of its own."""

    def __init__(self, to: str, options: Sequence[str]) -> None:
        command = [sys.executable, "-m", "somacast.cli.main", "send", "synthetic:walking", "--to", to, *options]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def end(self) -> str:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        return text


def _receive(transport: Transport, decoder: Any, screen: Any, until: Any, max_s: float) -> ReceiveSession:
    """Run a session until `until()` is true, at most max_s."""
    session, stop = (
        ReceiveSession(transport, registry.get(registry.DEFAULT), decoder, [screen], DISPLAY_S),
        threading.Event(),
    )
    thread = threading.Thread(target=session.run, args=(stop,), daemon=True)
    thread.start()
    end = time.monotonic() + max_s
    while time.monotonic() < end and not until():
        time.sleep(0.01)
    stop.set()
    thread.join(10)
    return session


def _quantiles(values: Sequence[float] | np.ndarray, scale: float = 1000.0) -> dict[str, float]:
    found = scale * np.asarray(values)
    return {"p50": float(np.median(found)), "p95": float(np.percentile(found, 95)), "max": float(found.max())}


def measure_delay(config: LiveBench, decoder: Any, *options: str) -> dict[str, Any]:
    """Camera to rendered picture over loopback, both ends on this machine's cores; options: of the sender."""
    with open_receiver("127.0.0.1:0", "bench") as transport:
        screen = _Screen()
        sender = _Sender(transport.address, ["--room", "bench", "--fps", str(config.fps), *options])
        try:
            end: list[float] = []

            def enough() -> bool:
                if screen.first_s is not None and not end:
                    end.append(time.monotonic() + SETTLE_S + config.seconds)
                return bool(end) and time.monotonic() > end[0]

            session = _receive(transport, decoder, screen, enough, LOADED_S + config.seconds + 10)
        finally:
            text = sender.end()
        if screen.first_s is None:
            raise SomacastError(f"live bench: nothing was received; the sender said: {text[-300:]}")
    settled = screen.first_s + SETTLE_S
    delays = [d for d, at in zip(screen.delays_s, screen.rendered_s, strict=True) if at > settled]
    rendered = [at for at in screen.rendered_s if at > settled]
    counts = session.receiver.counts
    span = rendered[-1] - screen.first_s + 1e-9
    early = [at for at in screen.rendered_s if at > screen.first_s]  # looks come then
    return {
        "camera_fps": config.fps,
        "received_fps": counts.frames / span,
        "rendered_fps": len(rendered) / (rendered[-1] - rendered[0]),
        "camera_to_rendered_ms": _quantiles(delays),
        "between_rendered_ms": _quantiles(np.diff(rendered)),
        "between_rendered_early_ms": _quantiles(np.diff([at for at in early if at <= settled])),
        "textured_s": None if screen.textured_s is None else screen.textured_s - screen.first_s,
        "payload_kbit_s": 8 * counts.received_bytes / span / 1000,
    }


def measure_starts(config: LiveBench, decoder: Any, kind: str, keys: Path | None) -> dict[str, Any]:
    """Seconds from the sender's first datagram on the narrow link to the first rendered picture of who was sent, and of
    them with a picture of at least PICTURE_BYTES on them. kind: "udp:", the default, or "zenoh:"."""
    times, textured, failures = [], [], 0
    profile = LinkProfile(
        capacity=1000 * config.rate_kbit_s, delay_s=config.rtt_ms / 2000, loss=config.loss, queue_bytes=6000
    )
    for number in range(config.starts):
        loaded = None if keys is None else load_keys(keys / "receiver")
        with (
            open_receiver(f"{kind}127.0.0.1:0", "bench", TransportOptions(keys=loaded)) as transport,
            UdpLinkEmulator(
                "127.0.0.1:0", transport.address.removeprefix(kind), profile, profile, seed=config.seed + number
            ) as link,
        ):
            screen, begun = _Screen(), []

            def seen(screen=screen, link=link, begun=begun) -> bool:
                if not begun and link.up.sent:
                    begun.append(time.monotonic())
                return screen.textured_s is not None

            host, port = link.address
            options = ["--room", "bench", "--fps", "15", *(["--keys", str(keys / "sender")] if keys else [])]
            sender = _Sender(f"{kind}{host}:{port}", options)
            try:
                _receive(transport, decoder, screen, seen, LOADED_S + PICTURE_S)
            finally:
                sender.end()
            if screen.first_s is None or not begun:
                failures += 1
            else:
                times.append(screen.first_s - begun[0])
                textured += [] if screen.textured_s is None else [screen.textured_s - begun[0]]
    return {
        "starts": config.starts, "failures": failures, "seconds": times, "first_seen_s": _quantiles(times, 1.0),
        "textured": len(textured), "textured_seconds": textured,
        "first_textured_s": _quantiles(textured, 1.0) if textured else None,
    }  # fmt: skip


def run(config: LiveBench) -> Result:
    """Measure, write the JSON, return it."""
    check_output_path(config.json)
    decoder = registry.get(registry.DEFAULT).textured(LIVE_TEXTURE_PX).decoder()
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        make_keys(keys)
        results = {
            "delay": measure_delay(config, decoder),
            "delay_without_looks": measure_delay(config, decoder, "--no-looks"),
            "starts": {
                "udp with keys": measure_starts(config, decoder, "udp:", keys),
                "Zenoh with keys": measure_starts(config, decoder, "zenoh:", keys),
                "Zenoh without keys": measure_starts(config, decoder, "zenoh:", None),
            },
        }
    return write_result(config.json, Result("live", describe_run("live", config, system=registry.DEFAULT), results))
