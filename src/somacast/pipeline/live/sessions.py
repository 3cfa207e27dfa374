"""Live sessions on the real clock: source -> tracker -> sender -> transport, and transport -> receiver -> outputs.

All decisions are made by `LiveSender` and `LiveReceiver`, which know neither clock nor socket; here are the threads
that feed them. Times are time.monotonic(), on the wire too, so that on one machine both ends share a clock.
"""

from __future__ import annotations

import gc
import io
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from somacast.bitstream.packets import TICKS_PER_S
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.network.transport.base import Lane, Transport
from somacast.pipeline.live.looks import Looks
from somacast.pipeline.live.receiver import LiveReceiver
from somacast.pipeline.live.sender import LiveConfig, LiveSender
from somacast.pipeline.sources import Source, SourceFrame, play
from somacast.systems.registry import System
from somacast.systems.spec import Decoder, LiveBody, LivePose, PicturingTracker, Tracker
from somacast.types import Capture, Payload
from somacast.weights.sessions import one_blas_thread

SERVICE_S = 0.004  # between looks at what has come in
TELL_S = 0.5  # between status lines
LEARN_EARLY_S, LEARN_S, EARLY_S = 0.4, 2.0, 4.0  # how often, and for how long early, is looked at who it is
PERSON_GAPS_S = (0.0, 1.0, 2.0, 5.0, 12.0, 30.0)  # between what is told of it; then the last
PICTURE_S, PICTURE_PX, PICTURE_QUALITY = 0.5, 160, 40
DISPLAY_S = 1 / 60
LIVE_TEXTURE_PX = 512  # of rigs: about as fine as looks are
ABSENT_S = 1.0  # nobody is seen for so long: whoever comes then may be another
SILENT_S = 1.0  # without news of a person, who then is not to be seen
MIN_REBUILD_S = 0.5  # between rigs, however often somebody is told anew

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class SendOptions:
    """live: how it is coded and sent; height_m: of the person; picture: whether the sender's own picture goes along;
    looks: whether the person's picture goes along, to be laid on them (nothing of the background is in it)."""

    live: LiveConfig = LiveConfig()
    height_m: float | None = None
    picture: bool = False
    looks: bool = True


