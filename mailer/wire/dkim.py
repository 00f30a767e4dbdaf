"""DKIM signatures (RFC 6376, RFC 8301, RFC 8463): relaxed/relaxed, SHA-256, over the bytes that go out.

Relaxed canonicalisation of a whole body costs more than to make the message. So each piece of it is reduced by itself,
the static ones once a send. That is right because quoted-printable as ``mailer.wire.quoted`` writes it leaves no blank
at the end of a piece: no run of blanks reaches from one piece into the next, and none from a piece to a line end.

Both algorithms are deterministic and ``t=`` is the send's date, so a message that is made again has the same bytes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final

import idna

from mailer.errors import ConfigError
from mailer.wire.pieces import Program, Select

SIGNED: Final = (
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "MIME-Version",
    "Content-Type",
)
"""Which fields are signed where a message has them."""

OVERSIGNED: Final = ("From", "To", "Subject", "Date")
"""Fields that are named once more than they occur, so that nobody can add another (RFC 6376 §8.15)."""

MIN_BITS: Final = 2048
MAX_BITS: Final = 4096
"""RFC 8301 §3.2: signers should use 2048 bits at least; verifiers need not take more than 4096."""

_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_SIGNED: Final = {name.lower().encode("ascii"): name for name in SIGNED}
_B_LINE: Final = 72
_H_LINE: Final = 70


@dataclass(frozen=True, slots=True)
class DkimKey:
    """Who signs: ``domain`` (``d=``, in ASCII), ``selector`` (``s=``), ``algorithm`` (``a=``).

    ``sign`` gives the signature of the header data, as raw bytes.
    """

    domain: str
    selector: str
    algorithm: str
    sign: Callable[[bytes], bytes] = field(repr=False)

    def covers(self, domain: str) -> bool:
        """Whether a ``From`` domain (in ASCII) is this key's or below it: what DMARC calls aligned (RFC 7489 §3.1)."""
        domain = domain.lower()
        return domain == self.domain or domain.endswith("." + self.domain)


@dataclass(frozen=True, slots=True)
class Signing:
    """Signs the messages of one send, of whose bodies it knows the static pieces."""

    _key: DkimKey
    _start: bytes
    _reduced: dict[bytes, bytes]

    def field(self, head: bytes, body: Iterable[bytes]) -> bytes:
        """The ``DKIM-Signature`` field with its CRLF, to stand before ``head``.

        ``head``: all other fields, each with its CRLF. ``body``: the pieces of all that follows the empty line.
        """
        reduced = self._reduced
        pieces = [reduced[piece] if piece in reduced else relaxed(piece) for piece in body]
        body_hash = b64encode(sha256(b"".join(pieces)).digest())
        fields = dict(map(_relaxed_field, _FIELD_END.split(head)))
        names = tuple([name for name in _SIGNED if name in fields])
        unsigned = b"%b\r\n h=%b;\r\n bh=%b;\r\n b=" % (self._start, _listed(names), body_hash)
        data = [fields[name] for name in names]
        data.append(_relaxed_field(unsigned)[1])
        signature = b64encode(self._key.sign(b"\r\n".join(data)))
        lines = [signature[at : at + _B_LINE] for at in range(0, len(signature), _B_LINE)]
        return b"%b%b\r\n" % (unsigned, b"\r\n  ".join(lines))


def signing(key: DkimKey, date: float, statics: Iterable[bytes]) -> Signing:
    """For one send. ``date``: its Unix seconds; ``statics``: pieces that are the same in many bodies."""
    start = (
        f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed;\r\n d={key.domain};\r\n s={key.selector};\r\n"
        f" i=@{key.domain};\r\n t={int(date)};"
    )
    return Signing(key, start.encode("ascii"), {chunk: relaxed(chunk) for chunk in statics})


def static_chunks(program: Program) -> Iterator[bytes]:
    """All static bytes of a program, those of every branch among them."""
    for step in program:
        if isinstance(step, bytes):
            yield step
        elif isinstance(step, Select):
            for _condition, branch in step.branches:
                yield from static_chunks(branch)
            yield from static_chunks(step.otherwise)


def relaxed(piece: bytes) -> bytes:
    """A part of a body in relaxed form (RFC 6376 §3.4.4), but for empty lines at the end, which our bodies have not."""
    if b"\t" in piece:
        piece = piece.replace(b"\t", b" ")
    while b"  " in piece:
        piece = piece.replace(b"  ", b" ")
    return piece.replace(b" \r\n", b"\r\n")


def dkim_key(domain: str, selector: str, pem: str) -> DkimKey:
    """A key from the configuration. ``pem``: a private key, RSA or Ed25519, without a passphrase.

    Raises ``ConfigError`` whose ``where`` is ``dkim.domain``, ``dkim.selector`` or ``dkim.key``.
    """
    ascii_domain = _domain(domain)
    if not all(_LABEL.fullmatch(label) for label in selector.split(".")):
        todo = 'It is the name before "._domainkey" in DNS, such as "news2026".'
        raise ConfigError(f"'{selector}' is no selector", where="dkim.selector", todo=todo)
    algorithm, sign = _signer(pem)
    return DkimKey(ascii_domain, selector, algorithm, sign)


def _domain(text: str) -> str:
    try:
        domain = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except UnicodeError:
        domain = ""
    if len(domain) > 253 or "." not in domain or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        todo = 'Write the domain that mail comes from, such as "example.com".'
        raise ConfigError(f"'{text}' is no domain", where="dkim.domain", todo=todo)
    return domain


def _signer(pem: str) -> tuple[str, Callable[[bytes], bytes]]:
    # Imported here: most commands sign nothing, and should not wait for it.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    todo = "docs/configuration.md says how to make one."
    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError:
        what = "'dkim.key' has a passphrase, which nobody could type for a worker"
        raise ConfigError(what, where="dkim.key", todo="Give the key without one.") from None
    except (ValueError, UnsupportedAlgorithm):
        # The library's words may quote the key.
        raise ConfigError("'dkim.key' is no private key in PEM form", where="dkim.key", todo=todo) from None
    if isinstance(key, Ed25519PrivateKey):
        return "ed25519-sha256", lambda data: key.sign(sha256(data).digest())
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError("'dkim.key' is neither an RSA nor an Ed25519 key", where="dkim.key", todo=todo)
    if not MIN_BITS <= key.key_size <= MAX_BITS:
        what = f"'dkim.key' is an RSA key of {key.key_size} bits; receivers trust {MIN_BITS} to {MAX_BITS}"
        raise ConfigError(what, where="dkim.key", todo=todo)
    padding, digest = PKCS1v15(), SHA256()
    return "rsa-sha256", lambda data: key.sign(data, padding, digest)


def _relaxed_field(text: bytes) -> tuple[bytes, bytes]:
    """A field's name, in small letters, and all of it in relaxed form (RFC 6376 §3.4.2), without its CRLF."""
    name, _, value = text.partition(b":")
    name = name.lower()
    return name, b"%b:%b" % (name, b" ".join(value.split()))


@lru_cache(maxsize=64)
def _listed(names: tuple[bytes, ...]) -> bytes:
    """The value of ``h=``, folded."""
    lines = [""]
    for name in (*(_SIGNED[name] for name in names), *OVERSIGNED):
        if len(lines[-1]) + len(name) > _H_LINE:
            lines.append("")
        lines[-1] += f"{name}:"
    return "\r\n  ".join(lines)[:-1].encode("ascii")
