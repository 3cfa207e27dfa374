"""A receiving session on the real clock, through memory, into files, other programs and the viewer's feed."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.geometry.rig import posed
from somacast.network.transport.memory import MemoryNetwork
from somacast.pipeline.live.outputs import VmcOutput
from somacast.pipeline.live.recording import FileOutput
from somacast.pipeline.live.sender import LiveConfig, LiveSender
from somacast.pipeline.live.sessions import ReceiveSession
from somacast.pipeline.video.files import read_video
from somacast.pipeline.video.floor import Floor
from somacast.systems.spec import Decoder
from somacast.viewer.output import ViewerOutput
from support.network.live_cases import SYSTEM, coder, container
from support.network.motion_cases import moving


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return SYSTEM.decoder()


class Fed:
    """A session that a sender feeds with a walk, for two seconds."""

    def __init__(self, decoder: Decoder, outputs: list, seconds: float = 2.0) -> None:
        network = MemoryNetwork()
        sending, receiving = network.sender(), network.receiver("me")
        self.sender = LiveSender(coder(), sending.send, LiveConfig(batch_s=0.06))
        self.session = ReceiveSession(receiving, SYSTEM, decoder, outputs)
        stop = threading.Event()
        running = threading.Thread(target=self.session.run, args=(stop,), daemon=True)
        running.start()
        start, values = time.monotonic(), moving()
        self.sender.person(start, container())
        while (now := time.monotonic()) < start + seconds:
            self.sender.frame(now, values[int((now - start) * 30) % len(values)])
            while (arrival := sending.receive(0.0)) is not None:
                self.sender.control(arrival.time_s, arrival.data, arrival.peer)
            self.sender.poll(now)
            time.sleep(1 / 30)
        stop.set()
        running.join(15)
        assert not running.is_alive() and not self.session.faults


def test_a_session_is_kept_in_every_kind_of_file_and_sent_over_vmc(decoder: Decoder, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(2.0)
        files = [FileOutput(tmp_path / f"kept{suffix}", SYSTEM) for suffix in (".soma", ".glb", ".bvh")]
        vmc = VmcOutput("127.0.0.1", listener.getsockname()[1], SYSTEM)
        fed = Fed(decoder, [*files, vmc])
        vmc.close()
        heard = listener.recv(2000)
    assert heard.startswith(b"#bundle") and b"/VMC/Ext/Bone/Pos" in heard
    assert fed.session.receiver.person is not None
    for output in files:
        assert str(output.path) in output.finish()
    held = read_video((tmp_path / "kept.soma").read_bytes())
    assert len(held.times_s) > 8 and held.times_s[-1] > 0.4
    glb = (tmp_path / "kept.glb").read_bytes()
    assert json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")])["animations"]
    assert (tmp_path / "kept.bvh").read_text().startswith("HIERARCHY")


def test_nothing_received_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SomacastError, match="nothing was received"):
        FileOutput(tmp_path / "a.glb", SYSTEM).finish()
    assert list(tmp_path.iterdir()) == []


def test_the_viewers_feed_gets_person_pose_and_status(decoder: Decoder) -> None:
    shown = ViewerOutput("room test")
    Fed(decoder, [shown])
    latest = shown.feed._latest
    assert {"person", "pose", "status"} <= set(latest)
    snapshot = shown.snapshot()
    assert snapshot is not None and snapshot[:4] == b"glTF"
    shown._rendered(round((time.monotonic() - 0.25) * 120), time.time())
    assert shown.delays_s[-1] == pytest.approx(0.25, abs=0.05)


def test_feet_stand_on_the_floor(decoder: Decoder) -> None:
    person, floor = SYSTEM.live.body(decoder, None), Floor()
    assert person.rig is not None
    for values in moving()[::7]:
        pose = person.pose(values)
        place = floor.place(person.rig, pose.rotations, pose.pelvis_m)
        # to the joints' height above the sole exactly; a foot on its toes or its heel is a little off
        assert abs(posed(person.rig, pose.rotations, place).vertices[:, 1].min()) < 0.03
    upright = floor.place(person.rig, np.array(TPOSE), np.zeros(3))
    assert posed(person.rig, np.array(TPOSE), upright).vertices[:, 1].min() == pytest.approx(0, abs=1e-5)


def test_before_anybody_told_who_it_is_a_mean_person_stands_in(decoder: Decoder) -> None:
    person = SYSTEM.live.body(decoder, None)
    assert person.rig is not None
    height = np.ptp(person.rig.mesh.vertices[:, 1])
    assert 1.4 < height < 2.0 and len(person.rig.mesh.faces) < len(load_body().faces) + 1
