"""What a site keeps of a study, and what sites hand each other: papers at rest and messages on the way.

Everything here rests sealed in the member's vault, and travels over the members' mutual TLS. A message that answers
"not here" is empty, so that whoever asks goes on to the next holder.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Digest, Encodable, decode, digest, encode
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Countersign, Manifest, SubmitUpdate
from commonward.records.evidence import label_of
from commonward.records.manifest import CONSENT_BYTES, RECORD_BYTES, Row
from commonward.records.model import Model, ModelError, Tensor
from commonward.workflows.wire import Message

__all__ = [
    "COUNTS",
    "DEAL",
    "MODEL",
    "OUTCOME",
    "REVEAL",
    "SEED",
    "UPDATE",
    "Asked",
    "CheckpointPaper",
    "Given",
    "KeptUpdate",
    "LeftOutPaper",
    "ManifestPaper",
    "RoundPaper",
    "RowsPaper",
    "SecretPaper",
    "TouchedPaper",
    "model_bytes",
    "packed_rows",
    "place_of",
    "read_model_bytes",
    "read_tensors",
    "tensors_bytes",
    "unpacked_rows",
]

UPDATE: Final = "study/update"
DEAL: Final = "study/deal"
REVEAL: Final = "study/reveal"
MODEL: Final = "study/model"
COUNTS: Final = "study/counts"
SEED: Final = "study/seed"
OUTCOME: Final = "study/outcome"

UPDATE_COMMITMENT: Final = label_of(SubmitUpdate, "update")
ROWS_COMMITMENT: Final = label_of(SubmitUpdate, "rows")
METRICS_COMMITMENT: Final = label_of(Countersign, "metrics")
SEALED_LABEL: Final = "commonward sealed update v1"
_PLACE_LABEL: Final = "commonward update place v1"
_PLAIN_LABEL: Final = "commonward update plain v1"
_GIVEN_LABEL: Final = "commonward update key v1"
PART_BYTES: Final = 8 << 20
"""A large answer comes in parts of so many bytes: a peer's answer is at most 64 MiB."""


# ------------------------------------------------------------------------------------------------------------- at rest


def packed_rows(rows: Iterable[Row]) -> bytes:
    """48 bytes each."""
    return b"".join(each.record + each.consent for each in rows)


def unpacked_rows(packed: bytes) -> list[Row]:
    """Rows as `packed_rows` packs them."""
    size = RECORD_BYTES + CONSENT_BYTES
    places = range(0, len(packed), size)
    return [Row(packed[at : at + RECORD_BYTES], packed[at + RECORD_BYTES : at + size]) for at in places]


@dataclass(frozen=True, slots=True)
class ManifestPaper(Message):
    """The rows behind a manifest, and what its commitments hide. `train`, `test`: fingerprint and consent, 48 bytes
    each. `payload`: the transaction's payload. `landed`: it stands on the ledger."""

    seed: bytes
    test_seed: bytes
    train: bytes
    test: bytes
    payload: bytes
    digest: Digest
    landed: bool = False
    index: int = -1

    @property
    def manifest(self) -> Manifest:
        return Manifest.parse(self.payload)

    @property
    def rows(self) -> tuple[list[Row], list[Row]]:
        """To learn from, and to judge by."""
        return unpacked_rows(self.train), unpacked_rows(self.test)


@dataclass(frozen=True, slots=True)
class RowsPaper(Message):
    """The tables behind a manifest (`records.table.Table`), as they were when it was made."""

    manifest: Digest
    train: bytes
    test: bytes


@dataclass(frozen=True, slots=True)
class TouchedPaper(Message):
    """Whose rows a manifest had, after its rows are gone: consents (16 bytes each), and keyed names of records."""

    consents: bytes
    records: bytes


@dataclass(frozen=True, slots=True)
class SecretPaper(Message):
    """Our seed for one masked attempt (32 bytes), and the deal made of it. The seed goes once the attempt is over."""

    seed: bytes
    deal: bytes


