"""Live for real: sender and receiver in processes of their own, a bad link between them, a browser that looks on."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.emulation.emulator import UdpLinkEmulator
from support.network import chromium
from support.network.transport_cases import wait_until

pytest.importorskip("zenoh")
pytest.importorskip("uvicorn")
NARROW = LinkProfile(capacity=50_000, queue_bytes=6000, delay_s=0.05, loss=0.1)
COMMAND = [sys.executable, "-u", "-m", "somacast.cli.main"]


class Program:
    """A command of Somacast whose output is read as it comes."""

    def __init__(self, *arguments: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    def until(self, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, f"expected {pattern!r}, got {self.text[-500:]!r}"
            self._read()
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.text += (self.process.stdout.read() or b"").decode(errors="replace")
        time.sleep(0.02)

    def interrupt(self) -> int:
        """Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        self._read()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("browser", [False, True], ids=["into a file", "into a browser too"])
def test_a_walking_person_crosses_a_bad_link(tmp_path: Path, free_port: int, browser: bool) -> None:
    if browser and chromium.executable() is None:
        pytest.skip("NO CHROMIUM: THAT A BROWSER SHOWS THE PERSON IS NOT TESTED")
    record = tmp_path / "kept.glb"
    receiver = Program(
        "receive", "--listen", f"127.0.0.1:{free_port}", "--view", "--show-picture", "--record", str(record)
    )
    sender = None
    try:
        url = receiver.until(r"open (http\S+)")[1]
        receiver.until("receiving room")
        with UdpLinkEmulator("127.0.0.1:0", f"127.0.0.1:{free_port}", NARROW, NARROW, seed=3) as link:
            address = "{}:{}".format(*link.address)
            sender = Program(
                "send", "synthetic:walking", "--to", address, "--fps", "15", "--picture", "--batch-ms", "100"
            )
            sender.until(r"1 receiver", 90)
            receiver.until(r"B a frame", 60)
            if browser:
                look_at_the_page(url, tmp_path / "profile")
            assert wait_until(lambda: link.up.sent >= 40, 60), link.up.sent
            assert 0.02 < link.up.lost / link.up.sent < 0.25
        assert sender.interrupt() == 0
        assert "sent" in sender.text and "Traceback" not in sender.text
        assert receiver.interrupt() == 0
        assert "Traceback" not in receiver.text and record.read_bytes()[:4] == b"glTF"
    finally:
        for program in (sender, receiver):
            if program is not None:
                program.kill()


def look_at_the_page(url: str, profile: Path) -> None:
    """A real browser shows the person, who moves."""
    page = chromium.Page(profile)
    try:
        page.size(1000, 640)
        page.open(url)
        page.wait("window.somacast?.stage?.person && somacast.stage.person.bones.length === 21", 40)
        page.wait("document.body.innerText.includes('kbit/s')", 20)
        code = "[6, 7, 14, 18].flatMap((j) => somacast.stage.person.bones[j].quaternion.toArray())"
        seen = []
        for _ in range(8):
            seen.append(page.value(code))
            time.sleep(0.4)
        assert np.ptp(np.array(seen), axis=0).max() > 0.02  # arms and knees move
        image = page.screenshot()
        assert np.asarray(Image.open(io.BytesIO(image)).convert("L")).std() > 10
        if folder := os.environ.get("SOMACAST_SCREENSHOTS"):
            (Path(folder) / "live.png").write_bytes(image)
    finally:
        page.close()


@pytest.mark.slow
def test_a_dead_peer_is_noticed_and_rejoined(free_port: int) -> None:
    receiver = Program("receive", "--listen", f"127.0.0.1:{free_port}")
    sender = None
    try:
        receiver.until("receiving room")
        sender = Program("send", "synthetic:standing", "--to", f"127.0.0.1:{free_port}", "--fps", "10")
        receiver.until(r"B a frame", 90)
        sender.kill()
        receiver.text = ""
        receiver.until("waiting for a sender", 30)
        sender = Program("send", "synthetic:standing", "--to", f"127.0.0.1:{free_port}", "--fps", "10")
        receiver.until(r"B a frame", 90)
        assert receiver.interrupt() == 0
    finally:
        for program in (sender, receiver):
            if program is not None:
                program.kill()
