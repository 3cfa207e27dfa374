"""VRM, the form of avatars: a rig in the T-pose on the ground with humanoid bones, a texture, and terms of use.

VRM 1.0 is written (https://github.com/vrm-c/vrm-specification, VRMC_vrm and VRMC_materials_mtoon), and 0.x for programs
that have stayed with it. Its T-pose faces +z with the arms along x and no node turned, which is our own; 0.x faces -z.
Readers of VRM show no vertex colours, so these become a texture. Faces do not move: no expressions are written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.formats.color_cells import bake_colors
from somacast.formats.export import ImageKind, VrmTerms
from somacast.formats.gltf import GltfBuffer
from somacast.formats.gltf_writer import add_image, add_surface, finished, skeleton, skin
from somacast.formats.vmc import UNITY_BONES
from somacast.geometry.preview import SUPERSAMPLE, encode_png
from somacast.geometry.rasteriser import MID_GREY, light, render_orthographic
from somacast.geometry.rig import Rig, in_tpose, standing

LICENSE_URL = "https://vrm.dev/licenses/1.0/"
HUMAN_BONES = tuple(name[0].lower() + name[1:] for name in UNITY_BONES)  # of our joints, in their order
_USERS = {  # who may act as the avatar, in 1.0 and in 0.x
    "only-author": ("onlyAuthor", "OnlyAuthor"),
    "licensed-persons": ("onlySeparatelyLicensedPerson", "ExplicitlyLicensedPerson"),
    "everyone": ("everyone", "Everyone"),
}
_HEAD = CANONICAL_JOINTS.index("head")
_EYES_M = np.array([0.0, 0.06, 0.08])  # between the eyes, seen from the joint of the head
_MESH, _ROOT = JOINT_COUNT, JOINT_COUNT + 1  # nodes after the joints
_THUMBNAIL_PX, _THUMBNAIL_M = 512, 0.62
_TURNED = np.array([-1.0, 1.0, -1.0])


def encode_vrm(rig: Rig, name: str, terms: VrmTerms | None = None, image: ImageKind = "jpeg") -> bytes:
    """A .vrm file of a person called `name`; rigs in another pose are brought into the T-pose. image: how the picture
    of the person's own texture is kept."""
    terms = terms or VrmTerms()
    old = terms.version == "0.x"
    rig = standing(in_tpose(rig))
    thumbnail = _thumbnail(rig)
    if old:  # half a turn about y
        turned = replace(rig.mesh, vertices=(rig.mesh.vertices * _TURNED).astype(np.float32))
        rig = Rig(turned, rig.joints * _TURNED, rig.rotations, rig.weights)
    arrays = GltfBuffer()
    document: dict[str, Any] = {
        "extensionsUsed": ["VRM"] if old else ["VRMC_vrm", "VRMC_materials_mtoon"],
        "extensions": {"VRM": _vrm0(name, terms)} if old else {"VRMC_vrm": _vrm1(name, terms)},
        "scenes": [{"nodes": [_ROOT, _MESH]}],
        "nodes": [
            *skeleton(rig, rig.rotations, rig.joints[0]),
            {"name": "person", "mesh": 0, "skin": 0},
            {"name": "root", "children": [0]},
        ],
    }
    own = rig.mesh.texture
    mesh = rig.mesh if own else replace(rig.mesh, texture=bake_colors(rig.mesh))
    add_surface(document, arrays, mesh, rig, image=image if own else "png", reduced=own is not None)
    add_image(document, arrays, thumbnail, "thumbnail", "png")
    if old:  # there the thumbnail is a texture
        document["textures"].append({"source": 1, "sampler": 0})
    else:
        document["materials"][0]["extensions"] = {"VRMC_materials_mtoon": _mtoon()}
    document["skins"] = [skin(rig, arrays)]
    return finished(document, arrays)


