"""A site's manifest: made when it enrols, and made anew whenever a consent was withdrawn since.

Withdrawn rows leave with the old manifest: its tables are overwritten, and no attempt takes the site in before the
ledger has the new one. Consents that came since the last manifest come in with the next. Who is kept apart to judge
the model by is settled by the first manifest; whoever joins later is learnt from.

A row is a patient. Where two rows have the same picture, one person stands under two names, or a picture was filed with
the wrong patient: a model would be judged by what it learnt from, and a person's privacy counted twice. Such a manifest
is not made until the hospital has put it right, or, where two pictures are only nearly the same, a person looked at
both (`distinct`). The sentence names its own patients, for its own people; it is kept nowhere and goes to nobody.
"""

from collections.abc import Callable
from typing import Final

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import ConsentId, StudyId
from commonward.ledger.rounds import Manifest as ManifestPayload
from commonward.ledger.rounds import manifest_digest
from commonward.ledger.rounds.means import fresh
from commonward.ledger.rounds.refusals import AboveCounter, HeldOutChanged, ManifestTooOld
from commonward.records.images.duplicates import Pair
from commonward.records.manifest import Manifest, ManifestError
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.training.cohorts import CohortFailed, Cohorts, Rows
from commonward.workflows.training.distinct import Distinct
from commonward.workflows.training.papers import ManifestPaper, RowsPaper, TouchedPaper, unpacked_rows
from commonward.workflows.training.site import Site, Waits
from commonward.workflows.training.withdrawn import is_open

__all__ = ["Manifests", "manifest_of"]

_AGAIN: Final = frozenset({ManifestTooOld.code, AboveCounter.code, HeldOutChanged.code})
"""The consents changed while it was on its way: a new one may stand."""

_NAMED: Final = 5
_LOOK_AGAIN_MS: Final = 20_000
"""A cohort with copies is gathered again so often, or when a consent came or went or a person looked at a pair: reading
pictures takes seconds."""


def manifest_of(paper: ManifestPaper, row_cap: int) -> Manifest:
    """The rows and proofs behind it, built again."""
    return Manifest(*paper.rows, row_cap, paper.seed, paper.test_seed)


