"""Windows and macOS as far as another system can play them: what they lack is taken away, then all of it is imported
and the commands are run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import somacast

PACKAGE = Path(somacast.__file__).parent
UNIX_ONLY = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
# Of other systems than Linux: macOS lacks the first line, Windows both.
LACKING = {
    "os": (
        "sched_getaffinity sched_setaffinity memfd_create getrandom posix_fallocate setresuid setns unshare eventfd",
        "getuid geteuid getgid getegid getpgid getpgrp setsid killpg fork forkpty nice getloadavg mkfifo fchmod fchown "
        "chown chroot uname wait4 WNOHANG O_NONBLOCK O_CLOEXEC O_NOFOLLOW O_DIRECTORY O_SYNC statvfs sysconf ttyname",
    ),
    "signal": (
        "SIGPOLL SIGPWR SIGSTKFLT",
        "SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGKILL SIGPIPE SIGQUIT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGWINCH SIGXFSZ "
        "SIG_BLOCK SIG_SETMASK SIG_UNBLOCK alarm setitimer pause pthread_sigmask pthread_kill sigwait siginterrupt",
    ),
    "socket": (
        "SOCK_CLOEXEC SOCK_NONBLOCK TCP_USER_TIMEOUT SO_BINDTODEVICE AF_NETLINK AF_PACKET MSG_DONTWAIT",
        "AF_UNIX SO_REUSEPORT send_fds recv_fds sethostname",
    ),
    "select": ("epoll", "poll"),
}
# Everything that is not of the package is loaded as the system it runs on; from then on it is another one.
PLAY = """
import importlib, json, os, signal, socket, select, sys, warnings
platform, others, ours, unix_only, lacking = json.loads(sys.argv[1])
warnings.simplefilter("ignore")
for name in others:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # an extra that is not installed
sys.platform = platform
for module, (unlike_linux, unlike_unix) in lacking.items():
    for name in (unlike_linux + (" " + unlike_unix if platform == "win32" else "")).split():
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
if platform == "win32":
    os.O_BINARY = 0
    sys.modules.update(dict.fromkeys(unix_only))
failed = {}
for name in ours:
    try:
        importlib.import_module(name)
    except BaseException as fault:
        failed[name] = f"{type(fault).__name__}: {fault}"
print(json.dumps(failed))
"""


def modules() -> list[str]:
    files = [p.relative_to(PACKAGE.parent) for p in sorted(PACKAGE.rglob("*.py")) if p.name != "__main__.py"]
    return [".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in files]


def others() -> list[str]:
    """Modules of others that ours import, wherever in the file, but those that Windows lacks."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    heavy = ("somacast", "torch", "warp", "anny", "sionna", "matplotlib", "__future__")
    return sorted(name for name in found if name.partition(".")[0] not in (*heavy, *UNIX_ONLY))


def play(platform: str, code: str, folder: Path, ours: list[str]) -> subprocess.CompletedProcess[str]:
    words = json.dumps([platform, others(), ours, UNIX_ONLY, LACKING])
    return subprocess.run([sys.executable, "-c", PLAY + code, words], capture_output=True, text=True, cwd=folder)


def needing_torch(path: str) -> bool:
    """Trainings load torch when they are imported, which would take the time of all else together."""
    return ".training" in path or ".ablation" in path or ".nn" in path or ".networks." in path


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_every_module_can_be_imported(tmp_path, platform):
    """Takes seconds: it imports the whole package in a fresh interpreter."""
    ours = [name for name in modules() if not needing_torch(name)]
    assert len(ours) > 200
    run = play(platform, "", tmp_path, ours)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {}


VERBS = """
from somacast.cli.main import main
codes = [main(words) for words in (
    ["encode", "synthetic:walking", "-o", "w \\u4eba.soma", "--seconds", "0.2"],
    ["decode", "w \\u4eba.soma", "-o", "w \\u4eba.glb"],
    ["info", "w \\u4eba.soma"],
    ["send", "synthetic:standing", "--to", "udp:127.0.0.1:7498", "--seconds", "0.3"],
    ["bench", "nothing"],
)]
print(codes)
"""


@pytest.mark.slow
def test_commands_run(tmp_path):
    """On Windows, which lacks all that macOS does. Names with spaces and letters of another script; a film has all
    parts of a picture in it."""
    folder = tmp_path / "\u00fcber uns"
    folder.mkdir()
    run = play("win32", VERBS, folder, ["somacast"])
    assert run.stdout.splitlines()[-1:] == ["[0, 0, 0, 0, 2]"], run.stdout + run.stderr
    assert (folder / "w \u4eba.glb").read_bytes()[:4] == b"glTF"


def test_the_check_sees_what_is_missing(tmp_path):
    """Modules that only Unix has, and names that only Linux has, at import."""
    for name, line in (("module", "import resource"), ("linux", "import os; os.sched_getaffinity(0)")):
        (tmp_path / f"{name}.py").write_text(line)
    (tmp_path / "unix.py").write_text("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    code, words = PLAY, ["module", "linux", "unix"]
    for platform, expected in (("win32", words), ("darwin", ["linux"])):
        given = json.dumps([platform, [], words, UNIX_ONLY, LACKING])
        run = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, cwd=tmp_path)
        assert sorted(json.loads(run.stdout)) == sorted(expected), run.stderr
