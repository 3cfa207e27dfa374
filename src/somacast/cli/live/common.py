"""What the live verbs share: how a transport is opened from the command line, Ctrl-C, the status line."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from somacast.cli.streams import asking_to_end
from somacast.errors import SomacastError
from somacast.network.transport.base import TransportOptions

DEFAULT_ADDRESS = "localhost:7447"
VMC_PORT = 39539


def transport_options(
    system: str, keys: Path | None, insecure: bool, listen: bool | None, name: str | None = None
) -> TransportOptions:
    """Options of `open_sender` and `open_receiver`; keys are read here, so that a fault is told at once."""
    loaded = None
    if keys is not None:
        from somacast.network.keys import load_keys

        loaded = load_keys(keys)
    from somacast.systems import registry

    _ = registry.get(system).live  # one without a live half is told at once
    return TransportOptions(keys=loaded, insecure=insecure, listen=listen, name=name)


def host_port(text: str, what: str) -> tuple[str, int]:
    """HOST:PORT; SomacastError for anything else."""
    from somacast.network.transport.places import Place

    place = Place.parse(text, what, VMC_PORT)
    if not place.port:
        raise SomacastError(f"{what}: expected a port from 1 to 65535, got {text}")
    return place.host, place.port


class Stop(threading.Event):
    """Set when a session is to end. exit_code: to leave with, as the signal wants that set it; 0 for Ctrl-C, which is
    how sessions end."""

    exit_code = 0


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set: the session then ends by itself, and cleanly. What is
    ignored already stays so (nohup). Signals reach the main thread alone: in another one it is a mere event."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if number != signal.SIGINT and not stop.is_set():
            stop.exit_code = 128 + number
        stop.set()

    before = {number: signal.signal(number, ask) for number in asking_to_end("SIGINT")}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StatusLine:
    """One line on stderr that is written over; where nobody watches, one of every few lines, and each with news."""

    def __init__(self, every: int = 10):
        self.live, self.every, self._count, self._width = sys.stderr.isatty(), every, 0, 0
        self._state: object = None

    def show(self, text: str, state: object = None) -> None:
        """state: what makes a line news when it differs from that of the line before."""
        self._count = 1 if state != self._state else self._count + 1
        self._state = state
        with contextlib.suppress(OSError):  # the terminal is gone: the session goes on
            if self.live:
                print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
                self._width = len(text)
            elif self._count % self.every == 1:
                print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            if self.live and self._width:
                print(file=sys.stderr)


def rate_text(status: dict[str, Any]) -> str:
    """What both ends say alike: fps, kbit/s, network state."""
    return f"{status['fps']:4.1f} fps  {status['kbit_s']:5.1f} kbit/s  f {status['network_state'] / 255:.2f}"
