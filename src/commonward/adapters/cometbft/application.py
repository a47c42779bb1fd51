"""CometBFT's requests in the words of the replica: protobuf stops here.

CometBFT's block H is our block H; one of its transactions is one signed bundle. Its time is cut to whole milliseconds.
The app hash is size and root of the log, so a block in which nothing happened leaves it as it was, and CometBFT makes
the next one only at its interval.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from commonward.adapters.cometbft.proto.abci_pb2 import (
    DUPLICATE_VOTE,
    LIGHT_CLIENT_ATTACK,
    CheckTxType,
    ExecTxResult,
    Misbehavior,
    Request,
    Response,
    ResponseApplySnapshotChunk,
    ResponseCheckTx,
    ResponseCommit,
    ResponseFinalizeBlock,
    ResponseInfo,
    ResponseInitChain,
    ResponseListSnapshots,
    ResponseLoadSnapshotChunk,
    ResponseOfferSnapshot,
    ResponsePrepareProposal,
    ResponseProcessProposal,
    ResponseQuery,
    Snapshot,
    ValidatorUpdate,
)
from commonward.adapters.cometbft.proto.keys_pb2 import PublicKey
from commonward.adapters.cometbft.rpc import CODE_LATER, CODE_REFUSED, refusals_to_log
from commonward.adapters.cometbft.snapshots import NoSnapshots, Snapshots
from commonward.ledger.encoding import encode
from commonward.ledger.ids import BlockTime, Digest, Height
from commonward.ledger.rules import Header
from commonward.workflows.snapshots import Offered

__all__ = ["CometApplication", "Executing", "WrongChain", "header_of", "misbehaved_of"]

_FILTER_ID: Final = "/p2p/filter/id/"
_FILTER_ADDRESS: Final = "/p2p/filter/addr/"
_PUNISHED: Final = (DUPLICATE_VOTE, LIGHT_CLIENT_ATTACK)
_GOOD: Final = Response(check_tx=ResponseCheckTx())  # what most CheckTx are answered; nobody changes it

_log = structlog.get_logger(__name__)


class WrongChain(RuntimeError):
    """CometBFT would begin another chain than our genesis."""


class Verdict(Protocol):
    """Good when both are empty."""

    @property
    def refusals(self) -> tuple[tuple[Digest, int, str], ...]: ...

    @property
    def why(self) -> str: ...

    @property
    def later(self) -> bool: ...


class Outcomes(Protocol):
    """What an agreed block came to (`workflows.agreeing.Agreed`)."""

    @property
    def app_hash(self) -> bytes: ...

    @property
    def outcomes(self) -> Sequence[Sequence[int]]: ...

    @property
    def validators(self) -> Sequence[tuple[bytes, int]]: ...


class Power(Protocol):
    """A validator (`ledger.members.Validator`)."""

    @property
    def public(self) -> bytes: ...

    @property
    def power(self) -> int: ...


class Executing(Protocol):
    """What we need of `workflows.agreeing.AgreeingReplica`, which says what each promises."""

    async def check(self, bundle: bytes, *, again: bool = False) -> Verdict: ...

    def propose(
        self, header: Header, waiting: Sequence[bytes], room: int, misbehaved: Sequence[bytes] = ()
    ) -> list[bytes]: ...

    async def judge(self, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> str: ...

    async def execute(self, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> Outcomes: ...

    async def commit(self) -> int: ...

    def info(self) -> tuple[int, bytes]: ...

    def validators(self) -> Sequence[Power]: ...

    def admits(self, node: str) -> bool: ...


def header_of(height: int, time: Timestamp) -> Header:
    return Header(Height(height), BlockTime(time.seconds * 1000 + time.nanos // 1_000_000))


def misbehaved_of(found: Iterable[Misbehavior]) -> list[bytes]:
    """Addresses of those that CometBFT has proof against, each once, in its order (the same on every node)."""
    return list(dict.fromkeys(each.validator.address for each in found if each.type in _PUNISHED))


def _update(public: bytes, power: int) -> ValidatorUpdate:
    return ValidatorUpdate(pub_key=PublicKey(ed25519=public), power=power)


class CometApplication:
    """Implements `abci.Application` over a replica."""

    def __init__(
        self,
        replica: Executing,
        chain: str,
        snapshots: Snapshots | None = None,
        first_height: int = 1,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        """`chain`: the chain id that CometBFT must name; `first_height`: of its first block; `begun`: called once
        CometBFT has brought us a block, which it keeps before it does."""
        self._replica = replica
        self._chain = chain
        self._first_height = first_height
        self._begun: Callable[[], None] | None = begun
        self._snapshots = snapshots or NoSnapshots()
        self.sync_steps = 0
        """Snapshots offered to us and chunks brought, so far: whether a state sync goes on is seen here alone."""
        self._handlers: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "info": self._info,
            "init_chain": self._init_chain,
            "check_tx": self._check,
            "prepare_proposal": self._prepare,
            "process_proposal": self._process,
            "finalize_block": self._finalize,
            "commit": self._commit,
            "query": self._query,
            "list_snapshots": self._list,
            "load_snapshot_chunk": self._load,
            "offer_snapshot": self._offer,
            "apply_snapshot_chunk": self._apply,
        }

    async def answer(self, kind: str, request: Request) -> Response:
        try:
            handler = self._handlers[kind]
        except KeyError:
            raise NotImplementedError(f"{kind} is for vote extensions or another mempool; both are off here") from None
        return await handler(request)

    # ------------------------------------------------------------------------------------------------------ consensus

    async def _info(self, request: Request) -> Response:
        height, app_hash = self._replica.info()
        return Response(
            info=ResponseInfo(
                data="commonward", last_block_height=height, last_block_app_hash=app_hash if height else b""
            )
        )

    async def _init_chain(self, request: Request) -> Response:
        asked = request.init_chain
        if asked.chain_id != self._chain or asked.initial_height != self._first_height:
            raise WrongChain(
                f"expected chain {self._chain} from height {self._first_height}, got {asked.chain_id} from "
                f"{asked.initial_height}: remove CometBFT's home, which is another ledger's"
            )
        _, app_hash = self._replica.info()
        validators = [_update(each.public, each.power) for each in self._replica.validators()]
        return Response(init_chain=ResponseInitChain(app_hash=app_hash, validators=validators))

    async def _prepare(self, request: Request) -> Response:
        asked = request.prepare_proposal
        chosen = self._replica.propose(
            header_of(asked.height, asked.time), list(asked.txs), asked.max_tx_bytes, misbehaved_of(asked.misbehavior)
        )
        return Response(prepare_proposal=ResponsePrepareProposal(txs=chosen))

    async def _process(self, request: Request) -> Response:
        asked = request.process_proposal
        why = await self._replica.judge(
            header_of(asked.height, asked.time), list(asked.txs), misbehaved_of(asked.misbehavior)
        )
        status = ResponseProcessProposal.REJECT if why else ResponseProcessProposal.ACCEPT
        if why:
            _log.warning("proposal_rejected", height=asked.height, proposer=asked.proposer_address.hex(), why=why)
        return Response(process_proposal=ResponseProcessProposal(status=status))

    async def _finalize(self, request: Request) -> Response:
        asked = request.finalize_block
        agreed = await self._replica.execute(
            header_of(asked.height, asked.time), list(asked.txs), misbehaved_of(asked.misbehavior)
        )
        return Response(
            finalize_block=ResponseFinalizeBlock(
                # The codes go into CometBFT's own hash of results, so that two programs which disagree stop at once.
                tx_results=[ExecTxResult(data=encode(list(codes))) for codes in agreed.outcomes],
                validator_updates=[_update(public, power) for public, power in agreed.validators],
                app_hash=agreed.app_hash,
            )
        )

    async def _commit(self, request: Request) -> Response:
        retain = await self._replica.commit()
        if self._begun is not None:
            self._begun()
            self._begun = None
        await self._snapshots.committed(self._replica.info()[0])
        # CometBFT forgets no block that a newcomer needs: without a snapshot that is every one.
        return Response(commit=ResponseCommit(retain_height=min(retain, self._snapshots.oldest)))

    # ------------------------------------------------------------------------------------------------------- questions

    async def _check(self, request: Request) -> Response:
        asked = request.check_tx
        verdict = await self._replica.check(asked.tx, again=asked.type == CheckTxType.RECHECK)
        if not verdict.refusals and not verdict.why:
            return _GOOD
        code = CODE_LATER if verdict.later else CODE_REFUSED
        return Response(check_tx=ResponseCheckTx(code=code, log=refusals_to_log(verdict.refusals, verdict.why)))

    async def _query(self, request: Request) -> Response:
        path = request.query.path
        if path.startswith(_FILTER_ADDRESS):
            return Response(query=ResponseQuery())  # who it is counts, wherever it comes from
        if path.startswith(_FILTER_ID):
            node = path.removeprefix(_FILTER_ID)
            if self._replica.admits(node):
                return Response(query=ResponseQuery())
            _log.warning("peer_turned_away", node=node[:64], do="expected a node key that an active member registered")
            return Response(query=ResponseQuery(code=1, log="no active member registered this node key"))
        return Response(query=ResponseQuery(code=1, log="ask the member's own node, which proves what it says"))

    # ------------------------------------------------------------------------------------------------------- snapshots

    async def _list(self, request: Request) -> Response:
        found = [
            Snapshot(height=each.height, format=each.format, chunks=each.chunks, hash=each.hash, metadata=each.metadata)
            for each in self._snapshots.offers()
        ]
        return Response(list_snapshots=ResponseListSnapshots(snapshots=found))

    async def _load(self, request: Request) -> Response:
        asked = request.load_snapshot_chunk
        chunk = await asyncio.to_thread(self._snapshots.chunk, asked.height, asked.format, asked.chunk)
        return Response(load_snapshot_chunk=ResponseLoadSnapshotChunk(chunk=chunk))

    async def _offer(self, request: Request) -> Response:
        self.sync_steps += 1
        asked = request.offer_snapshot
        offered = asked.snapshot
        answer = self._snapshots.offer(
            Offered(offered.height, offered.format, offered.chunks, offered.hash, offered.metadata), asked.app_hash
        )
        return Response(offer_snapshot=ResponseOfferSnapshot(result=answer.name))

    async def _apply(self, request: Request) -> Response:
        self.sync_steps += 1
        asked = request.apply_snapshot_chunk
        done = await self._snapshots.apply(asked.index, asked.chunk, asked.sender)
        return Response(
            apply_snapshot_chunk=ResponseApplySnapshotChunk(
                result=done.answer.name, refetch_chunks=done.refetch, reject_senders=done.reject
            )
        )
