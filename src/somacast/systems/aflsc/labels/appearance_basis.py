"""Appearance as principal components of the surface chart, colour and offset together.

The face has components of its own for what those of the whole chart leave over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, face_texels, load_chart
from somacast.systems.aflsc.labels.schema import APPEARANCE_LABELS, FACE_LABELS

COLOR_UNIT = 0.25  # colours are stored in this unit, so that they are of order one


@dataclass(frozen=True)
class AppearanceBasis:
    """mean [T, 4] and basis [K, T, 4] over the T texels inside the chart (colour / COLOR_UNIT, offset / OFFSET_UNIT_M),
    orthonormal rows: 128 of the whole chart, then the face's, which are 0 outside `face_texels`; std [K] of the codes.
    float32."""

    mean: np.ndarray
    basis: np.ndarray
    std: np.ndarray

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Codes [N, K] of full charts [N, T, 4]: of the whole chart first, of the face for what is left."""
        look = self.basis[:APPEARANCE_LABELS].reshape(APPEARANCE_LABELS, -1)
        centred = (rows - self.mean).reshape(len(rows), -1)
        codes = centred @ look.T
        at = face_texels()
        explained = np.einsum("nk,ktc->ntc", codes, self.basis[:APPEARANCE_LABELS, at])
        rest = centred.reshape(rows.shape)[:, at] - explained
        face = self.basis[APPEARANCE_LABELS:, at].reshape(FACE_LABELS, -1)
        return np.concatenate([codes, rest.reshape(len(rows), -1) @ face.T], 1)

    def rows(self, codes: np.ndarray) -> np.ndarray:
        """Codes [..., K] to the linear estimate of the chart, [..., T, 4] in the basis' units."""
        flat = self.mean.reshape(-1) + codes @ self.basis.reshape(len(self.basis), -1)
        return flat.reshape(*codes.shape[:-1], *self.mean.shape)

    def chart_maps(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes [K] to the chart's linear estimate: colour [H, W, 3] in [0, 1], offset [H, W] metres."""
        inside, rows = load_chart().inside, self.rows(codes)
        color, offset = np.zeros((*inside.shape, 3), np.float32), np.zeros(inside.shape, np.float32)
        color[inside] = np.clip(rows[:, :3] * COLOR_UNIT, 0, 1)
        offset[inside] = rows[:, 3] * OFFSET_UNIT_M
        return color, offset

    def offset_map(self, codes: np.ndarray) -> np.ndarray:
        """Codes [K] to the offset [H, W] in metres of the chart's linear estimate."""
        inside = load_chart().inside
        offset = np.zeros(inside.shape, np.float32)
        offset[inside] = (self.mean[:, 3] + codes.astype(np.float32) @ self._offset_basis) * OFFSET_UNIT_M
        return offset

    @cached_property
    def _offset_basis(self) -> np.ndarray:
        return np.ascontiguousarray(self.basis[..., 3])

    @cached_property
    def texel_basis(self) -> np.ndarray:
        """Colour of every texel by code, each code in its own std: [T, 3, K] float32, laid out for single texels."""
        scaled = self.basis[..., :3] * self.std[:, None, None]
        return np.ascontiguousarray(scaled.transpose(1, 2, 0), np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a safetensors file; the bases are stored as int8 with one scale per row."""
        out = {
            "labels.appearance_mean": self.mean.astype(np.float32),
            "labels.appearance_std": self.std.astype(np.float32),
        }
        look = self.basis[:APPEARANCE_LABELS].reshape(APPEARANCE_LABELS, -1)
        face = self.basis[APPEARANCE_LABELS:, face_texels()].reshape(FACE_LABELS, -1)
        for name, rows in (("appearance", look), ("face", face)):
            scale = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-9) / 127
            out[f"labels.{name}_basis"] = np.rint(rows / scale).astype(np.int8)
            out[f"labels.{name}_scale"] = scale.astype(np.float32)
        return out

    @staticmethod
    def from_arrays(a: dict[str, np.ndarray]) -> AppearanceBasis:
        """Inverse of `to_arrays`; KeyError for arrays that are missing."""
        look, face = (a[f"labels.{name}_basis"].astype(np.float32) * a[f"labels.{name}_scale"]
                      for name in ("appearance", "face"))  # fmt: skip
        mean = a["labels.appearance_mean"]
        return AppearanceBasis(mean, join_bases(look, face, mean.shape), a["labels.appearance_std"])


def join_bases(look: np.ndarray, face: np.ndarray, texel_shape: tuple[int, ...]) -> np.ndarray:
    """Rows over the whole chart [128, T * 4] and over the face's texels [24, F * 4] to a basis [152, T, 4] float32."""
    basis = np.zeros((APPEARANCE_LABELS + FACE_LABELS, *texel_shape), np.float32)
    basis[:APPEARANCE_LABELS] = look.reshape(APPEARANCE_LABELS, *texel_shape)
    basis[APPEARANCE_LABELS:, face_texels()] = face.reshape(FACE_LABELS, -1, texel_shape[1])
    return basis