class SendSession:
    """A source to one transport, by one system. tracker: of that system; epoch: 0 .. 255, another one at each start."""

    def __init__(
        self, source: Source, transport: Transport, system: System, tracker: Tracker, options: SendOptions, epoch: int
    ):
        self.source, self.transport, self.options = source, transport, options
        self.system, self.tracker = system, tracker
        self.sender = LiveSender(system.live.coder(), transport.send, options.live, epoch)
        self.lost = 0
        self.encode_s: list[float] = []
        self._lock = threading.Lock()
        self._layers: list[bytes] | None = None  # of who it is, not yet told
        self._reported, self._reported_s = 0, -1e9
        self._learnt_s, self._first_s = -1e9, None
        self._picture_s = self._seen_s = -1e9
        self._note, self._ended = "", False
        self.looks: Looks | None = None
        if options.looks and isinstance(tracker, PicturingTracker):
            self.looks = Looks(tracker, system, self._send_look)

    def run(self, stop: threading.Event, tell: Tell | None = None) -> None:
        """Until the source ends or `stop` is set; faults of the source are raised."""
        done = threading.Event()
        service = threading.Thread(target=self._serve, args=(done, tell), name="send-service", daemon=True)
        service.start()
        _still_memory()
        try:
            with one_blas_thread():
                for taken in play(self.source, stop):
                    self._frame(taken)
        finally:
            done.set()
            service.join(2.0)
            if self.looks is not None and not stop.is_set():
                self.looks.end()
            with self._lock:
                self._ended = True
                self.sender.end(time.monotonic())

    def _frame(self, taken: SourceFrame) -> None:
        frame, start_s = taken.frame, time.monotonic()
        try:
            seen = self.tracker.look(Capture([frame], self.options.height_m), taken.captured_s)
        except SomacastError as nobody:
            self.lost, self._note = self.lost + 1, str(nobody)
            if self.looks is not None and taken.captured_s - self._seen_s > ABSENT_S:
                self.looks.forget()
            return
        self._note, self._seen_s = "", taken.captured_s
        self.encode_s = [*self.encode_s[-99:], time.monotonic() - start_s]
        with self._lock:
            self.sender.frame(taken.captured_s, seen.moving, time.monotonic())
        now = time.monotonic()
        self._first_s = now if self._first_s is None else self._first_s
        if now - self._learnt_s >= (LEARN_EARLY_S if now - self._first_s < EARLY_S else LEARN_S):
            self._layers, self._learnt_s = self.tracker.learn(seen, taken.captured_s).layers, now
        self._tell_person(now)
        if self.looks is not None:
            self.looks.offer(seen, now)
            with self._lock:
                room = self.sender.look_room(now)
            self.looks.begin(now, room)
        if self.options.picture and now - self._picture_s >= PICTURE_S:
            self._picture_s = now
            with self._lock:
                self.sender.picture(now, small_jpeg(frame.image))

    def _tell_person(self, now_s: float) -> None:
        gap = PERSON_GAPS_S[min(self._reported, len(PERSON_GAPS_S) - 1)]
        if self._layers is None or now_s - self._reported_s < gap:
            return
        container = self.system.pack(self._layers)
        self._layers, self._reported, self._reported_s = None, self._reported + 1, now_s
        with self._lock:
            self.sender.person(now_s, container)

    def _send_look(self, container: bytes, room_bytes: int) -> None:
        with self._lock:
            if not self._ended:
                self.sender.look(time.monotonic(), container, room_bytes)

    def _serve(self, done: threading.Event, tell: Tell | None) -> None:
        reported_s = 0.0
        while not done.is_set():
            arrival = self.transport.receive(SERVICE_S)
            now = time.monotonic()
            with self._lock:
                while arrival is not None:
                    self.sender.control(arrival.time_s, arrival.data, arrival.peer)
                    arrival = self.transport.receive(0.0)
                self.sender.poll(now)
                status = self.sender.status(now) if tell and now - reported_s >= TELL_S else None
            if status is not None and tell is not None:
                reported_s = now
                tell(status | self._own_status())

    def _own_status(self) -> dict[str, Any]:
        spent = self.encode_s
        encode_ms = 1000 * float(np.median(spent)) if spent else None
        return {
            "encode_ms": encode_ms,
            "lost": self.lost,
            "dropped": self.source.dropped,
            "looks": self.looks is not None,
            "note": self._note or self.transport.notice,
        }


def small_jpeg(image: np.ndarray) -> bytes:
    """A picture [H, W, 3] in [0, 1] as a small JPEG to look at beside the person."""
    from PIL import Image

    picture = Image.fromarray(np.clip(image * 255, 0, 255).astype(np.uint8))
    picture.thumbnail((PICTURE_PX, PICTURE_PX))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=PICTURE_QUALITY)
    return stream.getvalue()


def _still_memory() -> None:
    """What is loaded by now stays: Python's collector need not look at it again, which takes up to 80 ms."""
    gc.collect()
    gc.freeze()


class Output(Protocol):
    """Something that shows or keeps the received person. Called by the session's threads, must not block long."""

    def person(self, body: LiveBody, number: int, who: Payload | None) -> None:
        """Somebody new, or the same one better known; who: all that is to be kept of who it is, the look if one has
        come; None while nothing has."""
        ...

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        """What is to be seen at now_s of somebody with a rig: values [M] of what moves, and their pose; tick: of the
        sender."""
        ...

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None:
        """What is to be seen at now_s of somebody without a rig, made for this frame."""
        ...

    def silence(self, now_s: float) -> None:
        """Nothing new has come for SILENT_S: nobody is to be seen at now_s."""
        ...

    def status(self, status: dict[str, Any]) -> None: ...

    def picture(self, jpeg: bytes) -> None: ...


def show_frame(body: LiveBody, outputs: Sequence[Output], now_s: float, tick: int, values: np.ndarray) -> None:
    """One frame of somebody to all outputs: posed by the rig, or made anew."""
    if body.rig is None:
        human = body.reconstruct(values)
        for output in outputs:
            output.frame(now_s, tick, values, human)
        return
    pose = body.pose(values)
    for output in outputs:
        output.pose(now_s, tick, values, pose)


