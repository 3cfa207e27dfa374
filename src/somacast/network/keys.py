"""Keys of a Somacast network: one authority, a certificate for each machine that takes part, a secret that all share.

    DIR/authority.key            stays with whoever lets machines in; signs certificates
    DIR/NAME/authority.crt       whom a machine trusts
    DIR/NAME/peer.crt, peer.key  who it is
    DIR/room.key, DIR/NAME/...   the secret that all share, 32 random bytes in hex; for the UDP transport

A machine gets the folder of its name and nothing else. Both ends of a link show their certificates (mutual TLS), and
whom the authority has not signed is refused. ECDSA on P-256 and certificates with no more fields than TLS asks for:
both chains cross the link before anything is shown, and a narrow link is slow (RFC 5280, RFC 8446).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from somacast.checks import check_count, shown
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, GeneralName

ROLES = ("sender", "receiver", "relay")
ALWAYS = ("localhost", "127.0.0.1", "::1")  # hosts that every certificate is good for
AUTHORITY_CRT, AUTHORITY_KEY, PEER_CRT, PEER_KEY = "authority.crt", "authority.key", "peer.crt", "peer.key"
ROOM_KEY, ROOM_KEY_BYTES = "room.key", 32
MAX_PEM_BYTES = 16_384
MAX_NAMES = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*")
_NEVER_BEFORE = timedelta(days=1)  # clocks differ


@dataclass(frozen=True)
class Keys:
    """Files that one machine shows and checks: paths to PEM files, the name in its certificate, when it expires.

    room_key: the secret that all machines share; None in folders that were made before there was one.
    """

    authority_crt: Path
    peer_crt: Path
    peer_key: Path
    name: str
    expires: datetime
    room_key: Path | None = None


def make_keys(
    out_dir: Path,
    names: Sequence[str] = ROLES,
    hosts: Sequence[str] = (),
    *,
    days: int = 365,
    replace: bool = False,
) -> list[Path]:
    """Write certificates for `names` under `out_dir`; returns the folders made, one a name.

    An authority that is already there signs them, else one is made, good for ten years. hosts: names and addresses
    under which these machines are reached, beside localhost. days: how long the certificates last, 1 to 3650. replace:
    whether to overwrite certificates of the same names; the secret that all share stays what it is. Raises
    SomacastError on wrong names, and where something is already there; then nothing is written.
    """
    require("cryptography", "making keys")
    check_count("days", days, 1, 3650)
    if not names or len(names) > MAX_NAMES or len(set(names)) != len(names):
        raise SomacastError(f"names: expected 1 to {MAX_NAMES} different names, got {shown(list(names))}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise SomacastError(f"name: expected letters, digits, dots and dashes, at most 32, got {shown(name)}")
    alternatives = [_host(host) for host in dict.fromkeys((*ALWAYS, *hosts))]
    taken = [out_dir / name for name in names if (out_dir / name).exists()]
    if taken and not replace:
        raise SomacastError(f"{taken[0]}: is already there; expected a new name, or leave to replace it")
    _make_folder(out_dir)
    authority_key, authority = _authority(out_dir)
    shared = _shared(out_dir)
    folders = []
    for name in names:
        key, certificate = _issue(name, authority_key, authority, alternatives, days)
        folder = _make_folder(out_dir / name)
        _write_secret(folder / PEER_KEY, _key_pem(key))
        write_atomically(folder / PEER_CRT, _crt_pem(certificate))
        write_atomically(folder / AUTHORITY_CRT, _crt_pem(authority))
        _write_secret(folder / ROOM_KEY, shared.hex().encode() + b"\n")
        folders.append(folder)
    return folders


def load_keys(directory: Path | str) -> Keys:
    """The keys in a folder that `make_keys` made for one machine.

    Raises SomacastError if a file is missing, cannot be read or is no PEM; if the key does not belong to the
    certificate, the authority has not signed it, one of both has expired, or others may read the key.
    """
    require("cryptography", "keys")
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509.oid import NameOID

    folder = Path(directory)
    if not folder.is_dir():
        raise SomacastError(f"{folder}: no such folder; expected a folder made by somacast keys")
    if not (folder / PEER_CRT).exists() and any((folder / role / PEER_CRT).exists() for role in ROLES):
        raise SomacastError(f"{folder}: expected the folder of one machine, such as {folder / ROLES[0]}")
    authority, certificate = _load_crt(folder / AUTHORITY_CRT), _load_crt(folder / PEER_CRT)
    key = _load_key(folder / PEER_KEY)
    if key.public_key() != certificate.public_key():
        raise SomacastError(f"{folder}: {PEER_KEY} does not belong to {PEER_CRT}; expected a pair")
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise SomacastError(f"{folder}: {PEER_CRT} was not signed by {AUTHORITY_CRT}; expected one authority") from None
    now = datetime.now(UTC)
    for path, part in ((folder / AUTHORITY_CRT, authority), (folder / PEER_CRT, certificate)):
        if not part.not_valid_before_utc <= now <= part.not_valid_after_utc:
            span = f"{part.not_valid_before_utc:%Y-%m-%d} to {part.not_valid_after_utc:%Y-%m-%d}"
            raise SomacastError(f"{path}: is valid from {span}; expected today, {now:%Y-%m-%d}, to lie within")
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name, end = str(common[0].value) if common else "", certificate.not_valid_after_utc
    room_key = folder / ROOM_KEY if (folder / ROOM_KEY).exists() else None
    if room_key is not None:
        read_room_key(room_key)
    return Keys(folder / AUTHORITY_CRT, folder / PEER_CRT, folder / PEER_KEY, name, end, room_key)


def read_room_key(path: Path) -> bytes:
    """The 32 bytes of a room.key; SomacastError if it is something else, or if others may read it."""
    what = f"{2 * ROOM_KEY_BYTES} hexadecimal digits"
    text = _read(path, what).strip()
    _check_mode(path)
    if not re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * ROOM_KEY_BYTES), text):
        raise SomacastError(f"{path}: cannot be understood; expected {what}")
    return bytes.fromhex(text.decode())


def _shared(out_dir: Path) -> bytes:
    """The secret of a folder, made if there is none."""
    path = out_dir / ROOM_KEY
    if path.exists():
        return read_room_key(path)
    secret = os.urandom(ROOM_KEY_BYTES)
    _write_secret(path, secret.hex().encode() + b"\n")
    return secret


def _host(host: str) -> GeneralName:
    """A host as it stands in a certificate; SomacastError if it is neither an address nor a name."""
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise SomacastError(f"host: expected a host name or an address, got {shown(host)}") from None
        return x509.DNSName(host)


def _authority(out_dir: Path) -> tuple[EllipticCurvePrivateKey, Certificate]:
    """The authority of a folder, made if there is none."""
    key_path, crt_path = out_dir / AUTHORITY_KEY, out_dir / AUTHORITY_CRT
    if key_path.exists() or crt_path.exists():
        key, certificate = _load_key(key_path), _load_crt(crt_path)
        if key.public_key() != certificate.public_key():
            raise SomacastError(f"{out_dir}: {AUTHORITY_KEY} does not belong to {AUTHORITY_CRT}; expected a pair")
        return key, certificate
    key, certificate = _issue("somacast", None, None, [], 3650)
    _write_secret(key_path, _key_pem(key))
    write_atomically(crt_path, _crt_pem(certificate))
    return key, certificate


def _issue(
    name: str,
    issuer_key: EllipticCurvePrivateKey | None,
    issuer: Certificate | None,
    alternatives: Sequence[GeneralName],
    days: int,
) -> tuple[EllipticCurvePrivateKey, Certificate]:
    """A fresh key and its certificate; signed by itself, as an authority, if there is no issuer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    end = now + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(os.urandom(8)) >> 1 or 1)
        .not_valid_before(now - _NEVER_BEFORE)
        .not_valid_after(end if issuer is None else min(end, issuer.not_valid_after_utc))
    )
    if issuer is None:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return key, builder.sign(key if issuer_key is None else issuer_key, hashes.SHA256())


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def _crt_pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _make_folder(path: Path) -> Path:
    """A folder that only its owner may enter; one that is there stays as it is."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as fault:
        raise SomacastError(f"{path}: cannot be made ({(fault.strerror or str(fault)).lower()})") from fault
    return path


def _write_secret(path: Path, data: bytes) -> None:
    """Like write_atomically, but nobody else can read the file at any moment."""
    old = os.umask(0o177)
    try:
        write_atomically(path, data)
    finally:
        os.umask(old)


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_PEM_BYTES + 1)
    except OSError as fault:
        reason = (fault.strerror or str(fault)).lower()
        raise SomacastError(f"{path}: cannot be read ({reason}); expected {what}") from fault
    if len(data) > MAX_PEM_BYTES:
        raise SomacastError(f"{path}: more than {MAX_PEM_BYTES} bytes; expected {what}")
    return data


def _check_mode(path: Path) -> None:
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SomacastError(f"{path}: others may read this key; expected mode 0600 (chmod 600 {path})")


def _load_crt(path: Path) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(_read(path, "a certificate"))
    except SomacastError:
        raise
    except ValueError:
        raise SomacastError(f"{path}: cannot be understood; expected a certificate in PEM form") from None


def _load_key(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    data = _read(path, "a private key")
    _check_mode(path)
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError):
        raise SomacastError(f"{path}: cannot be understood; expected a private key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SomacastError(f"{path}: {type(key).__name__}; expected an elliptic-curve key")
    return key
