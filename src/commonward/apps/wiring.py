"""Joins adapters to ports: the one place where what is outside is chosen.

`open_sequencer` gives the operator's ordering process, `open_node` a member's node. Changing the vault or the keys'
home is a line here; the engine is the setting of that name (`engines`).
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commonward.adapters.keys import CertificateAuthority, MemberKeys, StaffKey, client_context, server_context, trust
from commonward.adapters.peers import PeerClient, PeerRefused, PeerServer
from commonward.adapters.solo.sequencer import Sequencer
from commonward.adapters.store.trees import TreeFiles
from commonward.adapters.store.vault import SqlVault
from commonward.adapters.timestamps import AuthorityClient
from commonward.apps.engines import ChainFiles, Line, Resolve, open_engine, open_files
from commonward.apps.errors import CannotListen
from commonward.apps.founding import GENESIS
from commonward.apps.settings import FILE, BadSettings, Settings
from commonward.apps.studies.hosting import InstalledLearners, gather
from commonward.apps.studies.pictures import copies
from commonward.ledger.genesis import Genesis, GenesisError, SignedGenesis
from commonward.ledger.ids import Algorithm, BlockTime, KeyId, MemberId, Purpose, key_id
from commonward.ledger.members import Roll
from commonward.ledger.proofs import self_test
from commonward.records.certificates import CertificateRefused, Staff, check_staff
from commonward.records.timestamps import TokenUnreadable
from commonward.workflows import desk as desks
from commonward.workflows.member import Member, Ports, Practice
from commonward.workflows.office import Office
from commonward.workflows.ports import Steps
from commonward.workflows.replica import Executed
from commonward.workflows.timestamps import Stamping
from commonward.workflows.training.cohorts import VaultCohorts
from commonward.workflows.training.loop import Training
from commonward.workflows.training.site import NotServed
from commonward.workflows.wire import MessageError

_MEMORY: Final = 64
"""Certificates remembered by bytes: a handful of members, their old and their new ones."""


class WallClock:
    """Implements `workflows.ports.Clock`."""

    def now(self) -> BlockTime:
        return BlockTime(time.time_ns() // 1_000_000)


class SystemEntropy:
    """Implements `workflows.ports.Entropy` from the operating system."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


class NoSteps:
    """Implements `workflows.ports.Steps`: nobody listens."""

    def reach(self, name: str) -> None:
        return None


class GridPace:
    """Implements `workflows.member.Pace`: answers leave on a grid, so that their time tells only a coarse class."""

    def start(self) -> float:
        return time.monotonic()

    async def settle(self, started: float, grid_ms: int) -> None:
        grid = grid_ms / 1000
        spent = time.monotonic() - started
        await asyncio.sleep(grid - spent % grid)


def read_genesis(settings: Settings) -> Genesis:
    """The genesis beside the settings, checked whole. Raises BadSettings."""
    path = settings.data / GENESIS
    try:
        genesis = SignedGenesis.parse(path.read_bytes()).genesis
    except OSError as cause:
        raise BadSettings(f"cannot read {path}: {cause.strerror}; copy the consortium's {GENESIS} there") from cause
    except GenesisError as cause:
        raise BadSettings(f"{path} is not a genesis that its members signed: {cause}") from cause
    founded_for = "cometbft" if genesis.consensus else "solo"
    if settings.engine != founded_for:
        raise BadSettings(
            f"{settings.data / FILE}: engine: expected {founded_for!r}, for which {path.name} was founded, got "
            f"{settings.engine!r}; `commonward network migrate` moves a ledger from one to the other"
        )
    return genesis


def open_keys(settings: Settings) -> MemberKeys:
    """This member's keys. Raises BadSettings or an error of `adapters.keys`."""
    return MemberKeys.open(settings.data / "keys", MemberId(settings.member), settings.passphrase())


def tls_resolver(holder: Callable[[KeyId], MemberId | None]) -> Resolve:
    """Whose registered TLS key a certificate holds, asked anew at each connection; parsing is remembered."""
    parsed: dict[bytes, KeyId | None] = {}

    def resolve(certificate: bytes) -> MemberId | None:
        if certificate not in parsed:
            if len(parsed) >= _MEMORY:
                parsed.clear()
            parsed[certificate] = _key_of(certificate)
        key = parsed[certificate]
        return None if key is None else holder(key)

    return resolve