class ReceiveSession:
    """One transport to outputs, by one system. decoder: of that system."""

    def __init__(
        self, transport: Transport, system: System, decoder: Decoder, outputs: Sequence[Output] = (),
        display_s: float = DISPLAY_S,
    ):  # fmt: skip
        self.transport, self.outputs, self.display_s = transport, list(outputs), display_s
        self.system, self.decoder = system, decoder
        self.receiver = LiveReceiver(system.live.coder())
        self.body: LiveBody | None = None
        self.first_pose_s: float | None = None
        self.faults: list[str] = []
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._picture: bytes | None = None

    def run(self, stop: threading.Event, tell: Tell | None = None, seconds: float | None = None) -> None:
        """Until `stop` is set, `seconds` have passed, or a file has been played."""
        builder = threading.Thread(target=self._build, args=(stop,), name="receive-person", daemon=True)
        taker = threading.Thread(target=self._take, args=(stop,), name="receive-take", daemon=True)
        _still_memory()
        builder.start()
        taker.start()
        start_s = reported_s = time.monotonic()
        due_s = start_s
        try:
            while not stop.is_set():
                now = time.monotonic()
                if seconds is not None and now - start_s >= seconds:
                    break
                self._show(now)
                if self._played_out(now):
                    break
                if now - reported_s >= TELL_S:
                    reported_s = now
                    self._tell(now, tell)
                due_s = max(due_s + self.display_s, now)
                stop.wait(max(due_s - time.monotonic(), 0.0))
        finally:
            stop.set()
            self._wanted.set()
            taker.join(2.0)
            builder.join(5.0)

    def _played_out(self, now_s: float) -> bool:
        """A file that has been played and shown to its end."""
        if not getattr(self.transport, "finished", False):
            return False
        with self._lock:
            newest, offset = self.receiver.playout.newest_s, self.receiver.playout.offset_s
        return newest is None or offset is None or now_s > newest + offset + 0.2

    def _take(self, stop: threading.Event) -> None:
        number = None
        while not stop.is_set():
            arrival = self.transport.receive(0.01)
            now = time.monotonic()
            if arrival is not None:
                with self._lock:
                    wire = len(arrival.data) + self.transport.header_bytes
                    self.receiver.take(arrival.lane, arrival.data, arrival.time_s, wire, arrival.times_s)
                    who = (id(self.receiver.person), id(self.receiver.look), self.receiver.counts.restarts)
                if who != number:
                    number = who
                    self._wanted.set()
            if self.receiver.recorder.due(now):
                with self._lock:
                    report = self.receiver.report(now)
                self.transport.send(Lane.CONTROL, report)

    def _build(self, stop: threading.Event) -> None:
        """The rig of whoever is known, made once for each refinement, beside the motion."""
        self._wanted.set()
        while not stop.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if stop.is_set():
                return
            built_s = time.monotonic()
            with self._lock:
                who, look, number = self.receiver.person, self.receiver.look, self.receiver.person_number
            for shown in [look, None] if look is not None else [None]:  # one that cannot be shown leaves the person
                try:
                    with one_blas_thread():
                        self.body = self.system.live.body(self.decoder, who, *([] if shown is None else [shown]))
                        for output in self.outputs:
                            output.person(self.body, number, shown or who)
                    break
                except Exception as fault:  # a person that cannot be built must not end the session
                    self.faults = [*self.faults[-4:], f"{type(fault).__name__}: {fault}"]
            stop.wait(max(built_s + MIN_REBUILD_S - time.monotonic(), 0.0))

    def _show(self, now_s: float) -> None:
        with self._lock:
            shown = self.receiver.pose(now_s)
            picture, self.receiver.picture = self.receiver.picture, None
        if picture is not None:
            for output in self.outputs:
                output.picture(picture)
        body = self.body
        if shown is None or body is None:
            return
        if shown.overdue_s > SILENT_S:
            for output in self.outputs:
                output.silence(now_s)
            return
        if self.first_pose_s is None and (self.receiver.person or self.receiver.look):
            self.first_pose_s = now_s
        show_frame(body, self.outputs, now_s, round(shown.sender_s * TICKS_PER_S), shown.values)

    def status(self, now_s: float) -> dict[str, Any]:
        """`LiveReceiver.status` with losses seen, playout delay and faults."""
        with self._lock:
            status = self.receiver.status(now_s)
            offset = self.receiver.playout.offset_s
        notice = self.transport.notice
        notes = status["notes"] + ([notice] if notice else [])
        return status | {"offset_s": offset, "faults": self.faults, "notes": notes}

    def _tell(self, now_s: float, tell: Tell | None) -> None:
        status = self.status(now_s)
        for output in self.outputs:
            output.status(status)
        if tell is not None:
            tell(status)
