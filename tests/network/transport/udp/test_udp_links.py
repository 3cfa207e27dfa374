"""The UDP transport over bad links."""

from __future__ import annotations

import numpy as np

from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.emulation.emulator import UdpLinkEmulator
from somacast.network.transport.base import Lane
from somacast.network.transport.open import open_receiver, open_sender
from support.network.transport_cases import drain, fetch, wait_until
from support.network.udp_cases import HERE, unacknowledged


def test_identity_comes_once_over_a_lossy_link(keyed):
    lossy = LinkProfile(delay_s=0.01, loss=0.25, jitter_s=0.01, duplication=0.4)
    with (
        open_receiver(HERE, "room", keyed(lease_s=20.0)) as receiver,
        UdpLinkEmulator("127.0.0.1:0", receiver.address[4:], up=lossy, down=lossy, seed=3) as link,
        open_sender("udp:{}:{}".format(*link.address), "room", keyed("sender", lease_s=20.0)) as sender,
    ):
        data = np.random.default_rng(1).bytes(2000)
        sender.send(Lane.IDENTITY, data)
        found = fetch(receiver, Lane.IDENTITY, 20.0)
        assert found is not None and found.data == data
        assert wait_until(lambda: not unacknowledged(sender), 20.0)
        assert fetch(receiver, Lane.IDENTITY, 0.1) is None and receiver.statistics.replayed > 0


def start_s(lab, keyed, seed, loss):
    """Simulated seconds from the first datagram until identity and motion are there, at 50 kbit/s and 100 ms."""
    sim = lab(seed=seed, loss=loss, delay_s=0.05, capacity_bps=50_000)
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    begun_s, lanes, sent = sim.now_s, {}, []

    def step():
        if sim.now_s - begun_s >= 0.1 * len(sent) - 1e-6:
            sent.append(sender.send(Lane.LIVE, bytes(120)))

    def there():
        for arrival in drain(receiver, 0.0):
            lanes.setdefault(arrival.lane, arrival.time_s - begun_s)
        return len(lanes) == 2

    sender.send(Lane.IDENTITY, bytes(600))
    found = sim.run(10.0, there, step)
    sender.close(), receiver.close()
    return max(lanes.values()) if found else np.inf


def test_start_on_a_narrow_link(lab, keyed):
    assert start_s(lab, keyed, 0, loss=0.0) < 0.35, "a round trip, then 600 bytes"
    found = [start_s(lab, keyed, seed, loss=0.1) for seed in range(60)]
    middle, most = np.percentile(found, [50, 95])
    assert middle < 0.4 and most < 1.0 and max(found) < 2.0


def test_a_long_outage_and_a_lossy_link_do_not_end_it(lab, keyed):
    sim = lab(seed=5, loss=0.3, delay_s=0.1)
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))

    def comes(data):
        return lambda: any(one.data == data for one in drain(receiver, 0.0))

    for turn in range(6):
        sender.send(Lane.IDENTITY, bytes([turn]) * 3000)
        assert sim.run(20.0, comes(bytes([turn]) * 3000))
        sim.carries = lambda data: False
        sim.run(5.0)
        sim.carries = lambda data: True
    assert len(sender._peers) <= 1 and len(receiver._peers) <= 16
