"""The viewer's protocol, feed and server: who gets in, what comes out, and that nobody can hold anybody up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import re
import socket
import ssl
import time
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.types import BitstreamError, SomacastError
from somacast.viewer import clients, messages
from somacast.viewer import feed as feeds
from somacast.viewer import server as servers
from somacast.viewer.feed import PersonFeed
from somacast.viewer.guard import Bucket, bearer, host_allowed, offered_token, own_origin
from somacast.viewer.messages import (
    PICTURES,
    VERSION,
    Drawn,
    Hello,
    Part,
    Person,
    Picture,
    Pose,
    Status,
    Want,
    Welcome,
    clean_status,
    decode_page,
    decode_server,
)
from somacast.viewer.pages import STATIC
from somacast.viewer.server import MAX_CLIENTS, RemoteAccess, ViewerServer
from somacast.viewer.webrtc import cleaned_offer

httpx = pytest.importorskip("httpx")
connect = pytest.importorskip("websockets.sync.client").connect
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed
InvalidStatus = pytest.importorskip("websockets.exceptions").InvalidStatus
for package in ("starlette", "uvicorn"):
    pytest.importorskip(package)

TOKEN = "test-token-0123456789"
GLB = b"glTF" + bytes(range(256)) * 400
JPEG = b"\xff\xd8" + bytes(500)
STILL = np.tile([0.0, 0.0, 0.0, 1.0], (21, 1))


def pose(feed: PersonFeed, frame: int) -> None:
    feed.set_pose(frame / 30, STILL, np.array([0.0, 1.0, 0.0]), frame)


@pytest.fixture(scope="module")
def running():
    with ViewerServer(PersonFeed(), token=TOKEN, allow_picture=True) as server:
        yield server


@pytest.fixture
def served(running):
    """A server with a feed of its own for each test, and nobody there."""
    running.feed = PersonFeed(snapshot=lambda: GLB)
    running._snapshots, running._offers = Bucket(2.0, 5), Bucket(2.0, MAX_CLIENTS)
    yield running
    read_until_true(lambda: running.clients == 0)


def opened(server: ViewerServer, token: str = TOKEN, name: str = "127.0.0.1", **changes):
    """A WebSocket as a page of the server opens it, which is known under `name`."""
    base = f"{name}:{server.port}"
    options = {"subprotocols": ["somacast", f"token.{token}"], "origin": f"http://{base}", "proxy": None}
    options |= {"address": (server.host, server.port), "open_timeout": 5, "close_timeout": 1, "max_size": 1 << 24}
    options |= changes
    return connect(f"ws://{base}/live", **options)


@contextlib.contextmanager
def watching(server: ViewerServer, flags: int = 0):
    with opened(server) as page:
        page.send(Hello(flags=flags).encode())
        assert isinstance(decode_server(page.recv(timeout=5)), Welcome)
        yield page


def read_until(page, wanted, seconds: float = 5.0):
    """The first message for which `wanted` is true; parts are joined."""
    parts: dict[int, bytearray] = {}
    end = time.monotonic() + seconds
    while True:
        message = decode_server(page.recv(timeout=max(end - time.monotonic(), 0.01)))
        if isinstance(message, Part):
            joined = parts.setdefault(message.transfer, bytearray())
            assert message.offset == len(joined)
            joined += message.data
            if len(joined) < message.total:
                continue
            message = decode_server(bytes(joined))
        if wanted(message):
            return message


# messages


def test_messages_come_back_as_they_went():
    turns = np.random.default_rng(0).standard_normal((21, 4))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    sent = Pose(7, 1.25, turns, np.array([0.5, -1, 2]))
    got = decode_server(sent.encode())
    assert isinstance(got, Pose) and (got.frame, got.time_s) == (7, 1.25) and got.pelvis_m.tolist() == [0.5, -1, 2]
    assert len(sent.encode()) == 196
    assert np.abs(got.rotations_local - turns).max() < 2e-5
    for message in (
        Welcome(3, 1, 2),
        Person(9, GLB),
        Status({"fps": 30}),
        Picture(JPEG),
        Picture(b""),
        Part(1, 2, 9, b"abc"),
    ):
        assert decode_server(message.encode()) == message
    for message in (Hello(), Hello(9, 1), Drawn(2**32 - 1, 1.7e12), Want(1)):
        assert decode_page(message.encode()) == message


@pytest.mark.parametrize("message", [Hello(), Drawn(1, 2.0), Want(1)])
def test_cut_and_long_messages_of_pages_are_refused(message):
    data = message.encode()
    for wrong in (*(data[:n] for n in range(len(data))), data + b"x"):
        with pytest.raises(BitstreamError):
            decode_page(wrong)


def test_hostile_numbers_are_refused():
    with pytest.raises(BitstreamError):
        decode_page(Drawn(1, float("nan")).encode())
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


# server over HTTP


def test_pages_and_their_headers(served):
    base = f"http://{served.host}:{served.port}"
    assert served.url == f"{base}/#token={TOKEN}" and served.host == "127.0.0.1"
    with httpx.Client(base_url=base, trust_env=False) as web:
        for path, (_, kind) in STATIC.items():
            answer = web.get("/" + path)
            assert answer.status_code == 200 and answer.headers["content-type"] == kind
            assert TOKEN not in answer.text and "http://" not in re.sub(
                r"http://www\.w3\.org\S*", "", answer.text[:3000]
            )
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "server" not in answer.headers
            again = web.get("/" + path, headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
        for path in ("/nothing", "/static/index.html", "/..%2fserver.py", "/three.LICENSE", "/a/b"):
            assert web.get(path).status_code == 404, path
        assert web.post("/", headers={"origin": base}).status_code == 405


def test_the_bundle_is_small_and_keeps_its_licence():
    data = (resources.files("somacast.viewer") / "static" / "three.bundle.js").read_bytes()
    assert len(data) < 800_000 and b"SPDX-License-Identifier: MIT" in data


def test_other_hosts_origins_and_tokens_are_refused(served):
    base, key = f"http://{served.host}:{served.port}", {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=base, trust_env=False) as web:
        assert web.get("/", headers={"host": "evil.example"}).status_code == 421
        assert web.get("/hello", headers=key | {"origin": "http://evil.example"}).status_code == 403
        assert web.post("/webrtc", headers=key, content=b"{}").status_code == 403  # no Origin at all
        for path in ("/hello", "/snapshot.glb"):
            for headers in (
                {},
                {"authorization": "Bearer wrong-wrong-wrong-wrong"},
                {"authorization": f"Basic {TOKEN}"},
            ):
                assert web.get(path, headers=headers).status_code == 401
            assert web.get(f"{path}?token={TOKEN}").status_code == 401  # never in an address
            assert web.get(path, headers=key).headers["cache-control"] == "no-store"
        assert web.post("/webrtc", headers={"origin": base}, content=b"{}").status_code == 401
        assert web.get("/hello", headers=key).json()["version"] == VERSION


def test_snapshots(served):
    base, key = f"http://{served.host}:{served.port}", {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=base, trust_env=False) as web:
        answer = web.get("/snapshot.glb", headers=key)
        assert answer.content == GLB and ".glb" in answer.headers["content-disposition"]
        served.feed.snapshot = lambda: None
        assert web.get("/snapshot.glb", headers=key).status_code == 404
        assert 429 in {web.get("/snapshot.glb", headers=key).status_code for _ in range(8)}


def test_bad_offers(served):
    pytest.importorskip("aiortc")
    base = f"http://{served.host}:{served.port}"
    headers = {"authorization": f"Bearer {TOKEN}", "origin": base}
    video = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    broken = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    with httpx.Client(base_url=base, trust_env=False, headers=headers) as web:
        for sdp in (video, video.replace("video", "application") * 2, broken, "a=x\r\n" * 999, 7):
            answer = web.post("/webrtc", json={"type": "offer", "sdp": sdp})
            assert answer.status_code == 400 and answer.text.startswith("offer:"), sdp
        assert web.post("/webrtc", content=b"[" * 9000).status_code == 400
        assert web.post("/webrtc", content=b"x" * (servers.MAX_OFFER_BYTES + 1)).status_code == 413
    assert served.clients == 0


# server over WebSocket


def test_sockets_of_strangers_are_refused(served):
    port = served.port
    for changes in (
        {"token": "wrong-wrong-wrong-wrong"},
        {"subprotocols": ["somacast"]},
        {"subprotocols": None},
        {"origin": "http://evil.example"},
        {"origin": None},
        {"origin": f"http://127.0.0.1:{port + 1}"},
        {"name": "evil.example"},
    ):
        with pytest.raises(InvalidStatus) as refusal, opened(served, **changes):
            pass
        assert refusal.value.response.status_code == 403, changes
    assert served.clients == 0


def test_a_page_gets_all_that_is_there(served):
    feed, drawn = served.feed, []
    feed.on_drawn = lambda frame, time_s: drawn.append((frame, time_s))
    feed.set_person(GLB, 4)
    feed.set_status({"fps": 30})
    feed.set_picture(JPEG)
    pose(feed, 12)
    with watching(served, PICTURES) as page:
        kinds = {}
        while len(kinds) < 4:
            message = read_until(page, lambda m: True)
            kinds[type(message)] = message
        assert kinds[Person] == Person(4, GLB) and kinds[Picture] == Picture(JPEG)
        assert kinds[Pose].frame == 12 and kinds[Status].values == {"fps": 30}
        page.send(Want(0).encode())
        page.send(Drawn(12, 1.5e12).encode())
        read_until_true(lambda: drawn)
        feed.set_picture(JPEG + b"2")
        pose(feed, 13)
        assert isinstance(read_until(page, lambda m: isinstance(m, Pose | Picture)), Pose)  # no picture any more
        assert drawn == [(12, 1.5e9)]

        def angry(frame, time_s):
            raise RuntimeError

        feed.on_drawn = angry
        page.send(Drawn(13, 1.5e12).encode())
        pose(feed, 14)
        assert read_until(page, lambda m: isinstance(m, Pose)).frame == 14


def read_until_true(condition, seconds: float = 5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_pictures_need_leave():
    feed = PersonFeed()
    feed.set_picture(JPEG)
    with ViewerServer(feed, token=TOKEN) as server, watching(server, PICTURES) as page:
        page.send(Want(PICTURES).encode())
        pose(feed, 1)
        time.sleep(0.1)
        pose(feed, 2)
        for _ in range(2):
            assert isinstance(decode_server(page.recv(timeout=5)), Pose)


def closing(page) -> tuple[int, str]:
    """How the server ends it."""
    with pytest.raises(ConnectionClosed) as end:
        while True:
            page.recv(timeout=5)
    assert end.value.rcvd
    return end.value.rcvd.code, end.value.rcvd.reason


def test_another_version_is_told_so(served):
    with opened(served) as page:
        page.send(Hello(version=VERSION + 1).encode())
        assert decode_server(page.recv(timeout=5)).version == VERSION
        code, reason = closing(page)
    assert code == clients.CLOSE_VERSION and str(VERSION + 1) in reason and "reload" in reason


@pytest.mark.parametrize("data", [b"", b"\x81\1", "text", Drawn(1, 1.0).encode(), b"\x82" + b"\xff" * 15])
def test_bad_first_words(served, data):
    with opened(served) as page:
        page.send(data)
        code, _ = closing(page)
    assert code == clients.CLOSE_PROTOCOL


def test_bad_later_words_floods_and_silence(served, monkeypatch):
    with watching(served) as page:
        page.send(b"\xff" * 16)
        assert closing(page)[0] == clients.CLOSE_PROTOCOL
    with watching(served) as page:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(clients.PAGE_BURST + 20):
                page.send(Want(0).encode())
        assert closing(page)[0] == clients.CLOSE_RATE
    with watching(served) as page:
        with contextlib.suppress(ConnectionClosed):
            page.send(b"\x82" * 100_000)
        assert closing(page)[0] == 1009
    monkeypatch.setattr(clients, "HELLO_TIMEOUT_S", 0.1)
    with opened(served) as page:
        assert closing(page) == (clients.CLOSE_PROTOCOL, "expected Hello, got silence")
    read_until_true(lambda: served.clients == 0)


def test_places_are_counted_and_given_back(served, monkeypatch):
    monkeypatch.setattr(servers, "MAX_CLIENTS", 2)
    with watching(served), watching(served):
        with opened(served) as third:
            assert closing(third)[0] == 1013
        assert served.clients == 2
    read_until_true(lambda: served.clients == 0)
    with watching(served):
        assert served.clients == 1


def test_a_page_that_reads_nothing_holds_up_nobody(served, monkeypatch):
    monkeypatch.setattr(clients, "SEND_TIMEOUT_S", 0.5)
    feed = served.feed
    big = b"glTF" + bytes(12 << 20)
    with contextlib.ExitStack() as stack:
        stuck = raw_page(served)
        stack.callback(stuck.close)
        feed.set_person(big, 1)
        read_until_true(lambda: served.clients == 1)
        page = stack.enter_context(watching(served))
        slowest_s = 0.0
        for frame in range(60):
            start_s = time.monotonic()
            pose(feed, frame)
            slowest_s = max(slowest_s, time.monotonic() - start_s)
            time.sleep(0.005)
        missing = {59, "person"}
        read_until(page, lambda m: missing.discard("person" if isinstance(m, Person) else m.frame) or not missing)
        assert slowest_s < 0.2
        read_until_true(lambda: served.clients == 1)  # the stuck one has been dropped
        assert len(feed._subscriptions) == 1


def raw_page(server: ViewerServer) -> socket.socket:
    """A page that says Hello and then never reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((server.host, server.port))
    base = f"{server.host}:{server.port}"
    lines = [
        f"GET /live HTTP/1.1\r\nHost: {base}\r\nOrigin: http://{base}",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        f"Sec-WebSocket-Protocol: somacast, token.{TOKEN}\r\n\r\n",
    ]
    sock.sendall("\r\n".join(lines).encode())
    assert b"101" in sock.recv(64)
    sock.sendall(b"\x82\x84\0\0\0\0" + Hello().encode())
    return sock


