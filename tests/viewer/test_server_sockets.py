"""The viewer's server: sockets of pages, strangers and full queues."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import time

import pytest

from somacast.errors import SomacastError
from somacast.viewer import clients
from somacast.viewer import server as servers
from somacast.viewer.feed import PersonFeed
from somacast.viewer.messages import (
    PICTURES,
    VERSION,
    Hello,
    Part,
    Person,
    Picture,
    Pose,
    Rendered,
    Status,
    Want,
    Welcome,
    decode_server,
)
from somacast.viewer.server import RemoteAccess, ViewerServer
from support.network.server_cases import httpx
from support.network.viewer_cases import GLB, JPEG, TOKEN, closing, opened, pose, read_until, wait_until, watching

for package in ("starlette", "uvicorn"):
    pytest.importorskip(package)
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed
InvalidStatus = pytest.importorskip("websockets.exceptions").InvalidStatus
client = pytest.importorskip("websockets.asyncio.client")


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
    feed, rendered = served.feed, []
    feed.on_rendered = lambda frame, time_s: rendered.append((frame, time_s))
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
        page.send(Rendered(12, 1.5e12).encode())
        wait_until(lambda: rendered)
        feed.set_picture(JPEG + b"2")
        pose(feed, 13)
        assert isinstance(read_until(page, lambda m: isinstance(m, Pose | Picture)), Pose)  # no picture any more
        assert rendered == [(12, 1.5e9)]

        def angry(frame, time_s):
            raise RuntimeError

        feed.on_rendered = angry
        page.send(Rendered(13, 1.5e12).encode())
        pose(feed, 14)
        assert read_until(page, lambda m: isinstance(m, Pose)).frame == 14


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


def test_another_version_is_told_so(served):
    with opened(served) as page:
        page.send(Hello(version=VERSION + 1).encode())
        assert decode_server(page.recv(timeout=5)).version == VERSION
        code, reason = closing(page)
    assert code == clients.CLOSE_VERSION and str(VERSION + 1) in reason and "reload" in reason


@pytest.mark.parametrize("data", [b"", b"\x81\1", "text", Rendered(1, 1.0).encode(), b"\x82" + b"\xff" * 15])
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
    wait_until(lambda: served.clients == 0)


def test_places_are_counted_and_given_back(served, monkeypatch):
    monkeypatch.setattr(servers, "MAX_CLIENTS", 2)
    with watching(served), watching(served):
        with opened(served) as third:
            assert closing(third)[0] == 1013
        assert served.clients == 2
    wait_until(lambda: served.clients == 0)
    with watching(served):
        assert served.clients == 1


def test_a_page_that_reads_nothing_holds_up_nobody(served, monkeypatch):
    monkeypatch.setattr(clients, "SEND_TIMEOUT_S", 60.0)  # so that nobody is dropped meanwhile
    feed = served.feed
    big = b"glTF" + bytes(12 << 20)
    with contextlib.ExitStack() as stack:
        stuck = raw_page(served)
        stack.callback(stuck.close)
        feed.set_person(big, 1)
        wait_until(lambda: served.clients == 1)
        page = stack.enter_context(watching(served))
        for frame in range(60):
            pose(feed, frame)
            time.sleep(0.005)
        missing = {59, "person"}
        read_until(page, lambda m: missing.discard("person" if isinstance(m, Person) else m.frame) or not missing, 30)
        assert served.clients == 2


def test_a_page_that_reads_nothing_is_dropped(served, monkeypatch):
    monkeypatch.setattr(clients, "SEND_TIMEOUT_S", 0.1)
    served.feed.set_person(b"glTF" + bytes(12 << 20), 1)
    with contextlib.closing(raw_page(served)):
        wait_until(lambda: served.clients == 1)
        wait_until(lambda: served.clients == 0, 30)
        assert len(served.feed._subscriptions) == 0


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

        # One thread reads and writes: Python's TLS may lose an answer where one reads while another writes.
        async def greeted(origin: str) -> bytes:
            offered = {"origin": origin, "subprotocols": offer, "proxy": None}
            async with client.connect(address, ssl=trust, **offered) as page:
                await page.send(Hello().encode())
                return await asyncio.wait_for(page.recv(), 5)

        with pytest.raises(InvalidStatus):
            asyncio.run(greeted(base.replace("https", "http")))
        assert isinstance(decode_server(asyncio.run(greeted(base))), Welcome)


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
    rendered: list[int] = []
    feed.on_rendered = lambda frame, _: rendered.append(frame)

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
                    main.send(Rendered(frame, 1.0).encode())
                    await asyncio.sleep(0.2)
                    break
        assert served.clients == 1
        await peer.close()

    asyncio.run(page())
    assert isinstance(got[0], Welcome) and Person(6, GLB) in got and rendered
    wait_until(lambda: served.clients == 0)
