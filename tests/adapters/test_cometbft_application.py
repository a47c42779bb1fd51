"""CometBFT's requests in the replica's words, and back."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from commonward.adapters.cometbft.application import CometApplication, WrongChain
from commonward.adapters.cometbft.proto.abci_pb2 import (
    DUPLICATE_VOTE,
    LIGHT_CLIENT_ATTACK,
    UNKNOWN,
    CheckTxType,
    Misbehavior,
    Request,
    RequestApplySnapshotChunk,
    RequestCheckTx,
    RequestCommit,
    RequestFinalizeBlock,
    RequestInfo,
    RequestInitChain,
    RequestListSnapshots,
    RequestLoadSnapshotChunk,
    RequestOfferSnapshot,
    RequestPrepareProposal,
    RequestProcessProposal,
    RequestQuery,
    Response,
    ResponseApplySnapshotChunk,
    ResponseOfferSnapshot,
    ResponseProcessProposal,
    Snapshot,
    Validator,
)
from commonward.adapters.cometbft.rpc import refusals_from_log
from commonward.ledger.encoding import decode
from commonward.ledger.ids import Digest, MemberId
from commonward.ledger.members import Validator as Power
from commonward.ledger.rules import Header
from commonward.workflows.agreeing import Agreed
from commonward.workflows.checking import Verdict
from commonward.workflows.snapshots import Applied, ChunkAnswer, OfferAnswer, Offered

D = Digest(bytes(32))
AT = Timestamp(seconds=1_790_000_000, nanos=123_999_999)
CHAIN = "commonward-00"


class Asked(NamedTuple):
    what: str
    header: Header
    bundles: list[bytes]
    misbehaved: list[bytes]


class Twin:
    """A replica that remembers what it was asked and says what a test wants."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.verdict = Verdict()
        self.again: list[bool] = []
        self.why = ""
        self.room = 0
        self.height = 0

    async def check(self, bundle: bytes, *, again: bool = False) -> Verdict:
        self.again.append(again)
        return self.verdict

    def propose(
        self, header: Header, waiting: Sequence[bytes], room: int, misbehaved: Sequence[bytes] = ()
    ) -> list[bytes]:
        self.room = room
        self.asked.append(Asked("propose", header, list(waiting), list(misbehaved)))
        return list(waiting)[:1]

    async def judge(self, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> str:
        self.asked.append(Asked("judge", header, list(bundles), list(misbehaved)))
        return self.why

    async def execute(self, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> Agreed:
        self.asked.append(Asked("execute", header, list(bundles), list(misbehaved)))
        return Agreed(b"a" * 40, ((0, 205), (0,)), ((b"k" * 32, 0), (b"l" * 32, 7)))

    async def commit(self) -> int:
        return 41

    def info(self) -> tuple[int, bytes]:
        return self.height, b"h" * 40

    def validators(self) -> tuple[Power, ...]:
        return (Power(MemberId("north"), b"n" * 32, 10),)

    def admits(self, node: str) -> bool:
        return node == "ab" * 20


@pytest.fixture
def twin() -> Twin:
    return Twin()


async def ask(twin: Twin, request: Request) -> Response:
    return await CometApplication(twin, CHAIN).answer(request.WhichOneof("value") or "", request)


def evidence(kind: int, address: bytes) -> Misbehavior:
    return Misbehavior(type=kind, validator=Validator(address=address, power=10))  # type: ignore[arg-type]


MISBEHAVIOUR = [
    evidence(LIGHT_CLIENT_ATTACK, b"b" * 20),
    evidence(DUPLICATE_VOTE, b"a" * 20),
    evidence(UNKNOWN, b"c" * 20),
    evidence(DUPLICATE_VOTE, b"b" * 20),
]


async def test_proposing_judging_and_executing_see_the_same_block(twin: Twin) -> None:
    """Whatever is read differently in one of the three would make honest proposals refused, or nodes differ."""
    txs = [b"one", b"two"]
    prepared = await ask(
        twin,
        Request(
            prepare_proposal=RequestPrepareProposal(
                txs=txs, height=9, time=AT, misbehavior=MISBEHAVIOUR, max_tx_bytes=4711
            )
        ),
    )
    processed = await ask(
        twin, Request(process_proposal=RequestProcessProposal(txs=txs, height=9, time=AT, misbehavior=MISBEHAVIOUR))
    )
    finalized = await ask(
        twin, Request(finalize_block=RequestFinalizeBlock(txs=txs, height=9, time=AT, misbehavior=MISBEHAVIOUR))
    )
    assert [each.what for each in twin.asked] == ["propose", "judge", "execute"]
    assert len({(each.header, tuple(each.bundles), tuple(each.misbehaved)) for each in twin.asked}) == 1
    one = twin.asked[0]
    assert one.header == (9, 1_790_000_000_123)
    assert one.misbehaved == [b"b" * 20, b"a" * 20]
    assert twin.room == 4711
    assert list(prepared.prepare_proposal.txs) == [b"one"]
    assert processed.process_proposal.status == ResponseProcessProposal.ACCEPT
    done = finalized.finalize_block
    assert done.app_hash == b"a" * 40
    assert [(each.code, decode(each.data)) for each in done.tx_results] == [(0, [0, 205]), (0, [0])]
    assert [(each.pub_key.ed25519, each.power) for each in done.validator_updates] == [(b"k" * 32, 0), (b"l" * 32, 7)]
    assert (await ask(twin, Request(commit=RequestCommit()))).commit.retain_height == 0


async def test_a_proposal_that_no_honest_member_makes_is_rejected(twin: Twin) -> None:
    twin.why = "too much"
    answer = await ask(twin, Request(process_proposal=RequestProcessProposal(height=9, time=AT)))
    assert answer.process_proposal.status == ResponseProcessProposal.REJECT


async def test_a_check_says_which_transactions_and_why(twin: Twin) -> None:
    assert (await ask(twin, Request(check_tx=RequestCheckTx(tx=b"x")))).check_tx.code == 0
    twin.verdict = Verdict(((D, 107, "bad signature"),), "")
    answer = await ask(twin, Request(check_tx=RequestCheckTx(tx=b"x", type=CheckTxType.RECHECK)))
    assert answer.check_tx.code == 1
    assert refusals_from_log(answer.check_tx.log).refusals == ((D, 107, "bad signature"),)
    assert twin.again == [False, True]


async def test_a_chain_begins_with_our_validators_and_app_hash_or_not_at_all(twin: Twin) -> None:
    begun = await ask(twin, Request(init_chain=RequestInitChain(chain_id=CHAIN, initial_height=1)))
    assert begun.init_chain.app_hash == b"h" * 40
    assert [(each.pub_key.ed25519, each.power) for each in begun.init_chain.validators] == [(b"n" * 32, 10)]
    with pytest.raises(WrongChain, match="expected chain commonward-00 from height 1"):
        await ask(twin, Request(init_chain=RequestInitChain(chain_id="another", initial_height=1)))
    with pytest.raises(WrongChain, match="from 2"):
        await ask(twin, Request(init_chain=RequestInitChain(chain_id=CHAIN, initial_height=2)))


async def test_info_tells_what_was_kept(twin: Twin) -> None:
    twin.height = 12
    info = (await ask(twin, Request(info=RequestInfo()))).info
    assert (info.last_block_height, info.last_block_app_hash) == (12, b"h" * 40)


async def test_only_members_nodes_are_let_in(twin: Twin) -> None:
    async def code(path: str) -> int:
        return (await ask(twin, Request(query=RequestQuery(path=path)))).query.code

    assert await code("/p2p/filter/id/" + "ab" * 20) == 0
    assert await code("/p2p/filter/id/" + "cd" * 20) != 0
    assert await code("/p2p/filter/addr/10.0.0.9:1234") == 0
    assert await code("/store/secret") != 0


async def test_without_snapshots_none_is_offered_and_none_taken(twin: Twin) -> None:
    assert not (await ask(twin, Request(list_snapshots=RequestListSnapshots()))).list_snapshots.snapshots
    loaded = await ask(twin, Request(load_snapshot_chunk=RequestLoadSnapshotChunk(height=4)))
    assert loaded.load_snapshot_chunk.chunk == b""
    offered = await ask(twin, Request(offer_snapshot=RequestOfferSnapshot(snapshot=Snapshot(height=4))))
    assert offered.offer_snapshot.result == ResponseOfferSnapshot.ABORT


class Store:
    """Implements `Snapshots` for one of height 8."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.oldest = 8

    async def committed(self, height: int) -> None:
        self.kept.append(height)

    def offers(self) -> Sequence[Offered]:
        return [Offered(8, 1, 2, b"hash", b"meta")]

    def chunk(self, height: int, form: int, index: int) -> bytes:
        return b"%d/%d/%d" % (height, form, index)

    def offer(self, offered: Offered, app_hash: bytes) -> OfferAnswer:
        good = offered == Offered(8, 1, 2, b"hash", b"meta") and app_hash == b"trusted"
        return OfferAnswer.ACCEPT if good else OfferAnswer.REJECT

    async def apply(self, index: int, data: bytes, sender: str) -> Applied:
        return Applied(ChunkAnswer.RETRY, (index,), (sender,)) if data == b"bad" else Applied(ChunkAnswer.ACCEPT)


async def test_no_block_is_forgotten_that_a_newcomer_needs(twin: Twin) -> None:
    """The replica would let go of all below 41; who starts from the snapshot at 8 needs what follows it."""
    store = Store()
    application = CometApplication(twin, CHAIN, snapshots=store)
    for oldest, retained in ((8, 8), (0, 0), (100, 41)):
        store.oldest = oldest
        answer = await application.answer("commit", Request(commit=RequestCommit()))
        assert answer.commit.retain_height == retained


async def test_snapshots_hear_of_each_block_that_was_kept(twin: Twin) -> None:
    twin.height, store = 12, Store()
    await CometApplication(twin, CHAIN, snapshots=store).answer("commit", Request(commit=RequestCommit()))
    assert store.kept == [12]


async def test_the_first_block_that_cometbft_brings_is_told_once(twin: Twin) -> None:
    """Who has a block must never be taken for one that has none: its CometBFT would be emptied for a state sync."""
    told: list[int] = []
    application = CometApplication(twin, CHAIN, begun=lambda: told.append(1))
    assert told == []
    for _ in range(3):
        await application.answer("commit", Request(commit=RequestCommit()))
    assert told == [1]


async def test_a_snapshot_travels_through_the_four_requests(twin: Twin) -> None:
    application = CometApplication(twin, CHAIN, snapshots=Store())

    async def of(request: Request) -> Response:
        return await application.answer(request.WhichOneof("value") or "", request)

    (listed,) = (await of(Request(list_snapshots=RequestListSnapshots()))).list_snapshots.snapshots
    chunk = await of(Request(load_snapshot_chunk=RequestLoadSnapshotChunk(height=8, format=1, chunk=1)))
    assert chunk.load_snapshot_chunk.chunk == b"8/1/1"
    for app_hash, result in ((b"trusted", ResponseOfferSnapshot.ACCEPT), (b"other", ResponseOfferSnapshot.REJECT)):
        offered = await of(Request(offer_snapshot=RequestOfferSnapshot(snapshot=listed, app_hash=app_hash)))
        assert offered.offer_snapshot.result == result
    good = await of(Request(apply_snapshot_chunk=RequestApplySnapshotChunk(index=0, chunk=b"ok", sender="s")))
    assert good.apply_snapshot_chunk.result == ResponseApplySnapshotChunk.ACCEPT
    bad = await of(Request(apply_snapshot_chunk=RequestApplySnapshotChunk(index=1, chunk=b"bad", sender="s")))
    assert bad.apply_snapshot_chunk.result == ResponseApplySnapshotChunk.RETRY
    assert list(bad.apply_snapshot_chunk.refetch_chunks) == [1]
    assert list(bad.apply_snapshot_chunk.reject_senders) == ["s"]
