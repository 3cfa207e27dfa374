"""The status line of the live verbs where nobody watches: one of every few, and what is news at once."""

from __future__ import annotations

import pytest

from somacast.cli.live.common import StatusLine


def test_news_is_shown_at_once_and_the_rest_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    line = StatusLine(every=4)
    states = [0] * 6 + [1] * 6 + [0] * 2
    for number, state in enumerate(states):
        line.show(f"line {number}", state)
    line.end()
    shown = [int(text.split()[1]) for text in capsys.readouterr().err.splitlines()]
    assert shown == [0, 4, 6, 10, 12]
