"""How much people and scenes vary: codecs, light, backgrounds, decals, glasses."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from somacast.errors import SomacastError
from somacast.synthetic import compression
from somacast.synthetic.compression import encode, flatten_background, spoil
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
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
