"""Video in .soma files, from pictures to animated people, and files as a transport."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast.bitstream.packets import Motion, unpack_packet
from somacast.bitstream.video import RecordReader, Who, best_people, is_video, video_head
from somacast.cli.main import main
from somacast.errors import BitstreamError, SomacastError
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.meshes import load_mesh
from somacast.geometry.rig import translated
from somacast.network.transport.base import Lane
from somacast.network.transport.file import FileReceiver
from somacast.pipeline.live.receiver import LiveReceiver
from somacast.pipeline.still.inspect import describe
from somacast.pipeline.video.animate import write_video_person
from somacast.pipeline.video.files import read_video
from somacast.systems.spec import LivePose
from support.network.live_cases import SYSTEM, coder, container
from support.network.motion_cases import moving
from support.network.video_cases import GOLDEN, video, written
from support.texture_cases import body_texture, textured_rig


def test_a_video_is_read_back() -> None:
    data = video()
    held = read_video(data)
    assert is_video(data) and len(data) < 3 * 900
    assert held.times_s == pytest.approx(np.arange(90) / 30, abs=1e-3)
    assert (np.abs(held.values - moving()[:90]) / coder().scale).mean() < 0.05
    assert held.notes == [] and held.end_s == pytest.approx(3.0, abs=1e-6)


def test_videos_of_version_3_still_open() -> None:
    """Ticks of 1/120 s in 16 bits; a pause of 300 s came back as one of 247 s."""
    held = read_video((GOLDEN / "video3.soma").read_bytes())
    expected = [k / 30 for k in range(50)] + [300 + k / 30 for k in range(40)]
    assert held.times_s == pytest.approx(np.array(expected), abs=1 / 240)
    assert (np.abs(held.values - moving()[:90]) / coder().scale).mean() < 0.05


@pytest.mark.parametrize(("name", "message"), [("gs_scnet", "expected one of .*aflsc"), ("jpeg", "live")])
def test_a_video_of_a_system_that_cannot_do_it_is_refused(name: str, message: str) -> None:
    data = video(0.2)
    foreign = video_head(name, coder().digest) + data[len(video_head(SYSTEM.name, coder().digest)) :]
    with pytest.raises(SomacastError, match=message) as caught:
        read_video(foreign)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_rate_is_kept() -> None:
    tight = video(kbit_s=2.0)
    assert 8 * len(tight) / 3 < 2000 + 8 * 250  # who it is comes once
    assert len(tight) < len(video())


def test_every_cut_gives_what_is_whole_and_says_so() -> None:
    data = video(2.0)
    whole = read_video(data)
    for end in range(0, len(data), 41):
        try:
            held = read_video(data[:end])
        except BitstreamError as fault:
            assert end < 900, fault  # a head, who it is, and no frame
            continue
        assert len(held.times_s) <= len(whole.times_s) and held.notes
        np.testing.assert_array_equal(held.values, whole.values[: len(held.times_s)])


def test_a_file_that_ends_between_records_says_that_it_was_not_ended() -> None:
    data = video(2.0)
    ends = [len(whole) for _, whole in RecordReader(data).with_bytes()]
    held = read_video(data[: -ends[-1]])
    assert len(held.times_s) == 60 and "was not ended" in held.notes[0]
    assert held.end_s == pytest.approx(2.0, abs=1e-3)


def test_zeros_behind_the_last_record_are_a_cut() -> None:
    """What a machine leaves that went down while it wrote."""
    held = read_video(video(2.0) + bytes(4096))
    assert len(held.times_s) == 60 and "cut" in held.notes[0]


def test_a_flipped_bit_is_found() -> None:
    data = video(1.0)
    lengths, at = set(), len(video_head("aflsc", coder().digest))
    for _, whole in RecordReader(data).with_bytes():
        lengths |= {at, at + 1} if whole[0] & 0x80 else {at}
        at += len(whole)
    for place in range(60, 8 * len(data), 211):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        if place // 8 in lengths:  # a record that reaches beyond the end looks like one that was cut
            continue
        with pytest.raises(BitstreamError):
            read_video(bytes(broken))


def test_a_video_for_other_weights_is_refused() -> None:
    data = bytearray(video(1.0))
    data[5] ^= 1
    with pytest.raises(BitstreamError, match="same version of the package"):
        read_video(bytes(data))


def test_who_never_was_told_is_somebody_average() -> None:
    data = video(1.0, who=False)
    held = read_video(data)
    assert held.people == {0: None} and "does not tell who" in held.notes[0]


def test_a_finished_file_tells_each_person_once_and_best() -> None:
    def film(writer) -> None:
        for number in (0, 1, 0):
            writer.turn(number)
            for again in range(3):
                writer.who(container() + bytes([number, again]))
            writer.frame(writer.frames / 30, moving()[0])

    data = b"".join(best_people(written(film)))
    who = [record for record in RecordReader(data) if isinstance(record, Who)]
    assert [(one.number, one.container[-1]) for one in who] == [(0, 2), (1, 2)]
    assert next(type(record) for record in RecordReader(data)) is Who


def test_nothing_to_write_is_said() -> None:
    with pytest.raises(SomacastError, match="no frame with a person"):
        written(lambda writer: None)


def test_info_tells_packets_and_who_it_is() -> None:
    described = describe(video())
    assert described["header"]["frames"] == 90 and described["header"]["seconds"] == pytest.approx(3.0)
    assert [p["kind"] for p in described["packets"]][:2] == ["person", "motion"]
    assert sum(p.get("frames", 0) for p in described["packets"]) == 90
    assert {g["group"] for g in described["groups"]} >= {"shape", "appearance"}
    assert describe((GOLDEN / "video3.soma").read_bytes())["header"]["format_version"] == 3


@pytest.mark.parametrize("fps", [25, 240])
def test_files_are_a_transport(tmp_path: Path, fps: int) -> None:
    """Played at the pace of the film, with its exact times, whatever the rate; a record may be longer than a
    datagram."""
    path = tmp_path / "kept.soma"
    path.write_bytes(video(1.0, fps, wild=True))
    now = [100.0]
    file = FileReceiver(path, clock=lambda: now[0])
    receiver, came, longest = LiveReceiver(coder()), [], 0
    while not file.finished:
        arrival = file.receive(0.0)
        if arrival is None:
            now[0] += 0.05
            continue
        longest = max(longest, len(arrival.data))
        receiver.take(arrival.lane, arrival.data, arrival.time_s, None, arrival.times_s)
        if isinstance(unpack_packet(arrival.data, coder().digest).body, Motion):
            came.append((now[0], arrival.times_s[-1]))
    assert all(100 + last_s <= at < 100.1 + last_s for at, last_s in came)
    assert receiver.counts.damaged == 0 and receiver.counts.frames == fps and longest > 1200
    assert receiver.playout._times == pytest.approx(np.arange(fps) / fps, abs=1e-3)
    assert not file.send(Lane.CONTROL, b"x")


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Path:
    """A synthetic person, looked at by the real networks."""
    pytest.importorskip("av")
    path = tmp_path_factory.mktemp("video") / "walk.soma"
    assert main(["encode", "synthetic:walking", "-o", str(path), "--seconds", "0.4"]) == 0
    return path


def test_encode_makes_a_small_file(walk: Path, capsys) -> None:
    held = read_video(walk.read_bytes())
    assert len(held.times_s) == 12 and walk.stat().st_size < 600
    assert main(["info", str(walk), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["header"]["frames"] == 12
    assert [path.name for path in walk.parent.iterdir()] == ["walk.soma"]


def test_decode_gives_a_rigged_animated_glb(walk: Path, tmp_path: Path) -> None:
    out = tmp_path / "walk.glb"
    assert main(["decode", str(walk), "-o", str(out), "--preview", str(tmp_path / "walk.png")]) == 0
    document = json.loads(out.read_bytes()[20 : 20 + int.from_bytes(out.read_bytes()[12:16], "little")])
    assert len(document["skins"][0]["joints"]) == 21
    times = document["accessors"][document["animations"][0]["samplers"][0]["input"]]
    assert times["count"] == 12
    assert len(load_mesh(out).faces) > 10_000
    assert (tmp_path / "walk.png").stat().st_size > 5000


@pytest.mark.parametrize("suffix", [".bvh", ".obj", ".mp4", ".vrm"])
def test_decode_gives_other_kinds(walk: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"walk{suffix}"
    assert main(["decode", str(walk), "-o", str(out)]) == 0
    start = {".bvh": b"HIERARCHY", ".obj": b"", ".mp4": b"\0\0\0", ".vrm": b"glTF"}[suffix]
    assert out.read_bytes().startswith(start) and out.stat().st_size > 2000


def test_decode_stands_on_the_ground_or_around_the_pelvis(walk: Path, tmp_path: Path) -> None:
    """Moving or still: soles at y = 0, or the pelvis of the first frame at the origin; the camera's place is kept."""
    lows = {}
    for origin in ("ground", "pelvis"):
        for suffix in ("glb", "ply"):
            out = tmp_path / f"{origin}.{suffix}"
            assert main(["decode", str(walk), "-o", str(out), "--origin", origin]) == 0
            mesh = GltfScene(out).mesh(0, 0.0, finest=0) if suffix == "glb" else load_mesh(out)
            lows[origin, suffix] = float(mesh.vertices[:, 1].min())
        places = GltfScene(tmp_path / f"{origin}.glb").node_places(0, 0.0)
        from_camera = (places["pelvis"] - places["camera"])[:3, 3]
        assert -6 < from_camera[2] < -1 and abs(from_camera[:2]).max() < 1
    assert lows["ground", "ply"] == pytest.approx(0, abs=1e-5) and abs(lows["ground", "glb"]) < 0.03
    assert places["pelvis"][:3, 3] == pytest.approx(np.zeros(3), abs=1e-6)
    assert -1.1 < lows["pelvis", "ply"] < -0.7 and lows["pelvis", "glb"] == pytest.approx(
        lows["pelvis", "ply"], abs=1e-4
    )


