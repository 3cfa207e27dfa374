"""Coverage-guided fuzzing of everything that reads bytes of others, with atheris (`pip install atheris`).

    python tests/fuzz/run.py                        every target for a minute
    python tests/fuzz/run.py packet --seconds 600   one target
    python tests/fuzz/run.py packet FILE            one input again

Inputs that crash, or are slow, are left as files in runs/fuzz. Each target runs in a process of its own and starts from
real messages.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "runs" / "fuzz"
MAX_BYTES = {
    "packet": 1300, "session": 4096, "motion": 1300, "still": 2000, "video": 4000, "report": 80, "control": 512,
    "page": 32, "server": 400,
}  # fmt: skip
INSTRUMENTED = (  # not the rooms with numba kernels, which cannot be
    "somacast.bitstream", "somacast.entropy", "somacast.coding", "somacast.systems.aflsc.labels.codec",
    "somacast.pipeline.live.receiver", "somacast.pipeline.live.sender", "somacast.pipeline.live.playout",
    "somacast.pipeline.video.files", "somacast.network.congestion.feedback",
    "somacast.network.congestion.flight", "somacast.network.congestion.measure",
    "somacast.network.congestion.monitor", "somacast.network.congestion.rate_control", "somacast.viewer.messages",
)  # fmt: skip
SLOW_S = 5  # one input that takes longer is a hang (the machine may be busy and the code is instrumented)
MAX_MIB = 2048


def target_packet() -> tuple[Callable[[bytes], None], list[bytes]]:
    """One datagram whose check is made right, to a receiver that has a session's first packets."""
    from somacast.bench.network.live_stage import coder
    from somacast.bench.robustness.fuzz_session import Session
    from somacast.bench.robustness.mutate import sealed_packet
    from somacast.network.transport.base import Lane
    from somacast.pipeline.live.receiver import LiveReceiver

    session = Session(0, picture_s=0.5)
    session.settle(2.0)
    digest, first = session.digest, session.sent[:6]

    def run(data: bytes) -> None:
        receiver = LiveReceiver(coder())
        for number, packet in enumerate(first[:3]):
            receiver.take(Lane.LIVE, packet, 0.1 * number)
        receiver.take(Lane.LIVE, sealed_packet(data, digest), 0.4)
        receiver.take(Lane.LIVE, first[3], 0.5)
        receiver.pose(0.6)
        receiver.report(0.6)

    return run, session.sent


def target_session() -> tuple[Callable[[bytes], None], list[bytes]]:
    """Many datagrams, each with a wait before it and its length, to one receiver."""
    from somacast.bench.network.live_stage import coder
    from somacast.bench.robustness.fuzz_session import Session
    from somacast.bench.robustness.mutate import sealed_packet
    from somacast.network.transport.base import Lane
    from somacast.pipeline.live.receiver import LiveReceiver

    session = Session(0, picture_s=0.5)
    session.settle(2.0)
    digest = session.digest
    rows = [
        b"".join(bytes([10, len(d) % 256, len(d) >> 8]) + d for d in session.sent[k : k + 8]) for k in range(0, 20, 4)
    ]

    def run(data: bytes) -> None:
        receiver, now, at = LiveReceiver(coder()), 0.0, 0
        while at + 3 <= len(data):
            now += data[at] / 100
            size = data[at + 1] | (data[at + 2] & 7) << 8
            lane = Lane.IDENTITY if data[at + 2] & 128 else Lane.LIVE
            receiver.take(lane, sealed_packet(data[at + 3 : at + 3 + size], digest), now)
            receiver.pose(now)
            at += 3 + size
        receiver.report(now)
        receiver.status(now)

    return run, rows


def target_motion() -> tuple[Callable[[bytes], None], list[bytes]]:
    """The payload of a motion packet, its numbers from the first bytes."""
    from somacast.bench.robustness.fuzz_session import Session
    from somacast.bitstream.packets import Motion, unpack_packet
    from somacast.coding.motion_stream import MotionDecoder
    from somacast.errors import BitstreamError
    from somacast.systems.aflsc.live.motion import load_motion

    session = Session(0)
    session.settle(2.0)
    bodies = [unpack_packet(data, session.digest).body for data in session.sent]
    key = next(b for b in bodies if isinstance(b, Motion) and b.reference is None)
    seeds = [bytes([4, b.count, b.state, b.activity, 0]) + b.payload for b in bodies if isinstance(b, Motion)]

    def run(data: bytes) -> None:
        if len(data) < 5:
            return
        decoder = MotionDecoder(load_motion().model)
        decoder.decode(key, key.tick)
        step, count, state, mode, copies = data[:5]
        refers = key.tick if copies & 128 else None
        received = tuple(range(4, 4 + 4 * (copies & 15), 4))
        motion = Motion(
            0, key.tick + 16, step or 1, 1 + count % 64, state, mode & 7, mode >> 3 & 3, data[5:], refers, received
        )
        with contextlib.suppress(BitstreamError):
            decoder.decode(motion, motion.tick)

    return run, seeds


def target_still() -> tuple[Callable[[bytes], None], list[bytes]]:
    """A .soma file of a still: as it is, and as the layers of one whose checks are right."""
    from somacast.bench.network.live_stage import container
    from somacast.bench.robustness.fuzz_readers import open_still
    from somacast.bitstream.container import pack, unpack
    from somacast.errors import SomacastError

    whole = container()
    good, _ = unpack(whole)

    def run(data: bytes) -> None:
        with contextlib.suppress(SomacastError):
            open_still(data)
        with contextlib.suppress(SomacastError):
            open_still(pack(replace(good, layers=data.split(b"\n"))))

    return run, [whole, b"\n".join(good.layers)]


