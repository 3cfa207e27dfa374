"""Looks through sessions on the real clock: made beside the frames, shown beside the motion, or not sent at all."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from somacast.bitstream.container import unpack
from somacast.bitstream.packets import Look, Motion, Person, unpack_packet
from somacast.geometry.reconstruction import Reconstruction
from somacast.network.transport.base import Lane
from somacast.network.transport.memory import MemoryNetwork
from somacast.pipeline.live.recording import FileOutput
from somacast.pipeline.live.sender import LiveConfig, LiveSender
from somacast.pipeline.live.sessions import ReceiveSession, SendOptions, SendSession
from somacast.pipeline.sources import SourceOptions, open_source, play
from somacast.pipeline.video.files import read_video
from somacast.systems.spec import LiveBody, LivePose, PicturingTracker, Tracker
from somacast.types import Capture, Payload
from support.network.live_cases import SYSTEM, coder, container, look_container, moving


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    made = SYSTEM.tracker("cpu", False)
    made.warm_up()
    return made


def sent_by(tracker: Tracker, looks: bool) -> tuple[SendSession, list[bytes]]:
    """A session of a walk before nobody, and all that it sent."""
    kept: list[bytes] = []
    network = MemoryNetwork()
    sending = network.sender()
    send = sending.send
    sending.send = lambda lane, data: kept.append(data) or send(lane, data)  # type: ignore[method-assign]
    source = open_source("synthetic:walking", SourceOptions(fps=10, seconds=1.0))
    session = SendSession(source, sending, SYSTEM, tracker, SendOptions(LiveConfig(adapt=False), looks=looks), 3)
    with source:
        session.run(threading.Event())
    return session, kept


def test_a_look_is_sent_behind_who_it_is(tracker: Tracker) -> None:
    session, sent = sent_by(tracker, True)
    bodies = [unpack_packet(data, coder().digest).body for data in sent]
    first = next(k for k, body in enumerate(bodies) if isinstance(body, Look))
    assert any(isinstance(body, Person) for body in bodies[:first])
    assert any(isinstance(body, Motion) for body in bodies[:first])
    assert session._own_status()["looks"] is True and session.sender.status(1e9)["look_bytes"] > 300


def test_no_looks_means_that_no_picture_leaves_the_machine(tracker: Tracker) -> None:
    """All that is sent: motion and labels, and every container in it is one of labels alone."""
    session, sent = sent_by(tracker, False)
    bodies = [unpack_packet(data, coder().digest).body for data in sent]
    assert not any(isinstance(body, Look) for body in bodies)
    people = [body for body in bodies if isinstance(body, Person)]
    assert people and all(len(unpack(body.container)[0].layers) <= 4 for body in people)
    assert sum(len(body.container) for body in people) < 1000 * len(people) and max(map(len, sent)) < 1000
    assert session._own_status()["looks"] is False


@dataclass
class Kept:
    """An output that keeps what it is given."""

    people: list[tuple[LiveBody, int]] = field(default_factory=list)
    frames: int = 0

    def person(self, body: LiveBody, number: int, who: Payload | None) -> None:
        self.people.append((body, 0 if who is None else len(who.layers)))

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        self.frames += 1

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None: ...

    def silence(self, now_s: float) -> None: ...

    def status(self, status: dict[str, Any]) -> None: ...

    def picture(self, jpeg: bytes) -> None: ...


def received(look: bytes, outputs: list) -> tuple[ReceiveSession, Kept]:
    """A session that is sent a walk and a look, until the look has been tried."""
    network = MemoryNetwork()
    sending, receiving = network.sender(), network.receiver("me")
    sender = LiveSender(coder(), sending.send, LiveConfig(batch_s=0.06))
    kept = Kept()
    session = ReceiveSession(receiving, SYSTEM, SYSTEM.decoder(), [kept, *outputs])
    stop = threading.Event()
    running = threading.Thread(target=session.run, args=(stop,), daemon=True)
    running.start()
    values, number, given = moving(), 0, False
    while number < 600 and not session.faults and not any(layers == 6 for _, layers in kept.people):
        now = network.clock()
        if number == 0:
            sender.person(now, container())
        if not given and len(kept.people) > 1:
            sender.look(now, look, len(look))
            given = True
        sender.frame(now, values[number % len(values)])
        while (arrival := sending.receive(0.0)) is not None:
            assert arrival.lane is Lane.CONTROL
            sender.control(arrival.time_s, arrival.data, arrival.peer)
        sender.poll(now)
        number += 1
        stop.wait(1 / 30)
    frames = kept.frames
    while kept.frames < frames + 5:
        sender.frame(network.clock(), values[number % len(values)])
        sender.poll(network.clock())
        number += 1
        stop.wait(1 / 30)
    stop.set()
    running.join(15)
    assert given and not running.is_alive()
    return session, kept


def test_a_look_is_shown_and_recorded(tracker: Tracker, tmp_path) -> None:
    with open_source("synthetic:walking", SourceOptions(fps=10, seconds=1.0, realtime=False)) as source:
        taken = next(iter(play(source, threading.Event())))
    assert isinstance(tracker, PicturingTracker)
    encoded = tracker.still(tracker.look(Capture([taken.frame]), 0.0))(900)
    assert encoded is not None
    output = FileOutput(tmp_path / "kept.soma", SYSTEM)
    session, _ = received(SYSTEM.pack(encoded.layers), [output])
    assert session.faults == []
    assert session.status(1e9)["look_bytes"] > 700
    output.finish()
    who = read_video((tmp_path / "kept.soma").read_bytes()).people[0]
    assert who is not None and who.layers == encoded.layers


def test_a_look_that_cannot_be_shown_leaves_the_person() -> None:
    session, kept = received(look_container(600), [])
    assert session.body is not None and "BitstreamError" in session.faults[0]
    assert kept.people[-1][1] <= 4 and kept.frames > 5
    assert kept.people[-1][0].rig is not None
