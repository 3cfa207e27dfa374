"""Burst loss: a hidden two-state chain, good and bad, takes one step with every datagram.

With p = P(good -> bad), r = P(bad -> good), loss probabilities h_g and h_b inside the states:

    P(bad)       = p / (p + r)
    mean loss    = (r h_g + p h_b) / (p + r)
    mean burst   = mean loss / P(a loss follows a pass)      [datagrams]; 1 / r for h_g = 0, h_b = 1

The chain counts datagrams, not seconds: a sender that sends half as often meets bursts of the same number of datagrams.
Sources: E. N. Gilbert, "Capacity of a burst-noise channel", 1960 (h_g = 0); E. O. Elliott, "Estimates of error rates
for codes on burst-noise channels", 1963 (both).
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from somacast.checks import check_generator, check_number, check_probability
from somacast.errors import SomacastError
from somacast.network.channels.packet.stage import Removal


class GilbertElliott:
    """Loss in bursts. All four parameters are probabilities in [0, 1]; the first state follows the stationary law.

    Raises SomacastError on other values, and if neither state is ever left (then there is no such law).
    """

    removes_as: ClassVar[Removal] = "lost"

    def __init__(
        self,
        good_to_bad: float,
        bad_to_good: float,
        rng: np.random.Generator,
        *,
        loss_in_good: float = 0.0,
        loss_in_bad: float = 1.0,
    ) -> None:
        self.good_to_bad = check_probability("good_to_bad", good_to_bad)
        self.bad_to_good = check_probability("bad_to_good", bad_to_good)
        self.loss_in_good = check_probability("loss_in_good", loss_in_good)
        self.loss_in_bad = check_probability("loss_in_bad", loss_in_bad)
        self._rng = check_generator("rng", rng)
        if self.good_to_bad + self.bad_to_good == 0:
            raise SomacastError("good_to_bad, bad_to_good: expected at least one above 0, got 0 and 0")
        self._bad = bool(self._rng.random() < self.bad_fraction)

    @classmethod
    def from_loss(cls, mean_loss: float, mean_burst: float, rng: np.random.Generator) -> GilbertElliott:
        """The plain chain (bad loses all, good none) with this mean loss and mean run of losses in datagrams (>= 1).

        Raises SomacastError if no such chain exists: the higher the loss, the longer its bursts must be.
        """
        loss = check_number("mean_loss", mean_loss, 0.0, 1.0)
        burst = check_number("mean_burst", mean_burst, 1.0)
        shortest = math.inf if loss == 1 else loss / (1 - loss)
        if burst < shortest:
            raise SomacastError(
                f"mean_burst: expected at least {shortest:g} for a mean loss of {loss:g}, got {burst:g}"
            )
        return cls(min(shortest / burst, 1.0), 1 / burst, rng)

    @property
    def bad_fraction(self) -> float:
        """Stationary probability of the bad state."""
        return self.good_to_bad / (self.good_to_bad + self.bad_to_good)

    @property
    def mean_loss(self) -> float:
        """Stationary probability that a datagram is lost."""
        bad = self.bad_fraction
        return (1 - bad) * self.loss_in_good + bad * self.loss_in_bad

    @property
    def mean_burst(self) -> float:
        """Mean number of datagrams in a run of losses; 0 if nothing is ever lost, infinity if nothing passes."""
        bad, good = self.bad_fraction, 1 - self.bad_fraction
        after_good = (1 - self.good_to_bad) * self.loss_in_good + self.good_to_bad * self.loss_in_bad
        after_bad = self.bad_to_good * self.loss_in_good + (1 - self.bad_to_good) * self.loss_in_bad
        starts = good * (1 - self.loss_in_good) * after_good + bad * (1 - self.loss_in_bad) * after_bad
        if self.mean_loss == 0:
            return 0.0
        return self.mean_loss / starts if starts > 0 else math.inf

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """The entry time, or nothing."""
        lost = self._rng.random() < (self.loss_in_bad if self._bad else self.loss_in_good)
        leaves = self._rng.random() < (self.bad_to_good if self._bad else self.good_to_bad)
        self._bad = self._bad != leaves
        return () if lost else (time_s,)