class Worn:
    """A body with a texture, of half red and half blue people."""

    def __init__(self, decoder: object, payload: object):
        rig = translated(textured_rig(), -textured_rig().joints[0])
        image = np.zeros((64, 64, 3), np.uint8)
        image[:, :32], image[:, 32:] = (230, 20, 20), (20, 20, 230)
        self.rig = replace(rig, mesh=replace(rig.mesh, texture=body_texture(image)))

    def pose(self, values: np.ndarray) -> LivePose:
        return LivePose(self.rig.rotations, np.array([0.0, 0.0, -3.0]))


@pytest.mark.parametrize("suffix", [".glb", ".vrm", ".obj", ".ply", ".mp4"])
def test_people_who_move_wear_their_texture(tmp_path: Path, suffix: str) -> None:
    """In every form; in the pictures too."""
    av = pytest.importorskip("av")
    live = replace(SYSTEM.spec.live, body=Worn)
    system = replace(SYSTEM, spec=replace(SYSTEM.spec, live=live))
    out, preview = tmp_path / f"walk{suffix}", tmp_path / "walk.png"
    write_video_person(read_video(video(0.2)), system, None, out, preview)
    shown = np.asarray(Image.open(preview).convert("RGB")).astype(int)
    if suffix == ".mp4":
        with av.open(str(out)) as film:
            shown = next(film.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    for red, blue in ((0, 2), (2, 0)):
        assert (shown[..., red] - shown[..., blue] > 60).mean() > 0.02
    if suffix in (".glb", ".vrm", ".obj"):
        mesh = load_mesh(out) if suffix == ".obj" else GltfScene(out).mesh()
        assert mesh.texture is not None and mesh.texture.image.shape == (64, 64, 3)
    if suffix == ".ply":
        assert np.ptp(load_mesh(out).colors[:, 0]) > 0.7
    assert len(list(tmp_path.iterdir())) == (4 if suffix == ".obj" else 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["encode", "a.mp4", "-o", "x.soma"], "no such file"),
        (["encode", "synthetic:flying", "-o", "x.soma"], "synthetic:{"),
        (["encode", "synthetic:walking", "-o", "x.soma", "--mask", "pyproject.toml"], "--kbit-s"),
        (["encode", "synthetic:walking", "-o", "x.soma", "--budget-bytes", "9"], "a budget of 9 bytes is too small"),
        (["encode", "synthetic:walking", "-o", "x.soma", "--kbit-s", "0"], "above 0"),
        (["encode", "pyproject.toml", "-o", "x.soma", "--seconds", "1"], "for videos"),
        (["decode", "pyproject.toml", "-o", "x.gif"], ".glb"),
        (["send", "synthetic:walking", "--to", "nowhere"], "HOST:PORT"),
        (["send", "nothing.mp4"], "expected webcam"),
        (["send", "synthetic:walking", "--batch-ms", "5000"], "0 to 1000"),
        (["send", "synthetic:walking", "--keys", "no-such-folder"], "no-such-folder"),
        (["send", "synthetic:walking", "--to", "192.0.2.1:7447"], "keys"),
        (["receive", "--listen", "0.0.0.0:7447"], "keys"),
        (["receive", "--record", "x.txt"], ".soma, .glb, .bvh"),
        (["receive", "--vmc", "nowhere"], "HOST:PORT"),
        (["view", "missing.soma"], "cannot be read"),
        (["view", "pyproject.toml"], "a mesh"),
    ],
)
def test_wrong_arguments_get_one_line(arguments: list[str], said: str, capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    received = capsys.readouterr().err.strip()
    assert received.count("\n") == 0 and said in received
    assert [p.name for p in tmp_path.iterdir()] == ["pyproject.toml"]
