"""Pages over WebRTC data channels, for browsers far away: a late pose is dropped by the network, not waited for.

The page makes two channels: "main", reliable and in order, and "poses", unordered and never sent again. Both carry the
messages of messages.py. Nobody else is asked (no STUN or TURN server), and addresses that an offer names are not used:
the browser finds the server at the addresses of the answer, so that an offer cannot make the server call elsewhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
from functools import partial
from typing import Any

from somacast.errors import SomacastError
from somacast.network.transport.webrtc.signalling import cleaned_offer
from somacast.viewer.clients import LinkClosedError, run_session

PART_BYTES = 16 << 10
MAIN_BUFFER_BYTES = 32 << 10  # what may wait in the main channel
POSE_BUFFER_BYTES = 2 << 10  # ten poses; beyond, new ones are dropped
CONNECT_TIMEOUT_S = 15.0
_MAX_WAITING = 64  # messages of the page


class WebRtcPages:
    """The pages of a ViewerServer that came by WebRTC. All methods belong to the server's event loop."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._sessions: set[asyncio.Task[None]] = set()

    async def answer(self, body: bytes) -> str:
        """The SDP answer to an offer; from then on the page has a session. Raises SomacastError for a bad offer or
        when all places are taken."""
        sdp = cleaned_offer(body)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        session = asyncio.create_task(self._serve(sdp, ready))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)
        return await ready

    async def close(self) -> None:
        """End all sessions."""
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    async def _serve(self, sdp: str, ready: asyncio.Future[str]) -> None:
        from aiortc import RTCConfiguration, RTCPeerConnection

        server = self._server
        with server.place() as free:
            if not free:
                ready.set_exception(SomacastError("the receiver serves no more pages"))
                return
            connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            try:
                link = _ChannelLink(connection)
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    ready.set_result(await self._negotiate(connection, sdp))
                    await link.opened.wait()
                await run_session(server.feed, link, server.allow_picture, server.clients)
            except TimeoutError:
                return  # the browser never came
            except Exception as fault:
                if ready.done():
                    raise
                ready.set_exception(SomacastError(f"offer: it cannot be answered ({type(fault).__name__})"))
            finally:
                if not ready.done():
                    ready.set_exception(SomacastError("offer: it was not answered in time"))
                await connection.close()

    async def _negotiate(self, connection: Any, sdp: str) -> str:
        from aiortc import RTCSessionDescription

        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        address = ipaddress.ip_address(self._server.host)
        if not address.is_unspecified:  # aioice would bind all addresses of the machine, and those of loopback never
            ice = connection.sctp.transport.transport.iceGatherer._connection
            ice.get_component_candidates = partial(_candidates_at, ice.get_component_candidates, [str(address)])
        await connection.setLocalDescription(await connection.createAnswer())
        return connection.localDescription.sdp


async def _candidates_at(gather: Any, own: list[str], component: int, addresses: list[str], timeout: int = 5) -> Any:
    """aioice's Connection.get_component_candidates, at the server's own address alone."""
    return await gather(component, own, timeout)


class _ChannelLink:
    """Two data channels as clients.Link."""

    part_bytes = PART_BYTES

    def __init__(self, connection: Any) -> None:
        self.opened = asyncio.Event()
        self._connection = connection
        self._channels: dict[str, Any] = {}
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_WAITING + 1)
        self._room = asyncio.Event()
        connection.on("datachannel", self._add)
        connection.on("connectionstatechange", self._state)

    def _add(self, channel: Any) -> None:
        if channel.label not in ("main", "poses") or channel.label in self._channels:
            channel.close()
            return
        self._channels[channel.label] = channel
        if channel.label == "main":
            channel.bufferedAmountLowThreshold = MAIN_BUFFER_BYTES // 2
            channel.on("bufferedamountlow", self._room.set)
            channel.on("message", self._message)
        channel.on("close", self._end)
        if len(self._channels) == 2:
            self.opened.set()

    def _state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self._end()

    def _message(self, data: Any) -> None:
        if self._incoming.qsize() >= _MAX_WAITING:
            self._end()
        else:
            self._incoming.put_nowait(data if isinstance(data, bytes) else b"")

    def _end(self) -> None:
        self._room.set()
        while self._incoming.qsize() > _MAX_WAITING:
            self._incoming.get_nowait()
        self._incoming.put_nowait(None)

    async def receive(self) -> bytes:
        data = await self._incoming.get()
        if data is None:
            self._end()  # for whoever asks again
            raise LinkClosedError
        return data

    async def send(self, data: bytes) -> None:
        from aiortc import InvalidStateError

        poses, main = self._channels["poses"], self._channels["main"]
        try:
            if data[0] == 3:
                if poses.bufferedAmount < POSE_BUFFER_BYTES:
                    poses.send(data)
                return
            while main.bufferedAmount > MAIN_BUFFER_BYTES:
                self._room.clear()
                await self._room.wait()
                if main.readyState != "open":
                    raise LinkClosedError
            main.send(data)
        except (InvalidStateError, ConnectionError) as fault:
            raise LinkClosedError from fault

    async def close(self, code: int, reason: str) -> None:
        # Data channels have no closing codes; the page reads why from a last status.
        from somacast.viewer.messages import Status

        await self.send(Status({"state": "closed", "notes": [reason]}).encode())
        await asyncio.sleep(0.2)
