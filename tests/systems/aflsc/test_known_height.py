"""A known height: the build follows it, the picture stays covered, and what is no height is refused."""

from __future__ import annotations

import numpy as np
import pytest

import somacast
from somacast.bitstream import container
from somacast.errors import SomacastError
from somacast.pipeline.still.receiver import Receiver
from somacast.pipeline.still.sender import Sender, capture_of
from somacast.synthetic.datasets.loaders import synthetic_test
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.sender.known_height import check_height, standing_height, with_height
from somacast.types import Capture


@pytest.mark.parametrize("height_m", [1.0, 1.5, 1.7, 2.0])
def test_the_likeliest_build_of_a_height_has_that_height(height_m):
    space = load_tables().space
    at, values = space.vocabulary.group_indices("shape"), np.array([x.mean for x in space.vocabulary.labels])
    value_std = np.array([space.vocabulary.labels[i].std for i in at])
    known = with_height(space, values, height_m)
    assert standing_height(known[at]) == pytest.approx(height_m, abs=0.003)
    others = np.setdiff1d(np.arange(len(values)), at)
    np.testing.assert_array_equal(known[others], values[others])
    # any other build of that height is farther from what was believed
    far = lambda v: np.square((v - values[at]) / value_std).sum()  # noqa: E731
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = values.copy()
        other[at] += 0.5 * value_std * rng.standard_normal(len(at))
        other = with_height(space, other, height_m)
        assert far(other[at]) > far(known[at]) - 1e-3


def test_a_sender_that_is_told_the_height_sends_it():
    item = next(iter(synthetic_test(1)))
    sender, receiver = Sender(), Receiver()
    assert item.height_m is not None
    found = {}
    for height_m in (None, item.height_m, 0.85 * item.height_m):
        sent = sender.encode(Capture([item.frame], height_m))
        state = sender.encoder.space.state(
            sender.encoder.space.vocabulary.dequantise(
                sender.encoder.codec.symbols(container.unpack(sent.data)[0].layers)[None]
            )[0][0]
        )
        joints = receiver.decode(sent.data).human.joints
        assert joints is not None
        found[height_m] = standing_height(state.shape), np.abs(joints).mean(), sent.report["consistency"]
    known, small = found[item.height_m], found[0.85 * item.height_m]
    assert known[0] == pytest.approx(item.height_m, rel=0.01)  # labels are rounded
    assert small[0] == pytest.approx(0.85 * item.height_m, rel=0.01)
    assert small[1] / known[1] == pytest.approx(0.85, abs=0.06)
    for _, _, consistency in found.values():  # the picture is covered all the same
        assert consistency["silhouette_iou"] > found[None][2]["silhouette_iou"] - 0.1


@pytest.mark.parametrize("height_m", [0.0, 0.3, 3.0, 175.0, float("nan")])
def test_what_is_no_height_is_refused_in_one_line(height_m):
    with pytest.raises(SomacastError, match=r"height: expected metres from 0\.6 to 2\.5, got"):
        check_height(height_m)
    with pytest.raises(SomacastError, match="height: expected metres"):
        somacast.encode(np.zeros((80, 80, 3), np.uint8), height_m=height_m)


def test_a_capture_gets_a_height_and_the_given_one_stays_as_it_was():
    picture = np.zeros((80, 80, 3), np.uint8)
    capture = capture_of(picture)
    known = capture_of(capture, None, 1.8)
    assert (capture.height_m, known.height_m, capture_of(capture)) == (None, 1.8, capture)
    assert capture_of(known, np.ones((80, 80), bool)).height_m == 1.8
