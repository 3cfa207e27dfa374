"""Transport over WebRTC data channels: two ends in one process on loopback, no STUN; strangers, noise, rejoining."""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest

from somacast.errors import SomacastError
from somacast.network.keys import load_keys, make_keys
from somacast.network.transport.base import Lane, TransportOptions
from somacast.network.transport.open import open_receiver, open_sender
from somacast.network.transport.webrtc.signalling import cleaned_offer
from support.network.transport_cases import drain, fetch, wait_until

pytest.importorskip("aiortc")
HERE = "webrtc:http://127.0.0.1:0"


def test_all_lanes_and_the_other_side_is_missed_and_found_again():
    quick = TransportOptions(lease_s=1.0)
    receiver = open_receiver(HERE, "person", quick)
    with open_sender(receiver.address, "person", quick) as sender:
        whole = bytes(range(256)) * 64
        assert not sender.send(Lane.IDENTITY, whole) and not sender.send(Lane.LIVE, b"nobody yet")
        assert fetch(receiver, Lane.IDENTITY, 10.0).data == whole
        assert wait_until(lambda: receiver.peers() and sender.peers())
        for i in range(50):
            assert sender.send(Lane.LIVE, bytes([i]) * 300) and receiver.send(Lane.CONTROL, b"fine")
            time.sleep(0.01)
        assert len(drain(receiver)) >= 48 and len(drain(sender)) >= 48
        assert not sender.send(Lane.LIVE, b"x" * 1401)
        with pytest.raises(SomacastError, match="lane: expected CONTROL"):
            receiver.send(Lane.LIVE, b"x")
        receiver.close()
        receiver.close()
        assert wait_until(lambda: not sender.send(Lane.LIVE, b"x"))
        with open_receiver(receiver.address, "person", quick) as again:
            assert fetch(again, Lane.IDENTITY, 10.0).data == whole
            sender.close()
            assert wait_until(lambda: again.peers() == 0, 4.0)


def test_keys_are_shown_by_both_sides(tmp_path):
    sender_keys, receiver_keys, _ = (load_keys(one) for one in make_keys(tmp_path / "mine"))
    stranger = load_keys(make_keys(tmp_path / "theirs", ["sender"])[0])
    with open_receiver("webrtc:https://127.0.0.1:0", "person", TransportOptions(keys=receiver_keys)) as receiver:
        with open_sender(receiver.address, "person", TransportOptions(keys=stranger)) as wrong:
            wrong.send(Lane.IDENTITY, b"forged")
            assert receiver.receive(1.0) is None and not wrong.peers()
        with open_sender(receiver.address, "person", TransportOptions(keys=sender_keys)) as sender:
            sender.send(Lane.IDENTITY, b"me")
            assert fetch(receiver, Lane.IDENTITY, 10.0).data == b"me"
            with open_sender(receiver.address, "person", TransportOptions(keys=sender_keys)) as second:
                second.send(Lane.IDENTITY, b"me too")
                assert receiver.receive(1.0) is None and sender.send(Lane.LIVE, b"still here")


def post(address: str, path: str, body: bytes, kind: str = "application/json") -> int:
    host = address.removeprefix("webrtc:http://")
    web = http.client.HTTPConnection(host, timeout=5)
    try:
        web.request("POST", path, body, {"Content-Type": kind})
        return web.getresponse().status
    finally:
        web.close()


def test_wrong_requests_are_refused_and_change_nothing():
    with open_receiver(HERE, "person") as receiver:
        good = json.dumps({"type": "offer", "sdp": "v=0\r\nm=application 9 x y\r\n"}).encode()
        assert post(receiver.address, "/person", b"{}") == 409
        assert post(receiver.address, "/person", b"[" * 5000) == 409
        assert post(receiver.address, "/person", good) == 409, "SDP that cannot be answered"
        assert post(receiver.address, "/cellar", good) == 404
        assert post(receiver.address, "/person", good, "text/plain") == 400
        host, port = receiver.address.removeprefix("webrtc:http://").split(":")
        for noise in (
            b"\0" * 9000,
            b"POST /person HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
            b"\r\n\r\n",
        ):
            with socket.create_connection((host, int(port)), 5) as raw:
                raw.sendall(noise)
        with open_sender(receiver.address, "person") as sender:
            sender.send(Lane.IDENTITY, b"me")
            assert fetch(receiver, Lane.IDENTITY, 10.0).data == b"me"


def test_offers_are_cleaned():
    sdp = "v=0\r\nm=application 9 x\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=mid:0\r\n"
    clean = cleaned_offer(json.dumps({"type": "offer", "sdp": sdp}).encode())
    assert clean == "v=0\r\nm=application 9 x\r\na=mid:0\r\n"
    for wrong in (
        b"",
        b"\xff",
        b"null",
        b'{"type": "offer", "sdp": 3}',
        b'{"type": "answer", "sdp": "m=application "}',
    ):
        with pytest.raises(SomacastError, match="offer: expected"):
            cleaned_offer(wrong)
    for lines in (["m=audio 9 x"], ["m=application 9 x"] * 2, ["m=application 9 x"] + ["a=b"] * 300):
        with pytest.raises(SomacastError, match="one section"):
            cleaned_offer(json.dumps({"type": "offer", "sdp": "\r\n".join(lines)}).encode())


def test_ends_have_fixed_parts():
    with pytest.raises(SomacastError, match="expected the receiver to listen"):
        open_sender(HERE, "person", TransportOptions(listen=True))
    with pytest.raises(SomacastError, match="expected the receiver to listen"):
        open_receiver(HERE, "person", TransportOptions(listen=False))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SomacastError, match="cannot listen there"):
            open_receiver(f"webrtc:http://127.0.0.1:{taken.getsockname()[1]}", "person")
