"""A time-stamping authority for tests: a CA and TSA certificates made here, tokens by the real `openssl ts -reply`.

tsa = Tsa.new(folder)                         a good one
token = tsa.token(message)                    openssl signs, dated now
tsa.backdated(message, at)                    what a lying or another clock gives: any date, any certificate
with Responder(tsa) as at: at.url             an HTTP server that asks openssl; `at.behave` bends its answers
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime.now(UTC).replace(microsecond=0)
_POLICY = "1.3.6.1.4.1.99999.1"
_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/chain.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = {policy}
digests = sha256
accuracy = secs:1
clock_precision_digits = 0
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@dataclass(frozen=True)
class Issuer:
    """A certificate authority."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, name: str) -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, name, key, NOW - timedelta(days=4000), NOW + timedelta(days=4000))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), True)
        builder = builder.add_extension(_usage(ca=True), True)
        return cls(name, key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, starts: datetime, ends: datetime, serial: int | None = None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


@dataclass
class Tsa:
    """A time-stamping authority in a folder of its own."""

    folder: Path
    issuer: Issuer
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(
        cls,
        folder: Path,
        *,
        issuer: Issuer | None = None,
        name: str = "Stamp Office",
        purposes: tuple[ObjectIdentifier, ...] = (ExtendedKeyUsageOID.TIME_STAMPING,),
        critical: bool = True,
        starts: datetime = NOW - timedelta(days=1),
        ends: datetime = NOW + timedelta(days=30),
        serial: int | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Tsa:
        assert shutil.which("openssl"), "expected the program `openssl`, which stamps here: make test installs it"
        folder.mkdir(parents=True, exist_ok=True)
        issuer = issuer or Issuer.new("Stamp Office Root")
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, issuer.name, key, starts, ends, serial)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_usage(ca=False), True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical)
        certificate = builder.sign(issuer.key, hashes.SHA256())
        tsa = cls(folder, issuer, key, certificate)
        (folder / "tsa.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (folder / "chain.pem").write_bytes(issuer.pem)
        (folder / "tsa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "serial").write_text("01\n")
        (folder / "openssl.cnf").write_text(_CONFIG.format(folder=folder, policy=_POLICY))
        return tsa

    @property
    def chain(self) -> bytes:
        """What a verifier is given: the authority's root, PEM."""
        return self.issuer.pem

    def reply(self, query: bytes) -> bytes:
        """A TimeStampResp by `openssl ts`."""
        asked = self.folder / "query.tsq"
        asked.write_bytes(query)
        return _openssl("ts", "-reply", "-config", self.folder / "openssl.cnf", "-queryfile", asked)

    def query(self, message: bytes) -> bytes:
        """A request by `openssl ts`, with a nonce and asking for the certificate."""
        data = self.folder / "message"
        data.write_bytes(message)
        return _openssl("ts", "-query", "-data", data, "-sha256", "-cert")

    def token(self, message: bytes) -> bytes:
        """The bare token over a message, dated now."""
        answer = self.folder / "answer.tsr"
        answer.write_bytes(self.reply(self.query(message)))
        return _openssl("ts", "-reply", "-in", answer, "-token_out")

    def backdated(self, message: bytes, at: datetime, *, more: tuple[x509.Certificate, ...] = ()) -> bytes:
        """A token with any date, signed by this certificate whatever it is for (`openssl ts` would refuse to)."""
        return self.signed(tst_info(hashlib.sha256(message).digest(), at), more=more)

    def signed(self, info: bytes, *, more: tuple[x509.Certificate, ...] = ()) -> bytes:
        """A token around a TSTInfo."""
        content = self.folder / "content"
        content.write_bytes(info)
        with_more: list[object] = []
        if more:
            extra = self.folder / "more.pem"
            extra.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in more))
            with_more = ["-certfile", extra]
        return _openssl(
            "cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-cades", "-md", "sha256",
            "-econtent_type", "1.2.840.113549.1.9.16.1.4", "-in", content,
            "-signer", self.folder / "tsa.pem", "-inkey", self.folder / "tsa.key", *with_more,
        )  # fmt: skip


def _openssl(*arguments: object) -> bytes:
    ran = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def tst_info(imprint: bytes, at: datetime, nonce: int | None = None) -> bytes:
    """RFC 3161 2.4.2, with a policy of ours and serial number 7."""
    sha256 = der(0x30, bytes.fromhex("0609608648016503040201"), bytes.fromhex("0500"))
    policy = bytes.fromhex("060a2b0601040184 8d1f0101".replace(" ", ""))
    asked = b"" if nonce is None else der(0x02, nonce.to_bytes(9, "big").lstrip(b"\0") or b"\0")
    return der(
        0x30,
        der(0x02, b"\x01"),
        policy,
        der(0x30, sha256, der(0x04, imprint)),
        der(0x02, b"\x07"),
        der(0x18, at.strftime("%Y%m%d%H%M%SZ").encode()),
        asked,
    )


Behave = Callable[[BaseHTTPRequestHandler, bytes], None]


def answers(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, kind: str = "application/timestamp-reply"
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@dataclass
class Responder:
    """An HTTP time-stamping service on loopback, in a thread."""

    tsa: Tsa
    behave: Behave | None = None
    asked: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(query)
                try:
                    if outer.behave is not None:
                        outer.behave(self, query)
                    else:
                        answers(self, outer.tsa.reply(query))
                except (BrokenPipeError, ConnectionResetError):
                    pass  # who asked went away

            def do_GET(self) -> None:
                self.send_error(405)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/stamp"

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
