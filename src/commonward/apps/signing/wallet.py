"""A patient's wallet: a folder of the patient's own, and the client that writes down each step before it takes it.

    passkey.json   the passkey, under the PIN            wallet.sealed   consents, openings, tag keys: under the passkey
    genesis.cwg    the pinned genesis                    members.json    where members' signing APIs listen
    seen.cbor      the newest checkpoint believed, and the trust file: where the members went on to another ledger, and
                   this wallet followed them, it shows why

Every write is atomic and durable, 0600. A consent is written down, with its openings and its signed bytes, before it is
sent: after a crash at any step `KeptPatient.finish` carries it again (the same bytes have the same outcome) and
delivers what was not acknowledged.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TextIO

from commonward.apps.settings import Address, BadSettings
from commonward.apps.signing.client import Memory, RemoteGate
from commonward.apps.signing.lines import open_lines
from commonward.apps.signing.messages import KeyKept, KeyWanted, TagWanted
from commonward.apps.signing.passkey import SoftwarePasskey
from commonward.apps.signing.proven import Seen
from commonward.apps.signing.signer import SoftwareSigner, unwrap_sealing, wrap_sealing
from commonward.apps.signing.words import Words
from commonward.ledger.consent import Research, Withdraw
from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.genesis import Genesis, GenesisError, SignedGenesis
from commonward.ledger.ids import ConsentId, Handle, LedgerId, MemberId, parse_member_id
from commonward.ledger.possession import PasskeyPurpose
from commonward.ledger.transactions import Payload, parse_transaction
from commonward.records import envelope
from commonward.records.openings import RulesTree, commit
from commonward.records.rules import Rule
from commonward.records.trust import load_trust
from commonward.workflows import commitments
from commonward.workflows.enrolment import LinkPaper, consent_payload, midnight_after, new_passkey
from commonward.workflows.enrolment_request import EnrolmentRequest
from commonward.workflows.gate import PatientGate
from commonward.workflows.identity import mark_tag
from commonward.workflows.messages import ConsentOpening, PaperKind, PapersWanted, Relayed, paper_info
from commonward.workflows.patient import Delivered, Given, NotAccepted, Patient
from commonward.workflows.patient import Wallet as Papers
from commonward.workflows.ports import Clock, Entropy, PeerAway
from commonward.workflows.wire import Message, MessageError

PASSKEY: Final = "passkey.json"
SEALED: Final = "wallet.sealed"
GENESIS: Final = "genesis.cwg"
MEMBERS: Final = "members.json"
SEEN: Final = "seen.cbor"
_WALLET_SALT: Final = b"commonward wallet v1"


class BadWallet(BadSettings):
    """A folder that is no wallet, or one that was altered; the text says what was expected and what to do."""


# --- what is kept -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pending(Message):
    """A transaction that was signed and may or may not have landed. `consent`: what it gives or withdraws."""

    raw: bytes
    consent: ConsentId

    @property
    def digest(self) -> Digest:
        return parse_transaction(self.raw).digest


@dataclass(frozen=True, slots=True)
class Acked(Message):
    """Who has a consent's openings, of what was last said of it (the Consent, or its Withdraw)."""

    entry: Digest
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept(Message):
    """All that a wallet keeps sealed. `ledger`: the line of the pinned genesis, which outlasts a change of engine."""

    ledger: LedgerId
    papers: Papers
    purpose: PasskeyPurpose
    wrapped: bytes  # the sealing key, as members keep it too
    pending: tuple[Pending, ...] = ()
    acked: tuple[Acked, ...] = ()


# --- the client -------------------------------------------------------------------------------------


