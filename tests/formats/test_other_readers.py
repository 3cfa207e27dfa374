"""Files as other people's programs read them: the Khronos validator, three-vrm, Blender. Each is skipped, with a word,
where it is not installed.

The npm packages three, @pixiv/three-vrm and gltf-validator are looked for in the folder that $SOMACAST_NODE_MODULES
names, Blender's module bpy in the Python that $SOMACAST_BPY names, else in this one.
"""

import importlib.util
import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from somacast.body.skeleton import CANONICAL_JOINTS, joint_places
from somacast.formats.bvh import encode_bvh
from somacast.formats.export import VrmTerms
from somacast.formats.gltf_writer import encode_glb, encode_rigged_glb
from somacast.formats.meshes import save_mesh
from somacast.formats.vrm import HUMAN_BONES, encode_vrm
from somacast.geometry.rig import Motion, standing
from support.nodejs import node
from support.rig_cases import bare_rig, motion
from support.texture_cases import smooth_picture, textured_rig

PACKAGES = Path(os.environ.get("SOMACAST_NODE_MODULES", Path(__file__).parents[2] / "node_modules"))
CAMERA = np.array([0.1, 1.2, 3.0])
RIG = standing(bare_rig(True))
TEXTURED = standing(textured_rig())
COMES_AND_GOES = Motion(
    motion().rotations[:4],
    motion().pelvis_m[:4],
    times_s=np.array([1.0, 1.5, 3.0, 3.5]),
    seen_s=((1.0, 2.0), (3.0, 4.0)),
)