class Manifests:
    """Of one site, in all its studies."""

    def __init__(self, site: Site, cohorts: Cohorts) -> None:
        self._site = site
        self._cohorts = cohorts
        self._distinct = Distinct(site.member)
        self._copied: dict[StudyId, tuple[tuple[int, int], int, Waits]] = {}

    def standing(self, study: StudyId) -> ManifestPaper | None:
        """The one that the ledger has, if it was made after the last withdrawal."""
        paper, mine = self._site.store.manifest(study), self._site.enrolment(study)
        if paper is None or mine is None or mine.manifest is None or mine.manifest.digest != paper.digest:
            return None
        return paper if fresh(mine.manifest, self._site.office.research.count(study)) else None

    async def tend(self, study: StudyId, papers: StudyPapers, row_cap: int) -> ManifestPaper:
        """The one that stands; if there is none, makes it, and brings it onto the ledger.

        Raises Waits (no patient has consented yet; the cohort cannot be built), LedgerAway, LedgerRefused.
        """
        standing = self.standing(study)
        if standing is not None and standing.landed:
            return standing
        paper = standing or self._site.store.manifest(study)
        if paper is None or paper.landed or not self._all_open(paper):
            paper = await self._plan(study, papers, row_cap)
        wanted = paper

        def still() -> None:
            """The ledger takes the root that is signed for one that its rows were read under."""
            if not self._all_open(wanted):
                raise Waits("its rows to be read again: a consent was withdrawn while they were")

        try:
            landed = await self._site.land("manifest", paper.manifest, study, paper.digest, still=still)
        except LedgerRefused as refused:
            if refused.code not in _AGAIN:
                raise
            self._site.store.put_manifest(study, _but(paper, landed=True))  # the next pass plans another
            raise Waits("its consents changed while the manifest was on its way") from refused
        paper = _but(paper, landed=True, index=landed.index)
        with self._site.member.ports.vault.transaction():
            self._site.store.put_manifest(study, paper)
            self._site.landed("manifest", study, paper.digest)
        if self.standing(study) is None:
            raise Waits("a consent was withdrawn while the manifest was on its way")
        return paper

    def _all_open(self, paper: ManifestPaper) -> bool:
        consents = {row.consent for part in paper.rows for row in part}
        return all(is_open(self._site, ConsentId(each)) for each in consents)

    async def _plan(self, study: StudyId, papers: StudyPapers, row_cap: int) -> ManifestPaper:
        turns = self._site.office.research.count(study).open, self._distinct.count()
        now = self._site.member.now()
        if (copied := self._copied.get(study)) and copied[0] == turns and now < copied[1] + _LOOK_AGAIN_MS:
            raise copied[2]
        try:
            rows = await self._cohorts.rows(study, papers)
        except CohortFailed as cause:
            raise Waits(str(cause)) from cause
        if not rows.records:
            raise Waits("consents: no row of a patient who consented is here")
        before = self._site.store.manifest(study)
        test = self._kept_apart(study, rows, papers.protocol.test_share, before)
        try:
            _refuse_copies(rows, test, self._distinct.known)
        except Waits as found:
            self._copied[study] = turns, now, found
            raise
        packed = {
            part: b"".join(
                record + consent
                for record, consent in zip(rows.records, rows.consents, strict=True)
                if (consent in test) is part
            )
            for part in (False, True)
        }
        seed = self._site.entropy(32)
        test_seed = seed if before is None else before.test_seed
        try:
            made = Manifest(unpacked_rows(packed[False]), unpacked_rows(packed[True]), row_cap, seed, test_seed)
        except ManifestError as cause:
            raise Waits(f"its cohort makes no manifest: {cause}") from cause
        patients, count = made.bands
        payload = ManifestPayload(
            study, made.train.root, made.test.root, patients, count, made.patients_opening.commitment,
            made.rows_opening.commitment,
        )  # fmt: skip
        named = manifest_digest(self._site.id, payload)
        paper = ManifestPaper(seed, test_seed, packed[False], packed[True], payload.to_bytes(), named)
        with self._site.member.ports.vault.transaction():
            self._site.store.put_manifest(study, paper, _tables(rows, test, named))
            self._site.store.put_touched(study, named, self._touched(rows))
        self._site.reach("study.manifest.planned")
        return paper

    def _touched(self, rows: Rows) -> TouchedPaper:
        names = sorted({self._record(each) for each in rows.records})
        return TouchedPaper(b"".join(sorted(set(rows.consents))), b"".join(names))

    def _record(self, record: bytes) -> bytes:
        return self._site.member.sealing.name("study record", record)

    def used(self, study: StudyId, manifest: Digest, *, consent: bytes = b"", record: bytes = b"") -> bool:
        """Whether a manifest had rows under this consent, or of this record."""
        paper = self._site.store.touched(study, manifest)
        if paper is None:
            return False
        name = self._record(record) if record else b""
        return _holds(paper.consents, consent) or _holds(paper.records, name)

    def _kept_apart(self, study: StudyId, rows: Rows, share: int, before: ManifestPaper | None) -> frozenset[bytes]:
        """Consents of the patients by whom the model is judged. Not by chance alone: the same again after a kill."""
        consents = set(rows.consents)
        if before is not None:
            return frozenset(row.consent for row in before.rows[1]) & consents
        drawn = sorted(consents, key=lambda each: self._site.member.sealing.secret("study split", study, each))
        return frozenset(drawn[: len(drawn) * share // 1000])


def _holds(packed: bytes, name: bytes) -> bool:
    return bool(name) and any(packed[at : at + 16] == name for at in range(0, len(packed), 16))


def _refuse_copies(rows: Rows, test: frozenset[bytes], looked: Callable[[Pair], object]) -> None:
    """Raises Waits where the same picture, or nearly, stands in train and test; and where the very same stands under
    two patients of one side. A near copy on one side may be chance, and spoils no judgement: the page told of it. One
    that a person looked at, and found to be none, counts no more."""
    across, double = [], []
    for pair in rows.copies:
        if looked(pair) is not None:
            continue
        sides = {rows.consents[at] in test for at in (pair.first, pair.second)}
        if len(sides) == 2:
            across.append(pair)
        elif pair.certain:
            double.append(pair)
    for found, where in ((across, "one to learn from and one to judge by"), (double, "under two patients")):
        if found:
            named = "; ".join(_named(rows, each) for each in found[:_NAMED])
            look = "" if all(each.certain for each in found) else (
                "; or, where two pictures are only nearly the same, look at both (`commonward photographs copies`) and "
                "say that they are of two patients (`commonward photographs distinct`)"
            )  # fmt: skip
            raise Waits(
                f"copies: {len(found)} pictures are the same or nearly, {where}: of the patients {named}. Correct "
                f"whose picture it is, or join the two names of one person{look}; then this goes on by itself"
            )


def _named(rows: Rows, pair: Pair) -> str:
    return f"{_name(rows, pair.first)} and {_name(rows, pair.second)}"


def _name(rows: Rows, at: int) -> str:
    return rows.patients[at] if rows.patients else f"row {at}"


def _tables(rows: Rows, test: frozenset[bytes], manifest: Digest) -> RowsPaper:
    train_at = [at for at, consent in enumerate(rows.consents) if consent not in test]
    test_at = [at for at, consent in enumerate(rows.consents) if consent in test]
    return RowsPaper(manifest, rows.table.take(train_at).to_bytes(), rows.table.take(test_at).to_bytes())


def _but(paper: ManifestPaper, *, landed: bool, index: int = -1) -> ManifestPaper:
    return ManifestPaper(
        paper.seed, paper.test_seed, paper.train, paper.test, paper.payload, paper.digest, landed, index
    )