# starting and ending


def test_only_loopback_unless_told():
    feed = PersonFeed()
    for host, remote in (
        ("0.0.0.0", None),
        ("::", None),
        ("0.0.0.0", RemoteAccess()),
        ("example.org", None),
        ("", None),
    ):
        with pytest.raises(SomacastError, match="host: expected"):
            ViewerServer(feed, host=host, remote=remote)
    for token in ("short", "with space and more than 16", ""):
        with pytest.raises(SomacastError, match="token"):
            ViewerServer(feed, token=token)
    with pytest.raises(SomacastError, match="port"):
        ViewerServer(feed, port=70000)


def test_a_port_is_taken_once_and_given_back():
    feed = PersonFeed()
    server = ViewerServer(feed)
    assert len(server.token) >= 32
    with pytest.raises(SomacastError, match="cannot be used"):
        ViewerServer(feed, port=server.port)
    with watching_with(server) as page:
        server.close()
        assert closing(page)[0] == 1012
    server.close()
    ViewerServer(feed, port=server.port).close()


@contextlib.contextmanager
def watching_with(server: ViewerServer):
    with opened(server, server.token) as page:
        page.send(Hello().encode())
        page.recv(timeout=5)
        yield page


def test_tls(tmp_path):
    pytest.importorskip("cryptography")
    certificate, key = self_signed(tmp_path)
    with pytest.raises(SomacastError, match="certificate"):
        ViewerServer(PersonFeed(), remote=RemoteAccess(key, key))
    with ViewerServer(PersonFeed(), token=TOKEN, remote=RemoteAccess(certificate, key)) as server:
        trust = ssl.create_default_context(cafile=str(certificate))
        base = f"https://127.0.0.1:{server.port}"
        assert server.url.startswith(base)
        assert httpx.get(base, verify=trust, trust_env=False).status_code == 200
        address = f"wss://127.0.0.1:{server.port}/live"
        offer = ["somacast", f"token.{TOKEN}"]
        with pytest.raises(InvalidStatus):
            connect(address, ssl=trust, origin=base.replace("https", "http"), subprotocols=offer, proxy=None)
        with connect(address, ssl=trust, origin=base, subprotocols=offer, proxy=None) as page:
            page.send(Hello().encode())
            assert isinstance(decode_server(page.recv(timeout=5)), Welcome)


