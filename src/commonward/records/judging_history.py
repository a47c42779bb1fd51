"""The first half of judging an evidence file: that it stands in the ledger's history, and since when.

Everything here rests on the checkpoint: who cosigned it, what is in the log under it, which states its blocks held, and
whether a time-stamping authority has dated it. Who signed the transaction and what it commits to is `judging`'s.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from commonward.ledger.checkpoint import Checkpoint, CosignatureError, NoteError, Quorum, WeakQuorum
from commonward.ledger.merkle.log import leaf_hash, verify_consistency, verify_inclusion
from commonward.ledger.merkle.map_proof import verify_absence, verify_presence
from commonward.ledger.refusals import REFUSALS
from commonward.ledger.staging import ACCEPTED, block_leaf, outcome_leaf
from commonward.records.evidence import Evidence, read_note
from commonward.records.findings import Fact, Finding, State
from commonward.records.signers import Why, uncounted
from commonward.records.timestamps import (
    Token,
    TokenRefused,
    TokenUnreadable,
    check_token,
    imprint_of,
    read_token,
)
from commonward.records.trust import Trust

STAMP_SLACK_MS: Final = 60 * 1000
"""How far a header time may be ahead of a time-stamping authority's: members cosign what is up to 30 s off."""


@lru_cache(maxsize=4096)
def _included(leaf: bytes, index: int, size: int, path: bytes, root: bytes) -> bool:
    hashes = [path[at : at + 32] for at in range(0, len(path), 32)]
    return verify_inclusion(leaf_hash(leaf), index, size, hashes, root)


class HistoryJudge:
    """One file under judgement, its steps about history."""

    def __init__(self, evidence: Evidence, trust: Trust, authorities: bytes | None) -> None:
        """`authorities`: certificates (PEM) of the time-stamping authorities that the reader believes."""
        self.evidence = evidence
        self.trust = trust
        self.authorities = authorities
        self.findings: list[Finding] = []
        self.checkpoint: Checkpoint | None = None
        self.quorum: Quorum | None = None
        self.shown: dict[bytes, tuple[bytes | None, int]] = {}  # state key -> (value, header time of its block)
        self.signed_after: int | None = None
        self.ordered: int | None = None
        self.token: Token | None = None

    def find(self, rule: str, passed: bool | None, **facts: Fact) -> bool:
        state = State.NOT_CHECKED if passed is None else State.PASSED if passed else State.FAILED
        self.findings.append(Finding(rule, state, facts))
        return passed is True

    def check_ledger(self) -> None:
        ruled, named = self.trust.ledger_at(self.evidence.index), self.evidence.transaction.ledger
        self.find("ledger", named == ruled, expected=ruled, got=named)

    def check_cosigners(self) -> bool:
        try:
            checkpoint = read_note(self.evidence.note).checkpoint
        except NoteError as cause:
            return self.find("checkpoint", False, why=str(cause))
        self.find("checkpoint", self.trust.knows(checkpoint), origin=checkpoint.origin, size=checkpoint.size)
        self.checkpoint = checkpoint
        try:
            quorum = self.trust.quorum(self.evidence.note)
        except (NoteError, CosignatureError, WeakQuorum) as cause:
            self.find("cosigners", False, why=str(cause))
            return self.explain_lines(weak=isinstance(cause, WeakQuorum))
        if quorum.unknown:
            # C2SP ignores lines of unknown keys; an evidence file has no use for any, so one is a sign of meddling
            self.find("cosigners", False, why="a signature line does not count")
            return self.explain_lines(weak=False)
        if not quorum.operator_signed and not self.trust.authority_for(checkpoint.size).consensus:
            return self.find("cosigners", False, why="no sequencer signed")
        self.quorum = quorum
        return self.find(
            "cosigners", True, members=quorum.members, weight=quorum.weight, total=quorum.total, before=quorum.before
        )

    def explain_lines(self, *, weak: bool) -> bool:
        """Says of each signature line that did not count why not: the reader may know the member. Always False."""
        for each in uncounted(read_note(self.evidence.note), self.trust):
            if each.why is Why.TERM and each.key is not None:
                self.find("term", False, member=each.member, time=each.at, starts=each.key.starts, ends=each.key.ends)
            elif each.why is Why.REPLACED:
                self.find("replaced", False, member=each.member)
            elif each.why is Why.STRANGER:
                self.find("stranger", False, name=each.member)
            elif weak:
                self.find("weightless", False, member=each.member)
        return False

    def _holds(self, leaf: bytes, index: int, path: Sequence[bytes]) -> bool:
        assert self.checkpoint is not None
        return _included(leaf, index, self.checkpoint.size, b"".join(path), self.checkpoint.root)

    def check_logged(self) -> None:
        e = self.evidence
        leaf = outcome_leaf(e.transaction.digest, e.height, e.time, e.code)
        if self.find("logged", self._holds(leaf, e.index, e.path), index=e.index, height=e.height):
            self.ordered = e.time

    def check_blocks(self) -> None:
        for block in self.evidence.blocks:
            leaf = block_leaf(block.height, block.time, block.state_root)
            if not self.find("block", self._holds(leaf, block.index, block.path), height=block.height, time=block.time):
                continue
            if block.height == self.evidence.height and (
                block.time != self.evidence.time or block.index <= self.evidence.index
            ):
                self.find("own-block", False, height=block.height)
            for fact in block.facts:
                if fact.value is None:
                    true = verify_absence(block.state_root, fact.key, fact.proof)
                else:
                    true = verify_presence(block.state_root, fact.key, fact.value, fact.proof)
                if true:
                    self.shown[fact.key] = (fact.value, block.time)
                else:
                    self.find("fact", False, height=block.height)

    def check_accepted(self) -> None:
        code = self.evidence.code
        refusal = REFUSALS.get(code)
        self.find("accepted", code == ACCEPTED, code=code, name=refusal.__name__ if refusal else "")

    def check_time(self) -> None:
        named = self.evidence.transaction.recent.size
        recent = next((block for block in self.evidence.blocks if block.index == named - 1), None)
        if recent is None:
            self.find("recent", None, size=named)
        elif self.find("recent", recent.time <= self.evidence.time, time=recent.time, size=named):
            self.signed_after = recent.time

    def check_stamp(self) -> None:
        stamp, checkpoint = self.evidence.stamp, self.checkpoint
        assert checkpoint is not None
        if stamp is None:
            if self.authorities is not None:
                self.find("no-stamp", None)
            return
        covers = self.evidence.index < stamp.size and verify_consistency(
            stamp.size, checkpoint.size, stamp.root, checkpoint.root, stamp.path
        )
        if not self.find("stamped", covers, size=stamp.size):
            return
        body = Checkpoint(self.trust.origin_for(stamp.size), stamp.size, stamp.root).note_body()
        try:
            claimed = read_token(stamp.token)
            if self.authorities is None:
                true = claimed.imprint == imprint_of(body)
                why = "" if true else "it is a time stamp of something else"
                self.find("time-stamp", None if true else False, name=claimed.authority, time=claimed.time, why=why)
                return
            token = check_token(stamp.token, body, self.authorities)
        except (TokenUnreadable, TokenRefused) as cause:
            self.find("time-stamp", False, why=str(cause))
            return
        if token.before + STAMP_SLACK_MS < self.evidence.time:
            why = "it says an earlier time than the block that it covers"
            self.find("time-stamp", False, why=why)
        elif self.find("time-stamp", True, name=token.authority, before=token.before, serial=token.serial):
            self.token = token
