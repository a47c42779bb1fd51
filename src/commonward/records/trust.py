"""Trust files: whose cosignatures a verifier believes, from genesis on.

A trust file is the genesis file (with every member's signature) and one step for each change of the cosigning
authority since: the new authority record, a map proof that a block's state held it, that block's leaf in a log
whose checkpoint was cosigned under the authority *before*. Beside them, the CA certificates of members that came
later, found by the digest that the authority names. Get it from two members and compare; all else follows from it.

    commonward/trust@v1
    base64 of CBOR [genesis file, [step ...], [CA certificate ...]], in lines of 76

Where genesis goes on from another ledger, its file carries that ledger's trust file, last checkpoint and all
(`succession`): one trust file then covers both, the old authorities for the old log, the new for what follows.

Who once held authority could, after leaving it, together make another history from then on. Cosigning times and a
trust file from two members are what stands against that; a verifier alone cannot tell.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from commonward.ledger.checkpoint import (
    Authority,
    Checkpoint,
    CosignatureError,
    NoteError,
    Quorum,
    WeakQuorum,
    check_quorum,
    from_base64,
    origin_of,
    parse_note,
    to_base64,
)
from commonward.ledger.encoding import Value, decode, digest, encode
from commonward.ledger.genesis import Genesis, GenesisError, GenesisKey, SignedGenesis, write_genesis
from commonward.ledger.ids import Digest, KeyId, LedgerId, MemberId, MemberKind
from commonward.ledger.members import AUTHORITY_KEY, certificate_digest
from commonward.ledger.merkle.log import leaf_hash, verify_inclusion
from commonward.ledger.merkle.map_proof import MapProof, verify_presence
from commonward.ledger.state import State
from commonward.records.succession import Before, BeforeUnreadable, weight_behind

HEADER: Final = "commonward/trust@v1"
MAX_BYTES: Final = 4 << 20
_LINE: Final = 76


class TrustUnreadable(ValueError):
    """Not a trust file. Says what was expected, and what came."""


class TrustRefused(ValueError):
    """A trust file that says something it does not prove. Names the step."""


# ------------------------------------------------------------------------------------------------------------- form


@dataclass(frozen=True, slots=True)
class AuthorityStep:
    """One change of authority, proven under the authority before it.

    `index`: of the block's leaf [2, height, time, state root]; `path`: its inclusion in the log of `note`.
    """

    authority: bytes
    proof: MapProof
    index: int
    leaf: bytes
    path: tuple[bytes, ...]
    note: bytes

    def to_value(self) -> list[Value]:
        return [self.authority, self.proof.to_value(), self.index, self.leaf, b"".join(self.path), self.note]

    @classmethod
    def from_value(cls, value: Value) -> "AuthorityStep":
        match value:
            case [bytes(authority), proof, int(index), bytes(leaf), bytes(path), bytes(note)] if (
                index >= 0 and len(path) % 32 == 0 and len(path) <= 64 * 32
            ):
                hashes = tuple(path[at : at + 32] for at in range(0, len(path), 32))
                return cls(authority, MapProof.from_value(proof), index, leaf, hashes, note)
        raise TrustUnreadable(f"expected a step [authority, proof, index, leaf, path, note], got {value!r:.80}")


@dataclass(frozen=True, slots=True)
class TrustFile:
    """What stands in the file, nothing believed yet."""

    genesis: bytes
    steps: tuple[AuthorityStep, ...] = ()
    certificates: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        text = to_base64(encode([self.genesis, [step.to_value() for step in self.steps], self.certificates]))
        lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
        return "\n".join([HEADER, *lines, ""]).encode()

    @classmethod
    def parse(cls, data: bytes) -> "TrustFile":
        """Raises TrustUnreadable."""
        if len(data) > MAX_BYTES:
            raise TrustUnreadable(f"expected a trust file of at most {MAX_BYTES} bytes, got {len(data)}")
        try:
            lines = data.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise TrustUnreadable("expected a trust file in ASCII text") from None
        if lines[0] != HEADER or lines[-1] or len(lines) < 3:
            raise TrustUnreadable(f"expected a trust file that begins with {HEADER!r} and ends with a newline")
        body = lines[1:-1]
        if any(len(line) != _LINE for line in body[:-1]) or not 0 < len(body[-1]) <= _LINE:
            raise TrustUnreadable(f"expected lines of {_LINE} characters in a trust file")
        try:
            value = decode(from_base64("".join(body), "a trust file"))
            match value:
                case [bytes(genesis), list(steps), list(certificates)]:
                    found = tuple(each for each in certificates if type(each) is bytes)
                    if len(found) == len(certificates):
                        return cls(genesis, tuple(map(AuthorityStep.from_value, steps)), found)
        except TrustUnreadable:
            raise
        except ValueError as cause:
            raise TrustUnreadable(f"expected a trust file ({cause})") from cause
        raise TrustUnreadable("expected [genesis, steps, certificates] in a trust file")


# ----------------------------------------------------------------------------------------------------------- belief


def block_fields(leaf: bytes) -> tuple[int, int, Digest] | None:
    """(height, header time in ms, state root) of a block leaf; None for any other leaf."""
    try:
        match decode(leaf):
            case [2, int(height), int(time), bytes(root)] if len(root) == 32:
                return height, time, Digest(root)
    except ValueError:
        pass
    return None


def genesis_authority(genesis: Genesis) -> Authority:
    """The authority that genesis itself sets."""
    state = State(lambda _: None)
    write_genesis(genesis, state)
    data = state.get(AUTHORITY_KEY)
    assert data is not None
    return Authority.parse(data)


@dataclass(frozen=True, eq=False)
class Trust:
    """A trust file that held: what a verifier may rest on."""

    genesis: Genesis
    ledger_id: LedgerId
    origin: str
    epochs: tuple[tuple[int, Authority], ...]
    """(index of the block leaf that brought it, authority), ascending; genesis' is at -1."""
    certificates: Mapping[bytes, bytes]
    """CA certificates (DER) by digest."""
    keys: Mapping[KeyId, tuple[MemberId, GenesisKey]]
    """Keys that genesis registered."""
    fingerprint: Digest
    """Of what the file says, not of its bytes: genesis, and each authority since. Two members' files prove the same
    changes with the cosignatures that each happened to hear, so their bytes may differ where what they say does not."""
    before: "Trust | None" = None
    """What holds of the ledger that genesis goes on from. Its epochs, certificates and keys stand above too."""

    @property
    def line(self) -> LedgerId:
        """What requests and openings are bound to (`Genesis.line`)."""
        return self.genesis.line

    def ledgers(self) -> "Iterator[Trust]":
        """This ledger, the one that it goes on from, and so on."""
        yield self
        if self.before is not None:
            yield from self.before.ledgers()

    def follows(self, ledger: LedgerId) -> bool:
        """Whether this is that ledger, or goes on from it."""
        return any(each.ledger_id == ledger for each in self.ledgers())

    def ledger_at(self, index: int) -> LedgerId:
        """The ledger that judged the transaction at this log index."""
        imported = self.genesis.imported
        if self.before is None or imported is None or index >= imported.size:
            return self.ledger_id
        return self.before.ledger_at(index)

    def knows(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint may be of this log: under the name of the ledger that it is the end of, and where that
        ledger ended with the root that the next one goes on from."""
        imported = self.genesis.imported
        if checkpoint.origin == self.origin:
            return imported is None or checkpoint.size > imported.size
        if self.before is None or imported is None or checkpoint.size > imported.size:
            return False
        return self.before.knows(checkpoint) and (checkpoint.size < imported.size or checkpoint.root == imported.root)

    def origin_for(self, size: int) -> str:
        """Under whose name the checkpoint of this size stands: that of the ledger whose blocks the log ends with."""
        imported = self.genesis.imported
        if self.before is None or imported is None or size > imported.size:
            return self.origin
        return self.before.origin_for(size)

    def authority_for(self, size: int) -> Authority:
        """Who makes a checkpoint of this size binding: who held authority before the block that it ends with."""
        found = self.epochs[0][1]
        for index, authority in self.epochs[1:]:
            if index + 1 >= size:
                break
            found = authority
        return found

    def authority_at(self, index: int) -> Authority:
        """The authority in force when the transaction at this log index was judged."""
        return self.authority_for(index + 1)

    def certificate_of(self, member: str, index: int) -> tuple[MemberKind, bytes | None] | None:
        """Kind and CA certificate of a member at a log index; None for the certificate if the file lacks it, None
        altogether for a stranger."""
        found = self.authority_at(index).cosigner(member)
        return None if found is None else (MemberKind(found.kind), self.certificates.get(found.ca))

    def quorum(self, note: bytes) -> Quorum:
        """Judges a checkpoint note by the authority in force for its size; memoised by bytes.

        Raises NoteError, CosignatureError or WeakQuorum.
        """
        answer = self._quorum(note)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @lru_cache(maxsize=1024)  # noqa: B019  bounded, and trust files are few and live as long as the process
    def _quorum(self, note: bytes) -> Quorum | Exception:
        try:
            parsed = parse_note(note)
            if not self.knows(parsed.checkpoint):
                raise NoteError(
                    f"expected a checkpoint of {self.origin}, got one of {parsed.checkpoint.origin}, size "
                    f"{parsed.checkpoint.size}"
                )
            return check_quorum(parsed.checkpoint, parsed.lines, self.authority_for(parsed.checkpoint.size))
        except (NoteError, CosignatureError, WeakQuorum) as cause:
            return cause


@lru_cache(maxsize=64)
def _load(data: bytes) -> Trust | TrustUnreadable | TrustRefused:
    try:
        return _believe(TrustFile.parse(data))
    except (TrustUnreadable, TrustRefused) as cause:
        return cause


def load_trust(data: bytes) -> Trust:
    """Reads and checks a trust file; memoised by bytes. Raises TrustUnreadable or TrustRefused."""
    answer = _load(data)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _believe(file: TrustFile) -> Trust:
    try:
        signed = SignedGenesis.parse(file.genesis)  # 1. every member of genesis signed it
    except GenesisError as cause:
        raise TrustRefused(f"genesis: {cause}") from cause
    genesis, before = signed.genesis, _before(signed)  # and so did the members of the ledger that it goes on from
    ledger, origin = genesis.ledger_id, origin_of(genesis.ledger_id)
    began = -1 if genesis.imported is None else genesis.imported.size - 1
    epochs = [(began, genesis_authority(genesis))]
    for number, step in enumerate(file.steps, 1):  # 2. each change is proven under the authority before it
        epochs.append((step.index, _next_authority(step, epochs[-1], origin, f"step {number}")))
    bytes_of_cas = [*(member.certificate for member in genesis.members), *file.certificates]
    certificates = {bytes(certificate_digest(each)): each for each in bytes_of_cas}
    strangers = certificates.keys() - {cosigner.ca for _, authority in epochs for cosigner in authority.cosigners}
    if strangers:  # 3. each CA certificate is one that some authority names
        raise TrustRefused(f"expected CA certificates that an authority names, got {min(strangers).hex()}")
    keys = {key.id: (member.id, key) for member in genesis.members for key in member.keys}
    said: list[Value] = [[step.index, step.authority] for step in file.steps]
    if before is None:
        fingerprint = digest("commonward trust v1", ledger, encode(said))
        return Trust(genesis, ledger, origin, tuple(epochs), certificates, keys, fingerprint)
    return Trust(
        genesis,
        ledger,
        origin,
        (*before.epochs, *epochs),
        {**before.certificates, **certificates},
        {**before.keys, **keys},
        digest("commonward trust v1", ledger, encode(said), before.fingerprint),
        before,
    )


def _before(signed: SignedGenesis) -> Trust | None:
    """What holds of the ledger that genesis goes on from, when it may (`succession`). Raises TrustRefused."""
    imported = signed.genesis.imported
    if imported is None:
        return None
    try:
        shown = Before.parse(signed.before)
        old = load_trust(shown.trust)
        checkpoint = parse_note(shown.note).checkpoint
        old.quorum(shown.note)
    except (BeforeUnreadable, TrustUnreadable, TrustRefused, NoteError, CosignatureError, WeakQuorum) as cause:
        raise TrustRefused(f"the ledger before: {cause}") from cause
    if (old.ledger_id, old.line) != (imported.ledger, imported.line):
        raise TrustRefused(f"the ledger before: expected ledger {imported.ledger.hex()}, got {old.ledger_id.hex()}")
    if (checkpoint.origin, checkpoint.size, checkpoint.root) != (old.origin, imported.size, imported.root):
        raise TrustRefused(
            f"the ledger before: genesis goes on from size {imported.size}, root {imported.root.hex()}; its members "
            f"cosigned size {checkpoint.size}, root {checkpoint.root.hex()}"
        )
    weight, total = weight_behind(signed.genesis, old.epochs[-1][1])
    if 3 * weight <= 2 * total:
        raise TrustRefused(
            f"the ledger before: expected its members with more than two thirds of weight {total} to have signed this "
            f"genesis with their cosigning keys, got {weight}"
        )
    return old


def _next_authority(step: AuthorityStep, before: tuple[int, Authority], origin: str, where: str) -> Authority:
    at, old = before
    fields = block_fields(step.leaf)
    if fields is None:
        raise TrustRefused(f"{where}: expected a block leaf")
    if step.index <= at:
        raise TrustRefused(f"{where}: expected a change after log index {at}, got one at {step.index}")
    if not verify_presence(fields[2], AUTHORITY_KEY, step.authority, step.proof):
        raise TrustRefused(f"{where}: the state of block {fields[0]} does not hold this authority")
    try:
        note = parse_note(step.note)
        if note.checkpoint.origin != origin:
            raise NoteError(f"expected a checkpoint of {origin}, got one of {note.checkpoint.origin}")
        if not verify_inclusion(
            leaf_hash(step.leaf), step.index, note.checkpoint.size, step.path, note.checkpoint.root
        ):
            raise TrustRefused(f"{where}: block {fields[0]} is not in the log of its checkpoint")
        if check_quorum(note.checkpoint, note.lines, old).unknown:  # `known_lines` leaves such out
            raise TrustRefused(f"{where}: a signature line is by nobody that the authority before it names")
        found = Authority.parse(step.authority)
    except (NoteError, CosignatureError, WeakQuorum, ValueError) as cause:
        raise cause if isinstance(cause, TrustRefused) else TrustRefused(f"{where}: {cause}") from cause
    if found.epoch <= old.epoch:
        raise TrustRefused(f"{where}: expected an epoch after {old.epoch}, got {found.epoch}")
    return found


def fingerprint_words(value: bytes) -> str:
    """32 bytes in groups of four hex digits: for people to compare aloud."""
    text = hashlib.sha256(value).hexdigest() if len(value) != 32 else value.hex()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def authority_changes(steps: Iterable[AuthorityStep], known: TrustFile) -> Iterator[AuthorityStep]:
    """Those of `steps` that come after what a trust file has: for a member that keeps its own up to date."""
    last = known.steps[-1].index if known.steps else -1
    return (step for step in sorted(steps, key=lambda step: step.index) if step.index > last)
