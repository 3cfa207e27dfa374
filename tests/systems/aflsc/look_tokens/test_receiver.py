"""What the receiver takes of the networks of the look tokens, with ones that change colours by what the test says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from somacast.synthetic.datasets.loaders import synthetic_test
from somacast.systems.aflsc.config import DecoderConfig, EncoderConfig
from somacast.systems.aflsc.labels.codec import SYSTEM
from somacast.systems.aflsc.live.skin import Skin
from somacast.systems.aflsc.look_tokens.runner import COLORS, LookReader
from somacast.systems.aflsc.receiver.decoder import Decoder
from somacast.systems.aflsc.receiver.look_layers import OTHER_TOKENS, LookReceiver
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.types import Payload

FRONT, BACK = np.float32(0.1), np.float32(-0.1)
DIMS = (12, 8, 6)


class Reader:
    """Both sides as they are given, the front lighter and the back darker, and the body's own cover and depths."""

    def __init__(self) -> None:
        self.fed: dict[str, np.ndarray] = {}

    def run(self, names, feed):
        self.fed = feed
        given, body = feed["given"][:, :COLORS], feed["condition"][:, :1]
        change = np.repeat([FRONT, BACK], 3)[:, None, None]
        nothing = np.zeros_like(body)
        return [np.concatenate([given + change, 20 * body - 10, nothing, nothing], 1), nothing]


class Refiner:
    def run(self, names, feed):
        return [feed["noisy"]]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder()


def receiver(decoder: Decoder, **config: bool) -> LookReceiver:
    found = LookReceiver(decoder.space, replace(DecoderConfig(), **config), None, "cpu")
    coder = SimpleNamespace(priors=[SimpleNamespace(dims=dims) for dims in DIMS], reads=lambda data: data == b"ours")
    found.__dict__["reader"] = LookReader(Reader(), Refiner(), coder, decoder.space)  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def files(decoder: Decoder) -> dict[int, Payload]:
    """Somebody from behind in files of labels alone and of labels and a picture."""
    sender, item = Encoder(config=EncoderConfig(tokens=False)), next(iter(synthetic_test(1)))
    return {size: Payload(SYSTEM, decoder.codec.digest, sender.encode(item.capture(), size).layers)
            for size in (100, 400)}  # fmt: skip


def shown(decoder: Decoder, payload: Payload, **config: bool):
    found = receiver(decoder, **config)
    return *found.shown(decoder.codec.symbols(payload.layers), decoder.codec.look(payload)), found


def test_without_tokens_a_picture_stays_as_it_is_unless_networks_are_asked_for(decoder, files):
    plain, sides, _ = shown(decoder, files[400], networks=False)
    assert sides is None and plain.behind is None
    found, sides, _ = shown(decoder, files[400], networks=True)
    change = found.picture - plain.picture
    assert np.median(change) == pytest.approx(FRONT, abs=0.01) and sides is not None
    assert found.behind is not None and found.behind.shape == found.picture.shape
    assert np.array_equal(found.codes, plain.codes)


def test_each_side_can_be_left_as_it_is(decoder, files):
    plain, _, _ = shown(decoder, files[400], networks=False)
    found, _, _ = shown(decoder, files[400], networks=True, front=False)
    assert np.array_equal(found.picture, plain.picture) and found.behind is not None
    found, _, _ = shown(decoder, files[400], networks=True, back=False)
    assert not np.array_equal(found.picture, plain.picture) and found.behind is None


def test_networks_are_given_what_labels_or_the_picture_show(decoder, files):
    for size, pictured in ((100, 0), (400, 1)):
        _, _, found = shown(decoder, files[size], networks=True)
        fed = found.reader.session.fed
        assert (fed["given"][0, COLORS] == pictured).all()
        assert not any(fed[f"kept{k}"].any() or fed[f"sent{k}"].any() for k in range(3))
        assert [fed[f"sent{k}"].shape[1] for k in range(3)] == list(DIMS)
        inside = fed["condition"][0, 0] > 0.5
        assert fed["given"][0, :COLORS][:, inside].std() > 0.05, "more than one colour"


def test_labels_alone_are_painted_and_the_body_stays(decoder, files):
    found, sides, look = shown(decoder, files[100], networks=True)
    assert sides is not None and found.picture is not None and found.behind is not None and found.codes is None
    values = decoder.space.vocabulary.dequantise(decoder.codec.symbols(files[100].layers)[None])[0][0]
    posed = decoder.restore(decoder.codec.symbols(files[100].layers))[0]
    assert np.allclose(decoder.space.state(values).rotations, posed.rotations)
    given = look.reader.session.fed["given"][0, :3].transpose(1, 2, 0)
    assert np.abs(sides.front - np.clip(given + 0.5 + FRONT, 0, 1)).max() < 1e-5


def test_labels_alone_need_no_network(decoder, files, monkeypatch):
    monkeypatch.setattr(LookReceiver, "shown", None)
    assert len(Decoder(config=DecoderConfig(networks=False)).decode(files[100]).surface().vertices) > 1000


def test_tokens_of_other_weights_are_left_out_with_a_note(decoder, files):
    symbols, seen = decoder.codec.symbols(files[400].layers), decoder.codec.look(files[400])
    for look in (seen | {"tokens": b"theirs"}, {"tokens": b"theirs"}):
        found, sides = receiver(decoder, networks=True).shown(symbols, look)
        assert sides is not None and found.picture is not None and found.notes == (OTHER_TOKENS,)
    assert not receiver(decoder, networks=True).shown(symbols, seen)[0].notes


def test_without_networks_tokens_say_nothing(decoder, files):
    symbols = decoder.codec.symbols(files[100].layers)
    found, sides = receiver(decoder, networks=False).shown(symbols, {"tokens": b"ours"})
    assert sides is None and found.picture is None and not found.notes
    layers = [*decoder.codec.padded(files[100].layers), b"ours"]
    payload = Payload(SYSTEM, decoder.codec.digest, layers)
    assert np.array_equal(decoder.codec.symbols(layers), symbols) and decoder.codec.is_seen(payload)
    plain = Decoder(config=DecoderConfig(networks=False))
    assert np.array_equal(plain.decode(payload).surface().vertices, plain.decode(files[100]).surface().vertices)
    assert Skin.of(plain, payload).image is None