def _key_of(certificate: bytes) -> KeyId | None:
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError:
        return None
    if not isinstance(public, Ed25519PublicKey):
        return None
    return key_id(Algorithm.EDDSA, public.public_bytes_raw())


def contexts(keys: MemberKeys, genesis: Genesis, roll: Roll | None = None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for listening and for calling, with the members of genesis and of `roll`; `trust` adds later ones."""
    believed = authorities(genesis, roll)
    return server_context(keys, believed), client_context(keys, believed)


def authorities(genesis: Genesis, roll: Roll | None = None) -> list[bytes]:
    """The CA certificates of all members, those of genesis and those that `roll` has now."""
    later = [] if roll is None else [roll.certificate(member) for member in roll.ids()]
    return sorted({member.certificate for member in genesis.members} | {each for each in later if each is not None})


def open_sequencer(settings: Settings) -> tuple[Sequencer, ChainFiles, Resolve, ssl.SSLContext]:
    """The operator's sequencer. Raises BadSettings where this member operates none, SequencerError, StoreError."""
    self_test()
    genesis = read_genesis(settings)
    if genesis.consensus:
        raise BadSettings("the members of this ledger order together: no one runs a sequencer, each runs its node")
    if genesis.operator != settings.member:
        raise BadSettings(f"{settings.member} does not operate this ledger's sequencer; {genesis.operator} does")
    keys = open_keys(settings)
    _, public, _ = keys.public(Purpose.SEQUENCE)
    clock = WallClock()
    files = ChainFiles(settings.data / "sequencer")
    sequencer = Sequencer(
        genesis=genesis,
        store=files.state,
        log_store=files.tiles,
        blocks=files.blocks,
        clock=clock,
        public=public,
        sign=lambda message: keys.sign(Purpose.SEQUENCE, message),
    )

    def holder(key: KeyId) -> MemberId | None:
        view = sequencer.machine.view()
        found = view.roll.key(key)
        if found is None or found.purpose != Purpose.TLS:
            return None
        now = max(sequencer.machine.applied.time, clock.now())
        member = view.roll.get(found.member)
        return found.member if found.covers(now) and member is not None and member.active else None

    server, _ = contexts(keys, genesis, sequencer.machine.view().roll)
    return sequencer, files, tls_resolver(holder), server


def open_stamping(settings: Settings) -> Stamping | None:
    """The time-stamping authority, where one is set. Raises BadSettings."""
    if not settings.tsa_url:
        return None
    try:
        client = AuthorityClient(settings.tsa_url)
        return Stamping(client, settings.tsa_certificates(), settings.tsa_every_s * 1000)
    except TokenUnreadable as cause:
        raise BadSettings(f"{settings.data / FILE}: tsa_certificate: {settings.tsa_certificate}: {cause}") from cause


def _addresses(settings: Settings) -> dict[MemberId, tuple[str, int]]:
    return {MemberId(name): (each.host, each.port) for name, each in settings.peers.items()}


class Node:
    """Everything one member's node is made of, opened and not yet listening."""

    def __init__(self, settings: Settings, steps: Steps | None = None) -> None:
        """`steps` is told of each named step; a test kills the process there. Raises as `open_node`."""
        self_test()
        self.settings = settings
        self.genesis = read_genesis(settings)
        self.keys = open_keys(settings)
        self.files = open_files(settings, self.genesis)
        self.vault = SqlVault(settings.vault_file)
        clock = WallClock()
        self.engine = open_engine(settings, self.keys, self.genesis, self.files, clock)
        self.replica = self.engine.replica
        self._opened_at = time.monotonic()
        self._block_at: float | None = None
        self.replica.listen(self._saw_block)
        resolve = tls_resolver(lambda key: self.replica.key_holder(key, Purpose.TLS))
        server, client = self._contexts = contexts(self.keys, self.genesis, self.replica.machine.view().roll)
        self._addresses = _addresses(settings)
        self.peers = PeerClient(self.keys.member, client, self._addresses, resolve, self.answer)
        self.engine.connect(client, resolve, self.peers)
        self._server = PeerServer(server, resolve, self.answer)
        self.member = Member(
            Ports(
                ledger=self.replica,
                vault=self.vault,
                trees=TreeFiles(settings.data / "trees"),
                keys=self.keys,
                peers=self.peers,
                clock=clock,
                entropy=SystemEntropy(),
                steps=steps or NoSteps(),
                pace=GridPace(),
            ),
            self.genesis.rp_id,
            Practice(
                grace_ms=settings.grace_ms,
                answer_grid_ms=settings.answer_grid_ms,
                copy_lasts_ms=settings.copies_expire_days * 86_400_000,
            ),
        )
        self.office = Office(self.member, open_stamping(settings))
        self.learners = InstalledLearners(settings.data)
        self.cohorts = VaultCohorts(self.office.research, gather, copies)
        self.training = Training(self.office, self.cohorts, self.learners)
        self.office.desk.handlers.update(self.training.handlers)

    async def answer(self, asker: MemberId, path: str, body: bytes) -> bytes:
        """What another member asks of this one. Raises PeerRefused, whose sentence may leave."""
        try:
            own = self.engine.paths.get(path)
            if own is not None:
                return await own(asker, body)
            return await self.office.desk.answer(asker, path, body)
        except (desks.Refused, MessageError, NotServed) as why:
            raise PeerRefused(0, str(why)) from why

    def meet(self, settings: Settings) -> None:
        """Call and believe other members as `settings` and the ledger say now: a newcomer's addresses and CA, another's
        new ones. Everything else in the settings counts from the next start."""
        self._addresses.clear()
        self._addresses.update(_addresses(settings))
        for context in self._contexts:
            trust(context, authorities(self.genesis, self.replica.machine.view().roll))
        self.engine.meet(settings)

    def line(self) -> Line:
        return self.engine.line()

    def up_ms(self) -> int:
        """How long ago this node was opened."""
        return int((time.monotonic() - self._opened_at) * 1000)

    def last_block_ms(self) -> int | None:
        """How long ago this node executed a block; None before the first since it started."""
        return None if self._block_at is None else int((time.monotonic() - self._block_at) * 1000)

    def _saw_block(self, executed: Executed) -> None:
        self._block_at = time.monotonic()

    async def listen(self) -> None:
        """Open the door to the other members. Raises CannotListen."""
        try:
            await self._server.start(self.settings.listen.host, self.settings.listen.port)
        except OSError as cause:
            raise CannotListen("listen", str(self.settings.listen), cause) from cause

    def staff(self, number: str) -> StaffKey:
        """The day certificate and key of a staff member of this member, from its file."""
        if not number.isalnum():
            raise BadSettings(f"expected a staff number of letters and digits, got {number!r}")
        path = self.settings.data / "staff" / f"{number}.pem"
        if not path.is_file():
            raise BadSettings(
                f"expected a day certificate of {number} at {path}, found none; "
                f"`commonward staff issue --number {number}` makes one"
            )
        return StaffKey.open(path, self.settings.passphrase())

    def staff_number(self, number: str) -> str:
        """The number, if its certificate is this member's and valid now. Raises CertificateRefused."""
        return self.staff_now(number).number

    def staff_now(self, number: str) -> Staff:
        """Who has that number, if the certificate is this member's and valid now. Raises CertificateRefused."""
        signer = self.staff(number)
        roll = self.replica.machine.view().roll
        kind, authority = self.member.reading.kind_of(self.member.id), roll.certificate(self.member.id)
        if kind is None or authority is None:
            raise CertificateRefused(f"{self.member.id} is not an active member of this ledger")
        return check_staff(signer.certificate, authority, self.member.id, kind, BlockTime(self.member.now()))

    async def close(self) -> None:
        await self._server.stop()
        await self.peers.close()
        self.training.close()
        self.engine.close()
        self.vault.close()
        self.files.close()


def open_node(settings: Settings) -> Node:
    """A member's node. Raises BadSettings, StoreError (locked, corrupt, full), CannotFollow, an error of the keys."""
    return Node(settings)


def open_authority(settings: Settings) -> CertificateAuthority:
    """This member's own CA, which certifies its staff. Raises an error of `adapters.keys`."""
    return CertificateAuthority.open(settings.data / "ca", settings.passphrase())
