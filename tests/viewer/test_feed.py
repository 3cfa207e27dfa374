"""The viewer's protocol, feed and checks, without a server."""

from __future__ import annotations

import contextlib
import json
import re
import time
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.errors import BitstreamError, SomacastError
from somacast.viewer import clients, messages
from somacast.viewer import feed as feeds
from somacast.viewer.feed import PersonFeed
from somacast.viewer.guard import Bucket, bearer, host_allowed, offered_token, own_origin
from somacast.viewer.messages import (
    VERSION,
    Hello,
    Part,
    Person,
    Picture,
    Pose,
    Rendered,
    Status,
    Texture,
    Want,
    Welcome,
    clean_status,
    decode_page,
    decode_server,
)
from somacast.viewer.webrtc import cleaned_offer
from support.network.viewer_cases import GLB, JPEG, STILL, pose

# messages


def test_messages_come_back_as_they_went():
    quaternions = np.random.default_rng(0).standard_normal((21, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    sent = Pose(7, 1.25, quaternions, np.array([0.5, -1, 2]))
    got = decode_server(sent.encode())
    assert isinstance(got, Pose) and (got.frame, got.time_s) == (7, 1.25) and got.pelvis_m.tolist() == [0.5, -1, 2]
    assert len(sent.encode()) == 196
    assert np.abs(got.rotations_local - quaternions).max() < 2e-5
    for message in (
        Welcome(3, 1, 2),
        Person(9, GLB),
        Status({"fps": 30}),
        Picture(JPEG),
        Picture(b""),
        Part(1, 2, 9, b"abc"),
        Texture(9, JPEG),
    ):
        assert decode_server(message.encode()) == message
    for message in (Hello(), Hello(9, 1), Rendered(2**32 - 1, 1.7e12), Want(1)):
        assert decode_page(message.encode()) == message


@pytest.mark.parametrize("message", [Hello(), Rendered(1, 2.0), Want(1)])
def test_cut_and_long_messages_of_pages_are_refused(message):
    data = message.encode()
    for wrong in (*(data[:n] for n in range(len(data))), data + b"x"):
        with pytest.raises(BitstreamError):
            decode_page(wrong)


def test_hostile_numbers_are_refused():
    with pytest.raises(BitstreamError):
        decode_page(Rendered(1, float("nan")).encode())
    with pytest.raises(BitstreamError):
        decode_server(Part(1, 8, 9, b"ab").encode())
    with pytest.raises(BitstreamError):
        decode_server(b"\x04\0\0\0" + b"[" * 5000)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=220))
def test_any_bytes_decode_or_are_refused(data):
    for decode in (decode_page, decode_server):
        with contextlib.suppress(BitstreamError):
            decode(data)


def test_status_is_cleaned():
    got = clean_status(
        {"fps": np.float32(29.5), "loss": 3, "delay_ms": float("nan"), "notes": ["a" * 999], "rho": None}
    )
    assert got == {"fps": 29.5, "loss": 1.0, "notes": ["a" * 200]}
    for wrong in ({"nonsense": 1}, {"fps": "fast"}, {"missing": "face"}):
        with pytest.raises(SomacastError):
            clean_status(wrong)
    assert len(Status(clean_status({"fps": 1, "notes": ["é" * 200] * 32})).encode()) < messages.MAX_STATUS_BYTES


def test_page_and_server_speak_one_version():
    text = (resources.files("somacast.viewer") / "static" / "link.js").read_text()
    assert int(re.search(r"VERSION = (\d+)", text)[1]) == VERSION
    assert int(re.search(r"CLOSE_VERSION = (\d+)", text)[1]) == clients.CLOSE_VERSION


# feed


def test_a_late_page_gets_the_newest_pose_only():
    feed, woken = PersonFeed(), []
    subscription = feed.subscribe(lambda: woken.append(1), 1 << 20)
    for frame in range(100):
        pose(feed, frame)
    now_s = time.monotonic()
    assert len(woken) == 100
    assert [decode_server(data).frame for data in subscription.take(now_s + 1)] == [99]
    assert subscription.take(now_s + 1) == []


def test_a_burst_of_poses_stays_together_and_is_bounded():
    feed = PersonFeed()
    subscription = feed.subscribe(lambda: None, 1 << 20)
    for frame in range(5):
        pose(feed, frame)
    assert [decode_server(data).frame for data in subscription.take()] == [0, 1, 2, 3, 4]
    for frame in range(100):
        pose(feed, frame)
    assert len(subscription.take()) <= feeds.MAX_BURST


