"""Private keys at rest: encrypted PKCS#8 (RFC 5958) in PEM, in files that only their owner may read.

PBES2 (RFC 8018) with scrypt (RFC 7914) and AES-256-CBC. The library's own writer derives the key with 2,048 rounds of
PBKDF2, which a stolen file's passphrase would not survive long; so the wrapper around its plain PKCS#8 is written
here, and read back by the library (and by `openssl pkey`).
"""

import base64
import hashlib
import os
import stat
import tempfile
import textwrap
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from commonward.adapters.keys.errors import KeyFileExposed, KeyFileMissing, KeyFileUnreadable

PrivateKey = Ed25519PrivateKey | X25519PrivateKey | EllipticCurvePrivateKey

_SCRYPT_N: Final = 1 << 14  # 16 MiB and some 45 ms a key (r = 8, p = 1); OpenSSL refuses to read more
_PEM_LABEL: Final = "ENCRYPTED PRIVATE KEY"
_OID_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_OID_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")
_OID_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encrypt_key(key: PrivateKey, passphrase: bytes) -> bytes:
    """PEM of an encrypted PKCS#8. Draws salt and nonce from the operating system."""
    if not passphrase:
        raise ValueError("expected a passphrase, got none: private keys are never kept in the clear")
    salt, nonce = os.urandom(16), os.urandom(16)
    secret = hashlib.scrypt(passphrase, salt=salt, n=_SCRYPT_N, r=8, p=1, maxmem=64 << 20, dklen=32)
    padder = padding.PKCS7(128).padder()
    plain = padder.update(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) + padder.finalize()
    encryptor = Cipher(algorithms.AES256(secret), modes.CBC(nonce)).encryptor()
    sealed = encryptor.update(plain) + encryptor.finalize()
    scrypt = _der(0x30, _OID_SCRYPT, _der(0x30, _der(0x04, salt), _integer(_SCRYPT_N), _integer(8), _integer(1)))
    cipher = _der(0x30, _OID_AES_256_CBC, _der(0x04, nonce))
    algorithm = _der(0x30, _OID_PBES2, _der(0x30, scrypt, cipher))
    text = "\n".join(textwrap.wrap(base64.b64encode(_der(0x30, algorithm, _der(0x04, sealed))).decode(), 64))
    return f"-----BEGIN {_PEM_LABEL}-----\n{text}\n-----END {_PEM_LABEL}-----\n".encode()


def decrypt_key(pem: bytes, passphrase: bytes, where: Path) -> PrivateKey:
    """The key in a PEM of encrypted PKCS#8. Raises KeyFileUnreadable (a wrong passphrase, another form, RSA)."""
    if _PEM_LABEL.encode() not in pem:
        raise KeyFileUnreadable(where, "expected an encrypted PKCS#8 key; `openssl pkcs8 -topk8` makes one")
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError) as cause:
        raise KeyFileUnreadable(where, "the passphrase does not open it, or the file is damaged") from cause
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name == "secp256r1":
        return key
    if isinstance(key, Ed25519PrivateKey | X25519PrivateKey):
        return key
    raise KeyFileUnreadable(where, "expected an Ed25519, X25519 or P-256 key, got another kind")


# ------------------------------------------------------------------------------------------------------------ files


def read_private(path: Path) -> bytes:
    """The bytes of a file that nobody else may read.

    Raises KeyFileMissing, and KeyFileExposed when group or others have any right on it, when another user owns it,
    or when it is a link.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as cause:
        raise KeyFileMissing(path) from cause
    except OSError as cause:
        raise KeyFileUnreadable(path, cause.strerror or "cannot be opened") from cause
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileUnreadable(path, "expected a plain file")
        if found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise KeyFileExposed(path, stat.S_IMODE(found.st_mode))
        return file.read()


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Writes a file that only its owner may read (0600), whole or not at all, and durable when this returns.

    Raises FileExistsError when there is one already and `replace` is not said: a key is not lost by accident.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            made.replace(path)
        else:
            os.link(made, path)  # refuses to overwrite, in one step
    finally:
        made.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def passphrase_file(path: Path) -> bytes:
    """A passphrase from its own file (0600), without the newline an editor leaves at its end. Never from argv."""
    passphrase = read_private(path).rstrip(b"\r\n")
    if not passphrase:
        raise KeyFileUnreadable(path, "expected a passphrase, got an empty file")
    return passphrase
