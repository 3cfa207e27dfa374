"""Laptops that sleep, clocks that jump, senders that start anew: both ends on clocks of their own, joined by a link."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.bitstream.packets import TICK_SPAN, TICKS_PER_S
from somacast.network.channels.packet.profile import LinkProfile
from somacast.pipeline.live.sender import LiveConfig
from support.network.live_cases import Stage

WRAP_S = TICK_SPAN / TICKS_PER_S
SLEEPS_S = [2.9, 20.0, WRAP_S / 2 + 1, WRAP_S - 0.2, 3600.0]
BACK_S, SHORT_S = 2.0, 5.0  # until all is as before; the same where it may be a link that stood still


class Late:
    """An end whose clock is behind that of the stage, as after a sleep that its clock does not count."""

    def __init__(self, end):
        self.end, self.behind_s = end, 0.0

    def __getattr__(self, name):
        return getattr(self.end, name)

    def __call__(self, time_s):
        return time_s - self.behind_s


class Receiver(Late):
    def take(self, lane, data, time_s, *more):
        self.end.take(lane, data, self(time_s), *more)

    def pose(self, time_s):
        return self.end.pose(self(time_s))

    def report(self, time_s):
        return self.end.report(self(time_s))

    @property
    def recorder(self):
        late = self

        class Due:
            @staticmethod
            def due(time_s):
                return late.end.recorder.due(late(time_s))

        return Due


class Sender(Late):
    def person(self, time_s, container):
        self.end.person(self(time_s), container)

    def frame(self, time_s, values, now_s):
        self.end.frame(self(time_s), values, self(now_s))

    def poll(self, time_s):
        self.end.poll(self(time_s))

    def control(self, time_s, data, peer):
        self.end.control(self(time_s), data, peer)


def awake(seconds: float = 2.0) -> Stage:
    rng = np.random.default_rng(1)
    link = [LinkProfile(delay_s=0.03, header_bytes=0, loss=loss).build(rng) for loss in (0.05, 0.05)]
    run = Stage(*link, LiveConfig(header_bytes=54))
    run.now = 1e5  # as a machine that has been on for a day
    run.next_frame = int(run.now * run.fps) + 1
    run.sender, run.receiver = Sender(run.sender), Receiver(run.receiver)
    return run.run(seconds)


def sleep(run: Stage, seconds: float) -> None:
    """Time passes and nobody does anything; what was on its way is lost."""
    run.now += seconds
    run.next_frame = int(run.now * run.fps) + 1
    for link in (run.up, run.down):
        link.receive(run.now)


def check_shown(run: Stage, since_s: float) -> None:
    """What is shown moves on, no later than a moment, as the person moves."""
    errors = []
    for now, found in [one for one in run.shown if one[0] >= since_s][::6]:
        ago = [
            np.abs(found.values - run.true_values(now - late_s)) / run.coder.scale for late_s in np.arange(0, 0.3, 0.02)
        ]
        errors.append(np.min(np.mean(ago, 1)))
    assert len(errors) > 10 and np.mean(errors) < 0.1, np.round(errors, 2)


@pytest.mark.parametrize("seconds", SLEEPS_S)
@pytest.mark.parametrize("stands", ["none", "sender", "receiver", "both"])
def test_after_a_sleep_the_person_is_shown_again(stands: str, seconds: float) -> None:
    """stands: whose clock does not count the sleep."""
    run = awake()
    sleep(run, seconds)
    for end in (run.sender, run.receiver):
        if stands in (type(end).__name__.lower(), "both"):
            end.behind_s += seconds
    run.run((SHORT_S if seconds < 3 else BACK_S) + 1.0, tell_at=None)
    check_shown(run, run.now - 1.0)
    assert run.receiver.person is not None and run.sender.status(run.sender(run.now))["peers"] == 1


@pytest.mark.parametrize("epoch", [7, 200], ids=["the same epoch", "another epoch"])
@pytest.mark.parametrize(
    "clock_s", [0.0, -1000.0, 3600.0], ids=["same clock", "its machine started anew", "another machine"]
)
@pytest.mark.parametrize("pause_s", [0.3, 30.0])
def test_a_sender_that_starts_anew_is_shown(pause_s: float, clock_s: float, epoch: int) -> None:
    run = awake()
    sleep(run, pause_s)
    run.start_sender(epoch)
    run.sender = Sender(run.sender)
    run.sender.behind_s = clock_s
    run.run(BACK_S + 1.0, tell_at=run.now)
    check_shown(run, run.now - 1.0)


@pytest.mark.parametrize("before_s", [0.5, 10.0])
def test_a_receiver_that_is_started_after_the_sender_is_shown_the_person(before_s: float) -> None:
    run = awake(0.05)
    run.sender.end._peers._known.clear()
    down, run.down, run.tamper = run.down, LinkProfile(loss=1.0).build(np.random.default_rng(0)), lambda data: []
    run.run(before_s)
    run.receiver.end.__init__(run.coder)
    run.down, run.tamper = down, lambda data: [data]
    run.run(BACK_S + 1.0, tell_at=None)
    check_shown(run, run.now - 1.0)
    assert run.receiver.person is not None


@pytest.mark.parametrize("pause_s", [2.0, 2.2, 10.0])
def test_nobody_in_the_picture_for_a_while_ends_no_session(pause_s: float) -> None:
    """While datagrams are lost frames are repeated, but none from before the pause, which a packet cannot name."""
    run = awake(3.0)
    run.run(pause_s, tell_at=None, frames=False)
    run.run(2.5, tell_at=None)
    assert run.sender.status(run.now)["loss"] > 0.01
    check_shown(run, run.now - 1.0)
