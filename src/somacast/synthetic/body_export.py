"""Export of the compact body table from anny: the only module that imports anny.

The table holds what making and rebuilding people needs: a linear shape space over the hm08 vertices
(helpers included, garments hang on them) and bone heads, skinning weights, topology, and anchors, that is
shape coefficients of people drawn from anny's calibrated age, height and weight distributions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from somacast.body.skeleton import CANONICAL_JOINTS, canonical_joint_of_bone

SHAPE_COMPONENTS = 40
PHENOTYPE_COLUMNS = ("gender", "age_years", "african", "asian", "caucasian", "muscle", "weight", "height")
_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)  # anny is z up, the world is y up
_REPRESENTATIVE_BONES = (
    ["root", "spine04", "spine02", "neck01", "head"]
    + [f"{b}.L" for b in ("clavicle", "upperarm01", "lowerarm01", "wrist")]
    + [f"{b}.R" for b in ("clavicle", "upperarm01", "lowerarm01", "wrist")]
    + [f"{b}.L" for b in ("upperleg01", "lowerleg01", "foot", "toe1-1")]
    + [f"{b}.R" for b in ("upperleg01", "lowerleg01", "foot", "toe1-1")]
)


def _draw_phenotypes(model, count: int, seed: int) -> tuple[dict, np.ndarray]:
    """Phenotypes of `count` people: 85 % grown-ups of 16 to 78 years, 15 % children of 5 to 16."""
    import torch
    from anny.shape_distribution import SimpleShapeDistribution

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    distribution = SimpleShapeDistribution(model)
    years = np.where(rng.random(count) < 0.85, rng.uniform(16, 78, count), rng.uniform(5, 16, count))

    class Ages:
        def sample(self, shape):
            return torch.tensor(years, dtype=model.dtype)

    class Genders:
        def sample(self, shape):
            sharp = np.clip((rng.random(count) < 0.5) + rng.normal(0, 0.08, count), 0, 1)
            return torch.tensor(sharp, dtype=model.dtype)

    distribution.morphological_age_distribution = Ages()
    distribution.gender_distribution = Genders()
    _, phenotype = distribution.sample(count)
    # Wider builds than the calibrated means: telepresence meets everyone.
    for key in ("muscle", "weight", "height", "proportions"):
        phenotype[key] = (phenotype[key] + torch.tensor(rng.normal(0, 0.12, count), dtype=model.dtype)).clamp(0, 1)
    mix = rng.dirichlet([0.4, 0.4, 0.4], count)
    for i, key in enumerate(("african", "asian", "caucasian")):
        phenotype[key] = torch.tensor(mix[:, i], dtype=model.dtype)
    for key, low, high in (("cupsize", 0.2, 0.8), ("firmness", 0.3, 0.8)):
        phenotype[key] = torch.tensor(rng.uniform(low, high, count), dtype=model.dtype)
    columns = [years if c == "age_years" else phenotype[c].numpy() for c in PHENOTYPE_COLUMNS]
    return phenotype, np.stack(columns, 1).astype(np.float32)


def export_body_table(assets_dir: Path, out: Path, count: int = 3000, seed: int = 7) -> dict[str, float]:
    """Write the body table; returns its reconstruction error over held-out bodies in millimetres.

    Parameters
    ----------
    assets_dir : folder with `base_hm08.npz` and `poses/mh_tpose.npz` (both CC0).
    out : file to write (safetensors).
    """
    import torch
    from anny import Anny
    from anny.models.model_data import TopologyConfig

    topology = TopologyConfig(
        base_mesh="makehuman",
        nudity_edits=False,
        remove_unattached_vertices=False,
        triangulate_faces=True,
        eyes=True,
        tongue=False,
    )
    model = Anny(rig="makehuman", phenotypes="all", topology=topology, pose_parameterization="world-orient")
    model = model.to(torch.float32)
    phenotype, columns = _draw_phenotypes(model, count + 200, seed)
    rows = []
    with torch.no_grad():
        for i in range(0, count + 200, 100):
            part = {k: v[i : i + 100].float() for k, v in phenotype.items()}
            rest = model.get_rest_model(model.get_phenotype_blendshape_coefficients(**part))
            both = torch.cat([rest["rest_vertices"], rest["rest_bone_poses"][:, :, :3, 3]], 1)
            rows.append((both.numpy() @ _Y_UP.T).reshape(len(both), -1))
    data = np.concatenate(rows).astype(np.float32)
    mean = data[:count].mean(0)
    centred = torch.tensor(data[:count] - mean)
    _, _, v = torch.svd_lowrank(centred, q=SHAPE_COMPONENTS + 16, niter=6)
    basis = v[:, :SHAPE_COMPONENTS].T.numpy()
    coefficients = (data - mean) @ basis.T
    sigma = coefficients[:count].std(0)
    basis = (basis * sigma[:, None]).astype(np.float16)
    coefficients = (coefficients / sigma).astype(np.float32)
    rebuilt = mean + coefficients[count:] @ basis.astype(np.float32)
    error_mm = 1000 * np.linalg.norm((rebuilt - data[count:]).reshape(200, -1, 3), axis=-1)

    n = len(model.template_vertices)
    labels = list(model.bone_labels)
    parents = np.array(model.bone_parents, np.int16)
    tpose = np.load(assets_dir / "poses" / "mh_tpose.npz", allow_pickle=False)
    world = dict(zip(tpose["bones"].tolist(), tpose["world"], strict=True))
    t_rot = np.stack([world.get(b, np.eye(3)) for b in labels])
    for i, b in enumerate(labels):  # bones the T-pose file does not name follow their parent
        if b not in world and parents[i] >= 0:
            t_rot[i] = t_rot[parents[i]]
    weights = model.vertex_bone_weights.numpy()
    order = np.argsort(-weights, 1)[:, :6]
    weights = np.take_along_axis(weights, order, 1)
    weights = weights / weights.sum(1, keepdims=True)
    base = np.load(assets_dir / "base_hm08.npz")
    body_vertices = int(base["body_f"].max()) + 1
    table = {
        "shape_mean": mean.reshape(-1, 3)[:n],
        "shape_basis": basis.reshape(SHAPE_COMPONENTS, -1, 3)[:, :n],
        "bone_mean": mean.reshape(-1, 3)[n:],
        "bone_basis": basis.reshape(SHAPE_COMPONENTS, -1, 3)[:, n:],
        "bone_parent": parents,
        "bone_joint": np.array([CANONICAL_JOINTS.index(canonical_joint_of_bone(b)) for b in labels], np.int16),
        "bone_tpose": t_rot.astype(np.float32),
        "joint_bone": np.array([labels.index(b) for b in _REPRESENTATIVE_BONES], np.int16),
        "bone_names": np.frombuffer("\n".join(labels).encode(), np.uint8).copy(),
        "skin_index": np.take_along_axis(model.vertex_bone_indices.numpy(), order, 1).astype(np.uint8),
        "skin_weight": weights.astype(np.float16),
        "faces": base["body_f"].astype(np.uint16),
        "face_uvs": base["body_ft"].astype(np.uint16),
        "uvs": base["uv"].astype(np.float32),
        "left_eye_faces": base["helper_l_eye_f"].astype(np.uint16),
        "right_eye_faces": base["helper_r_eye_f"].astype(np.uint16),
        "anchor_shape": coefficients.astype(np.float16),
        "anchor_phenotype": columns,
    }
    save_file({k: np.ascontiguousarray(v) for k, v in table.items()}, str(out))
    return {
        "mean_mm": float(error_mm[:, :body_vertices].mean()),
        "max_mm": float(error_mm[:, :body_vertices].max()),
    }
