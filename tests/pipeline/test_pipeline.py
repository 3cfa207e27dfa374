"""Sender, receiver, inspection and demo on a small system of our own: the chain without any network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import somacast
from somacast import extras
from somacast.bitstream import container
from somacast.bitstream.container import packed_bytes
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.pipeline.still import demo, inspect, receiver, sender
from somacast.pipeline.still.sender import capture_of, frame_of, in_source_pixels, plain
from somacast.systems import registry
from somacast.systems.spec import Inputs, Kind, SystemSpec
from somacast.timing import stage
from somacast.types import Capture, Encoded, Frame, Mesh, Payload
from support.rig_cases import bare_rig
from support.toy_default import toy_default


def box_mesh(height_m: float) -> Mesh:
    corners = np.array([[x, y, z] for x in (-0.2, 0.2) for y in (-0.5, 0.5) for z in (-0.1, 0.1)], np.float32)
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
             [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]  # fmt: skip
    return Mesh(corners * [1, height_m, 1], np.array(faces, np.int32), np.full((8, 3), 0.5, np.float32))


@dataclass
class Toy:
    """Sends the brightness of a picture, coarse and fine; gives a box. Both halves in one."""

    loads: list[str] = field(default_factory=list)

    def loaded(self, half: str, device: str) -> Toy:
        self.loads.append(f"{half} on {device}")
        return self

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        with stage("find"):
            image = capture.frame.image
        if image.max() == 0:
            raise SomacastError("no person in the picture")
        height, width = image.shape[:2]
        report = {
            "box_px": np.array([0, 0, width, height]),
            "joints": {"head": {"place_px": [width / 2, 5.0], "place_m": np.float32([0, 0.8, 0])}},
            "notes": ["two people: the largest is taken"],
        }
        maps = {"image": image[:64, :64], "silhouette": np.ones((64, 64)), "depth_m": np.full((64, 64), 0.1),
                "joints_px": np.tile([[20.0, 30.0]], (21, 1))}  # fmt: skip
        value = round(float(image.mean()) * 65535).to_bytes(2, "big")
        layers = [value[:1], value[1:]]
        few = network_state > 127 or (budget_bytes is not None and budget_bytes < packed_bytes("aflsc", [1, 1]))
        return Encoded(layers[:1] if few else layers, report, maps)

    def decode(self, payload: Payload) -> Reconstruction:
        return Reconstruction(mesh=box_mesh(1.8))

    def describe(self, payload: Payload) -> dict[str, Any]:
        return {"brightness": payload.layers[0][0], "groups": [{"group": "colours"}], "labels": []}

    @property
    def spec(self) -> SystemSpec:
        return SystemSpec(
            "aflsc", "Toy", Inputs(), frozenset({Kind.MESH}), config=lambda: None,
            encoder=lambda config, device: self.loaded("encoder", device),
            decoder=lambda config, device: self.loaded("decoder", device),
            weights_digest=lambda: b"toy", describe=self.describe, everyday=True,
        )  # fmt: skip


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    system = Toy()
    monkeypatch.setattr(registry, "get", lambda name: registry.System(name, system.spec, None))
    monkeypatch.setattr(registry, "names", lambda: ["one", "two", "three"])
    return system


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    y, x = np.mgrid[0:128, 0:96]
    pixels = np.stack([x * 2, y * 2, np.full_like(x, 128)], -1).astype(np.uint8)
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path)
    return path


def test_both_halves(toy, picture):
    result = sender.Sender("aflsc", "cpu").encode(capture_of(picture))
    assert result.report["bytes"] == len(result.data)
    assert list(result.report["stage_times_s"]) == ["find", "semantics", "bitstream"]
    assert result.report["notes"] == ["two people: the largest is taken"]
    assert set(result.maps) == {"image", "silhouette", "depth_m", "joints_px"} and "maps" not in result.report
    json.dumps(result.report)
    got = receiver.Receiver().decode(result.data)
    assert got.notes == [] and set(got.stage_times_s) == {"bitstream", "load", "human"}
    assert abs(np.ptp(got.mesh().vertices[:, 1]) - 1.8) < 0.03
    assert toy.loads == ["encoder on cpu", "decoder on cpu"]


def test_receiver_keeps_its_decoder(toy, picture):
    data = sender.Sender().encode(capture_of(picture)).data
    keeps = receiver.Receiver()
    keeps.decode(data)
    keeps.decode(data)
    assert toy.loads.count("decoder on cpu") == 1


def test_who_is_not_built_in_the_t_pose_is_bent_into_it_and_said_to_be(toy):
    rig, payload = bare_rig(), Payload("aflsc", b"toy", [b""])
    human = Reconstruction(rig.mesh, None, rig.joints, rig.rotations)
    made, notes = receiver.Receiver().rig(receiver.ReceiverResult(human, [], {}, payload))
    assert len(notes) == 1 and "no T-pose" in notes[0]
    np.testing.assert_array_equal(made.rotations, np.tile(np.eye(3), (21, 1, 1)))
    assert np.ptp(made.mesh.vertices[:, 0]) > 0.85 * np.ptp(made.mesh.vertices[:, 1])
    with pytest.raises(SomacastError, match="joints and rotations"):
        receiver.Receiver().rig(receiver.ReceiverResult(Reconstruction(box_mesh(1.8)), [], {}, payload))


def test_a_system_without_a_mesh_says_so():
    with pytest.raises(SomacastError, match="no mesh of this person"):
        receiver.ReceiverResult(Reconstruction(), [], {}, Payload("nerf", b"abc", [b""])).mesh()


def test_describe(toy, picture):
    data = sender.Sender().encode(capture_of(picture)).data
    inside = inspect.describe(data)
    assert inside["header"]["system"] == "aflsc" and inside["header"]["bytes"] == len(data)
    assert inside["header"]["header_bytes"] + sum(layer["bytes"] for layer in inside["layers"]) == len(data)
    assert inside["header"]["brightness"] == container.unpack(data)[0].layers[0][0]
    assert inside["groups"] == [{"group": "colours"}] and inside["labels"] == []
    json.dumps(inside)


def test_describe_of_a_cut_file_and_of_other_weights(toy, picture):
    data = sender.Sender().encode(capture_of(picture)).data
    cut = inspect.describe(data[:-1])
    assert len(cut["layers"]) < len(inspect.describe(data)["layers"]) and len(cut["notes"]) == 1
    foreign = container.pack(replace(container.unpack(data)[0], weights_digest=b"foe"))
    inside = inspect.describe(foreign)
    assert inside["groups"] == [] and "same version of the package" in inside["notes"][0]
    with pytest.raises(BitstreamError):
        inspect.describe(data[:10])


def test_pixels_of_a_report_refer_to_the_file():
    report = {"box_px": np.array([1, 2, 3, 4]), "side_px": 5, "m": [1.0], "joints_px": {"head": [[1, 1], [2, 2]]}}
    scaled = in_source_pixels(report, (2, 10))
    assert scaled["box_px"] == [2, 20, 6, 40] and scaled["side_px"] == 10 and scaled["m"] == [1.0]
    assert scaled["joints_px"]["head"] == [[2, 10], [4, 20]]


def test_plain_values():
    value = {"a": np.float32(1), 2: (np.int64(3), np.array([np.nan, 1.0])), "b": b"\x01", "p": Path("x")}
    assert plain(value) == {"a": 1.0, "2": [3, [None, 1.0]], "b": "01", "p": "x"}


def test_frames_from_everything(picture):
    from_path = frame_of(str(picture))
    with Image.open(picture) as image:
        np.testing.assert_array_equal(frame_of(image).image, from_path.image)
        np.testing.assert_array_equal(frame_of(np.asarray(image)).image, from_path.image)
        rgba = image.convert("RGBA")
    alpha = Image.new("L", image.size, 0)
    ImageDraw.Draw(alpha).ellipse((25, 10, 70, 118), fill=255)
    rgba.putalpha(alpha)
    assert frame_of(rgba).mask is not None
    frame = Frame(from_path.image)
    assert frame_of(frame) is frame and capture_of(frame).views == [frame]
    mask = np.zeros((128, 96), bool)
    mask[10:90, 20:60] = True
    for source in (picture, frame, from_path.image):
        found = frame_of(source, mask).mask
        assert found is not None and found.sum() == mask.sum()
    with pytest.raises(SomacastError):
        frame_of(object())
    with pytest.raises(SomacastError):
        frame_of(picture, mask[:5])


def test_python_interface(toy, picture):
    data = somacast.encode(picture)
    assert data == somacast.encode(Image.open(picture))
    assert len(somacast.encode(picture, budget_bytes=len(data) - 1)) < len(data)
    assert somacast.decode(data).mesh is not None
    with pytest.raises(SomacastError, match="no person"):
        somacast.encode(np.zeros((80, 80, 3), np.uint8))


def test_a_bad_network_leaves_less_in_the_file(toy, picture):
    half = sender.Sender("aflsc", "cpu")
    counts = [len(container.unpack(half.encode(capture_of(picture), None, s).data)[0].layers) for s in (0, 128, 255)]
    assert counts == [2, 1, 1]
    with pytest.raises(SomacastError, match="network state: expected a whole number from 0 to 255, got 256"):
        half.encode(capture_of(picture), network_state=256)


def test_a_file_over_its_budget_is_not_handed_out(toy, picture):
    with pytest.raises(SomacastError, match="budget of 5 bytes is too small: system aflsc made 12"):
        sender.Sender().encode(capture_of(picture), budget_bytes=5)


def test_demo(toy, picture, tmp_path):
    out = tmp_path / "made" / "here"
    result = demo.run_demo(picture, out)
    assert {p.name for p in out.iterdir()} == {"person.soma", "person.glb", "contact_sheet.png"}
    assert result["soma_bytes"] == (out / "person.soma").stat().st_size <= demo.BUDGET_BYTES
    assert result["plain_bytes"] == len(somacast.encode(picture))
    assert result["picture"]["bytes"] == picture.stat().st_size
    assert [baseline.name for baseline in result["baselines"]] == ["Toy"] * 3
    assert {"load", "sender: semantics", "receiver: human"} <= set(result["stage_times_s"])
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 4 * demo.TILE_PX and sheet.height > 3 * demo.TILE_PX
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SomacastError, match="cannot be made"):
        demo.run_demo(picture, blocked / "out")


def test_a_baseline_that_cannot_run_is_a_remark(picture, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    with toy_default(monkeypatch):
        found = {baseline.name: baseline for baseline in demo.baselines(capture_of(picture))}
    size_bytes = found["JPEG"].size_bytes
    assert size_bytes is not None and 30 < size_bytes < 3000 and "48 px" in found["JPEG"].remark
    assert found["AVIF"].size_bytes is None and "imageio_ffmpeg: pip install" in found["AVIF"].remark
    assert found["Draco mesh"].size_bytes is None and "DracoPy: pip install" in found["Draco mesh"].remark


def test_depth_picture_leaves_holes_white():
    depth = np.full((4, 4), np.nan, np.float32)
    depth[1:3, 1:3] = [[0, 0.1], [0.2, 0.3]]
    shown = demo.depth_picture(depth)
    assert shown.min() >= 0 and shown.max() <= 1
    np.testing.assert_allclose(shown[0], 0.95)
    assert shown[1, 1].sum() > shown[2, 2].sum()
    assert demo.depth_picture(np.full((2, 2), np.nan)).min() > 0.9
