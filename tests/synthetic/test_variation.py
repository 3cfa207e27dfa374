"""How much people and scenes vary: codecs, light, backgrounds, decals, glasses."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from somacast.body.rotations import about_axis
from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.synthetic import compression
from somacast.synthetic.compression import encode, flatten_background, spoil
from somacast.synthetic.lighting import Look, brightness, draw_look, vary_light
from somacast.synthetic.people import Person, draw_shape, dress
from somacast.synthetic.places import PLACES, vary_background
from somacast.synthetic.samples import SceneConfig, SyntheticPeople, paint
from somacast.synthetic.scenes import Light, Shot, draw_light
from somacast.synthetic.wardrobe.builtin import BuiltinWardrobe
from somacast.synthetic.wardrobe.decals import baked, draw_print, lay_on, lettering, surface_of
from somacast.synthetic.wardrobe.garments import Layer, dye_matrix, scale_matrix
from somacast.synthetic.wardrobe.glasses import GLASSES, glasses
from somacast.synthetic.wardrobe.looks import embellish
from somacast.synthetic.wardrobe.shapes import JOINT, kind_of
from somacast.synthetic.wardrobe.skins import shade_beard, skin_places
from somacast.training.pools import pack_samples


def detailed(side: int = 96) -> np.ndarray:
    """A picture that no codec keeps whole at a low rate."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (side, side, 3)).astype(np.uint8)


def disc(side: int = 96) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    return (np.hypot(x, y) < side / 4).astype(np.uint8) * 255


def test_spoilt_pictures_have_lost_detail_and_keep_their_form(monkeypatch):
    image, files = detailed(), []
    monkeypatch.setattr(compression, "encode", lambda *a: files.append(encode(*a)) or files[-1])
    for seed in range(20):
        out = spoil(image, np.random.default_rng(seed), 1.0, disc())
        assert out.shape == image.shape and out.dtype == np.uint8
        assert np.abs(out.astype(int) - image).mean() > 5
        assert np.array_equal(out, spoil(image, np.random.default_rng(seed), 1.0, disc()))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    assert np.median([len(f) for f in files]) < 0.3 * len(buffer.getvalue())
    kinds = {Image.open(io.BytesIO(f)).format for f in files}
    assert kinds == {"JPEG", "WEBP", "AVIF"}


def test_spoil_touches_the_asked_share_only():
    image = detailed(48)
    assert spoil(image, np.random.default_rng(0), 0.0) is image
    rng = np.random.default_rng(0)
    touched = [spoil(image, rng, 0.25) is not image for _ in range(200)]
    assert 0.15 < np.mean(touched) < 0.35
    with pytest.raises(SomacastError, match="equal sides"):
        spoil(image[:40], rng, 0.5)


def test_a_flat_background_leaves_the_person_alone():
    image, person = detailed(), disc()
    out = flatten_background(image, person)
    assert np.array_equal(out[person > 0], image[person > 0])
    corner = out[:20, :20].reshape(-1, 3)
    assert (corner == corner[0]).all()
    np.testing.assert_allclose(corner[0], image[person == 0].mean(0), atol=8)


def test_spoilt_pools_differ_in_pictures_and_landmarks_only():
    scenes = [SceneConfig(size_px=128, views_per_person=2, spoilt_share=share) for share in (0.0, 1.0, 1.0)]
    plain, spoilt, again = (pack_samples(SyntheticPeople("train", 3, config=s), 0, 2) for s in scenes)
    samples = [s for i in range(2) for s in SyntheticPeople("train", 3, config=scenes[0]).samples(i)]
    assert np.array_equal(plain["image"], np.stack([s.image for s in samples]))
    for name, value in plain.items():
        assert np.array_equal(spoilt[name], again[name])
        if name not in ("image", "landmarks"):
            assert np.array_equal(value, spoilt[name]), name
    assert all((a != b).any() for a, b in zip(plain["image"], spoilt["image"], strict=True))
    assert (plain["landmarks"] != spoilt["landmarks"]).any()


# -- light and places -------------------------------------------------------------------------------------------------


def test_varied_light_stays_light():
    rng = np.random.default_rng(0)
    lights = [vary_light(rng, draw_light(rng)) for _ in range(200)]
    for light in lights:
        assert 0.2 <= light.ambient < 0.86 and 0.49 < brightness(light) < 1.16
        for direction in (light.direction, light.fill_direction):
            assert direction.dtype == np.float32 and abs(np.linalg.norm(direction) - 1) < 1e-5
        assert min(light.color.min(), light.sky.min(), light.ground.min()) > 0 and light.fill_color.min() >= 0
    assert 0.2 < np.mean([light.fill_color.any() for light in lights]) < 0.6
    assert min(light.ambient for light in lights) < 0.3 and min(light.direction[2] for light in lights) < -0.1