def test_newer_replaces_older_even_on_its_way():
    feed = PersonFeed()
    subscription = feed.subscribe(lambda: None, 4096)
    for fps in range(50):
        feed.set_status({"fps": fps})
    assert [decode_server(data).values for data in subscription.take()] == [{"fps": 49}]
    feed.set_person(GLB, 1)
    first = decode_server(subscription.take()[0])
    assert isinstance(first, Part) and first.offset == 0
    newer = GLB[:4] + GLB[:3:-1]
    feed.set_person(newer, 2)
    joined, transfers = b"", set()
    total = 1
    while len(joined) < total:
        pose(feed, 5)  # poses go in between
        head, part = (decode_server(data) for data in subscription.take())
        assert isinstance(head, Pose) and part.offset == len(joined)
        joined, total = joined + part.data, part.total
        transfers.add(part.transfer)
    assert decode_server(joined) == Person(2, newer)
    assert len(transfers) == 1 and first.transfer not in transfers


def kinds(subscription) -> list[str]:
    """What a page gets until there is no more, long messages by the kind that is in their parts."""
    found, joined = [], b""
    while messages := subscription.take():
        for message in map(decode_server, messages):
            if isinstance(message, Part):
                joined = message.data if not message.offset else joined + message.data
                if len(joined) < message.total:
                    continue
                message = decode_server(joined)
            found.append(f"{type(message).__name__} {getattr(message, 'version', '')}".strip())
    return found


@pytest.mark.parametrize("part_bytes", [1024, 1 << 20])
def test_a_texture_follows_its_person_and_goes_with_them(part_bytes):
    feed = PersonFeed()
    early = feed.subscribe(lambda: None, part_bytes)
    feed.set_person(GLB, 1)
    feed.set_texture(JPEG + bytes(5000), 1)
    feed.set_texture(JPEG + bytes(9000), 1)  # takes the place of one that has not been taken
    assert kinds(early) == ["Person 1", "Texture 1"]
    late = feed.subscribe(lambda: None, part_bytes)
    assert kinds(late) == ["Person 1", "Texture 1"]
    feed.set_texture(JPEG + bytes(7000), 1)
    early.take()  # on its way
    feed.set_person(GLB, 2)
    assert kinds(early)[-1] == "Person 2" and kinds(late) == ["Person 2"]
    assert kinds(feed.subscribe(lambda: None, part_bytes)) == ["Person 2"]


def test_pictures_come_only_where_they_are_wanted():
    feed = PersonFeed()
    feed.set_picture(JPEG)
    subscription = feed.subscribe(lambda: None, 1 << 20)
    assert subscription.take() == []
    subscription.pictures = True
    assert decode_server(subscription.take()[0]) == Picture(JPEG)
    feed.set_picture(None)
    assert decode_server(subscription.take()[0]) == Picture(b"")


def test_the_feed_refuses_what_is_none():
    feed = PersonFeed()
    for wrong in (
        lambda: feed.set_person(b"GIF89a", 1),
        lambda: feed.set_person(GLB, -1),
        lambda: feed.set_picture(b"GIF89a"),
        lambda: feed.set_texture(b"GIF89a", 1),
        lambda: feed.set_texture(JPEG, 2**32),
        lambda: feed.set_texture(JPEG + bytes(messages.MAX_TEXTURE_BYTES), 1),
        lambda: feed.set_pose(float("nan"), STILL, np.zeros(3), 0),
        lambda: feed.set_pose(0.0, STILL * 0, np.zeros(3), 0),
        lambda: feed.set_pose(0.0, STILL, np.full(3, np.inf), 0),
        lambda: feed.set_pose(0.0, STILL[:20], np.zeros(3), 0),
    ):
        with pytest.raises(ValueError):
            wrong()


# guard


def test_hosts():
    for good in ("127.0.0.1:80", "127.0.0.1", "localhost:9", "[::1]:80", "LocalHost"):
        assert host_allowed(good, loopback=True)
    for bad in (
        None,
        "",
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "127.0.0.1@evil.example",
        "a b",
        "[::1",
    ):
        assert not host_allowed(bad, loopback=True)
    assert host_allowed("10.0.0.1:80", loopback=False)  # an address cannot be rebound
    assert not host_allowed("evil.example", loopback=False) and host_allowed("Me.example", False, ("me.example",))


def test_origins():
    assert own_origin("http://127.0.0.1:80", "127.0.0.1", "http") and own_origin("http://[::1]:8", "[::1]:8", "http")
    for bad in (None, "null", "http://evil.example", "https://h:8", "http://h:9", "http://h", "http://h:8/x", "http://u@h:8",
                "http://h:x", "file://"):  # fmt: skip
        assert not own_origin(bad, "h:8", "http"), bad


def test_tokens_and_rates():
    assert bearer("Bearer abc") == "abc" and bearer("Basic abc") is None and bearer(None) is None
    assert offered_token(["somacast", "token.x"]) == "x"
    for bad in ([], ["token.x"], ["somacast"], ["somacast", "token.x", "token.y"]):
        assert offered_token(bad) is None
    bucket = Bucket(2.0, 3)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(10.5) and not bucket.take(10.6)


def test_offers_lose_their_addresses():
    sdp = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=candidate:1 1 udp 1 10.0.0.1 22 typ host\r\n"
    assert "10.0.0.1" not in cleaned_offer(json.dumps({"type": "offer", "sdp": sdp}).encode())
