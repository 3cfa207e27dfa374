"""The viewer's server on real sockets: who gets in, what comes out, and that nobody can hold anybody up."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from somacast.viewer import server as servers
from somacast.viewer.messages import (
    VERSION,
)
from somacast.viewer.pages import STATIC
from support.network.server_cases import httpx
from support.network.viewer_cases import GLB, TOKEN

for package in ("starlette", "uvicorn"):
    pytest.importorskip(package)


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
            assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
            assert (
                "img-src 'self' blob:;" in policy and "script-src 'self';" in policy and "server" not in answer.headers
            )
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
