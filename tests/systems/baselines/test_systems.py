"""Pictures and meshes as systems: through sender, file and receiver, rebuilt by a toy in the default system's place."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from somacast.bitstream.container import pack, packed_bytes
from somacast.capture.cropping import SquareBox
from somacast.capture.detector import Detection
from somacast.errors import BitstreamError, SomacastError
from somacast.pipeline.still import inspect
from somacast.pipeline.still.receiver import Receiver
from somacast.pipeline.still.sender import Sender
from somacast.systems import registry
from somacast.systems.baselines.picture import search
from somacast.systems.baselines.picture.codecs import PICTURE_CODECS
from somacast.systems.baselines.picture.encoder import PictureEncoder
from somacast.systems.baselines.picture.place import PLACE_BYTES
from somacast.systems.spec import Kind, SearchingEncoder
from somacast.types import Capture, Encoded, Frame, Payload, Texture
from support.picture_cases import picture
from support.toy_default import ToyDefault, toy_default

needs_ffmpeg = pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None, reason="VIDEO CODECS ARE NOT TESTED: imageio-ffmpeg is missing"
)
needs_draco = pytest.mark.skipif(
    importlib.util.find_spec("DracoPy") is None, reason="DRACO IS NOT TESTED: pip install 'somacast[bench]'"
)
PICTURES = [pytest.param(name, marks=() if name in ("jpeg", "webp") else needs_ffmpeg) for name in PICTURE_CODECS]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyDefault]:
    with toy_default(monkeypatch) as made:
        yield made


def capture(masked: bool = True) -> Capture:
    image = np.full((96, 96, 3), 0.5, np.float32)
    image[16:80, 16:80] = picture(64) / 255
    mask = np.zeros((96, 96), np.float32)
    mask[20:76, 36:60] = 1
    return Capture([Frame(image, mask if masked else None)])


def test_every_codec_is_a_system_under_its_own_name():
    assert set(PICTURE_CODECS) <= set(registry.names())
    for name in (*PICTURE_CODECS, "draco", "obj"):
        spec = registry.get(name).spec
        assert spec.name == name and Kind.MESH in spec.outputs
        assert spec.inputs.mask == (Kind.IMAGE in spec.outputs) == (name in PICTURE_CODECS)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_a_budget_becomes_the_person_the_receiver_sees(toy, name):
    sent = Sender(name).encode(capture(), 200)
    assert len(sent.data) <= 200 and sent.report["bytes"] == len(sent.data)
    assert "px, 4:" in sent.report["setting"] and sent.report["search"]["attempt"] == 0
    got = Receiver().decode(sent.data)
    assert got.human.image is not None and got.human.image.shape == (256, 256, 3)
    assert got.human.joints is not None and got.human.info["setting"] == sent.report["setting"]
    assert toy.seen[-1] in toy.seen[:-1]  # the receiver sees what the sender has looked at
    header = inspect.describe(sent.data)["header"]
    assert header["system"] == name and header["setting"] == sent.report["setting"]
    assert header["picture_bytes"] + 4 + header["header_bytes"] == len(sent.data)


def test_without_a_budget_the_picture_is_good_and_no_larger_than_it_must_be(toy):
    sent = Sender("webp").encode(capture())
    assert 25 <= sent.report["search"]["picture_psnr_db"] < 27 and "48 px" in sent.report["setting"]


def test_budgets_of_one_person_share_a_search_and_other_people_do_not(toy, monkeypatch):
    made = []
    monkeypatch.setattr(
        "somacast.systems.baselines.picture.encoder.PictureSearch",
        lambda *arguments: made.append(arguments) or search.PictureSearch(*arguments),
    )
    sender = Sender("jpeg")
    first = sender.encode(capture(), 150).data
    sender.encode(capture(), 300)
    assert len(made) == 1
    other = capture()
    other.frame.image[30:40] = 0.1
    assert sender.encode(other, 150).data != first and len(made) == 2
    assert sender.encode(capture(), 150).data == first and len(made) == 3


def test_the_background_is_one_colour_but_in_the_plain_variant(toy):
    noisy = capture()
    assert noisy.frame.mask is not None
    beyond = noisy.frame.mask < 0.5
    noisy.frame.image[beyond] = np.random.default_rng(0).random((int(beyond.sum()), 3))
    plain, flat = Sender("jpeg:plain").encode(noisy), Sender("jpeg").encode(noisy)
    assert len(flat.data) < len(plain.data)
    assert registry.get("jpeg:plain").pack([b"x"]) == registry.get("jpeg").pack([b"x"])  # no variant in the file


def test_the_picture_lies_over_the_person_but_in_the_plain_variant(toy, monkeypatch):
    decode = toy.decode
    # as far before the camera as the picture's person covers the toy's body
    monkeypatch.setattr(toy, "decode", lambda p: replace(decode(p), pelvis_m=np.array([0.0, 0.0, 3.5])))
    data = Sender("webp").encode(capture()).data
    got = Receiver().decode(data).human.surface()
    plain = Receiver(variants={"webp": "webp:plain"}).decode(data).human.surface()
    assert got.colors is not None and plain.colors is not None and got.texture is not None
    assert plain.texture is not None and not np.array_equal(got.texture.image, plain.texture.image)
    front = (got.vertices[:, 2] > 0.12) & (got.vertices[:, 1] > 0.2)
    assert front.sum() > 20 and plain.colors[:, 0].max() < 0.61 < got.colors[front, 0].mean()  # the red of the picture


def test_of_the_best_pictures_the_one_is_sent_whose_person_looks_right(toy):
    sender = Sender("jpeg")
    assert isinstance(sender.encoder, PictureEncoder)
    judged: list[np.ndarray] = []

    def later_is_better(truth, result):
        assert truth.shape == result.shape == (256, 256, 3) and truth[0, 0, 0] == 0.5
        judged.append(result)
        return 1 / len(judged)

    sender.encoder.criterion = later_is_better
    sent = sender.encode(capture(), 200)
    assert len(judged) == 3 and sent.report["search"]["attempt"] == 0
    assert sender.encode(capture(), 200).data == sent.data and len(judged) == 3  # each file is judged once
    assert sender.encoder._search is not None
    third = sender.encoder._search.best(sender.encoder._room(200))[2]
    assert sent.report["search"]["picture_psnr_db"] == third.psnr_db
    plain = Sender("jpeg:plain")
    assert isinstance(plain.encoder, PictureEncoder)
    plain.encoder.criterion = lambda truth, result: pytest.fail("compared")
    plain.encode(capture(), 200)


def test_a_setting_of_an_earlier_search_gives_the_same_file_without_one(toy, monkeypatch):
    sender = Sender("jpeg")
    sent = sender.encode(capture(), 200)
    again = Sender("jpeg").encoder
    assert isinstance(again, PictureEncoder) and isinstance(again, SearchingEncoder)
    monkeypatch.setattr(search.PictureSearch, "best", lambda *_: pytest.fail("searched"))
    found = again.encode_again(capture(), sent.report["setting"], 200)
    assert found is not None and sender.system.pack(found.layers) == sent.data
    assert again.encode_again(capture(), sent.report["setting"], len(sent.data) - 1) is None
    assert again.encode_again(capture(), "what nobody sends", 200) is None


def test_the_best_picture_in_which_somebody_is_seen_is_sent(toy, monkeypatch):
    plain, refused = toy.encode, []

    def blind_at_first(frames, *rest):
        if len(refused) < 1:
            refused.append(frames)
            raise SomacastError("no person")
        return plain(frames, *rest)

    monkeypatch.setattr(toy, "encode", blind_at_first)
    assert Sender("jpeg").encode(capture(), 200).report["search"]["attempt"] == 1
    monkeypatch.setattr(toy, "encode", lambda *_: (_ for _ in ()).throw(SomacastError("no person")))
    with pytest.raises(SomacastError, match="200 bytes is too small for jpeg: the receiver would see nobody"):
        Sender("jpeg").encode(capture(), 200)
    with pytest.raises(SomacastError, match="jpeg: the receiver would see nobody in the coded picture"):
        Sender("jpeg").encode(capture())


def test_where_nobody_is_seen_in_the_pictures_of_a_budget_a_smaller_file_goes(toy, monkeypatch):
    plain, tried = toy.encode, []
    sender = Sender("jpeg")
    assert isinstance(sender.encoder, PictureEncoder)
    attempts = sender.encoder.config.attempts

    def blind_to_the_first(frames, *rest):
        tried.append(frames)
        if len(tried) <= attempts:
            raise SomacastError("no person")
        return plain(frames, *rest)

    monkeypatch.setattr(toy, "encode", blind_to_the_first)
    sent = sender.encode(capture(), 400)
    assert sent.report["search"]["attempt"] == attempts and 140 < len(sent.data) <= 300


@pytest.mark.parametrize("budget", [5, 15, 20])
def test_a_budget_that_holds_no_picture_is_told(toy, budget):
    with pytest.raises(SomacastError, match=f"a budget of {budget} bytes is too small for jpeg: no picture fits"):
        Sender("jpeg").encode(capture(), budget)


def test_a_budget_is_spent_to_the_byte_where_the_length_grows_by_one(toy):
    encoder = Sender("jpeg").encoder
    assert isinstance(encoder, PictureEncoder)
    for budget in (130, 138, 139, 140, 141, 400):
        room = encoder._room(budget)
        assert packed_bytes("jpeg", [PLACE_BYTES + room]) <= budget < packed_bytes("jpeg", [PLACE_BYTES + room + 1])


def test_without_a_mask_the_default_system_says_where_the_person_is(toy):
    sent = Sender("jpeg").encode(capture(masked=False))
    # the toy's box begins at a quarter of the picture, its silhouette at (16, 8) of 64 and is 24 x 48 large
    middle, side = (96 * (0.25 + 28 / 64), 96 * 32 / 64), 96 * 48 / 64 * 1.1
    expected = [middle[0] - side / 2, middle[1] - side / 2, middle[0] + side / 2, middle[1] + side / 2]
    assert sent.report["person_box_px"] == pytest.approx(expected, abs=1.5)
    assert sent.report["notes"] == ["seen by a toy"]


def test_without_a_silhouette_the_detector_says_where_the_person_is(toy, monkeypatch):
    plain = toy.encode

    def without_maps(*arguments):
        return Encoded(plain(*arguments).layers)

    monkeypatch.setattr(toy, "encode", without_maps)
    seen = Detection(SquareBox(50.0, 40.0, 40.0))
    monkeypatch.setattr("somacast.systems.baselines.picture.encoder.find_person", lambda frame: seen)
    sent = Sender("jpeg").encode(capture(masked=False))
    assert sent.report["person_box_px"] == pytest.approx([28, 18, 72, 62], abs=1.5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([b""], "one layer with a coded picture"),
        ([b"\0\0\0\0\0\0"], "one layer with a coded picture"),
        ([b"\0" * 9, b"x"], "one layer with a coded picture"),
        ([b"\0\0\0\0\xff\0abcdef"], "expected a picture of this codec"),
        ([b"\0\0\0\0\x10\0abcdef"], "expected a picture of this codec"),
    ],
)
def test_layers_that_no_encoder_makes_are_refused(toy, layers, message):
    data = pack(Payload("jpeg", b"\0\0\0", layers))
    with pytest.raises(BitstreamError, match=message):
        Receiver().decode(data)


def test_an_obj_file_of_a_budget_comes_back_without_joints(toy):
    sender = Sender("obj")
    whole, small = sender.encode(capture()), sender.encode(capture(), 5000)
    assert len(small.data) <= 5000 < len(whole.data)
    got = Receiver().decode(small.data).human
    header = inspect.describe(small.data)["header"]
    assert got.joints is None and header["triangles"] == len(got.surface().faces) > 10
    with pytest.raises(SomacastError, match="a budget of 60 bytes is too small: obj needs"):
        sender.encode(capture(), 60)
    for layers in ([b"nonsense nonsense"], [b"123456"], [b"v", b"f"]):
        with pytest.raises(BitstreamError, match="OBJ file|obj mesh"):
            Receiver().decode(pack(Payload("obj", b"\0\0\0", layers)))


@needs_draco
def test_a_mesh_with_a_texture_is_sent_with_it(toy, monkeypatch):
    plain = toy.decode

    def textured(payload):
        human = plain(payload)
        mesh = human.surface()
        image = np.full((64, 64, 3), (200, 40, 40), np.uint8)
        corners = (mesh.vertices[mesh.faces][..., :2] / 4 + 0.5).astype(np.float32)
        return replace(human, mesh=replace(mesh, texture=Texture(image, corners)))

    monkeypatch.setattr(toy, "decode", textured)
    sent = Sender("draco:textured").encode(capture(), 1500)
    assert len(sent.data) <= 1500 and "texture of" in sent.report["setting"]
    got = Receiver().decode(sent.data).human.surface()
    assert got.texture is not None and np.abs(got.texture.image.mean((0, 1)) - [200, 40, 40]).max() < 8
    assert inspect.describe(sent.data)["header"]["colours"].startswith("a texture of")
    # without a texture there are colours at the vertices
    monkeypatch.setattr(toy, "decode", lambda p: replace(plain(p), mesh=replace(plain(p).surface(), texture=None)))
    assert "colours" in Sender("draco:textured").encode(capture()).report["setting"]


@needs_draco
def test_a_mesh_of_a_budget_comes_back_without_joints(toy):
    sender = Sender("draco")
    whole, small = sender.encode(capture()), sender.encode(capture(), 900)
    assert len(small.data) <= 900 < len(whole.data) and "11 bits, colours" in whole.report["setting"]
    got = Receiver().decode(small.data).human
    assert got.joints is None and got.mesh is not None and len(got.mesh.faces) > 10
    assert inspect.describe(small.data)["header"]["mesh_bytes"] < len(small.data)
    with pytest.raises(SomacastError, match="a budget of 60 bytes is too small: draco needs"):
        sender.encode(capture(), 60)
    assert got.pelvis_m is not None and np.allclose(got.pelvis_m, [0.1, 0.2, 4.0], rtol=3e-3)
    for layers in ([b"nonsense"], [b""], [b"123456DRACO", b"x"], [b"123456\0\x04\x50\0DRACO" + 90 * b"x"]):
        with pytest.raises(BitstreamError, match="(?i)draco mesh"):
            Receiver().decode(pack(Payload("draco", b"\0\0\0", layers)))
