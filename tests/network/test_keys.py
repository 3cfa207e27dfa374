"""Keys: an authority, certificates, and what is told when they do not fit."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest

from somacast.cli.main import main
from somacast.errors import SomacastError
from somacast.network import keys as keys_module
from somacast.network.keys import load_keys, make_keys, read_room_key


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "home"
    make_keys(folder, hosts=("studio.example.org", "192.0.2.7"))
    return folder


def test_keys_are_made_small_and_secret(home):
    loaded = [load_keys(home / role) for role in ("sender", "receiver", "relay")]
    assert [one.name for one in loaded] == ["sender", "receiver", "relay"]
    assert all(timedelta(days=363) < one.expires - datetime.now(UTC) < timedelta(days=366) for one in loaded)
    secrets = [home / "authority.key", home / "room.key", *(one.peer_key for one in loaded)]
    secrets += [one.room_key for one in loaded]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    assert not any((home / role / "authority.key").exists() for role in ("sender", "receiver", "relay"))
    der = ssl.PEM_cert_to_DER_cert(loaded[0].peer_crt.read_text())
    assert len(der) < 400, "certificates cross narrow links"


def test_certificates_name_hosts(home):
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate((home / "sender" / "peer.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "studio.example.org"]
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "::1", "192.0.2.7"}


def test_more_machines_join_the_same_authority_and_nothing_is_overwritten(home):
    before = (home / "authority.crt").read_bytes()
    (folder,) = make_keys(home, ["kitchen"])
    assert load_keys(folder).name == "kitchen" and (home / "authority.crt").read_bytes() == before
    old = (folder / "peer.key").read_bytes()
    with pytest.raises(SomacastError, match="is already there"):
        make_keys(home, ["cellar", "kitchen"])
    assert not (home / "cellar").exists() and (folder / "peer.key").read_bytes() == old
    make_keys(home, ["kitchen"], replace=True)
    assert (folder / "peer.key").read_bytes() != old


def test_all_machines_of_an_authority_share_one_secret(home, tmp_path):
    shared = read_room_key(home / "room.key")
    assert len(shared) == 32 and len(set(shared)) > 10
    late = make_keys(home, ["attic"])[0]
    make_keys(home, ["attic"], replace=True)
    for folder in (home / "sender", home / "receiver", home / "relay", late):
        room_key = load_keys(folder).room_key
        assert room_key is not None and read_room_key(room_key) == shared
    make_keys(tmp_path / "elsewhere", ["one"])
    assert read_room_key(tmp_path / "elsewhere" / "room.key") != shared


def test_folders_from_before_the_secret_still_serve(tmp_path):
    (folder,) = make_keys(tmp_path / "old", ["one"])
    for path in (tmp_path / "old" / "room.key", folder / "room.key"):
        path.unlink()
    assert load_keys(folder).room_key is None
    (new,) = make_keys(tmp_path / "old", ["two"])
    room_key = load_keys(new).room_key
    assert room_key is not None and read_room_key(room_key) == read_room_key(tmp_path / "old" / "room.key")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["a/b"]}, "name: expected letters"),
        ({"names": [".."]}, "name: expected letters"),
        ({"names": []}, "names: expected 1 to 64"),
        ({"names": ["a", "a"]}, "different names"),
        ({"hosts": ["bad host"]}, "host: expected"),
        ({"hosts": ["*"]}, "host: expected"),
        ({"days": 0}, "days: expected"),
    ],
)
def test_wrong_wishes_leave_nothing(tmp_path, change, message):
    with pytest.raises(SomacastError, match=message):
        make_keys(tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def spoil(folder, name, data, mode=0o600):
    (folder / name).write_bytes(data)
    os.chmod(folder / name, mode)


@pytest.mark.parametrize(
    ("name", "data", "mode", "message"),
    [
        ("peer.key", b"junk", 0o600, "cannot be understood; expected a private key"),
        ("peer.crt", b"junk", 0o600, "cannot be understood; expected a certificate"),
        ("authority.crt", b"", 0o600, "cannot be understood"),
        ("peer.crt", b"x" * 20_000, 0o600, "more than 16384 bytes"),
        ("peer.key", None, 0o644, "others may read this key"),
        ("room.key", None, 0o640, "others may read this key"),
        ("room.key", b"00" * 31 + b"0x", 0o600, "expected 64 hexadecimal digits"),
        ("room.key", b"00" * 33, 0o600, "expected 64 hexadecimal digits"),
        ("peer.key", "delete", 0, "peer.key: cannot be read"),
    ],
)
def test_damaged_folders_are_told(tmp_path, name, data, mode, message):
    (folder,) = make_keys(tmp_path / "keys", ["one"])
    if data == "delete":
        (folder / name).unlink()
    else:
        spoil(folder, name, (folder / name).read_bytes() if data is None else data, mode)
    with pytest.raises(SomacastError, match=message):
        load_keys(folder)


def test_parts_that_do_not_belong_together_are_told(tmp_path):
    (mine,), (theirs,) = make_keys(tmp_path / "mine", ["one"]), make_keys(tmp_path / "theirs", ["one"])
    spoil(mine, "authority.crt", (theirs / "authority.crt").read_bytes())
    with pytest.raises(SomacastError, match="was not signed by"):
        load_keys(mine)
    spoil(theirs, "peer.key", (mine / "peer.key").read_bytes())
    with pytest.raises(SomacastError, match="does not belong"):
        load_keys(theirs)
    with pytest.raises(SomacastError, match="no such folder"):
        load_keys(tmp_path / "nowhere")
    make_keys(tmp_path / "roles")
    with pytest.raises(SomacastError, match="expected the folder of one machine"):
        load_keys(tmp_path / "roles")


def test_expired_certificates_are_told(tmp_path, monkeypatch):
    (folder,) = make_keys(tmp_path / "keys", ["one"], days=1)

    class Later(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(days=2)

    monkeypatch.setattr(keys_module, "datetime", Later)
    with pytest.raises(SomacastError, match="peer.crt: is valid from .* expected today"):
        load_keys(folder)


def test_the_verb_says_what_to_copy_where(tmp_path, capsys):
    assert (
        main(["keys", str(tmp_path / "k"), "--name", "studio", "--name", "hall", "--host", "studio.example.org"]) == 0
    )
    out = capsys.readouterr().err
    assert "studio  copy the folder" in out and "--keys hall" in out and "authority.key" in out
    assert load_keys(tmp_path / "k" / "hall").name == "hall"
    assert main(["keys", str(tmp_path / "k"), "--name", "hall"]) == 2
    assert "already there" in capsys.readouterr().err
