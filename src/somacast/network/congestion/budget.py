"""From the rate of the link to the bytes that the labels of a frame may have; eq. 17 then picks rho per label.

frame_budget_bytes(rate_bps, ...) -> budget -> label coder (fit_budget with lowest_state f) -> rho of every label
"""

from __future__ import annotations

from somacast.checks import check_count, check_number


def frame_budget_bytes(
    rate_bps: float,
    frames_per_s: float,
    header_bytes: int,
    *,
    frames_per_datagram: int = 1,
    datagrams_per_frame: int = 1,
    share: float = 1.0,
) -> int:
    """Bytes that the labels of one frame may have, >= 0, if all frames are to fit the rate with their headers.

    rate_bps > 0, frames_per_s > 0: what the link carries, and frames of the source; header_bytes >= 0: of everything
    around the labels, lower layers included, per datagram; frames_per_datagram >= 1: frames that share one datagram
    (a batch has as many times the budget); datagrams_per_frame >= 1: if a frame is sent in parts or again; share
    (0, 1]: of the rate that is for labels, the rest is for pictures, repairs and who it is. SomacastError otherwise.
    """
    rate = check_number("rate_bps", rate_bps, above=True) * check_number("share", share, 0.0, 1.0, above=True)
    per_frame = rate / 8 / check_number("frames_per_s", frames_per_s, above=True)
    together = check_count("frames_per_datagram", frames_per_datagram, 1)
    parts = check_count("datagrams_per_frame", datagrams_per_frame, 1)
    return max(int(per_frame - check_count("header_bytes", header_bytes) * parts / together), 0)