def test_a_look_without_effect_changes_nothing_and_vignettes_darken_corners():
    image = detailed(64)
    same = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
    assert np.array_equal(Look(same).develop(image), image)
    white = np.full((64, 64, 3), 255, np.uint8)
    dark = Look(same, vignette=0.5).develop(white)
    assert dark[0, 0, 0] < 135 and dark[32, 32, 0] > 253
    grey = Look(same, saturation=0.0).develop(image).astype(int)
    assert np.ptp(grey, axis=-1).max() <= 1
    means = [draw_look(np.random.default_rng(k)).develop(image).mean() for k in range(40)]
    assert min(means) < 0.75 * image.mean() and max(means) > 1.2 * image.mean()


@pytest.mark.parametrize("place", PLACES)
def test_places_are_full_pictures_and_repeat(place):
    one, two, other = (place(np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    assert one.shape == (64, 64, 3) and np.isfinite(one).all() and one.std() > 2
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_backgrounds_change_in_the_asked_share():
    old = np.full((32, 32, 3), 77, np.float32)
    new = [vary_background(np.random.default_rng(k), old, 0.5) for k in range(60)]
    assert all(b.shape == old.shape and b.dtype == np.float32 and 0 <= b.min() <= b.max() <= 255 for b in new)
    assert 0.3 < np.mean([(b != old).any() for b in new]) < 0.7


# -- looks ------------------------------------------------------------------------------------------------------------


def shown(person: Person, yaw_deg: float, size: int = 160) -> np.ndarray:
    """The person in the T-pose, flatly lit, [S, S, 3] uint8."""
    xyz, _ = person.pose((about_axis("y", np.radians(yaw_deg)) @ TPOSE).astype(np.float32))
    shot = Shot(3.0, 0.0, 0.06, size * 3.0 / 1.2)
    light = Light(np.array([0, 0, 1], np.float32), 1.0, np.ones(3))
    black = np.zeros((2 * size, 2 * size, 3), np.float32)
    return paint(person, xyz, person.normals(xyz), shot, size, black, light)[0]


def dressed(seed: int = 4):
    """Shape, phenotype and outfit of a grown-up in built-in clothes with a top."""
    for k in range(seed, seed + 50):
        rng = np.random.default_rng(k)
        shape, phenotype = draw_shape(rng, load_body(), "train")
        outfit = BuiltinWardrobe().outfit(rng, phenotype, "train")
        tops = [n for n, layer in enumerate(outfit.layers) if layer.garment.name == "builtin/tshirt"]
        if phenotype["age_years"] > 18 and tops and max(la.garment.depth for la in outfit.layers) < 80:
            return shape, phenotype, outfit, tops[0]
    raise AssertionError("no T-shirt among fifty outfits")


@pytest.mark.parametrize("back", [False, True])
def test_prints_are_upright_and_not_mirrored(back):
    shape, _, outfit, top = dressed()
    layer = baked(outfit.layers[top])
    layer.garment.texture[..., :3] = 40
    corners = np.zeros((60, 60, 4), np.float32)
    corners[..., 3] = 1
    corners[:30, :30, 0], corners[:30, 30:, 2], corners[30:, :, 1] = 255, 255, 255  # red, blue, green below
    chest = float(load_body().bone_mean[load_body().joint_bone[JOINT["chest"]], 1])
    lay_on(layer.garment.texture, surface_of(layer.garment), corners, (0.0, chest), back)
    black = scale_matrix(0)
    others = [la for k, la in enumerate(outfit.layers) if k != top and la.garment.depth < 70]  # no hair before it
    outfit.layers[:] = [layer, *(Layer(la.garment, black) for la in others)]
    outfit.skin_matrix = black
    seen, hidden = (shown(dress(shape, {}, outfit), yaw).astype(int) for yaw in ((180, 0) if back else (0, 180)))
    middle = {}
    for k, name in enumerate("rgb"):
        others = [c for c in range(3) if c != k]
        at = np.argwhere((seen[..., k] > 120) & (seen[..., others].max(-1) < 90))
        assert len(at) > 20, name
        middle[name] = at.mean(0)  # row, column
        assert ((hidden[..., k] > 120) & (hidden[..., others].max(-1) < 90)).sum() < 5
    assert middle["r"][1] < middle["b"][1] - 5 and middle["g"][0] > middle["r"][0] + 5


def test_letters_are_written_and_prints_vary():
    letter = lettering("L", 40)
    assert letter[:, : letter.shape[1] // 2].sum() > 1.5 * letter[:, letter.shape[1] // 2 :].sum()
    assert letter[letter.shape[0] // 2 :].sum() > 1.2 * letter[: letter.shape[0] // 2].sum()
    prints = [draw_print(np.random.default_rng(k), 0.2, np.full(3, 200.0)) for k in range(30)]
    for image in prints:
        assert image.shape[1] <= 100 and image.shape[2] == 4 and 0 <= image[..., 3].min() <= image[..., 3].max() <= 1
    assert len({image.shape for image in prints}) > 5


def test_baked_layers_look_the_same():
    _, _, outfit, top = dressed()
    matrix = dye_matrix(np.random.default_rng(1))
    layer = Layer(outfit.layers[top].garment, matrix)
    before = layer.garment.texture.copy()
    expected = np.clip(before[..., :3].astype(np.float32) @ matrix[:, :3].T + matrix[:, 3], 0, 255)
    after = baked(layer)
    np.testing.assert_allclose(after.garment.texture[..., :3], expected, atol=1.001)
    assert np.array_equal(after.garment.texture[..., 3], before[..., 3])
    assert np.array_equal(after.color_matrix, scale_matrix(1)) and np.array_equal(layer.garment.texture, before)


def test_glasses_lie_before_the_eyes():
    body = load_body()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shape, phenotype = draw_shape(rng, body, "train")
        rest, _ = body.rest(shape, helpers=True)
        garment = glasses(rng, kind_of(phenotype))
        frame = garment.fit(rest)
        for faces in body.eye_faces:
            eye = rest[np.unique(faces)]
            side = np.sign(eye[:, 0].mean())
            rim = frame[(frame[:, 0] * side > 0) & (frame[:, 2] > eye[:, 2].mean())]
            span = (rim.max(0) + rim.min(0)) / 2
            assert np.abs(span[:2] - eye.mean(0)[:2]).max() < 0.012
            middle = np.abs(frame[:, 0] - eye[:, 0].mean()) < 0.01
            assert (frame[middle & (np.abs(frame[:, 1] - eye[:, 1].mean()) < 0.03), 2] > eye[:, 2].max()).all()
        assert frame[:, 2].min() < np.mean([rest[np.unique(f), 2].mean() for f in body.eye_faces]) - 0.05  # to the ears


def test_dark_glasses_hide_the_eyes(monkeypatch):
    shape, phenotype, outfit, _ = dressed()
    outfit.layers[:] = [la for la in outfit.layers if la.garment.depth < 65]
    monkeypatch.setattr("somacast.synthetic.wardrobe.glasses.GLASSES", {"sun": GLASSES["sun"]})
    plain = dress(shape, phenotype, outfit)
    outfit.layers.append(Layer(glasses(np.random.default_rng(0), kind_of(phenotype)), scale_matrix(1)))
    shaded = dress(shape, phenotype, outfit)
    one, two = (shown(p, 0, 400).astype(int) for p in (plain, shaded))
    changed = np.abs(one - two).max(-1) > 12
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 100 and np.ptp(rows) < 60 and two[changed].mean() < one[changed].mean()
    assert abs(columns.mean() - 200) < 8  # as much on the left as on the right


def test_beards_stay_on_the_lower_face():
    skin = np.full((256, 256, 4), 200, np.uint8)
    out = shade_beard(np.random.default_rng(0), skin, np.array([30.0, 20, 10]))
    place = skin_places()[(out != skin).any(-1)]
    eye = load_body().shape_mean[np.unique(load_body().eye_faces[0])].mean(0)
    assert len(place) > 100 and (skin == 200).all()
    assert np.abs(place[:, 0]).max() < 0.09 and place[:, 1].max() < skin_places()[..., 1].max() - 0.1
    assert place[:, 2].mean() > eye[2] - 0.03


def test_looks_keep_attributes_and_the_outfit_they_are_given():
    for seed in range(6):
        _, phenotype, outfit, _ = dressed(seed)
        before = [la.garment.texture.copy() for la in outfit.layers]
        one, two = (embellish(np.random.default_rng(seed), outfit, phenotype, "train") for _ in range(2))
        assert one.attributes == outfit.attributes and len(outfit.layers) == len(before)
        assert all(np.array_equal(la.garment.texture, b) for la, b in zip(outfit.layers, before, strict=True))
        assert all(
            np.array_equal(a.garment.texture, b.garment.texture) for a, b in zip(one.layers, two.layers, strict=True)
        )


# -- samples ----------------------------------------------------------------------------------------------------------


def test_variation_changes_looks_and_neither_bodies_nor_cameras():
    def pictures(split: str, varied: bool | None) -> list:
        scene = SceneConfig(size_px=64, views_per_person=2, varied=varied, stereo=True)
        people = SyntheticPeople(split, 7, config=scene)
        return [s for i in range(3) for s in people.samples(i)]

    for split in ("train", "test"):
        plain, varied, default, again = (pictures(split, v) for v in (False, True, None, True))
        for a, b, c, d in zip(plain, varied, default, again, strict=True):
            assert np.array_equal(a.joints_px, b.joints_px) and np.array_equal(a.rotations, b.rotations)
            assert np.array_equal(a.person.shape, b.person.shape) and a.shot == b.shot and a.action == b.action
            assert a.person.outfit.attributes == b.person.outfit.attributes
            assert np.array_equal(b.image, d.image) and np.array_equal(b.right, d.right)
            assert np.array_equal(c.image, (b if split == "train" else a).image)
            assert (a.silhouette != b.silhouette).mean() < 0.01  # glasses
        assert np.mean([np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(plain, varied, strict=True)]) > 5