class KeptPatient(Patient):
    """The patient's client over a wallet that survives a crash at every step."""

    def __init__(
        self, signer: SoftwareSigner, gate: PatientGate, entropy: Entropy, kept: Kept, keep: Callable[[Kept], None]
    ) -> None:
        """`keep` returns once the wallet would survive a power cut."""
        super().__init__(
            signer, gate, entropy, kept.papers, representative=kept.purpose is PasskeyPurpose.REPRESENTATIVE
        )
        self.kept = kept
        self.signs = signer
        self._keep = keep
        for given in kept.papers.given:
            signer.knows(given.opening)

    def save(self, **changes: object) -> None:
        """Writes the wallet as it is now."""
        self.kept = replace(self.kept, papers=self.wallet, **changes)  # type: ignore[arg-type]
        self._keep(self.kept)

    def acknowledged(self, given: Given) -> frozenset[str]:
        """Members known to have what was last said of this consent."""
        entry = given.withdrawn or given.entry
        return frozenset(member for each in self.kept.acked if each.entry == entry for member in each.members)

    def is_pending(self, given: Given) -> bool:
        return any(each.consent == given.opening.consent for each in self.kept.pending)

    async def grant(
        self,
        rules: tuple[Rule, ...],
        *,
        days: int = 365,
        form: bytes = b"",
        hold: bool = False,
        research: Research | None = None,
    ) -> Delivered:
        """As `Patient.grant`; the opening and the signed bytes are kept before they are sent."""
        consent = ConsentId(self._entropy.bytes(16))
        tree = RulesTree([rule.to_value() for rule in rules], self._entropy.bytes(32))
        recipients = tuple(sorted(member for member, _, _ in self.gate.members() if self._named(rules, member)))
        opening = ConsentOpening(
            consent, tree.open_all(), recipients, self._entropy.bytes(32), form, self._entropy.bytes(32)
        )
        self.signs.knows(opening)
        end = midnight_after(self.gate.now(), days)
        raw = await self.sign(consent_payload(opening, tree.root, self.handle, self._assurance, end, hold, research))
        pending = Pending(raw, consent)
        self.wallet = replace(self.wallet, given=(*self.wallet.given, Given(opening, pending.digest, hold)))
        self.save(pending=(*self.kept.pending, pending))
        await self._carry(pending)
        return await self.deliver(consent)

    async def withdraw(self, consent: ConsentId, reason: str = "") -> Delivered:
        given = self._given(consent)
        if given.withdrawn is not None:
            return await self.deliver(consent)
        salt = self._entropy.bytes(32)
        raw = await self.sign(Withdraw(consent, commit(commitments.REASON, salt, reason)))
        pending = Pending(raw, consent)
        self._change(replace(given, withdrawn=pending.digest, reason=reason, reason_salt=salt))
        self.save(pending=(*self.kept.pending, pending))
        await self._carry(pending)
        return await self.deliver(consent)

    async def say(self, payload: Payload) -> Relayed:
        """Any other thing a patient may sign. Raises NotAccepted."""
        return await self._land(payload)

    async def deliver(self, consent: ConsentId) -> Delivered:
        told = await super().deliver(consent)
        given = self._given(consent)
        entry = given.withdrawn or given.entry
        others = tuple(each for each in self.kept.acked if each.entry not in (entry, given.entry))
        self.save(acked=(*others, Acked(entry, tuple(sorted(told.acknowledged)))))
        return told

    async def finish(self) -> list[Delivered]:
        """Carries what a crash or an absent ledger left behind, and delivers it. Raises NotAccepted while away."""
        told = []
        for pending in self.kept.pending:
            try:
                await self._carry(pending)
            except NotAccepted as why:
                if why.code < 0:
                    raise
                continue  # it never landed and never will: taken out of the wallet
            told.append(await self.deliver(pending.consent))
        return told

    async def learn_links(self) -> list[MemberId]:
        """Custodians that linked the handle since, told by their mailboxes. Who does not answer is passed over."""
        known = {each.member: each.tag_key for each in self.wallet.custodians}
        new = []
        for member, _, _ in self.gate.members():
            with contextlib.suppress(PeerAway):
                for link in await self._links(member):
                    if known.get(member) != link.tag_key:
                        self.linked(member, link.tag_key)
                        known[member] = link.tag_key
                        new.append(member)
        if new:
            self.save()
        return new

    def tags(self, count: int) -> list[TagWanted]:
        """The first tags of every custodian's line: to be looked up together before the log is read."""
        lines = self.wallet.custodians
        return [TagWanted(mark_tag(each.tag_key, n), each.member) for each in lines for n in range(1, count + 1)]

    async def _links(self, member: MemberId) -> list[LinkPaper]:
        found: list[LinkPaper] = []
        after = 0
        while True:
            wanted = PapersWanted(self.gate.line, member, self.handle, self.gate.now(), after)
            wanted = replace(wanted, proof=await self.signer.possess(wanted.digest()))
            papers = (await self.gate.papers(wanted)).papers
            if not papers:
                return found
            after = max(paper.number for paper in papers)
            for paper in papers:
                if paper.kind is PaperKind.LINK:
                    info = paper_info(self.gate.line, self.handle, paper.kind)
                    with contextlib.suppress(envelope.EnvelopeError, MessageError):  # read_log names such papers
                        link = LinkPaper.parse(envelope.unpad(self.signer.open_sealed(info, paper.sealed)))
                        if link.custodian == member and link.handle == self.handle:
                            found.append(link)

    async def _carry(self, pending: Pending) -> None:
        """Raises NotAccepted: refused for good, and taken back out of the wallet; or (code -1) to be tried again."""
        relayed = await self.gate.relay(pending.raw)
        if relayed.code < 0:
            raise NotAccepted(relayed)
        if relayed.code != 0:
            self._take_back(pending)
        self.save(pending=tuple(each for each in self.kept.pending if each != pending))
        if relayed.code != 0:
            raise NotAccepted(relayed)

    def _take_back(self, pending: Pending) -> None:
        given = self._given(pending.consent)
        if given.withdrawn == pending.digest:
            self._change(replace(given, withdrawn=None, reason=None, reason_salt=None))
        elif given.entry == pending.digest:
            rest = tuple(each for each in self.wallet.given if each.opening.consent != pending.consent)
            self.wallet = replace(self.wallet, given=rest)

    def _change(self, given: Given) -> None:
        kept = tuple(given if each.opening.consent == given.opening.consent else each for each in self.wallet.given)
        self.wallet = replace(self.wallet, given=kept)


