"""RFC 3161 time-stamp tokens: a third party's signed word that some bytes existed at a time.

What we have stamped is a checkpoint's note body (origin, size, root), under SHA-256 and without signature lines: the
body alone fixes the whole history, every member's note of that size has the same one however many cosignatures it
happens to carry, and nothing else about the ledger leaves for the authority. A token dates the history; who vouches
for the history is said by the cosignatures, which it does not date.

A token is believed when it is over our bytes, is signed by the one certificate that it names, that certificate was
issued under a root that the reader gave for nothing but time-stamping (critical, exclusive extended key usage) and was
valid at the time the token says, and, where it was asked for just now, it answers our nonce. Not checked: whether the
certificate was revoked; whoever must know asks the authority. Times and nonces are passed in, the clock is never read:
a token that held on its day holds for as long as its algorithms do.

Signatures and chains are checked by OpenSSL through rfc3161-client, which reads strict DER; real authorities (among
them every `openssl ts`) write the certificates of a token in the order they please, so we sort those first. They stand
outside what is signed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response

MAX_TOKEN_BYTES: Final = 32 * 1024
"""A real token with a chain of three RSA certificates has about 6 KiB."""

MAX_RESPONSE_BYTES: Final = MAX_TOKEN_BYTES + 1024
SHA256: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_STRONG: Final = {SHA256.dotted_string, "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"}
_MIN_RSA_BITS: Final = 2048
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEQUENCE, _INTEGER, _OCTETS, _BOOLEAN, _CONTEXT_0 = 0x30, 0x02, 0x04, 0x01, 0xA0
_SHA256_IDENTIFIER: Final = bytes.fromhex("300d06096086480165030402010500")
_STATUS: Final = {
    2: "rejected the request", 3: "wants to be asked again later", 4: "warns that it is about to be revoked",
    5: "says that it has been revoked",
}  # fmt: skip


class TokenUnreadable(ValueError):
    """Not a time-stamp token, or not a certificate file. Says what was expected, and what came."""


class TokenRefused(ValueError):
    """A token that does not show what it is used for, or an authority that gave none. Says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. Nothing of it is believed until `check_token` gave it.

    `time` is the authority's time in ms, `before` the end of what its accuracy allows: the bytes existed before then.
    """

    imprint: bytes
    time: int
    before: int
    authority: str
    serial: int
    nonce: int | None


# ---------------------------------------------------------------------------------------------------------------- DER


def _wrap(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def _elements(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """(tag, whole element, contents) of each element in a row, of definite length. Raises TokenUnreadable."""
    found, at = [], 0
    while at < len(data):
        start, header = at, data[at : at + 2]
        if len(header) < 2 or header[0] & 0x1F == 0x1F:
            raise TokenUnreadable("expected DER with short tags in a time stamp")
        size, at = header[1], at + 2
        if size >= 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 3 or at + octets > len(data):
                raise TokenUnreadable("expected DER of definite length in a time stamp")
            size, at = int.from_bytes(data[at : at + octets], "big"), at + octets
        if at + size > len(data):
            raise TokenUnreadable("expected a whole time stamp, got one that ends early")
        found.append((header[0], data[start : at + size], data[at : at + size]))
        at += size
    return found


def _inside(data: bytes, tag: int, what: str) -> list[tuple[int, bytes, bytes]]:
    """The elements inside the one element that the data is."""
    found = _elements(data)
    if len(found) != 1 or found[0][0] != tag:
        raise TokenUnreadable(f"expected {what} in DER")
    return _elements(found[0][2])


def _in_order(token: bytes) -> bytes:
    """The token with its certificates in the order that DER wants of a set."""
    content = _inside(token, _SEQUENCE, "a time-stamp token")
    if len(content) != 2:
        raise TokenUnreadable("expected a time-stamp token of a type and its content")
    signed = _inside(content[1][2], _SEQUENCE, "signed data")
    fields = [
        _wrap(_CONTEXT_0, *sorted(each for _, each, _ in _elements(inner))) if tag == _CONTEXT_0 else whole
        for tag, whole, inner in signed
    ]
    return _wrap(_SEQUENCE, content[0][1], _wrap(_CONTEXT_0, _wrap(_SEQUENCE, *fields)))


# ------------------------------------------------------------------------------------------------------------- asking


def imprint_of(body: bytes) -> bytes:
    """What is stamped of a checkpoint's note body."""
    return sha256(body).digest()


