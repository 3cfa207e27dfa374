"""Which files of a folder become what: every output has a name of its own, on every file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from somacast.errors import SomacastError
from somacast.pipeline.batch.plan import name_outputs, plan_folder


def names(*inputs: str, gives: str = "one") -> list[str]:
    return name_outputs([(name, gives) for name in inputs], ".soma")  # pyright: ignore


def test_an_output_is_named_after_its_input():
    assert names("a.jpg", "sub/a.jpg", "b.tar.jpg", "no_suffix") == [
        "a.soma", "sub/a.soma", "b.tar.soma", "no_suffix.soma",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (["a.jpg", "a.png", "b.png"], ["a.jpg.soma", "a.png.soma", "b.soma"]),
        (["A.jpg", "a.png"], ["A.jpg.soma", "a.png.soma"]),
        (["A.jpg", "a.jpg"], ["A.jpg.soma", "a.jpg~2.soma"]),
        (["S/a.jpg", "s/a.jpg"], ["S/a.jpg.soma", "s/a.jpg~2.soma"]),
        (["\u00e9.jpg", "e\u0301.png"], ["\u00e9.jpg.soma", "e\u0301.png.soma"]),
        (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg.soma", "a.jpg.png.soma", "a.png.soma"]),
        (["x.jpg", "x.soma/y.jpg"], ["x.jpg.soma", "x.soma/y.soma"]),
    ],
)  # fmt: skip
def test_names_that_would_meet_differ(inputs, outputs):
    assert names(*inputs) == outputs
    assert len({name.casefold() for name in outputs}) == len(outputs)


def test_numbered_outputs_meet_nothing_else():
    found = name_outputs([("a.jpg", "several"), ("a_1.mp4", "one"), ("a_b.mp4", "one")], ".soma")
    assert found == ["a.soma", "a_1.mp4.soma", "a_b.soma"]
    assert name_outputs([("a_2.mp4", "one"), ("a.jpg", "several")], ".soma") == ["a_2.soma", "a.jpg.soma"]
    assert names("a.jpg", "a_1.jpg", gives="several") == ["a.soma", "a_1.soma"]  # a_1, a_1_1
    assert names("a.jpg", "a.png", gives="several") == ["a.jpg.soma", "a.png.soma"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for name in ("b.pic", "a.pic", "sub/deep/a.pic", "readme.txt", ".hidden.pic", ".git/x.pic", "._a.pic", "out/a.pic"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder


def gives(path: Path):
    return "one" if path.suffix == ".pic" else None


def test_subfolders_are_kept_and_other_files_counted(tree):
    plan = plan_folder(tree, tree / "out", ".soma", gives)
    assert [(job.name, job.target) for job in plan.jobs] == [
        ("a.pic", "a.soma"), ("b.pic", "b.soma"), ("sub/deep/a.pic", "sub/deep/a.soma"),
    ]  # fmt: skip
    assert plan.others == 3 and not plan.unread  # the note and two hidden files


def test_links_and_what_is_no_file(tree):
    os.mkfifo(tree / "pipe.pic")
    (tree / "loop").symlink_to(tree)
    (tree / "gone.pic").symlink_to(tree / "none.pic")
    (tree / "same.pic").symlink_to(tree / "a.pic")
    plan = plan_folder(tree, tree / "out", ".soma", gives)
    assert [job.name for job in plan.jobs] == ["a.pic", "b.pic", "same.pic", "sub/deep/a.pic"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser reads every folder")
def test_folders_that_cannot_be_listed_are_said(tree):
    (tree / "sub").chmod(0)
    try:
        plan = plan_folder(tree, tree / "out", ".soma", gives)
        assert [name for name, _ in plan.unread] == ["sub"] and "permission" in plan.unread[0][1]
    finally:
        (tree / "sub").chmod(0o755)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(SomacastError, match="cannot be read"):
        plan_folder(tmp_path / "none", tmp_path, ".soma", gives)