def self_signed(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "viewer")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_webrtc_carries_the_same_messages(served, monkeypatch):
    """Our page's part played by aiortc; Chromium plays it in test_viewer_page.py."""
    aiortc = pytest.importorskip("aiortc")
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: ["127.0.0.1", "127.0.0.2"])
    feed = served.feed
    feed.set_person(GLB, 6)
    base = f"http://{served.host}:{served.port}"
    headers = {"authorization": f"Bearer {TOKEN}", "origin": base}
    got: list[object] = []
    drawn: list[int] = []
    feed.on_drawn = lambda frame, _: drawn.append(frame)

    async def page() -> None:
        peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        main = peer.createDataChannel("main")
        poses = peer.createDataChannel("poses", ordered=False, maxRetransmits=0)
        joined = bytearray()

        def on_message(data: bytes) -> None:
            message = decode_server(data)
            if isinstance(message, Part):
                joined.extend(message.data)
                message = decode_server(bytes(joined)) if len(joined) == message.total else message
            got.append(message)

        main.on("message", on_message)
        poses.on("message", on_message)
        main.on("open", lambda: main.send(Hello().encode()))
        await peer.setLocalDescription(await peer.createOffer())
        async with httpx.AsyncClient(trust_env=False) as web:
            offer = {"type": "offer", "sdp": peer.localDescription.sdp}
            answer = await web.post(f"{base}/webrtc", headers=headers, json=offer)
        assert answer.status_code == 200, answer.text
        sdp = answer.json()["sdp"]
        hosts = {line.split()[4] for line in sdp.splitlines() if line.startswith("a=candidate")}
        assert hosts == {"127.0.0.1"}  # bound where the server is bound, nowhere else
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(sdp, "answer"))
        async with asyncio.timeout(10):
            for frame in range(400):
                pose(feed, frame)
                await asyncio.sleep(0.02)
                if any(isinstance(m, Pose) for m in got) and any(isinstance(m, Person) for m in got):
                    main.send(Drawn(frame, 1.0).encode())
                    await asyncio.sleep(0.2)
                    break
        assert served.clients == 1
        await peer.close()

    asyncio.run(page())
    assert isinstance(got[0], Welcome) and Person(6, GLB) in got and drawn
    read_until_true(lambda: served.clients == 0)


def test_offers_lose_their_addresses():
    sdp = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=candidate:1 1 udp 1 10.0.0.1 22 typ host\r\n"
    assert "10.0.0.1" not in cleaned_offer(json.dumps({"type": "offer", "sdp": sdp}).encode())
