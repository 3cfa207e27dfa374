"""A folder on several processes: what is finished stays, what fails costs itself alone, nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from somacast.errors import SomacastError
from somacast.pipeline.batch import workers
from somacast.pipeline.batch.journal import FOLDER, work_folder
from somacast.pipeline.batch.plan import plan_folder
from somacast.pipeline.batch.run import BatchConfig, Summary, check_folders, run_batch
from support.folders.work_cases import explain, work


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    return tmp_path / "in", tmp_path / "out"


def fill(folder: Path, **words: str) -> None:
    for name, word in words.items():
        (folder / f"{name}.txt").write_text(word)


def run(folders: tuple[Path, Path], settings: str = "s", stop=None, workers: int = 2, overwrite=False) -> Summary:
    folder, out = folders
    plan = plan_folder(folder, out, ".up", lambda path: "one" if path.suffix == ".txt" else None)
    return run_batch(plan, out, BatchConfig(work, settings, explain, workers, overwrite), stop)


def states(summary: Summary) -> dict[str, str]:
    return {row.name.removesuffix(".txt"): row.state for row in summary.rows}


def outputs(out: Path) -> dict[str, str]:
    """What stands in the output folder, without what runs keep there."""
    found = {p.relative_to(out).as_posix(): p for p in sorted(out.rglob("*.up"))}
    return {name: path.read_text() for name, path in found.items() if not name.startswith(FOLDER)}


def test_files_that_fail_cost_themselves_alone(folders):
    folder, out = folders
    fill(folder, a="fine", b="bad", c="die", d="two", e="fault", f="fine")
    fill(folder / "sub", g="fine", h="die")
    summary = run(folders)
    assert states(summary) == {
        "a": "made", "b": "refused", "c": "refused", "d": "made", "e": "refused", "f": "made",
        "sub/g": "made", "sub/h": "refused",
    }  # fmt: skip
    assert outputs(out) == {"a.up": "FINE", "d_1.up": "TWO", "d_2.up": "TWO", "f.up": "FINE", "sub/g.up": "FINE"}
    rows = {row.name: row for row in summary.rows}
    assert rows["b.txt"].error == "expected a good one"
    assert "SIGKILL" in str(rows["c.txt"].error)
    assert rows["d.txt"].notes == ["two of them"] and rows["d.txt"].bytes == 6
    assert sorted(p.name for p in (out / FOLDER).iterdir()) == ["done.jsonl", "lock"]
    assert json.loads(json.dumps(summary.as_dict()))["refused"] == 4


def test_only_what_changed_is_done_again(folders):
    folder, out = folders
    fill(folder, a="fine", b="fine", c="two", d="bad", e="fine")
    assert run(folders).count("made") == 4
    assert states(run(folders)) == {"a": "kept", "b": "kept", "c": "kept", "d": "refused", "e": "kept"}
    fill(folder, a="good", d="fine")  # as long as before
    (out / "b.up").write_text("FIN")
    (out / "c_2.up").unlink()
    os.utime(folder / "e.txt", (1, 1))  # another time, the same content
    assert states(run(folders)) == {"a": "made", "b": "made", "c": "made", "d": "made", "e": "kept"}
    assert outputs(out)["a.up"] == "GOOD" and outputs(out)["b.up"] == "FINE" and outputs(out)["c_2.up"] == "TWO"
    assert run(folders, settings="other").count("made") == 5
    with (out / FOLDER / "done.jsonl").open("a") as stream:
        stream.write('{"name": "a.txt", "sett')  # killed while it wrote
    assert run(folders, settings="other").count("kept") == 5


def test_a_new_name_of_the_output_counts_as_a_change(folders):
    folder, out = folders
    fill(folder, a="fine")
    run(folders)
    (folder / "a.md").write_text("fine")
    plan = plan_folder(folder, out, ".up", lambda path: "one")
    summary = run_batch(plan, out, BatchConfig(work, "s", explain, 1))
    assert summary.count("made") == 2 and set(outputs(out)) == {"a.md.up", "a.txt.up", "a.up"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_no_run_made_are_safe(folders, overwrite):
    folder, out = folders
    fill(folder, a="fine", b="fine")
    out.mkdir()
    (out / "a.up").write_text("of somebody else")
    summary = run(folders, overwrite=overwrite)
    assert states(summary) == {"a": "made" if overwrite else "refused", "b": "made"}
    assert outputs(out)["a.up"] == ("FINE" if overwrite else "of somebody else")


def test_two_folders_do_not_write_one_output(folders):
    folder, out = folders
    other = folder.parent / "other"
    other.mkdir()
    fill(folder, a="fine", b="fine", c="fine")
    run(folders)
    fill(other, a="good", b="fine", c="good")
    (folder / "c.txt").unlink()  # moved away: there is nobody to whom the output belongs
    found = run((other, out))
    assert states(found) == {"a": "refused", "b": "kept", "c": "made"}
    assert "not made of this file" in str(found.rows[0].error)
    assert outputs(out) == {"a.up": "FINE", "b.up": "FINE", "c.up": "GOOD"}


def test_outputs_of_before_are_named(folders):
    folder, _ = folders
    fill(folder, a="two")
    run(folders)
    fill(folder, a="fine")
    assert run(folders).rows[0].notes[1:] == [f"a_{number}.up of an earlier run is still there" for number in (1, 2)]
    assert run(folders).rows[0].state == "kept"


def test_no_output_is_an_input(folders):
    folder, _ = folders
    (folder / "a.up").write_text("fine")
    fill(folder, b="fine")
    plan = plan_folder(folder, folder, ".up", lambda path: "one")
    summary = run_batch(plan, folder, BatchConfig(work, "s", explain, 1, overwrite=True))
    assert (folder / "a.up").read_text() == "fine" and (folder / "b.up").read_text() == "FINE"
    assert summary.count("refused") == 1


def test_a_run_that_is_stopped_keeps_what_is_finished_and_goes_on(folders, monkeypatch):
    monkeypatch.setattr(workers, "GRACE_S", 0.3)
    folder, out = folders
    fill(folder, a="fine", b="wait", c="wait", d="fine")
    stop = threading.Event()
    began_s = time.monotonic()
    threading.Timer(1.0, stop.set).start()
    summary = run(folders, stop=stop)
    assert time.monotonic() - began_s < 10
    assert summary.stopped and summary.as_dict()["not_reached"] == 3
    assert outputs(out) == {"a.up": "FINE"} and not (out / FOLDER / "unfinished").exists()
    fill(folder, b="fine", c="fine")
    assert states(run(folders)) == {"a": "kept", "b": "made", "c": "made", "d": "made"}


def test_threads_are_shared_out(folders):
    folder, out = folders
    fill(folder, a="threads", b="threads")
    run(folders, workers=64)
    assert set(outputs(out).values()) <= {"11", "22", "44", "88"}  # cores over two workers
    assert os.environ.get("OMP_NUM_THREADS") != "64"


def test_one_run_at_a_time(folders):
    folder, out = folders
    fill(folder, a="fine")
    with work_folder(out), pytest.raises(SomacastError, match="another run"):
        run(folders)
    assert run(folders).count("made") == 1


SCRIPT = """
import sys
from pathlib import Path
from somacast.cli.live.common import stopping
from somacast.pipeline.batch.plan import plan_folder
from somacast.pipeline.batch.run import BatchConfig, run_batch
from somacast.pipeline.batch import workers
from support.folders.work_cases import explain, work

