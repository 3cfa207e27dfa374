"""Shared by test_emulator.py and test_emulate_verb.py."""

from __future__ import annotations

import socket

from somacast.network.channels.packet.profile import LinkProfile

IDEAL = LinkProfile()


def udp(timeout_s: float = 2.0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.bind(("127.0.0.1", 0))
    made.settimeout(timeout_s)
    return made


def name_of(end: socket.socket) -> str:
    return f"127.0.0.1:{end.getsockname()[1]}"
