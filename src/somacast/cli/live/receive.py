"""`somacast receive`: a live person from a sender: into a browser, a file, other programs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from somacast.cli.live.common import DEFAULT_ADDRESS, StatusLine, host_port, rate_text, stopping, transport_options
from somacast.formats.export import TexturePx
from somacast.options import Device, Keys, Maybe, SystemName, Written, check_positive
from somacast.systems.registry import DEFAULT

RECORDED = (".soma", ".glb", ".bvh")


@dataclass(frozen=True)
class Arguments:
    """Receive a person live and show them in the browser, record them, or hand them to other programs.

    Example: somacast receive --view

    Example: somacast receive --connect zenoh:relay.example.org:7447 --keys receiver --record me.glb
    """

    listen: Annotated[str, Maybe()] = DEFAULT_ADDRESS
    """where senders find this receiver: HOST:PORT, zenoh:HOST:PORT, webrtc:http://HOST:PORT, or a .soma file to play"""
    connect: Annotated[str | None, Maybe()] = None
    """go to a listening sender (HOST:PORT) or a relay (zenoh:HOST:PORT) instead of waiting"""
    room: str = "person"
    """name of the stream"""
    keys: Keys = None
    """folder with this machine's keys"""
    insecure: bool = False
    """leave this machine without encryption"""
    name: str | None = None
    """by which the sender knows this receiver"""
    view: bool = False
    """serve a page that shows the person, and print its address"""
    view_port: int = 0
    """port of the page, 0: any free one"""
    show_picture: bool = False
    """let the page show the sender's own picture, where one is sent"""
    record: Annotated[Path | None, Written(RECORDED)] = None
    """file to write: .soma (labels), .glb (rigged, animated) or .bvh; grows as NAME.part.soma meanwhile"""
    vmc: str | None = None
    """HOST:PORT of a program that listens for VMC, such as 127.0.0.1:39539"""
    seconds: float | None = None
    """end after that long"""
    system: SystemName = DEFAULT
    """which system the sender uses"""
    texture: TexturePx | None = None
    """side of the person's texture in texels; 512 if not given"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(seconds=self.seconds)


def run(arguments: Arguments) -> int:
    """Open, receive until the end or Ctrl-C."""
    vmc = host_port(arguments.vmc, "--vmc") if arguments.vmc else None
    options = transport_options(
        arguments.system, arguments.keys, arguments.insecure, arguments.connect is None, arguments.name
    )
    return receive(arguments, arguments.connect or arguments.listen, options, vmc, arguments.device)


def receive(arguments: Any, address: str, options: Any, vmc: tuple[str, int] | None, device: str) -> int:
    """The session of `receive` and `view`; arguments: system, room, view, view_port, show_picture, record, seconds,
    texture."""
    import contextlib

    from somacast.network.transport.open import open_receiver
    from somacast.pipeline.live.outputs import VmcOutput
    from somacast.pipeline.live.recording import FileOutput
    from somacast.pipeline.live.sessions import LIVE_TEXTURE_PX, ReceiveSession
    from somacast.systems import registry

    system = registry.get(arguments.system)
    system = system.textured(arguments.texture or (LIVE_TEXTURE_PX if system.spec.textured else None))
    with contextlib.ExitStack() as stack:
        transport = stack.enter_context(open_receiver(address, arguments.room, options))
        outputs: list[Any] = []
        recorder = FileOutput(arguments.record, system) if arguments.record else None
        if recorder is not None:
            outputs.append(recorder)
            stack.callback(recorder.close)
        if vmc:
            outputs.append(VmcOutput(*vmc, system))
            stack.callback(outputs[-1].close)
        if arguments.view:
            from somacast.viewer.output import ViewerOutput
            from somacast.viewer.server import ViewerServer

            shown = ViewerOutput(f"room {arguments.room}")
            server = ViewerServer(shown.feed, port=arguments.view_port, allow_picture=arguments.show_picture)
            stack.enter_context(server)
            outputs.append(shown)
            print(f"open {server.url}", flush=True)
        session = ReceiveSession(transport, system, system.decoder(device), outputs)
        print(f"receiving room {arguments.room} at {transport.address}; Ctrl-C ends", flush=True)
        if recorder is not None:
            print(f"recording into {recorder.journal.path}, which decode opens whatever happens", flush=True)
        line = StatusLine()
        try:
            with stopping() as stop:
                session.run(stop, lambda status: line.show(_text(status), _state(status)), arguments.seconds)
        finally:
            line.end()
            if recorder is not None:
                print(recorder.finish(time.monotonic()))
    counts = session.receiver.counts
    print(f"received {counts.frames} frames in {counts.received} datagrams, {counts.received_bytes:,} bytes")
    return stop.exit_code


def _state(status: dict[str, Any]) -> object:
    """Whether a sender is there, whether frames of it have come, and what is told of the other side."""
    return status["alive"], status["bytes_per_frame"] is not None, status["notes"][-1:]


def _text(status: dict[str, Any]) -> str:
    if not status["alive"]:
        return "waiting for a sender" + "".join(f"  {note}" for note in status["notes"][-1:])
    parts = [rate_text(status)]
    if status["bytes_per_frame"] is not None:
        parts.append(f"{status['bytes_per_frame']:.0f} B a frame")
    parts.append(f"loss {100 * status['loss']:.0f} %")
    if status["look_bytes"]:
        taken = time.strftime("%H:%M:%S", time.localtime(time.time() - status["look_age_s"]))
        parts.append(f"looks: {status['look_bytes'] / 1000:.1f} kB of {taken}")
    if status["missing"]:
        parts.append("not yet told: " + ", ".join(status["missing"]))
    return "  ".join(parts)