def _thumbnail(rig: Rig) -> bytes:
    """Head and shoulders from in front as PNG, which programs show in their lists."""
    center = rig.joints[_HEAD] + [0.0, 0.02, 0.0]
    picture = render_orthographic(rig.mesh, _THUMBNAIL_PX * SUPERSAMPLE, _THUMBNAIL_M, 0.0, center, background=MID_GREY)
    image = light(picture).reshape(_THUMBNAIL_PX, SUPERSAMPLE, _THUMBNAIL_PX, SUPERSAMPLE, 3)
    return encode_png(image.mean((1, 3)))


def _mtoon() -> dict[str, Any]:
    """The shader of most avatars, set to what a matt surface looks like: shade that sets in softly, no outline."""
    return {
        "specVersion": "1.0",
        "shadeColorFactor": [0.55, 0.52, 0.52],
        "shadeMultiplyTexture": {"index": 0},
        "shadingShiftFactor": 0.0,
        "shadingToonyFactor": 0.1,
        "giEqualizationFactor": 0.9,
        "outlineWidthMode": "none",
    }


def _vrm1(name: str, terms: VrmTerms) -> dict[str, Any]:
    """The extension VRMC_vrm."""
    meta = {
        "name": name, "version": "1", "authors": [terms.author or "unknown"], "licenseUrl": LICENSE_URL,
        "thumbnailImage": 1, "avatarPermission": _USERS[terms.users][0], "commercialUsage": "personalNonProfit",
        "allowExcessivelyViolentUsage": False, "allowExcessivelySexualUsage": False,
        "allowPoliticalOrReligiousUsage": False, "allowAntisocialOrHateUsage": False, "allowRedistribution": False,
        "creditNotation": "required", "modification": "prohibited",
    }  # fmt: skip
    gaze = {"inputMaxValue": 90.0, "outputScale": 10.0}
    directions = ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")
    return {
        "specVersion": "1.0",
        "meta": meta | ({"otherLicenseUrl": terms.license_url} if terms.license_url else {}),
        "humanoid": {"humanBones": {bone: {"node": node} for node, bone in enumerate(HUMAN_BONES)}},
        "firstPerson": {"meshAnnotations": [{"node": _MESH, "type": "auto"}]},
        "lookAt": {"type": "bone", "offsetFromHeadBone": _EYES_M.tolist()}
        | {f"rangeMap{direction}": dict(gaze) for direction in directions},
        "expressions": {"preset": {}},  # three-vrm turns no gaze without
    }


def _vrm0(name: str, terms: VrmTerms) -> dict[str, Any]:
    """The extension VRM of 0.x, which wants every entry."""
    eyes = dict(zip("xyz", (_EYES_M * _TURNED).tolist(), strict=True))
    gaze = {"curve": [0, 0, 0, 1, 1, 1, 1, 0], "xRange": 90, "yRange": 10}
    directions = ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")
    shader = {"name": "person", "shader": "VRM_USE_GLTFSHADER", "renderQueue": 2000, "floatProperties": {},
              "vectorProperties": {}, "textureProperties": {}, "keywordMap": {}, "tagMap": {}}  # fmt: skip
    return {
        "exporterVersion": "Somacast",
        "specVersion": "0.0",
        "meta": {
            "title": name, "version": "1", "author": terms.author or "unknown", "contactInformation": "",
            "reference": "", "texture": 1, "allowedUserName": _USERS[terms.users][1], "violentUssageName": "Disallow",
            "sexualUssageName": "Disallow", "commercialUssageName": "Disallow", "otherPermissionUrl": "",
            "licenseName": "Other" if terms.license_url else "Redistribution_Prohibited",
            "otherLicenseUrl": terms.license_url,
        },
        "humanoid": {
            "humanBones": [{"bone": b, "node": n, "useDefaultValues": True} for n, b in enumerate(HUMAN_BONES)]
        },
        "firstPerson": {
            "firstPersonBone": _HEAD, "firstPersonBoneOffset": eyes, "lookAtTypeName": "Bone",
            "meshAnnotations": [{"mesh": 0, "firstPersonFlag": "Auto"}],
        } | {f"lookAt{direction}": dict(gaze) for direction in directions},
        "blendShapeMaster": {"blendShapeGroups": []},
        "secondaryAnimation": {"boneGroups": [], "colliderGroups": []},
        "materialProperties": [shader],
    }  # fmt: skip
