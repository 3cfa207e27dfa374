"""Relays: one sender and 200 receivers, late ones, relays that come late, the verb."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from somacast.cli.main import main
from somacast.errors import SomacastError
from somacast.network.keys import load_keys, make_keys
from somacast.network.transport.base import Lane, TransportOptions
from somacast.network.transport.open import open_receiver, open_sender
from somacast.network.transport.places import Place
from somacast.network.transport.zenoh.relay import Relay
from support.network.transport_cases import drain, fetch, wait_until

HERE = Place("127.0.0.1", 0)
GO = TransportOptions(listen=False)


def test_one_sender_reaches_200_receivers_through_relays():
    with (
        Relay([HERE]) as top,
        Relay([HERE], top.places) as left,
        Relay([HERE], top.places) as right,
        open_sender(top.address, "person") as sender,
    ):
        sender.send(Lane.IDENTITY, b"me" * 300)
        receivers = [open_receiver((left, right)[i % 2].address, "person", GO) for i in range(200)]
        try:
            missing = [i for i, one in enumerate(receivers) if fetch(one, Lane.IDENTITY, 12.0) is None]
            assert missing == []
            sent = 0
            for i in range(30):
                sent += sender.send(Lane.LIVE, bytes([i]) * 200)
                time.sleep(0.1)  # a busy machine hands on slowly, and what waits too long is dropped
            time.sleep(0.5)
            got = [sum(one.lane is Lane.LIVE for one in drain(end, 0.0)) for end in receivers]
            assert sent == 30 and min(got) >= 20 and sorted(got)[100] >= 27, f"{min(got)} and more of {sent}"
            assert receivers[7].send(Lane.CONTROL, b"fine") and fetch(sender, Lane.CONTROL, 12.0).data == b"fine"
            assert wait_until(lambda: top.counts() == (1, 2, 1) and left.counts() == (100, 1, 1))
        finally:
            for one in receivers:
                one.close()


def test_who_joins_late_is_served_by_the_relay_and_not_by_the_sender():
    with Relay([HERE]) as relay, open_sender(relay.address, "person") as sender:
        sender.send(Lane.IDENTITY, b"me")
        assert wait_until(lambda: relay.counts()[2] == 1)
        sender._identity = None  # only the relay can say it now
        for _ in range(3):
            with open_receiver(relay.address, "person", GO) as late:
                assert fetch(late, Lane.IDENTITY).data == b"me"
        sender.close()
        assert wait_until(lambda: relay.counts()[2] == 0), "who has left is forgotten"
        with open_receiver(relay.address, "person", GO) as late:
            assert late.receive(0.3) is None


def test_relays_and_senders_may_come_in_any_order():
    place = HERE.with_port()
    with open_receiver(f"zenoh:{place}", "person", GO) as receiver, open_sender(f"zenoh:{place}", "person") as sender:
        sender.send(Lane.IDENTITY, b"me")
        assert receiver.receive(0.2) is None and receiver.peers() == 0
        for _ in range(2):  # the second time, the relay was away for a while
            with Relay([place]):
                assert fetch(receiver, Lane.IDENTITY, 8.0).data == b"me"
                assert wait_until(lambda: sender.send(Lane.LIVE, b"x")) and fetch(receiver, Lane.LIVE)
            assert wait_until(lambda: receiver.peers() == 0)


def test_relays_want_keys_off_loopback_and_refuse_strangers(tmp_path):
    with pytest.raises(SomacastError, match="expected keys"):
        Relay([Place("0.0.0.0", 0)])
    with pytest.raises(SomacastError, match="expected keys"):
        Relay([HERE], [Place("192.0.2.1", 7447)])
    sender_keys, receiver_keys, relay_keys = (load_keys(one) for one in make_keys(tmp_path / "mine"))
    stranger = load_keys(make_keys(tmp_path / "theirs", ["receiver"])[0])
    with (
        Relay([HERE], options=TransportOptions(keys=relay_keys)) as relay,
        open_sender(relay.address, "person", TransportOptions(keys=sender_keys)) as sender,
    ):
        sender.send(Lane.IDENTITY, b"me")
        for keys, expected in ((receiver_keys, b"me"), (stranger, None)):
            with open_receiver(relay.address, "person", TransportOptions(keys=keys, listen=False)) as receiver:
                arrival = fetch(receiver, Lane.IDENTITY, 3.0 if expected else 1.0)
                assert (arrival and arrival.data) == expected


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_verb_runs_until_it_is_told_to_end(end, code):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "somacast.cli.main", "relay", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env={**os.environ, "RUST_LOG": "error"},
    )  # fmt: skip
    try:
        found = re.search(r"relay at (zenoh:127\.0\.0\.1:\d+), without keys", process.stderr.readline().decode())
        with open_sender(found[1], "person") as sender, open_receiver(found[1], "person", GO) as receiver:
            assert wait_until(lambda: sender.send(Lane.LIVE, b"x")) and fetch(receiver, Lane.LIVE)
        process.send_signal(end)
        out, err = (text.decode() for text in process.communicate(timeout=8))
        assert (process.returncode, out) == (code, ""), err
        assert err.startswith("connected: 0 senders and receivers, 0 relays") and err.endswith("relay ended\n")
    finally:
        process.kill()


def test_the_verb_tells_what_is_wrong(tmp_path, capsys):
    for words, message in (
        (["--listen", "nowhere"], "expected HOST:PORT"),
        (["--listen", "0.0.0.0:0"], "expected keys"),
        (["--listen", "127.0.0.1:0", "--keys", str(tmp_path / "none")], "no such folder"),
        (["--receivers", "0"], "peers: expected"),
    ):
        assert main(["relay", *words]) == 2
        assert message in capsys.readouterr().err
