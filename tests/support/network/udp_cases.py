"""What the tests of the UDP transport share: keys, and ends on a simulated clock whose datagrams tests can see."""

from __future__ import annotations

import contextlib
import heapq
import random

import pytest

from somacast.network.keys import load_keys, make_keys
from somacast.network.transport.base import TransportOptions
from somacast.network.transport.open import open_receiver, open_sender
from somacast.network.transport.udp import session
from somacast.network.transport.udp.sockets import Way
from somacast.network.transport.udp.wire import Kind

HERE = "udp:127.0.0.1:0"


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder / "home", ["sender", "receiver"])
    make_keys(folder / "theirs", ["sender", "receiver"])
    return folder


@pytest.fixture
def keyed(homes):
    def options(role="receiver", home="home", **changes):
        return TransportOptions(keys=load_keys(homes / home / role), **changes)

    return options


def split_address(address):
    _, host, port = address.split(":")
    return host, int(port)


def kind_of(datagram):
    return Kind(datagram[0] & 15)


def crash(end):
    """Ends without a word."""
    end._leave = lambda: None
    end.close()


def unacknowledged(sender):
    with sender._lock:
        whole = (1 << len(sender._parts)) - 1
        return any(peer.route.acked != whole for peer in sender._peers.values()) or not sender._peers


class _Socket:
    """In place of a socket: hands what is sent to the lab."""

    def __init__(self, lab, own):
        self.lab, self.own = lab, own

    def sendto(self, data, address):
        self.lab.put(self.own, address, data)

    def close(self):
        self.lab.ends.pop(self.own, None)


class Lab:
    """Ends on a simulated clock, joined by links that lose and delay; keeps all that was on the wire.

    loss, delay_s, capacity_bps: of each direction of each link. carries: whether a datagram gets through, when a test
    wants to choose.
    """

    def __init__(self, seed=0, loss=0.0, delay_s=0.01, capacity_bps=1e9):
        self.now_s, self.ends, self.seen = 100.0, {}, []
        self.loss, self.delay_s, self.capacity_bps = loss, delay_s, capacity_bps
        self.carries = lambda data: True
        self._random, self._flying, self._number, self._free_s = random.Random(seed), [], 0, {}

    def sender(self, address, options, room="room"):
        return self._add(open_sender(address, room, options))

    def receiver(self, address, options, room="room"):
        return self._add(open_receiver(address, room, options))

    def _add(self, end):
        own = end._sockets.own[0].getsockname()
        end._sockets.close()
        end._sockets.own = [_Socket(self, own)] * len(end._sockets.own)
        end._clock, end.inbox._clock = lambda: self.now_s, lambda: self.now_s
        self.ends[own] = end
        return end

    def put(self, source, target, data):
        self.seen.append((self.now_s, source, target, data))
        if self._random.random() < self.loss or not self.carries(data):
            return
        way = source, target
        sent_s = max(self._free_s.get(way, 0.0), self.now_s) + 8 * (len(data) + 28) / self.capacity_bps
        self._free_s[way] = sent_s
        self._number += 1
        heapq.heappush(self._flying, (sent_s + self.delay_s, self._number, source, target, data))

    def deliver(self, target, *datagrams, source=("192.0.2.9", 9)):
        """Datagrams of somebody else, at once; returns what was sent back there."""
        before = len(self.seen)
        for data in datagrams:
            target._take(data, Way(0, source), self.now_s)
        return [data for _, _, there, data in self.seen[before:] if there == source]

    def run(self, seconds, until=None, step=None):
        """Let time pass; whether `until` came true (then at once). step: called every 10 ms."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            if until is not None and until():
                return True
            if step is not None:
                step()
            self.now_s += 0.01
            while self._flying and self._flying[0][0] <= self.now_s:
                _, _, source, target, data = heapq.heappop(self._flying)
                if target in self.ends:
                    self.ends[target]._take(data, Way(0, source), self.now_s)
            for one in list(self.ends.values()):
                one._tick(self.now_s)
        return until is not None and until()

    def said(self, kind=None):
        """All datagrams so far, or those of one kind."""
        return [data for _, _, _, data in self.seen if kind is None or kind_of(data) is kind]


@pytest.fixture
def lab(monkeypatch):
    """Makes labs; ends that are opened meanwhile have no thread."""
    monkeypatch.setattr(session.UdpEnd, "_run", lambda end: None)
    with contextlib.ExitStack() as stack:

        def make(**options):
            made = Lab(**options)
            stack.callback(lambda: [end.close() for end in list(made.ends.values())])
            return made

        yield make
