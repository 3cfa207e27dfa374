"""Who may ask the viewer's server for what: Host, Origin and token, the headers of every answer, and rates.

Host: a name that an attacker's DNS points here (rebinding) is refused; addresses cannot be rebound and pass, with any
port, so that a forwarded port works. Origin: a page of another origin is refused, over WebSocket too, where browsers
ask nobody. Token: not in any URL that is requested, so that it is in no log; it travels in the fragment, which browsers
keep to themselves, then in Authorization or as a WebSocket subprotocol.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

SUBPROTOCOL = "somacast"
TOKEN_PREFIX = "token."  # of the second subprotocol that a page offers
TOKEN_SHAPE = re.compile(r"[A-Za-z0-9_-]{16,128}")
_HOST_SHAPE = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::(\d{1,5}))?")


def split_host(header: str | None) -> str | None:
    """The name or address of a Host header in lower case, without port and brackets; None for what is none."""
    match = _HOST_SHAPE.fullmatch(header or "")
    return match[1].strip("[]").lower().rstrip(".") if match else None


def host_allowed(header: str | None, loopback: bool, names: Iterable[str] = ()) -> bool:
    """Whether a Host header may reach the server. loopback: only addresses of this machine alone, and localhost."""
    host = split_host(header)
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or (not loopback and host in {name.lower() for name in names})
    return address.is_loopback or not loopback


def own_origin(origin: str | None, host: str | None, scheme: str) -> bool:
    """Whether an Origin header names the very scheme, host and port that were asked; host: the Host header."""
    if not origin or not host:
        return False
    try:
        parts = urlsplit(origin)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        asked = urlsplit(f"{scheme}://{host}")
        asked_port = asked.port or {"http": 80, "https": 443}.get(scheme)
    except ValueError:
        return False
    bare = parts.path == parts.query == parts.fragment == "" and not parts.username
    return bare and (parts.scheme, parts.hostname, port) == (scheme, asked.hostname, asked_port)


def token_matches(given: str | None, token: str) -> bool:
    """Comparison in a time that tells nothing about the token."""
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), token.encode())


def bearer(authorization: str | None) -> str | None:
    """The token of an Authorization header."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def offered_token(subprotocols: Iterable[str]) -> str | None:
    """The token among the subprotocols a page offers, if it offers ours too."""
    offered = list(subprotocols)
    tokens = [name.removeprefix(TOKEN_PREFIX) for name in offered if name.startswith(TOKEN_PREFIX)]
    return tokens[0] if SUBPROTOCOL in offered and len(tokens) == 1 else None


def answer_headers(host: str | None) -> Mapping[str, str]:
    """Headers of every answer. host: a Host header that passed `host_allowed`; old Safari needs ws: spelled out. blob:
    is what the page has made itself: the picture inside of a person's file."""
    sockets = f" ws://{host} wss://{host}" if host else ""
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        f"connect-src 'self' blob:{sockets}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }


class Bucket:
    """A rate: `per_s` on average, `burst` at once. Times are given, in seconds, never falling."""

    def __init__(self, per_s: float, burst: int) -> None:
        self.per_s, self.burst = per_s, burst
        self._left, self._at_s = float(burst), 0.0

    def take(self, now_s: float) -> bool:
        """Whether one more may pass now."""
        self._left = min(self.burst, self._left + self.per_s * max(now_s - self._at_s, 0.0))
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
