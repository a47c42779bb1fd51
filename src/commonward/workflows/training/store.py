"""What one member keeps of its studies, sealed in its vault: enough to go on after a kill at any step.

Sealed updates are kept until the time for disputes is over, then destroyed with all secrets of the study. Models,
rounds and the lineage stay: they are the study's result.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import StudyId
from commonward.records.model import Model
from commonward.workflows.member import Member
from commonward.workflows.sealing import Drawer
from commonward.workflows.training.papers import (
    CheckpointPaper,
    Given,
    KeptUpdate,
    LeftOutPaper,
    ManifestPaper,
    RoundPaper,
    RowsPaper,
    SecretPaper,
    TouchedPaper,
    ciphertext_digest,
    model_bytes,
    read_model_bytes,
)
from commonward.workflows.wire import Message

__all__ = ["Store"]

_NEXT: Final = b"next"
_RECENT: Final = 64
_SMALL: Final = 1 << 20
"""Bytes of a sealed update above which no other such is remembered beside it: one site's may be the whole model."""

P = TypeVar("P", bound=Message)


class _Recent(Generic[P]):
    """A drawer of which what was read last is remembered, or that it was not there: a round's few papers are looked at
    many times.

    Written through: what is put is forgotten here and read again, so that what is remembered did reach the vault. Only
    for papers that one process alone writes. Of those that are not `small` the last one read is remembered: it is asked
    for part by part.
    """

    def __init__(self, drawer: Drawer[P], small: Callable[[P], bool] = lambda _: True) -> None:
        self._drawer = drawer
        self._small = small
        self._held: OrderedDict[bytes, P | None] = OrderedDict()  # None: there is none
        self._large: tuple[bytes, P] | None = None

    def get(self, key: bytes) -> P | None:
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        if self._large is not None and self._large[0] == key:
            return self._large[1]
        found = self._drawer.get(key)
        if found is not None and not self._small(found):
            self._large = key, found
            return found
        self._held[key] = found
        if len(self._held) > _RECENT:
            self._held.popitem(last=False)
        return found

    def put(self, key: bytes, paper: P, under: bytes = b"") -> None:
        self._forget(key)
        self._drawer.put(key, paper, under)

    def remove(self, key: bytes) -> None:
        self._forget(key)
        self._drawer.remove(key)

    def _forget(self, key: bytes) -> None:
        self._held.pop(key, None)
        if self._large is not None and self._large[0] == key:
            self._large = None

    def places(self, group: bytes) -> list[bytes]:
        return self._drawer.places(group)


