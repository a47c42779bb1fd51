"""A member's own keys: one for each purpose, Ed25519 to sign and X25519 to open, each in its own encrypted file.

    keys/operate-1.pem  carry-1.pem  cosign-1.pem  node-1.pem  tls-1.pem  hpke-1.pem  sequence-1.pem  storage-1.pem
    keys/validate-1.pem (where CometBFT orders)  tls-1.crt.pem

Every key can be replaced: `stage` makes the next one (`operate-2.pem.new`), the member registers it with AddKey, and
`activate` takes it into use. Older HPKE keys stay, so that what was sealed to them still opens.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from commonward.adapters.keys.errors import KeyFileMissing, KeyFileUnreadable, KeyUnusable
from commonward.adapters.keys.pkcs8 import PrivateKey, decrypt_key, encrypt_key, read_private, write_private
from commonward.ledger.ids import Algorithm, KeyId, MemberId, Purpose, key_id
from commonward.records.envelope import EnvelopeError, open_from
from commonward.workflows.ports import StorageKeys

_STORAGE: Final = "storage"
_SIGNATURE: Final = 64
_BY_ENGINE: Final = frozenset({Purpose.SEQUENCE, Purpose.VALIDATE})
"""Keys that a member has or has not, as who orders on its ledger wants; every other it always has."""
_COMETBFT: Final = frozenset({Purpose.NODE, Purpose.VALIDATE})
_FILE: Final = re.compile(r"([a-z]+)-([1-9][0-9]{0,5})\.pem")


def _word(purpose: Purpose) -> str:
    return purpose.name.lower()


def _generate(purpose: Purpose) -> PrivateKey:
    return X25519PrivateKey.generate() if purpose is Purpose.HPKE else Ed25519PrivateKey.generate()


def _public(key: PrivateKey) -> tuple[Algorithm, bytes, KeyId]:
    if isinstance(key, X25519PrivateKey):
        algorithm, public = Algorithm.X25519, key.public_key().public_bytes_raw()
    elif isinstance(key, Ed25519PrivateKey):
        algorithm, public = Algorithm.EDDSA, key.public_key().public_bytes_raw()
    else:
        raise KeyUnusable("expected an Ed25519 or X25519 key among a member's keys, got P-256")
    return algorithm, public, key_id(algorithm, public)


class MemberKeys:
    """Implements `workflows.ports.Keys`. Private keys never leave this object but encrypted (or derived: `storage`),
    and two for CometBFT, which signs for itself (`seed`)."""

    def __init__(
        self, member: MemberId, directory: Path, keys: Mapping[str, list[PrivateKey]], passphrase: bytes
    ) -> None:
        """`keys`: for each purpose's word, oldest first. Use `create` or `open`."""
        self._member = member
        self._directory = directory
        self._keys = keys
        self._passphrase = passphrase
        self._signing: dict[Purpose, tuple[PrivateKey, bytes]] = {}  # as libsodium wants the key in use: seed, public

    @classmethod
    def create(
        cls, directory: Path, member: MemberId, passphrase: bytes, *, sequencer: bool = False, validate: bool = False
    ) -> "MemberKeys":
        """Makes a key for each purpose, and the storage secret. Raises FileExistsError when there are keys already.

        Args:
            sequencer: a key to sign checkpoints with too, for the member that operates the embedded engine.
            validate: a key to vote on blocks with too, for a member of a ledger that CometBFT orders.
        """
        wanted = {Purpose.SEQUENCE: sequencer, Purpose.VALIDATE: validate}
        keys = {_word(purpose): [_generate(purpose)] for purpose in Purpose if wanted.get(purpose, True)}
        keys[_STORAGE] = [Ed25519PrivateKey.generate()]
        for word, (key,) in keys.items():
            write_private(directory / f"{word}-1.pem", encrypt_key(key, passphrase))
        return cls(member, directory, keys, passphrase)

    @classmethod
    def open(cls, directory: Path, member: MemberId, passphrase: bytes) -> "MemberKeys":
        """Raises KeyFileMissing, KeyFileExposed or KeyFileUnreadable."""
        found: dict[str, list[tuple[int, Path]]] = {}
        for path in sorted(directory.glob("*.pem")):
            named = _FILE.fullmatch(path.name)
            if named:
                found.setdefault(named[1], []).append((int(named[2]), path))
        keys: dict[str, list[PrivateKey]] = {}
        for word, files in found.items():
            files.sort()
            wanted = files if word == _word(Purpose.HPKE) else files[-1:]
            keys[word] = [decrypt_key(read_private(path), passphrase, path) for _, path in wanted]
        for word in (*(_word(each) for each in Purpose if each not in _BY_ENGINE), _STORAGE):
            if word not in keys:
                raise KeyFileMissing(directory / f"{word}-1.pem")
        return cls(member, directory, keys, passphrase)

    @property
    def member(self) -> MemberId:
        return self._member

    def has(self, purpose: Purpose) -> bool:
        return _word(purpose) in self._keys

    def _key(self, purpose: Purpose) -> PrivateKey:
        try:
            return self._keys[_word(purpose)][-1]
        except KeyError:
            who = {Purpose.SEQUENCE: "; only who runs the sequencer has", Purpose.VALIDATE: "; only under CometBFT"}
            raise KeyUnusable(f"{self._member} has no {_word(purpose)} key{who.get(purpose, '')}") from None

    def public(self, purpose: Purpose) -> tuple[Algorithm, bytes, KeyId]:
        """Algorithm, public key and key id of the key in use."""
        return _public(self._key(purpose))

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        """Ed25519, 64 bytes. Raises KeyUnusable for HPKE, whose key signs nothing.

        By libsodium, at half of OpenSSL's cost; the bytes are the same, for RFC 8032 leaves nothing to chance.
        """
        key = self._key(purpose)
        held = self._signing.get(purpose)
        if held is None or held[0] is not key:
            if not isinstance(key, Ed25519PrivateKey):
                raise KeyUnusable(f"expected a purpose that signs, got {_word(purpose)}")
            held = self._signing[purpose] = key, crypto_sign_seed_keypair(key.private_bytes_raw())[1]
        return bytes(crypto_sign(message, held[1])[:_SIGNATURE])

    def seed(self, purpose: Purpose) -> bytes:
        """The 32 private bytes of a key that CometBFT holds for us: NODE or VALIDATE. Raises KeyUnusable."""
        key = self._key(purpose)
        if purpose not in _COMETBFT or not isinstance(key, Ed25519PrivateKey):
            raise KeyUnusable(f"expected a purpose that CometBFT signs for, node or validate, got {_word(purpose)}")
        return key.private_bytes_raw()

    def storage(self) -> StorageKeys:
        """The vault's two secrets, derived from one that is kept (HKDF, RFC 5869)."""
        key = self._keys[_STORAGE][-1]
        assert isinstance(key, Ed25519PrivateKey)
        secret = key.private_bytes_raw()
        return StorageKeys(
            *(
                HKDF(SHA256(), 32, salt=None, info=f"commonward storage {use} v1".encode()).derive(secret)
                for use in ("wrap", "index")
            )
        )

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        """Opens what was sealed to this member's HPKE key, the one in use or an older one.

        Raises EnvelopeError when none opens it.
        """
        for key in reversed(self._keys[_word(Purpose.HPKE)]):
            assert isinstance(key, X25519PrivateKey)
            try:
                return open_from(key.private_bytes_raw(), info, sealed, aad)
            except EnvelopeError:
                continue
        raise EnvelopeError("sealed bytes do not open: altered, or meant for another key or purpose")

    # ------------------------------------------------------------------------------------------------- replacement

    def _last(self, word: str) -> int:
        names = (_FILE.fullmatch(path.name) for path in self._directory.iterdir())
        return max((int(name[2]) for name in names if name and name[1] == word), default=0)

    def stage(self, purpose: Purpose) -> tuple[Algorithm, bytes, KeyId]:
        """Makes the next key of a purpose, on disk, not yet in use: register it, then `activate`.

        Staging again before that replaces the staged key.
        """
        key = _generate(purpose)
        path = self._directory / f"{_word(purpose)}-{self._last(_word(purpose)) + 1}.pem.new"
        write_private(path, encrypt_key(key, self._passphrase), replace=True)
        return _public(key)

    def sign_staged(self, purpose: Purpose, message: bytes) -> bytes:
        """Possession of the staged key, which AddKey wants proven. Raises KeyFileMissing when none is staged."""
        key = self._staged(purpose)[1]
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnusable(f"expected a purpose that signs, got {_word(purpose)}")
        return key.sign(message)

    def _staged(self, purpose: Purpose) -> tuple[Path, PrivateKey]:
        path = self._directory / f"{_word(purpose)}-{self._last(_word(purpose)) + 1}.pem.new"
        return path, decrypt_key(read_private(path), self._passphrase, path)

    def activate(self, purpose: Purpose) -> "MemberKeys":
        """Takes the staged key into use, once the ledger knows it. Returns the keys as they are now."""
        path, _ = self._staged(purpose)
        path.rename(path.with_suffix(""))
        return MemberKeys.open(self._directory, self._member, self._passphrase)

    # --------------------------------------------------------------------------------------------------------- TLS

    @property
    def tls_files(self) -> tuple[Path, Path]:
        """Certificate and encrypted key, as the TLS library wants them: by path."""
        number = self._last(_word(Purpose.TLS))
        return self._directory / f"tls-{number}.crt.pem", self._directory / f"tls-{number}.pem"

    @property
    def tls_certificate(self) -> bytes:
        """DER. Raises KeyFileMissing."""
        path = self.tls_files[0]
        try:
            return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
        except FileNotFoundError as cause:
            raise KeyFileMissing(path) from cause
        except ValueError as cause:
            raise KeyFileUnreadable(path, "expected a certificate in PEM") from cause

    def install_tls(self, certificate: bytes) -> None:
        """Keeps the certificate (DER) that the CA issued for the TLS key in use; for another key's, KeyUnusable."""
        parsed = x509.load_der_x509_certificate(certificate)
        if parsed.public_key() != self._key(Purpose.TLS).public_key():
            raise KeyUnusable("expected a certificate for the TLS key in use, got one for another key")
        write_private(self.tls_files[0], parsed.public_bytes(Encoding.PEM), replace=True)

    @property
    def passphrase(self) -> bytes:
        """For the TLS library, which reads the encrypted key from its file by itself."""
        return self._passphrase