# --- the folder -------------------------------------------------------------------------------------


def write_atomically(path: Path, data: bytes) -> None:
    """The old bytes or the new ones, never a part; on disk when it returns; 0600."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where members' signing APIs listen, and whose page this wallet uses."""

    page: MemberId
    addresses: Mapping[MemberId, Address]

    def to_json(self) -> bytes:
        members = {member: str(address) for member, address in sorted(self.addresses.items())}
        return json.dumps({"page": self.page, "members": members}, indent=2).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, where: str) -> Site:
        try:
            found = json.loads(data)
            page, members = parse_member_id(found["page"]), dict(found["members"])
        except (ValueError, KeyError, TypeError) as cause:
            raise BadWallet(f"{where}: expected page and members, got {cause}") from cause
        addresses = {parse_member_id(name): Address.parse(str(text), where) for name, text in members.items()}
        return cls(page=page, addresses=addresses)


class WalletFolder:
    """One wallet, unlocked with its PIN and held by this process alone."""

    def __init__(self, folder: Path, passkey: SoftwarePasskey, signed: SignedGenesis, site: Site, lock: TextIO) -> None:
        self.folder = folder
        self.passkey = passkey
        self.signed = signed
        self.site = site
        self._lock = lock

    @property
    def genesis(self) -> Genesis:
        return self.signed.genesis

    @property
    def origin(self) -> str:
        """Of the signing page in use. Raises BadWallet."""
        return _origin(self.genesis, self.site, self.folder)

    @classmethod
    def create(
        cls, folder: Path, genesis: bytes, site: Site, pin: bytes, entropy: Entropy, *,
        handle: Handle | None = None, purpose: PasskeyPurpose = PasskeyPurpose.OWN, sealing: bytes | None = None,
    ) -> WalletFolder:  # fmt: skip
        """A new passkey with a new handle, or for a given one (a representative, a recovery).

        Args:
            genesis: the genesis file, which is pinned.
            sealing: the sealing key (32 bytes) of a recovery sheet; a new one is made without.

        Raises BadWallet where there is a wallet already, or genesis is not one.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / SEALED).exists():
            raise BadWallet(f"{folder} holds a wallet already; give a new folder")
        lock = _locked(folder)
        signed = _genesis(genesis, folder)
        passkey = SoftwarePasskey.create(_origin(signed.genesis, site, folder), signed.genesis.rp_id)
        made = cls(folder, passkey, signed, site, lock)
        ledger = signed.genesis.line
        name = handle or Handle(entropy.bytes(16))
        private = sealing or entropy.bytes(32)
        wrapped = wrap_sealing(made.passkey, ledger, name, private, entropy.bytes(12))
        write_atomically(folder / GENESIS, genesis)
        write_atomically(folder / MEMBERS, site.to_json())
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made.passkey.save(Path(scratch) / PASSKEY, pin)
            write_atomically(folder / PASSKEY, (Path(scratch) / PASSKEY).read_bytes())
        # Last: a folder with this file is whole.
        made.keep(Kept(ledger, Papers(name), purpose, wrapped), entropy)
        return made

    @classmethod
    def open(cls, folder: Path, pin: bytes) -> WalletFolder:
        """Raises BadWallet, NotVerified (wrong PIN)."""
        try:
            genesis = (folder / GENESIS).read_bytes()
            site = Site.parse((folder / MEMBERS).read_bytes(), str(folder / MEMBERS))
            if not (folder / SEALED).exists():
                raise FileNotFoundError(folder / SEALED)
        except OSError as cause:
            raise BadWallet(f"{folder} is no wallet: {cause}; `commonward patient new` makes one") from cause
        lock = _locked(folder)
        try:
            passkey = SoftwarePasskey.load(folder / PASSKEY, pin)
        except (OSError, KeyError, json.JSONDecodeError) as cause:
            raise BadWallet(f"{folder / PASSKEY} cannot be read: {cause}") from cause
        return cls(folder, passkey, _genesis(genesis, folder), site, lock)

    def close(self) -> None:
        self._lock.close()

    # what is kept

    def read(self) -> Kept:
        """Raises BadWallet when the file was altered, or is of another passkey."""
        try:
            sealed = (self.folder / SEALED).read_bytes()
            plain = envelope.open_bytes(self.passkey.prf(_WALLET_SALT), sealed, _WALLET_SALT)
            kept = Kept.parse(envelope.unpad(plain))
        except (envelope.EnvelopeError, MessageError) as cause:
            raise BadWallet(f"{self.folder / SEALED} does not open with this passkey, or was altered") from cause
        if kept.ledger != self.genesis.line:
            raise BadWallet(f"{self.folder / GENESIS} is of another ledger than this wallet: it was exchanged")
        return kept

    def keep(self, kept: Kept, entropy: Entropy) -> None:
        plain = envelope.pad(kept.to_bytes(), floor=4096)
        sealed = envelope.seal_bytes(self.passkey.prf(_WALLET_SALT), entropy.bytes(12), plain, _WALLET_SALT)
        write_atomically(self.folder / SEALED, sealed)

    def memory(self) -> Memory:
        try:
            match decode((self.folder / SEEN).read_bytes()):
                case [int(size), bytes(root), bytes(trust)] if size >= 0 and len(root) == 32:
                    return Memory(Seen(size, Digest(root)), trust)
        except FileNotFoundError:
            return Memory(Seen(), b"")
        except ValueError as cause:
            raise BadWallet(f"{self.folder / SEEN} cannot be read: {cause}") from cause
        raise BadWallet(f"{self.folder / SEEN}: expected [size, root, trust file]")

    def remember(self, memory: Memory) -> None:
        write_atomically(self.folder / SEEN, encode([memory.seen.size, memory.seen.root, memory.trust]))

    # what is made of it

    def sealing_private(self, kept: Kept) -> bytes:
        """Raises BadWallet."""
        try:
            return unwrap_sealing(self.passkey, kept.ledger, kept.papers.handle, kept.wrapped)
        except envelope.EnvelopeError as cause:
            raise BadWallet(f"the sealing key in {self.folder / SEALED} does not open with this passkey") from cause

    def member_name(self, member: str) -> str:
        """How a member is called: by name as genesis has it, else by id."""
        return next((each.name for each in self.genesis.members if each.id == member), member)

    def ledger(self) -> LedgerId:
        """The ledger that the members are on, as far as this wallet has followed them. Raises as `load_trust`."""
        trust = self.memory().trust
        return load_trust(trust).ledger_id if trust else self.genesis.ledger_id

    def signer(
        self, kept: Kept, show: Callable[..., None], words: Words, ledger: Callable[[], LedgerId] | None = None
    ) -> SoftwareSigner:
        return SoftwareSigner(
            self.passkey, self.origin, ledger or self.ledger(), self.sealing_private(kept), show, words=words,
            member=self.member_name,
        )  # fmt: skip

    def gate(self, clock: Clock) -> RemoteGate:
        """Over HTTPS to every member whose address is known, the page's own first."""
        order = sorted(self.site.addresses, key=lambda member: (member != self.site.page, member))
        addresses = {member: self.site.addresses[member] for member in order}
        certificates = {member.id: member.certificate for member in self.genesis.members}
        memory = self.memory()
        return RemoteGate(
            open_lines(addresses, certificates), clock, self.signed.to_bytes(), memory=memory, remember=self.remember
        )

    def patient(self, gate: PatientGate, show: Callable[..., None], words: Words, entropy: Entropy) -> KeptPatient:
        kept = self.read()
        return KeptPatient(
            self.signer(kept, show, words, lambda: gate.ledger_id),
            gate,
            entropy,
            kept,
            lambda changed: self.keep(changed, entropy),
        )

    async def request(self, words: Words) -> EnrolmentRequest:
        """What the patient brings to a member's desk."""
        kept = self.read()
        signer = self.signer(kept, lambda _: None, words)
        made = await new_passkey(signer, self.ledger(), kept.papers.handle, kept.purpose)
        return EnrolmentRequest(
            kept.papers.handle, made.credential, int(made.algorithm), made.public, made.possession,
            signer.sealing_public, kept.purpose,
        )  # fmt: skip


