"""Stages are counted by who listens, inside one another, thread by thread."""

from __future__ import annotations

import contextvars
import threading

import pytest

from somacast import timing
from somacast.timing import StageClock, stage


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still unless `ticks[0]` is moved."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def work(ticks: list[float]) -> None:
    with stage("surface"):
        ticks[0] += 1
        with stage("field"):
            ticks[0] += 2
        with stage("colours"):
            ticks[0] += 4


def test_stages_inside_one_another_are_told_apart(ticks):
    clock = StageClock()
    with clock.recording():
        work(ticks)
        with stage("field"):
            ticks[0] += 8
        work(ticks)
    assert clock.seconds == {
        ("surface",): 14, ("surface", "field"): 4, ("surface", "colours"): 8, ("field",): 8,
    }  # fmt: skip
    assert next(iter(clock.seconds)) == ("surface",)  # a stage stands before those inside it
    assert clock.times_s == {"surface": 14, "field": 8}
    assert clock.inside("surface") == {"field": 4, "colours": 8} and clock.inside("surface", "field") == {}


def test_every_clock_hears_every_stage_by_its_own_path(ticks):
    outer, inner = StageClock(), StageClock()
    with outer.recording(), stage("sender"):
        with inner.stage("semantics"):
            work(ticks)
        ticks[0] += 16
    assert inner.times_s == {"semantics": 7} and inner.inside("semantics") == {"surface": 7}
    assert outer.times_s == {"sender": 23} and outer.inside("sender") == {"semantics": 7}
    assert outer.inside("sender", "semantics", "surface") == {"field": 2, "colours": 4}


def test_nothing_is_counted_where_nobody_listens(ticks):
    clock = StageClock()
    work(ticks)
    with clock.recording():
        pass
    work(ticks)
    assert clock.seconds == {} and timing._listeners.get() == ()
    assert stage("a") is stage("b")  # nothing is made


def test_a_stage_that_fails_is_counted_and_over(ticks):
    clock = StageClock()
    with pytest.raises(ValueError), clock.recording():
        try:
            with stage("find"):
                ticks[0] += 1
                raise KeyError
        except KeyError:
            pass
        with stage("extract"):
            ticks[0] += 2
            raise ValueError
    assert clock.seconds == {("find",): 1, ("extract",): 2} and timing._listeners.get() == ()


def test_threads_do_not_hear_one_another():
    clocks, ready = [StageClock(), StageClock()], threading.Barrier(2)

    def run(clock: StageClock, name: str) -> None:
        with clock.recording(), stage(name):
            ready.wait(10)
            with stage("inside"):
                ready.wait(10)

    threads = [threading.Thread(target=run, args=(c, n)) for c, n in zip(clocks, "ab", strict=True)]
    with StageClock().recording():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [list(clock.seconds) for clock in clocks] == [[("a",), ("a", "inside")], [("b",), ("b", "inside")]]


def test_threads_in_a_copy_of_the_context_share_its_clock():
    clock = StageClock()

    def run() -> None:
        for _ in range(500):
            with stage("part"):
                pass

    with clock.recording(), stage("whole"):
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(run,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert list(clock.seconds) == [("whole",), ("whole", "part")]
    assert 0 < clock.seconds["whole", "part"] <= 4 * clock.seconds["whole",]