def in_node(script: str, folder: Path, package: str, *arguments: str) -> dict:
    """What a module prints as JSON; skipped without Node.js or the package."""
    if node() is None or not (PACKAGES / package / "package.json").exists():
        pytest.skip(f"NOT CHECKED WITH {package}: needs Node.js, `npm install {package}` and $SOMACAST_NODE_MODULES")
    (folder / "node_modules").symlink_to(PACKAGES.resolve())
    (folder / "look.mjs").write_text(script)
    command = [str(node()), str(folder / "look.mjs"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def in_blender(script: str, *arguments: str) -> dict:
    """What a script prints on its last line as JSON, in a Python with bpy; skipped without."""
    python = os.environ.get("SOMACAST_BPY") or (sys.executable if importlib.util.find_spec("bpy") else None)
    if python is None:
        pytest.skip("NOT CHECKED IN BLENDER: needs the package bpy, here or in the Python that $SOMACAST_BPY names")
    run = subprocess.run([python, "-c", script, *arguments], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@lru_cache(maxsize=1)
def files() -> dict[str, bytes]:
    """One file of each kind."""
    return {
        "still.glb": encode_glb(RIG.mesh, np.array([0.0, 0.9, 0.0]), CAMERA),
        "rigged.glb": encode_rigged_glb(RIG),
        "moving.glb": encode_rigged_glb(RIG, motion(), CAMERA),
        "leaving.glb": encode_rigged_glb(RIG, COMES_AND_GOES),
        "avatar.vrm": encode_vrm(RIG, "Jo", VrmTerms("Jo Doe")),
        "old.vrm": encode_vrm(RIG, "Jo", VrmTerms(version="0.x")),
        "textured.glb": encode_rigged_glb(TEXTURED, motion()),
        "textured_png.glb": encode_glb(TEXTURED.mesh, image="png"),
        "textured.vrm": encode_vrm(TEXTURED, "Jo", VrmTerms("Jo Doe")),
        "textured_old.vrm": encode_vrm(TEXTURED, "Jo", VrmTerms(version="0.x")),
        "moving.bvh": encode_bvh(RIG.joints, RIG.rotations, motion()).encode(),
        "centimetres.bvh": encode_bvh(RIG.joints, RIG.rotations, motion(), 100.0).encode(),
    }


def written(folder: Path, name: str) -> str:
    (folder / name).write_bytes(files()[name])
    return str(folder / name)


_VALIDATE = """
import { readFileSync } from "node:fs";
import validator from "gltf-validator";
const { issues } = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])));
console.log(JSON.stringify(issues));
"""


@pytest.mark.parametrize("name", [name for name in files() if not name.endswith("bvh")])
def test_the_khronos_validator_finds_nothing(tmp_path, name):
    issues = in_node(_VALIDATE, tmp_path, "gltf-validator", written(tmp_path, name))
    # Extensions of VRM are not known to it, nor that the thumbnail is used by one; "VRM" has no prefix as names ought.
    known = {"UNSUPPORTED_EXTENSION", "UNUSED_OBJECT", "INVALID_EXTENSION_NAME_FORMAT"} if "vrm" in name else set()
    assert issues["numErrors"] == 0 and {m["code"] for m in issues["messages"]} <= known, issues["messages"]


_THREE_VRM = """
import { readFileSync } from "node:fs";
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 4, height: 4, close() {} });
globalThis.ProgressEvent ??= class {};
const { Box3, Vector3 } = await import("three");
const { GLTFLoader } = await import("three/examples/jsm/loaders/GLTFLoader.js");
const { VRMLoaderPlugin, VRMUtils } = await import("@pixiv/three-vrm");
const bytes = readFileSync(process.argv[2]);
const loader = new GLTFLoader();
loader.register((parser) => new VRMLoaderPlugin(parser));
const gltf = await loader.parseAsync(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength), "");
const vrm = gltf.userData.vrm;
VRMUtils.rotateVRM0(vrm);
const size = () => {
  gltf.scene.updateMatrixWorld(true);
  gltf.scene.traverse((o) => { if (o.isSkinnedMesh) { o.skeleton.update(); o.computeBoundingBox(); } });
  const box = new Box3().setFromObject(gltf.scene, true);
  return [box.min.toArray(), box.max.toArray()];
};
const out = { meta: vrm.meta, bones: Object.keys(vrm.humanoid.humanBones), places: {}, rest: size() };
for (const bone of out.bones) {
  out.places[bone] = vrm.humanoid.getRawBoneNode(bone).getWorldPosition(new Vector3()).toArray();
}
out.pictures = [];
gltf.scene.traverse((o) => {
  if (o.isSkinnedMesh) for (const m of [o.material].flat().filter((m) => !m.isOutline)) out.pictures.push(!!m.map);
});
out.looksAt = vrm.lookAt?.offsetFromHeadBone.toArray();
const turn = vrm.meta.metaVersion === "0" ? -1 : 1;
vrm.humanoid.getNormalizedBoneNode("leftUpperArm").rotation.z = turn * -Math.PI / 2;
vrm.humanoid.getNormalizedBoneNode("rightUpperArm").rotation.z = turn * Math.PI / 2;
vrm.update(0);
out.lowered = size();
delete out.meta.thumbnailImage;
delete out.meta.texture;
console.log(JSON.stringify(out));
"""


@pytest.mark.parametrize("name", ["avatar.vrm", "old.vrm", "textured.vrm", "textured_old.vrm"])
def test_three_vrm_has_an_avatar_that_can_lower_its_arms(tmp_path, name):
    seen = in_node(_THREE_VRM, tmp_path, "@pixiv/three-vrm", written(tmp_path, name))
    assert seen["bones"] == list(HUMAN_BONES) and seen["looksAt"] == pytest.approx([0, 0.06, 0.08])
    assert seen["pictures"] == [True]
    if name == "avatar.vrm":
        assert seen["meta"]["authors"] == ["Jo Doe"] and seen["meta"]["avatarPermission"] == "onlyAuthor"
    for bone, place in zip(HUMAN_BONES, RIG.joints, strict=True):
        np.testing.assert_allclose(seen["places"][bone], place - [RIG.joints[0, 0], 0, RIG.joints[0, 2]], atol=1e-4)
    (low, high), (low_after, high_after) = np.array(seen["rest"]), np.array(seen["lowered"])
    assert low[1] == pytest.approx(0, abs=1e-5) and low_after[1] == pytest.approx(0, abs=1e-5)
    assert high[0] - low[0] > 1.3 and high_after[0] - low_after[0] < 0.7  # arms along the body
    assert high_after[1] == pytest.approx(high[1], abs=0.05)


_BLENDER = """
import json, sys
import bpy
path = sys.argv[1]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 20
if path.endswith(".bvh"):
    bpy.ops.import_anim.bvh(filepath=path, global_scale=float(sys.argv[2]), update_scene_fps=True)
else:
    bpy.ops.import_scene.gltf(filepath=path)
graph = bpy.context.evaluated_depsgraph_get()
out = {"objects": [], "fps": scene.render.fps / scene.render.fps_base, "frames": [], "points": [], "bones": []}
out["actions"] = [[*action.frame_range] for action in bpy.data.actions]
out["metallic"] = [n.inputs["Metallic"].default_value for m in bpy.data.materials for n in m.node_tree.nodes
                   if n.type == "BSDF_PRINCIPLED"]
out["inputs"] = [n.type for m in bpy.data.materials for n in m.node_tree.nodes]
for thing in list(scene.objects):
    out["objects"].append([thing.type, [*thing.matrix_world.translation]])
    if thing.type == "MESH" and thing.users_collection[0].name != "glTF_not_exported":
        shape = thing.evaluated_get(graph)
        out["points"] += [[*(shape.matrix_world @ v.co)] for v in shape.to_mesh().vertices]
    if thing.type == "ARMATURE":
        out["bones"] = [bone.name for bone in thing.data.bones]
        first = 1 if path.endswith(".bvh") else 0
        for frame in range(first, first + (len(out["actions"]) and 4)):
            scene.frame_set(frame)
            bones = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones
            out["frames"].append({b.name: [*(thing.matrix_world @ b.head)] for b in bones})
print()
print(json.dumps(out))
"""


def in_blender_axes(points: np.ndarray) -> np.ndarray:
    """Ours (y up, front +z) to Blender's (z up, front -y)."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


@pytest.mark.parametrize(("name", "scale"), [("moving.glb", 1.0), ("moving.bvh", 1.0), ("centimetres.bvh", 0.01)])
def test_blender_plays_the_motion_in_metres_and_in_time(tmp_path, name, scale):
    seen = in_blender(_BLENDER, written(tmp_path, name), str(scale))
    assert seen["bones"] == list(CANONICAL_JOINTS) and seen["fps"] == pytest.approx(20)
    start, end = seen["actions"][0]
    assert end - start == pytest.approx(len(motion().rotations) - 1, abs=1e-3)
    for frame, bones in enumerate(seen["frames"]):
        expected = joint_places(RIG.offsets_m, motion().rotations[frame], motion().pelvis_m[frame])
        places = np.array([bones[joint] for joint in CANONICAL_JOINTS])
        np.testing.assert_allclose(places, in_blender_axes(expected), atol=2e-4)
    assert len(seen["frames"]) == 4


@pytest.mark.parametrize("name", ["still.glb", "rigged.glb", "avatar.glb"])
def test_blender_sees_the_person_upright_and_matt(tmp_path, name):
    vrm = name == "avatar.glb"  # by its suffix Blender opens it without an add-on
    (tmp_path / name).write_bytes(files()["avatar.vrm" if vrm else name])
    seen = in_blender(_BLENDER, str(tmp_path / name), "1")
    points, up = np.array(seen["points"]), 0.9 if name == "still.glb" else 0.0
    assert points[:, 2].min() == pytest.approx(up, abs=1e-4)
    assert np.ptp(points[:, 2]) == pytest.approx(np.ptp(RIG.mesh.vertices[:, 1]), abs=1e-3)
    assert seen["metallic"] == [0] and ("TEX_IMAGE" if vrm else "VERTEX_COLOR") in seen["inputs"]
    if name == "still.glb":
        cameras = [place for kind, place in seen["objects"] if kind == "CAMERA"]
        np.testing.assert_allclose(cameras, [in_blender_axes(CAMERA)], atol=1e-5)


_PICTURE = """
import json, sys
import bpy
path = sys.argv[1]
bpy.ops.wm.read_factory_settings(use_empty=True)
if path.endswith(".obj"):
    bpy.ops.wm.obj_import(filepath=path)
else:
    bpy.ops.import_scene.gltf(filepath=path)
person = next(o for o in bpy.context.scene.objects if o.type == "MESH" and o.data.materials)
(material,) = person.data.materials
(node,) = [n for n in material.node_tree.nodes if n.type == "TEX_IMAGE"]
surface = next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
linked = [link.to_socket.name for link in material.node_tree.links if link.from_node == node]
loops = [[loop.vertex_index for loop in person.data.loops], [[*uv.uv] for uv in person.data.uv_layers[0].data]]
out = {"size": [*node.image.size], "linked": linked, "vertices": len(person.data.vertices), "uv": loops[1]}
out["places"] = [[*person.data.vertices[v].co] for v in loops[0]]
out["normals"] = [[*normal.vector] for normal in person.data.corner_normals]
out["matt"] = [surface.inputs["Metallic"].default_value, surface.inputs["Roughness"].default_value]
out["corner"] = [round(255 * x) for x in node.image.pixels[:3]]
print()
print(json.dumps(out))
"""


@pytest.mark.parametrize("name", ["textured.glb", "textured_png.glb", "two words.obj"])
def test_blender_has_the_texture_on_one_surface(tmp_path, name):
    mesh = TEXTURED.mesh
    assert mesh.texture is not None
    if name.endswith(".obj"):
        save_mesh(mesh, tmp_path / name)
    path = str(tmp_path / name) if name.endswith(".obj") else written(tmp_path, name)
    seen = in_blender(_PICTURE, path)
    assert seen["size"] == [128, 128] and seen["linked"] == ["Base Color"]
    assert seen["matt"] == pytest.approx([0, 0.9])
    assert seen["corner"] == pytest.approx(smooth_picture()[-1, 0].tolist(), abs=6)  # its first row is the lowest
    if name.endswith(".obj"):
        assert seen["vertices"] == len(mesh.vertices)
    corners = np.array(seen["uv"]).reshape(-1, 3, 2) * [1, -1] + [0, 1]
    np.testing.assert_allclose(corners, mesh.texture.corners, atol=2e-6)
    normals: dict[tuple[float, ...], list[list[float]]] = {}
    for place, normal in zip(seen["places"], seen["normals"], strict=True):
        normals.setdefault(tuple(round(x, 6) for x in place), []).append(normal)
    assert max(float(np.ptp(np.array(one), axis=0).max()) for one in normals.values()) < 0.02  # no seam in the shading


_HIDING = """
import json, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 20
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
person = next(o for o in scene.objects if o.type == "MESH" and o.parent)
heights = []
for second in json.loads(sys.argv[2]):
    scene.frame_set(round(20 * second))
    shape = person.evaluated_get(bpy.context.evaluated_depsgraph_get())
    heights.append(max(v.co.z for v in shape.data.vertices) - min(v.co.z for v in shape.data.vertices))
print()
print(json.dumps({"heights": heights, "ends": [action.frame_range[1] for action in bpy.data.actions]}))
"""


def test_blender_hides_who_is_not_there(tmp_path):
    """From 1 to 2 s and from 3 to 4 s: nothing to be seen at other times, and never a size between."""
    seconds = {0.0: False, 0.9: False, 1.0: True, 1.5: True, 1.95: True, 2.05: False, 2.9: False, 3.05: True, 3.5: True}
    path = written(tmp_path, "leaving.glb")
    seen = in_blender(_HIDING, path, json.dumps(list(seconds)))
    assert [height > 1.2 for height in seen["heights"]] == list(seconds.values())
    assert all(height < 0.01 or height > 1.2 for height in seen["heights"])
    assert max(seen["ends"]) == pytest.approx(80)