workers.GRACE_S = 0.3
if __name__ == "__main__":
    folder, out = map(Path, sys.argv[1:])
    plan = plan_folder(folder, out, ".up", lambda path: "one")
    show = lambda *found: print(*found, flush=True)
    with stopping() as stop:
        summary = run_batch(plan, out, BatchConfig(work, "s", explain, 2), stop, show)
    print("stopped", summary.stopped, summary.count("made"))
"""


def started(folders: tuple[Path, Path]) -> subprocess.Popen[str]:
    """A run in a process group of its own."""
    folder, out = folders
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(script), str(folder), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def alive(pid: int | str) -> bool:
    """Whether a worker is there and no mere entry of a table."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def workers_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if alive(word)]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to see processes")
@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)]
)
def test_signals_end_all_processes(folders, number, whole_group):
    folder, out = folders
    fill(folder, a="fine", b="wait", c="wait", d="fine")
    process = started(folders)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("0 4") and process.stdout.readline().startswith("1 4")
    time.sleep(0.3)
    pids = workers_of(process.pid)
    assert len(pids) == 2
    os.killpg(process.pid, number) if whole_group else process.send_signal(number)
    rest = process.communicate(timeout=20)[0]
    until_s = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    assert outputs(out) == {"a.up": "FINE"}
    if number != signal.SIGKILL:
        assert rest.splitlines()[-1] == "stopped True 1", rest
    else:
        with work_folder(out) as unfinished:  # the next run finds nothing half-written
            assert not list(unfinished.iterdir())
    assert not (out / FOLDER / "unfinished").exists()


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SomacastError, match="is a file"):
        check_folders(tmp_path, tmp_path / "file")
    with pytest.raises(SomacastError, match="does not exist"):
        check_folders(tmp_path, tmp_path / "none" / "out")
    with pytest.raises(SomacastError, match="can be written"), work_folder(tmp_path / "file" / "x"):
        pass