class Store:
    """The papers of all studies of one member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        vault, sealing = member.ports.vault, member.sealing
        self._manifests = _Recent(Drawer(vault, sealing, "study-manifests", ManifestPaper))
        self._tables = Drawer(vault, sealing, "study-rows", RowsPaper)
        self._touched = Drawer(vault, sealing, "study-touched", TouchedPaper)
        self._secrets = Drawer(vault, sealing, "study-secrets", SecretPaper)
        self._updates = _Recent(
            Drawer(vault, sealing, "study-updates", KeptUpdate), lambda each: len(each.ciphertext) <= _SMALL
        )
        self._digested: tuple[KeptUpdate, Digest] | None = None  # the last one
        self._deals = Drawer(vault, sealing, "study-deals", Given)
        self._reveals = Drawer(vault, sealing, "study-reveals", Given)
        self._rounds = _Recent(Drawer(vault, sealing, "study-rounds", RoundPaper))
        self._models = Drawer(vault, sealing, "study-models", CheckpointPaper)
        self._model: tuple[bytes, Model] | None = None  # the last one read
        self._left_out = Drawer(vault, sealing, "study-left-out", LeftOutPaper)
        self._outcomes = Drawer(vault, sealing, "study-outcomes", Given)
        self._lineages = Drawer(vault, sealing, "study-lineages", Given)

    def _name(self, kind: str, *parts: bytes | int | str) -> bytes:
        return self._member.sealing.name(f"study {kind}", *parts)

    # the site's rows

    def manifest(self, study: StudyId) -> ManifestPaper | None:
        """The newest planned, landed or not."""
        return self._manifests.get(self._name("manifest", study))

    def put_manifest(self, study: StudyId, paper: ManifestPaper, tables: RowsPaper | None = None) -> None:
        """With its tables the first time. Takes the place of the one before, whose rows are destroyed."""
        self._manifests.put(self._name("manifest", study), paper)
        if tables is not None:
            self._tables.put(self._name("rows", study), tables)

    def tables(self, study: StudyId) -> RowsPaper | None:
        return self._tables.get(self._name("rows", study))

    def touched(self, study: StudyId, manifest: Digest) -> TouchedPaper | None:
        return self._touched.get(self._name("touched", study, manifest))

    def put_touched(self, study: StudyId, manifest: Digest, paper: TouchedPaper) -> None:
        self._touched.put(self._name("touched", study, manifest), paper, under=study)

    # masked mode

    def secret(self, study: StudyId, public: bytes) -> SecretPaper | None:
        return self._secrets.get(self._name("secret", study, public))

    def put_secret(self, study: StudyId, public: bytes, paper: SecretPaper) -> None:
        self._secrets.put(self._name("secret", study, public), paper, under=study)

    def planned_keys(self, study: StudyId) -> SecretPaper | None:
        """Those being posted."""
        return self._secrets.get(self._name("secret", study, _NEXT))

    def plan_keys(self, study: StudyId, paper: SecretPaper) -> None:
        self._secrets.put(self._name("secret", study, _NEXT), paper, under=study)

    def keys_posted(self, study: StudyId, public: bytes, paper: SecretPaper) -> None:
        """Joins the caller's vault transaction."""
        self.put_secret(study, public, paper)
        self._secrets.remove(self._name("secret", study, _NEXT))

    def forget_secret(self, study: StudyId, public: bytes) -> None:
        self._secrets.remove(self._name("secret", study, public))

    def deal(self, study: StudyId, public: bytes) -> bytes | None:
        found = self._deals.get(self._name("deal", study, public))
        return None if found is None else found.data

    def put_deal(self, study: StudyId, public: bytes, deal: bytes) -> None:
        self._deals.put(self._name("deal", study, public), Given(1, deal), under=study)

    def deal_of(self, study: StudyId, number: int, attempt: int, site: str) -> bytes | None:
        """The deal that a site's update of an attempt was masked by."""
        found = self._deals.get(self._name("deal of", study, number, attempt, site))
        return None if found is None else found.data

    def put_deal_of(self, study: StudyId, number: int, attempt: int, site: str, deal: bytes) -> None:
        name = self._name("deal of", study, number, attempt, site)
        self._deals.put(name, Given(1, deal), under=study)

    def reveal(self, study: StudyId, number: int, attempt: int, holder: str) -> bytes | None:
        found = self._reveals.get(self._name("reveal", study, number, attempt, holder))
        return None if found is None else found.data

    def put_reveal(self, study: StudyId, number: int, attempt: int, holder: str, reveal: bytes) -> None:
        self._reveals.put(self._name("reveal", study, number, attempt, holder), Given(1, reveal), under=study)

    # updates

    def update(self, study: StudyId, number: int, attempt: int, site: str) -> KeptUpdate | None:
        return self._updates.get(self._name("update", study, number, attempt, site))

    def put_update(self, study: StudyId, paper: KeptUpdate) -> None:
        name = self._name("update", study, paper.round, paper.attempt, paper.site)
        self._updates.put(name, paper, under=study)

    def ciphertext_of(self, kept: KeptUpdate) -> Digest:
        """The digest of an update's ciphertext: worked out once, however many parts of it are given to how many."""
        if self._digested is None or self._digested[0] is not kept:
            self._digested = kept, ciphertext_digest(kept.ciphertext)
        return self._digested[1]

    def updates_kept(self, study: StudyId) -> int:
        """How many sealed updates rest here."""
        return len(self._updates.places(study))

    # what came of it

    def round(self, study: StudyId, number: int, attempt: int) -> RoundPaper | None:
        return self._rounds.get(self._name("round", study, number, attempt))

    def final(self, study: StudyId, number: int) -> RoundPaper | None:
        """Of the attempt that became final."""
        return self._rounds.get(self._name("round", study, number, 0))

    def put_round(self, study: StudyId, paper: RoundPaper) -> None:
        attempt = 0 if paper.final else paper.attempt
        self._rounds.put(self._name("round", study, paper.round, attempt), paper, under=study)

    def model(self, study: StudyId, digest: Digest, state: Digest | None) -> Model | None:
        """By its digest and its optimiser state's (None: of no round)."""
        name = self._name("model", study, digest, state or b"")
        if self._model is not None and self._model[0] == name:
            return self._model[1]
        found = self._models.get(name)
        if found is None:
            return None
        made = read_model_bytes(found.model)
        self._model = name, made
        return made

    def put_model(self, study: StudyId, model: Model, state: Digest | None) -> None:
        name = self._name("model", study, model.digest, state or b"")
        self._models.put(name, CheckpointPaper(model_bytes(model)), under=study)

    def left_out(self, study: StudyId, site: str) -> LeftOutPaper | None:
        """What the last model would be without a site."""
        return self._left_out.get(self._name("left out", study, site))

    def put_left_out(self, study: StudyId, paper: LeftOutPaper) -> None:
        self._left_out.put(self._name("left out", study, paper.site), paper, under=study)

    def outcome(self, study: StudyId) -> bytes | None:
        """What its proposer committed to when it closed it, with the salts that open it."""
        found = self._outcomes.get(self._name("outcome", study))
        return None if found is None else found.data

    def put_outcome(self, study: StudyId, data: bytes) -> None:
        self._outcomes.put(self._name("outcome", study), Given(1, data))

    def lineage(self, study: StudyId) -> bytes | None:
        found = self._lineages.get(self._name("lineage", study))
        return None if found is None else found.data

    def put_lineage(self, study: StudyId, data: bytes) -> None:
        self._lineages.put(self._name("lineage", study), Given(1, data))

    # the end

    def destroy(self, study: StudyId) -> None:
        """The time for disputes is over: updates, secrets, shares and rows go, for good."""
        self._digested = None
        for drawer in (self._updates, self._secrets, self._deals, self._reveals):
            for key in drawer.places(study):
                drawer.remove(key)
        self._tables.remove(self._name("rows", study))