@dataclass(frozen=True, slots=True)
class KeptUpdate(Message):
    """One site's committed update, ours or another's: as it was sealed, with what opens it.

    Attributes:
        manifest: payload of the site's manifest then.
        opening: of its exact rows; empty in masked mode.
        key, salt, rows_salt: of the ciphertext, and of the commitments `update` and `rows`.
        rows: n; 0 where it is not shown (masked).
    """

    site: MemberId
    round: int
    attempt: int
    base: Digest
    manifest: bytes
    opening: bytes
    key: bytes
    salt: bytes
    rows_salt: bytes
    rows: int
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class RoundPaper(Message):
    """What this site made of one attempt.

    Attributes:
        model, state: digests of what it computed.
        metrics: tensors by which this site's test rows judge the model (`tensors_bytes`); empty where it did not.
        metrics_salt: of the commitment to them.
        counts: the same under masks that cancel in the sum over all sites of the round: what may leave.
        sums: the same of all sites together, once known.
        final: the ledger's Round, once final.
    """

    round: int
    attempt: int
    model: Digest
    state: Digest
    metrics: bytes
    metrics_salt: bytes
    excluded: tuple[str, ...] = ()
    counts: bytes = b""
    sums: bytes = b""
    final: bytes = b""


@dataclass(frozen=True, slots=True)
class LeftOutPaper(Message):
    """What the last model would be without one site, by this site's test rows.

    Attributes:
        model: its digest; empty where it is not defined, and `why`.
        metrics, counts, sums: as of a `RoundPaper`.
    """

    site: MemberId
    model: bytes
    metrics: bytes
    why: str = ""
    counts: bytes = b""
    sums: bytes = b""


@dataclass(frozen=True, slots=True)
class CheckpointPaper(Message):
    """A model with its optimiser's state (`model_bytes`)."""

    model: bytes


# ----------------------------------------------------------------------------------------------------------- on the way


@dataclass(frozen=True, slots=True)
class Asked(Message):
    """One question among sites: which study, which round and attempt, whose, and which part of a long answer.

    `name`: of a deal its public key, of a model its digest.
    """

    study: StudyId
    round: int = 0
    attempt: int = 0
    site: str = ""
    name: bytes = b""
    part: int = 0


@dataclass(frozen=True, slots=True)
class Given(Message):
    """An answer: part `part` of `parts` (0: not here). `sealed`: for the asker alone. `beside`: what may be seen."""

    parts: int = 0
    data: bytes = b""
    sealed: bytes = b""
    beside: bytes = b""

    @classmethod
    def piece(cls, whole: bytes, part: int, *, sealed: bytes = b"", beside: bytes = b"") -> "Given":
        parts = max(1, -(-len(whole) // PART_BYTES))
        if not 0 <= part < parts:
            return cls()
        return cls(parts, whole[part * PART_BYTES : (part + 1) * PART_BYTES], sealed, beside)


# ---------------------------------------------------------------------------------------------------------------- bytes


def place_of(study: bytes, number: int, attempt: int, site: str, base: bytes) -> bytes:
    """What a sealed update is bound to: it opens nowhere else."""
    return encode([_PLACE_LABEL, study, number, attempt, site, base])


def given_info(study: bytes, number: int, attempt: int, site: str, asker: str) -> bytes:
    """What the key of a sealed update is bound to on its way to one asker."""
    return encode([_GIVEN_LABEL, study, number, attempt, site, asker])


def plain_digest(plain: bytes) -> Digest:
    """What the commitment `update` is of."""
    return digest(_PLAIN_LABEL, plain)


def ciphertext_digest(ciphertext: bytes) -> Digest:
    """What SubmitUpdate shows as `ciphertext`. It needs no salt: a ciphertext cannot be guessed."""
    return digest(SEALED_LABEL, ciphertext)


def tensors_bytes(tensors: Iterable[Tensor]) -> bytes:
    """encode([[name, dtype, shape, bytes], ...])."""
    values: list[Encodable] = [each.to_value() for each in tensors]
    return encode(values)


def read_tensors(data: bytes) -> tuple[Tensor, ...]:
    """Raises ModelError."""
    try:
        value = decode(data)
    except ValueError as cause:
        raise ModelError(f"expected tensors in our encoding: {cause}") from cause
    if not isinstance(value, list):
        raise ModelError("expected a list of tensors")
    return tuple(Tensor.from_value(each) for each in value)


def model_bytes(model: Model) -> bytes:
    """With the optimiser's state, which no published model has."""
    return tensors_bytes(model)


def read_model_bytes(data: bytes) -> Model:
    """Raises ModelError."""
    return Model(read_tensors(data))