def target_video() -> tuple[Callable[[bytes], None], list[bytes]]:
    """A .soma video: as it is, and with the checks of its records made right."""
    from somacast.bench.robustness.fuzz_readers import packets_video, play_video, records_of, video
    from somacast.bench.robustness.fuzz_session import Session
    from somacast.bench.robustness.mutate import sealed_record
    from somacast.bitstream.video import HEAD_BYTES
    from somacast.errors import SomacastError

    session = Session(0)
    session.settle(2.0)
    whole = video(session)

    def run(data: bytes) -> None:
        with contextlib.suppress(SomacastError):
            play_video(data)
        with contextlib.suppress(SomacastError):
            sealed = [sealed_record(one, session.digest) for one in data[HEAD_BYTES:].split(b"\n\n")]
            play_video(whole[:HEAD_BYTES] + b"".join(sealed))

    return run, [whole, packets_video(session), whole[:HEAD_BYTES] + b"\n\n".join(records_of(whole))]


def target_report() -> tuple[Callable[[bytes], None], list[bytes]]:
    """Feedback alone."""
    import numpy as np

    from somacast.bench.robustness.fuzz_readers import reports
    from somacast.bench.robustness.mutate import sealed_report
    from somacast.errors import BitstreamError
    from somacast.network.congestion.feedback import parse_report

    def run(data: bytes) -> None:
        for one in (data, sealed_report(data)):
            with contextlib.suppress(BitstreamError):
                parse_report(one)

    return run, reports(np.random.default_rng(0))


def target_control() -> tuple[Callable[[bytes], None], list[bytes]]:
    """Pieces of 40 bytes as feedback, one after the other, to a sender that goes on sending."""
    import numpy as np

    from somacast.bench.network.live_stage import coder, moving
    from somacast.bench.robustness.fuzz_readers import reports
    from somacast.bench.robustness.mutate import sealed_report
    from somacast.pipeline.live.sender import LiveConfig, LiveSender

    values, seeds = moving(), reports(np.random.default_rng(0))

    def run(data: bytes) -> None:
        sender = LiveSender(coder(), lambda lane, one: True, LiveConfig(batch_s=0.05))
        for number in range(len(data) // 40):
            piece = data[40 * number : 40 * number + 40]
            sender.frame(number / 30, values[number % len(values)])
            sender.control(number / 30 + 0.01, sealed_report(piece), f"peer-{piece[0] & 3}")
            sender.poll(number / 30 + 0.02)
        sender.status(1e3)

    return run, [b"".join(one.ljust(40, b"\0")[:40] for one in seeds[k : k + 10]) for k in range(0, 100, 10)]


def target_page() -> tuple[Callable[[bytes], None], list[bytes]]:
    """Messages of the receiver's page."""
    from somacast.errors import BitstreamError
    from somacast.viewer.messages import Hello, Rendered, Want, decode_page

    def run(data: bytes) -> None:
        with contextlib.suppress(BitstreamError):
            decode_page(data)

    return run, [Hello().encode(), Rendered(3, 1e12).encode(), Want(1).encode()]


def target_server() -> tuple[Callable[[bytes], None], list[bytes]]:
    """Messages of the receiver's server, as other viewers read them."""
    from somacast.errors import BitstreamError
    from somacast.viewer.messages import Part, Picture, Status, Welcome, decode_server

    def run(data: bytes) -> None:
        with contextlib.suppress(BitstreamError):
            decode_server(data)

    return run, [one.encode() for one in (Welcome(), Status({"fps": 30.0}), Picture(b"x"), Part(1, 0, 9, b"y"))]


TARGETS = {name.removeprefix("target_"): make for name, make in [*globals().items()] if name.startswith("target_")}


def fuzz(name: str, arguments: list[str]) -> None:
    """Run one target in this process; does not come back."""
    import atheris

    files = [path.relative_to(ROOT / "src") for path in (ROOT / "src/somacast").rglob("*.py")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    others = [one for one in names if not one.startswith(INSTRUMENTED)]
    with atheris.instrument_imports(include=["somacast"], exclude=others):  # pyright: ignore
        make = TARGETS[name]
        run, seeds = make()
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed_{number:04d}").write_bytes(seed[: MAX_BYTES[name]])
    atheris.Setup([name, *arguments, *([] if any(Path(a).is_file() for a in arguments) else [str(corpus)])], run)
    atheris.Fuzz()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("file", nargs="?", help="one input to run again")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("fuzzing needs atheris, which is not installed: pip install atheris", file=sys.stderr)
        return 2
    names = [*TARGETS] if options.target == "all" else [options.target]
    if options.inside:
        limits = [f"-max_len={MAX_BYTES[names[0]]}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MAX_MIB}",
                  f"-artifact_prefix={FOLDER}/{names[0]}_", "-len_control=0"]  # fmt: skip
        fuzz(names[0], [options.file] if options.file else [f"-max_total_time={options.seconds}", *limits])
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        command = [sys.executable, __file__, name, *([options.file] if options.file else []), "--inside"]
        print(f"== {name}", flush=True)
        if subprocess.run([*command, "--seconds", str(options.seconds)], cwd=ROOT).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}; inputs in {FOLDER}" if failed else "all targets passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
