"""Poses as principal components of the joints' rotation vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.skeleton import joint_rotvecs, rotations_from_rotvecs


@dataclass(frozen=True)
class PoseBasis:
    """mean [60] of the rotation vectors of the 20 joints below the pelvis, basis [60, 60] orthonormal rows, std [60] of
    the components. float64."""

    mean: np.ndarray
    basis: np.ndarray
    std: np.ndarray

    def components(self, rotations: np.ndarray) -> np.ndarray:
        """World rotations [N, 21, 3, 3] to components [N, 60]; the pelvis' own rotation has no part in them."""
        return (joint_rotvecs(rotations) - self.mean) @ self.basis.T

    def rotations(self, root: np.ndarray, components: np.ndarray) -> np.ndarray:
        """Pelvis rotation [3, 3] and components [60] of one person to world rotations [21, 3, 3] float32."""
        return rotations_from_rotvecs(root[None], (self.mean + components @ self.basis)[None])[0].astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a safetensors file."""
        return {
            "labels.pose_mean": self.mean.astype(np.float32),
            "labels.pose_basis": self.basis.astype(np.float32),
            "labels.pose_std": self.std.astype(np.float32),
        }

    @staticmethod
    def from_arrays(a: dict[str, np.ndarray]) -> PoseBasis:
        """Inverse of `to_arrays`; KeyError for arrays that are missing."""
        return PoseBasis(*(a[f"labels.pose_{name}"].astype(np.float64) for name in ("mean", "basis", "std")))