def build_request(body: bytes, nonce: int) -> bytes:
    """A TimeStampReq over a note body, which asks for the certificate too. `nonce`: unguessable, 63 bits."""
    if not 0 <= nonce < 1 << 63:
        raise ValueError(f"expected a nonce of 0 to 63 bits, got {nonce}")
    number = nonce.to_bytes(max(1, nonce.bit_length() // 8 + 1), "big")
    return _wrap(
        _SEQUENCE,
        _wrap(_INTEGER, b"\x01"),
        _wrap(_SEQUENCE, _SHA256_IDENTIFIER, _wrap(_OCTETS, imprint_of(body))),
        _wrap(_INTEGER, number),
        _wrap(_BOOLEAN, b"\xff"),
    )


def token_of(response: bytes) -> bytes:
    """The token inside a TimeStampResp, not judged. Raises TokenUnreadable, or TokenRefused when it holds none."""
    if len(response) > MAX_RESPONSE_BYTES:
        raise TokenUnreadable(f"expected an answer of at most {MAX_RESPONSE_BYTES} bytes, got {len(response)}")
    parts = _inside(response, _SEQUENCE, "a time-stamp answer")
    status = _elements(parts[0][2]) if parts and parts[0][0] == _SEQUENCE else []
    if not status or status[0][0] != _INTEGER:
        raise TokenUnreadable("expected a status in a time-stamp answer")
    number = int.from_bytes(status[0][2], "big")
    if number not in (0, 1):  # granted, granted with modifications: what was modified, the token itself shows
        raise TokenRefused(f"the authority {_STATUS.get(number, f'answered with status {number}')}")
    if len(parts) != 2:
        raise TokenUnreadable("expected a token after the status of a time-stamp answer")
    return parts[1][1]


# ------------------------------------------------------------------------------------------------------------ reading


@lru_cache(maxsize=256)
def _parsed(token: bytes) -> TimeStampResponse:
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenUnreadable(f"expected a time-stamp token of at most {MAX_TOKEN_BYTES} bytes, got {len(token)}")
    granted = _wrap(_SEQUENCE, _wrap(_INTEGER, b"\0"))
    try:
        return decode_timestamp_response(_wrap(_SEQUENCE, granted, _in_order(token)))
    except TokenUnreadable:
        raise
    except ValueError as cause:
        raise TokenUnreadable(f"expected a time-stamp token ({cause})") from cause


def _signer(response: TimeStampResponse) -> x509.Certificate:
    """The one certificate that the token names as its signer's.

    Of two with one issuer and number, one may be checked for its signature and the other for its purpose: refused.
    """
    signers = list(response.signed_data.signer_infos)
    if len(signers) != 1:
        raise TokenRefused(f"expected a token with one signature, got {len(signers)}")
    named = [
        certificate
        for certificate in map(x509.load_der_x509_certificate, response.signed_data.certificates)
        if (certificate.issuer, certificate.serial_number) == (signers[0].issuer, signers[0].serial_number)
    ]
    if len(named) != 1:
        raise TokenRefused(f"expected the signer's certificate once in the token, got it {len(named)} times")
    return named[0]


def _name_of(certificate: x509.Certificate) -> str:
    common = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    organisation = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return ", ".join(common[:1] + organisation[:1]) or certificate.subject.rfc4514_string()


def _millis(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


@lru_cache(maxsize=256)
def read_token(token: bytes) -> Token:
    """What a token claims, nothing judged. Raises TokenUnreadable or TokenRefused."""
    response = _parsed(token)
    try:
        info = response.tst_info
        algorithm, imprint = info.message_imprint.hash_algorithm, bytes(info.message_imprint.message)
        if algorithm.dotted_string != SHA256.dotted_string or len(imprint) != 32:
            raise TokenRefused(f"expected a token over SHA-256, got one over {algorithm.dotted_string}")
        time, accuracy = _millis(info.gen_time), info.accuracy
        # A time without a fraction may have been cut down to its second.
        spread = 1000 if time % 1000 == 0 else 1
        if accuracy is not None:
            spread += (accuracy.seconds or 0) * 1000 + (accuracy.millis or 0) + -(-(accuracy.micros or 0) // 1000)
        return Token(imprint, time, time + spread, _name_of(_signer(response)), info.serial_number, info.nonce)
    except (TokenRefused, TokenUnreadable):
        raise
    except Exception as cause:  # what the libraries raise for odd certificates and times has no common base
        raise TokenUnreadable(f"expected a time-stamp token ({cause})") from cause


# ------------------------------------------------------------------------------------------------------------ judging


@dataclass(frozen=True, slots=True)
class Authorities:
    """Whom a reader believes about time: CA certificates, and perhaps the authority's own.

    With the authority's own certificate in the file, it alone is believed; else every time-stamping certificate that
    was issued under the roots is.
    """

    roots: tuple[x509.Certificate, ...]
    between: tuple[x509.Certificate, ...]
    own: tuple[x509.Certificate, ...]


@lru_cache(maxsize=16)
def read_authorities(pem: bytes) -> Authorities:
    """A PEM file of certificates up to a self-signed root. Raises TokenUnreadable."""
    try:
        every = x509.load_pem_x509_certificates(pem)
        own = tuple(each for each in every if _stamps(each))
        roots = tuple(each for each in every if each not in own and each.issuer == each.subject)
        if not roots:
            raise TokenUnreadable("expected the certificate of a root (self-signed) among those of the authority")
        return Authorities(roots, tuple(each for each in every if each not in own and each not in roots), own)
    except TokenUnreadable:
        raise
    except ValueError as cause:
        raise TokenUnreadable(f"expected certificates in PEM ({cause})") from cause


def _stamps(certificate: x509.Certificate) -> bool:
    """Whether this is a certificate for time-stamping and nothing else (RFC 3161 2.3)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return False
    return found.critical and list(found.value) == [ExtendedKeyUsageOID.TIME_STAMPING]


def check_token(token: bytes, body: bytes, pem: bytes, nonce: int | None = None) -> Token:
    """The token, if one of the authorities in `pem` says by it that this note body existed at its time.

    Args:
        nonce: the request's, when it was asked for just now.

    Raises:
        TokenUnreadable: the token, or the certificate file.
        TokenRefused: what does not hold.
    """
    answer = _checked(token, body, pem)
    if isinstance(answer, Exception):
        raise answer
    if nonce is not None and answer.nonce != nonce:
        raise TokenRefused("it does not answer our request: its nonce is another one")
    return answer


@lru_cache(maxsize=256)
def _checked(token: bytes, body: bytes, pem: bytes) -> Token | TokenUnreadable | TokenRefused:
    try:
        return _check(token, body, read_authorities(pem))
    except (TokenUnreadable, TokenRefused) as cause:
        return cause
    except Exception as cause:  # as in `read_token`: a file of others must not end who checks it
        return TokenUnreadable(f"expected a time-stamp token ({cause})")


def _check(token: bytes, body: bytes, authorities: Authorities) -> Token:
    said, response = read_token(token), _parsed(token)
    if said.imprint != imprint_of(body):  # 1. it is over this checkpoint
        raise TokenRefused("it is a time stamp of something else")
    signer = _signer(response)  # 2. the one certificate that it names as its signer's
    if not _stamps(signer):  # 3. is for time-stamping and for nothing else
        raise TokenRefused(f"the certificate of {said.authority} is not one for time-stamping alone")
    weak = {each.dotted_string for each in response.signed_data.digest_algorithms} - _STRONG
    key = signer.public_key()
    if weak or (isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS):  # 4. by algorithms that still hold
        raise TokenRefused(f"{said.authority} signed it with an algorithm or a key that is too weak")
    if authorities.own and signer not in authorities.own:
        raise TokenRefused(f"it is by {said.authority}, whose certificate is not the one given")
    _check_chain(response, authorities, imprint_of(body))  # 5. under a root that was given, valid at its own time
    return said


def _check_chain(response: TimeStampResponse, authorities: Authorities, imprint: bytes) -> None:
    builder = VerifierBuilder(intermediates=_once(authorities.between), roots=_once(authorities.roots))
    try:
        builder.build().verify(response, imprint)
    except (VerificationError, ValueError) as cause:
        found = re.search(r"Verify error: ([^\"]+)", str(cause))
        why = f"the certificate it is signed with does not hold at its time ({found[1]})" if found else str(cause)
        raise TokenRefused(why if found or "ErrorStack" not in why else "its signature does not hold") from cause


def _once(certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    return list(dict.fromkeys(certificates))
