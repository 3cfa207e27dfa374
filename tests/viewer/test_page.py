"""The page in a real Chromium: it shows the person, obeys keys, fits a phone, and comes back after a break."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from somacast.formats.texture import encode_image
from somacast.geometry.rig import translated
from somacast.viewer.feed import PersonFeed
from somacast.viewer.server import ViewerServer
from support.network import chromium
from support.network.walking_demo import Walk, WalkingDemo, synthetic_rig
from support.texture_cases import body_texture, textured_rig

pytest.importorskip("websockets")
pytest.importorskip("uvicorn")
TOKEN = "page-token-0123456789"
if chromium.executable() is None:
    pytest.skip("NO CHROMIUM: THE VIEWER'S PAGE IS NOT TESTED", allow_module_level=True)


@pytest.fixture(scope="module")
def rig():
    return synthetic_rig(3)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    page = chromium.Page(folder, ("--allow-loopback-in-peer-connection",))
    yield page
    page.close()


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 40, 40)).save(out, "JPEG")
    return out.getvalue()


def pixels(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def view(page) -> dict[str, float]:
    return page.value("(({theta, phi, radius}) => ({theta, phi, radius}))(somacast.stage.pose())")


def settled(page) -> dict[str, float]:
    page.wait("!somacast.stage.move")
    time.sleep(0.2)
    return view(page)


def hand(page) -> np.ndarray:
    """The left hand as seen from the pelvis, metres."""
    code = "[0, 8].map((j) => somacast.stage.person.bones[j].getWorldPosition(somacast.stage.center.clone()).toArray())"
    pelvis, hand = np.array(page.value(code))
    return hand - pelvis


def shows(text: str) -> str:
    return f"document.getElementById('notice').innerText.includes({text!r})"


def test_the_page(page, rig):
    rendered = []
    feed = PersonFeed(on_rendered=lambda frame, time_s: rendered.append((frame, time_s)))
    demo = WalkingDemo(feed, rig, Walk.made(1), picture())
    server = ViewerServer(feed, token=TOKEN, allow_picture=True)
    try:
        page.size(1000, 640)
        page.open(server.url)
        page.wait(f"window.somacast?.link === 'open' && {shows('Waiting for a person')}", 15)
        assert page.value("document.getElementById('snapshot').disabled")
        demo.start()
        page.wait("somacast.person === 1 && somacast.frames > 5 && somacast.poses > 10", 15)
        moves_and_is_seen(page)
        assert page.value("document.getElementById('kbit').textContent") not in ("", "–")
        keys_work(page)
        names_are_given(page)
        fits_a_phone(page)
        assert rendered and all(abs(time_s - time.time()) < 60 for _, time_s in rendered)
        assert len({frame for frame, _ in rendered}) == len(rendered) and rendered[-1][0] <= demo.frame
        comes_back(page, server, feed)
    finally:
        demo.close()
        server.close()
    assert [line for line in page.console if bad(line)] == []


def bad(line: str) -> bool:
    """Whether the console tells of a fault of ours; the break of the connection was wanted."""
    wanted = ("ERR_CONNECTION", "WebSocket connection to", "ERR_SOCKET", "ERR_EMPTY")
    return line.startswith(("exception", "error")) and not any(text in line for text in wanted)


def moves_and_is_seen(page) -> None:
    first = hand(page)
    time.sleep(0.5)
    assert np.abs(hand(page) - first).max() > 0.01
    end = time.monotonic() + 15  # a busy machine shows a frame some time after it was rendered
    while True:
        seen = pixels(page)
        height, width, _ = seen.shape
        body = seen[int(0.15 * height) : int(0.75 * height), int(0.4 * width) : int(0.6 * width)]
        lit = body.max(2) > 90
        if lit.mean() > 0.15 or time.monotonic() > end:
            break
    assert lit.mean() > 0.15, "no person to be seen"
    assert len(np.unique(body[lit] // 16, axis=0)) > 30, "the person has no colours"
    assert (seen[int(0.45 * height), [5, width - 6]].max(1) < 60).all(), "the ground is not dark"


def keys_work(page) -> None:
    start = settled(page)
    page.press("ArrowLeft")
    turned = settled(page)
    assert turned["theta"] < start["theta"] - 0.1
    page.press("+")
    nearer = settled(page)
    assert nearer["radius"] < 0.95 * start["radius"]
    page.press("ArrowUp")
    assert settled(page)["phi"] < start["phi"] - 0.1
    page.press("r")
    back = settled(page)
    assert all(abs(back[key] - start[key]) < 0.02 for key in start)
    page.press("o")
    assert page.value("document.getElementById('overlay').hidden")
    page.press("o")
    assert not page.value("document.getElementById('overlay').hidden")
    page.wait("!document.getElementById('inset').hidden")
    page.press("p")
    assert page.value("document.getElementById('inset').hidden")
    page.press("p")
    page.wait("!document.getElementById('inset').hidden && document.getElementById('picture').width === 40")
    page.press("h")
    assert page.value("document.getElementById('keys').open")
    page.press("Escape")
    assert not page.value("document.getElementById('keys').open")
    page.press("f")
    assert page.value("document.getElementById('follow').getAttribute('aria-pressed')") == "false"
    page.press("f")
    page.press("s")
    assert page.wait("somacast.snapshot?.bytes") > 100_000
    page.value("document.getElementById('stage').blur()")
    page.press("Tab")
    style = "getComputedStyle(document.activeElement)"
    assert page.value(f"document.activeElement.matches(':focus-visible') && {style}.outlineStyle") == "solid"


def names_are_given(page) -> None:
    unnamed = (
        "[...document.querySelectorAll('button, canvas')].filter((x) => !(x.ariaLabel || x.innerText).trim()).length"
    )
    assert page.value(unnamed) == 0
    assert page.value("performance.getEntriesByType('resource').every((x) => x.name.startsWith(location.origin))")


def fits_a_phone(page) -> None:
    page.size(390, 844, mobile=True)
    page.wait("somacast.stage.canvas.clientWidth === 390")
    assert page.value("document.documentElement.scrollWidth") <= 390
    boxes = page.value(
        "['overlay', 'tools', 'inset'].map((id) => document.getElementById(id).getBoundingClientRect().toJSON())"
    )
    for box in boxes:
        assert box["left"] >= 0 and box["right"] <= 390 and box["top"] >= 0 and box["bottom"] <= 844
    assert boxes[0]["bottom"] < 0.35 * 844 and boxes[1]["top"] > 0.85 * 844
    touch = page.value("[...document.querySelectorAll('#tools button')].map((x) => x.getBoundingClientRect().toJSON())")
    assert all(box["height"] >= 44 and box["width"] >= 44 and 0 <= box["left"] <= 390 - box["width"] for box in touch)
    time.sleep(0.5)
    seen = pixels(page)[300:700, 100:290]
    assert (seen.max(2) > 90).mean() > 0.15


def comes_back(page, server, feed) -> None:
    port = server.port
    server.close()
    page.wait(shows("Connection lost, trying again"))
    assert page.value("somacast.person") == 1  # stays to be seen
    with ViewerServer(feed, port=port, token=TOKEN):
        frames = page.value("somacast.frames")
        page.wait(f"somacast.link === 'open' && somacast.frames > {frames + 3}", 10)
        page.wait("document.getElementById('inset').hidden")  # this server gives no pictures


def test_a_texture_is_shown_and_another_takes_its_place(page):
    rig = textured_rig()
    rig = translated(replace(rig, mesh=replace(rig.mesh, texture=body_texture(colored("red")))), -rig.joints[0])
    feed = PersonFeed()
    demo = WalkingDemo(feed, rig, Walk.made(1)).start()
    with ViewerServer(feed, token=TOKEN) as server:
        try:
            for quality in (3, 2):  # skinned by the processor and by the graphics card
                feed.set_texture(encode_image(colored("red")), 1)
                page.size(480, 360)
                page.open(server.url.replace("/#", f"/?quality={quality}#"))
                page.wait("window.somacast?.person === 1 && somacast.frames > 2 && somacast.textures === 1", 20)
                assert is_seen(page, 0), "the person is not red"
                feed.set_texture(encode_image(colored("blue", 256)), 1)  # of another size, too
                page.wait("somacast.textures === 2")
                assert is_seen(page, 2), "the new texture is not shown"
                feed.set_texture(b"\xff\xd8 damaged", 1)
                feed.set_texture(encode_image(colored("red")), 7)  # of somebody who is not there
                time.sleep(0.5)
                assert page.value("[somacast.textures, somacast.person, somacast.notes.length]") == [2, 1, 0]
                assert is_seen(page, 2)
        finally:
            demo.close()
    assert [line for line in page.console if bad(line)] == []


def colored(name: str, size_px: int = 128) -> np.ndarray:
    return np.asarray(Image.new("RGB", (size_px, size_px), name))


def is_seen(page, channel: int) -> bool:
    """Whether the person is of one colour, and lit."""
    frames = page.value("somacast.frames")
    page.wait(f"somacast.frames > {frames + 1}")
    seen = pixels(page)
    body = seen[seen.max(2) - seen.min(2) > 100]
    return len(body) > 2000 and (body.argmax(1) == channel).mean() > 0.99 and np.ptp(body[:, channel]) > 60


def test_other_ways_in(page, rig):
    pytest.importorskip("aiortc")
    feed = PersonFeed()
    demo = WalkingDemo(feed, rig, Walk.made(1)).start()
    with ViewerServer(feed, token=TOKEN) as server:
        try:
            page.size(480, 360)
            page.open(server.url.replace("/#", "/?webrtc=1#"))
            page.wait("window.somacast?.person === 1 && somacast.poses > 10", 15)
            assert page.value("somacast.way") == "WebRTC" and page.value("somacast.notes.length") == 0
            assert page.value(PLAYOUT) == "smooth"
            page.open(server.url.replace(TOKEN, "wrong-wrong-wrong-wrong"))
            page.wait(f"window.somacast?.link === 'refused' && {shows('token of this address is not right')}")
            page.value("window.RTCPeerConnection = undefined")
            page.open(f"http://{server.host}:{server.port}/")
            page.wait(f"window.somacast?.link === 'refused' && {shows('no token')}")
            without = "delete window.RTCPeerConnection"
            script = page.call("Page.addScriptToEvaluateOnNewDocument", source=without)["identifier"]
            page.open(server.url.replace("/#", "/?webrtc=1#"))
            page.wait("window.somacast?.person === 1", 15)
            assert page.value("somacast.way") == "WebSocket"
            assert "WebRTC did not work" in page.value("document.getElementById('notes').innerText")
            page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        finally:
            demo.close()


# Poses of a joint that turns evenly arrive late by 0 to 60 ms, one in ten never, then none for a second.
PLAYOUT = """import('/playout.js').then(({ Playout }) => {
  const playout = new Playout(), arrivals = [];
  const angle = (t) => 0.0006 * t;
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let frame = 0; frame < 150; frame++) {
    const t = (1000 * frame) / 30, turns = new Float32Array(84).fill(0);
    for (let j = 0; j < 21; j++) { turns[4 * j] = Math.sin(angle(t) / 2); turns[4 * j + 3] = Math.cos(angle(t) / 2); }
    const pose = { frame, t, turns, pelvis: new Float32Array(3) };
    if (random() > 0.1) arrivals.push({ at: 5000 + t + 60 * random(), pose });
  }
  arrivals.sort((a, b) => a.at - b.at);
  let last = null, late = 0, end = null;
  for (let now = 5000; now < 11500; now += 1000 / 60) {
    while (arrivals.length && arrivals[0].at <= now) playout.push(arrivals[0].pose, arrivals.shift().at);
    if (playout.sample(now) === null) continue;
    const shown = 2 * Math.atan2(playout.turns[0], playout.turns[3]);
    const step = last === null ? 0 : shown - last;
    if (now > 6000 && now < 9900 && !(step > 0.2 * 0.01 && step < 2 * 0.01)) return `a step of ${step} at ${now}`;
    if (now > 7000 && now < 9900) late = Math.max(late, (angle(now - 5000) - shown) / 0.0006);
    if (now > 11000) { if (end !== null && end !== shown) return 'it does not hold'; end = shown; }
    last = shown;
  }
  if (late > 150) return `late by ${late} ms`;
  return end > angle(4966) && end < angle(4966 + 150) ? 'smooth' : `it ends at ${end}`;
})"""