def _origin(genesis: Genesis, site: Site, folder: Path) -> str:
    for member in genesis.members:
        if member.id == site.page:
            return member.origin
    raise BadWallet(f"{folder / MEMBERS}: {site.page} is no member in the pinned genesis")


def _genesis(data: bytes, folder: Path) -> SignedGenesis:
    try:
        return SignedGenesis.parse(data)
    except GenesisError as cause:
        raise BadWallet(f"{folder / GENESIS} is not a genesis that its members signed: {cause}") from cause


def _locked(folder: Path) -> TextIO:
    """Held until closed, or the process ends however it ends."""
    lock = (folder / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        lock.close()
        raise BadWallet(f"another program has the wallet {folder} open; wait until it has ended") from cause
    return lock


async def keep_sealing_key(gate: RemoteGate, signer: SoftwareSigner, kept: Kept) -> list[MemberId]:
    """Lets every member that answers keep the wrapped sealing key; returns who does."""
    keepers = []
    for member, _, _ in gate.members():
        asked = KeyKept(kept.ledger, member, kept.papers.handle, gate.now(), kept.wrapped)
        asked = replace(asked, proof=await signer.possess(asked.digest()))
        with contextlib.suppress(PeerAway):
            gate.keep_key(asked)
            keepers.append(member)
    return keepers


async def fetch_sealing_key(gate: RemoteGate, signer: SoftwareSigner, handle: Handle) -> bytes | None:
    """The wrapped sealing key from any member that keeps it for this passkey, for a new device."""
    for member, _, _ in gate.members():
        asked = KeyWanted(gate.line, member, handle, gate.now())
        asked = replace(asked, proof=await signer.possess(asked.digest()))
        with contextlib.suppress(PeerAway):
            found = gate.fetch_key(asked)
            if found is not None:
                return found
    return None
