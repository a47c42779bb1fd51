"""Rows of patients who took their consent back, where no new manifest comes in the place of the old one.

While a study runs, the next manifest overwrites them (`manifests`). But the last patient of a site may withdraw, or the
study may have no round any more, or the site has left: then rows would rest here until the time for disputes is over,
and a model judged or learnt here in between would still read them. So they are taken out of what is kept as soon as
their consent is gone from the ledger, or their patient put everything on hold.
"""

from dataclasses import dataclass, field, replace

from commonward.ledger.consent import SiteCount
from commonward.ledger.ids import ConsentId, StudyId
from commonward.records.manifest import Row
from commonward.records.table import Table
from commonward.workflows.training.papers import ManifestPaper, RowsPaper, packed_rows, unpacked_rows
from commonward.workflows.training.site import Site

__all__ = ["Withdrawn", "is_open"]


@dataclass
class Withdrawn:
    """Of one site. `looked`: the ledger's count of a study's consents here, when its rows were last looked at."""

    site: Site
    looked: dict[StudyId, SiteCount] = field(default_factory=dict)

    def let_go(self, study: StudyId) -> bool:
        """Takes such rows out of the tables and the list behind the newest manifest. Whether there were any.

        That manifest is not brought onto the ledger any more, if it was on its way: it names them.
        """
        count = self.site.office.research.count(study)
        if self.looked.get(study) == count:
            return False
        paper, went = self.site.store.manifest(study), False
        if paper is not None:
            rows = paper.rows
            kept = [self._kept(part) for part in rows]
            if list(map(len, kept)) != list(map(len, rows)):
                went = self._taken_out(study, paper, *kept)
        self.looked[study] = count
        return went

    def _taken_out(self, study: StudyId, paper: ManifestPaper, train: list[int], test: list[int]) -> bool:
        """Tables can be large: they are read once there is something to take out of them."""
        tables = self.site.store.tables(study)
        if tables is None or tables.manifest != paper.digest:
            return False
        rest = replace(paper, train=_only(paper.train, train), test=_only(paper.test, test), landed=True)
        left = RowsPaper(paper.digest, _taken(tables.train, train), _taken(tables.test, test))
        with self.site.member.ports.vault.transaction():
            self.site.store.put_manifest(study, rest, left)
        self.site.reach("study.rows.let_go")
        return True

    def _kept(self, rows: list[Row]) -> list[int]:
        """Places of the rows whose consent is open."""
        return [at for at, row in enumerate(rows) if is_open(self.site, ConsentId(row.consent))]


def is_open(site: Site, consent: ConsentId) -> bool:
    """Whether a consent stands on the ledger, as far as this node has followed it, and its patient holds nothing."""
    record = site.member.reading.consent(consent)
    handle = None if record is None else site.member.reading.handle(record.handle)
    return record is not None and record.live(site.member.ledger_now()) and (handle is None or not handle.holds)


def _only(packed: bytes, kept: list[int]) -> bytes:
    rows = unpacked_rows(packed)
    return packed_rows(rows[at] for at in kept)


def _taken(table: bytes, kept: list[int]) -> bytes:
    return Table.parse(table).take(kept).to_bytes()
