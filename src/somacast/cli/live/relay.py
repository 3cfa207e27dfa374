"""`somacast relay`: pass senders' people on to many receivers."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Annotated

import tyro

from somacast.cli.live.common import DEFAULT_ADDRESS, stopping
from somacast.options import Keys

STATUS_S = 2.0


@dataclass(frozen=True)
class Arguments:
    """Run a relay: senders and receivers connect to it, and every receiver of a room gets what its sender sends.

    Example: somacast relay --listen 0.0.0.0:7447 --keys relay
    """

    listen: str = DEFAULT_ADDRESS
    """HOST:PORT to wait at; only this machine if not given"""
    connect: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """HOST:PORT of another relay, once for each"""
    keys: Keys = None
    """folder of this machine's keys (somacast keys); needed for anything off this machine"""
    insecure: bool = False
    """go without keys, in the clear, where everyone on the way can look on and join in"""
    receivers: int = 1000
    """the most senders, receivers and relays that may be connected here at once"""
    quiet: bool = False
    """no status line"""


def run(arguments: Arguments) -> int:
    """Relay until Ctrl-C or SIGTERM."""
    from somacast.network.keys import load_keys
    from somacast.network.transport.base import Limits, TransportOptions
    from somacast.network.transport.zenoh.ends import parse_places
    from somacast.network.transport.zenoh.relay import Relay

    options = TransportOptions(
        keys=load_keys(arguments.keys) if arguments.keys else None,
        insecure=arguments.insecure,
        limits=Limits(peers=arguments.receivers),
    )
    listen, connect = (
        parse_places(arguments.listen),
        [place for one in arguments.connect for place in parse_places(one)],
    )
    # Signals set an event: an exception in the middle of a call into Zenoh may end the process.
    with stopping() as stop, Relay(listen, connect, options) as relay:
        print(
            f"relay at {relay.address}, {'with keys' if options.keys else 'without keys'}; Ctrl-C ends it", flush=True
        )
        _watch(relay, stop, arguments.quiet)
    print("relay ended")
    return stop.exit_code


def _watch(relay, stop: threading.Event, quiet: bool) -> None:
    """A line on stderr, over itself on a terminal, anew on change elsewhere."""
    before, terminal = None, sys.stderr.isatty()
    while not stop.wait(STATUS_S if before is not None else 0.0):
        ends, relays, rooms = counts = relay.counts()
        line = f"connected: {ends} senders and receivers, {relays} relays; identities kept: {rooms}"
        if not quiet and (terminal or counts != before):
            print(f"\r{line}\x1b[K" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
        before = counts
    if terminal and not quiet:
        print(file=sys.stderr)
