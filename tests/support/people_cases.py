"""Shared by test_people.py and test_data_sets.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_clip(folder: Path, name: str, label: str, pose: np.ndarray) -> dict:
    from scipy.spatial.transform import Rotation

    quat = Rotation.from_matrix(pose.reshape(-1, 3, 3)).as_quat().reshape(1, 21, 4).astype(np.float16)
    np.savez(folder / f"{name}.npz", quat=quat, root=np.zeros((1, 3), np.float32))
    return {"file": f"poses/{name}.npz", "kind": "canonical", "label": label, "fps": 30, "license": "CC0-1.0"}
