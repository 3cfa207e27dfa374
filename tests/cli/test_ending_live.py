"""How live commands end, and go on: signals, closed terminals, nohup; what they say of the other side, and of typos."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from somacast.cli.live import receive, send
from somacast.cli.live.common import StatusLine, stopping
from somacast.cli.main import main

HERE = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", HERE)
def test_every_kind_of_end_ends_cleanly(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with stopping() as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(2.0)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", HERE)
def test_what_is_ignored_stays_so(name: str) -> None:
    """Under nohup a closed terminal is no end; in the background of a shell without jobs Ctrl-C is none."""
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stopping() as stop:
            os.kill(os.getpid(), number)
            assert not stop.wait(0.05)
    finally:
        signal.signal(number, before)


def test_in_another_thread_it_is_an_event() -> None:
    found: list[threading.Event] = []

    def work() -> None:
        with stopping() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not found[0].is_set()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_has_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    class Gone:
        def isatty(self) -> bool:
            return terminal

        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

        flush = write

    monkeypatch.setattr(sys, "stderr", Gone())
    line = StatusLine()
    line.show("line")
    line.end()


STATUS = {
    "fps": 0.0, "kbit_s": 0.0, "network_state": 0, "rate_bps": None, "peers": 0, "round_trip_s": None, "loss": 0.0,
    "encode_ms": None, "alive": False, "bytes_per_frame": None, "missing": {}, "looks": True,
    "look_bytes": 0,
}  # fmt: skip


def test_status_lines_say_what_is_known_of_the_other_side() -> None:
    text = "nobody answers at udp:[::1]:7447; expected a receiver of room person there"
    assert send._text(STATUS | {"note": text}).endswith(f"0 receivers  looks: none yet  {text}")
    assert "looks: not sent" in send._text(STATUS | {"looks": False, "note": ""})
    assert "looks: 1.5 kB" in send._text(STATUS | {"look_bytes": 1500, "note": ""})
    assert receive._text(STATUS | {"notes": ["older", text]}) == f"waiting for a sender  {text}"
    assert receive._state(STATUS | {"notes": []}) != receive._state(STATUS | {"notes": [text]}), "it is news"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["send", "synthetic:standing", "--to", "127.0.0.1"], "expected HOST:PORT, such as 127.0.0.1:7447"),
        (["send", "synthetic:standing", "--to", "udp:::1:7447"], "IPv6 in brackets"),
        (["send", "synthetic:standing", "--to", "192.0.2.1:7447"], "expected keys"),
        (["send", "synthetic:standing", "--room", "living room"], "room: expected letters"),
        (["receive", "--listen", "localhost"], "expected HOST:PORT, such as localhost:7447"),
        (["receive", "--listen", "192.0.2.1:7447", "--insecure"], "192.0.2.1:7447: cannot listen there"),
        (["receive", "--connect", "zenoh:[::1]:7447"], r"udp:[::1]:7447 takes it"),
        (["receive", "--vmc", "::1:39539"], "IPv6 in brackets"),
        (["receive", "--vmc", "127.0.0.1"], "expected HOST:PORT, such as 127.0.0.1:39539"),
        (["view", "::1:7447"], "IPv6 in brackets"),
        (["relay", "--listen", "[::1"], "expected HOST:PORT"),
    ],
)
def test_what_is_mistyped_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], words: list, message: str) -> None:
    assert main([*words, *(["--seconds", "0.1"] if words[0] != "relay" else [])]) == 2
    text = capsys.readouterr().err.strip()
    assert message in text and "\n" not in text
