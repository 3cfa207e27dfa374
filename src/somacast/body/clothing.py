"""What clothes are made of, in words that labels, networks and wardrobes share."""

from __future__ import annotations

# What a layer is; the order is the order of material labels in the samples (0 is background).
MATERIALS = ("skin", "top", "bottom", "shoes", "hair", "eyes", "hat")
# Categorical labels every outfit answers. The first class is the default of a missing label.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "sleeves": ("long", "short", "none"),
    "legs": ("trousers", "shorts", "skirt", "dress", "bare"),
    "shoes": ("shoes", "bare"),
    "hair": ("short", "long", "tied", "afro", "none"),
    "hat": ("none", "hat"),
}
