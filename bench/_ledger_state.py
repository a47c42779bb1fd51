"""A ledger's state of a given size on disk, made and then served by processes of their own (for `bench.state`)."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from bench._machine import percentile, resident_bytes
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.adapters.store.trees import TreeFiles
from commonward.ledger.consent import (
    Assurance,
    ConsentRecord,
    Credential,
    HandleRecord,
    consent_key,
    credential_key,
    handle_key,
)
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Algorithm, BlockTime, ConsentId, Handle, Height, MemberId
from commonward.ledger.merkle.log import Log, leaf_hash, verify_inclusion
from commonward.ledger.merkle.map import AuthenticatedMap, MapProof, verify_absence, verify_presence
from commonward.ledger.rules import Role
from commonward.ledger.transition import outcome_leaf
from commonward.records.fingerprint import BatchProof, Fingerprint, build_batch, verify_in_batch

BATCH = 65_536
CONSENTS_A_HANDLE = 4
CHUNK = 50_000
PROOFS = 2000
BLOCKS = 30
TIME = BlockTime(1_800_000_000_000)


@dataclass(frozen=True, slots=True)
class Served:
    """What a process that serves a state of some size shows. Times in ms."""

    restart: float
    resident: float  # bytes, the interpreter and its modules included
    took: dict[str, tuple[float, float]]  # median, p99; `block`: 100 changed consents, durable


@dataclass(frozen=True, slots=True)
class Sizes:
    consents: int
    batches: int

    @property
    def leaves(self) -> int:
        return self.consents + self.batches


def consent_id(index: int) -> ConsentId:
    return ConsentId(sha256(b"consent %d" % index).digest()[:16])


def cells(first: int, last: int) -> Iterator[tuple[bytes, bytes]]:
    """Open consents first..last - 1, and for every fourth the handle and the passkey it belongs to."""
    mark = Digest(sha256(b"in the place of what differs").digest())
    member = MemberId("hospital-a")
    consent = ConsentRecord(Handle(mark[:16]), Assurance.PASSKEY, TIME, mark, False, Height(1), TIME, mark).to_bytes()
    handle = HandleRecord(member, (mark,), (), (), mark).to_bytes()
    credential = Credential(
        Handle(mark[:16]), Role.OWN, Algorithm.ES256, mark + mark, MemberId("hospital-a")
    ).to_bytes()
    for index in range(first, last):
        of_handle = sha256(b"handle %d" % (index // CONSENTS_A_HANDLE)).digest()
        own = sha256(b"own %d" % index).digest()
        yield consent_key(consent_id(index)), consent.replace(mark, own).replace(mark[:16], of_handle[:16])
        if index % CONSENTS_A_HANDLE == 0:
            yield handle_key(of_handle[:16]), handle.replace(mark, own)
            yield credential_key(own), credential.replace(mark, own).replace(mark[:16], of_handle[:16])


def grow(path: Path, old: Sizes, new: Sizes) -> float:
    """Bring the state in `path` from one size to another; seconds it took. Unsynced: it could be made again."""
    start = time.perf_counter()
    with RocksStore(path / "state", sync=False) as store, TileFiles(path / "tiles") as tiles:
        tree, log = AuthenticatedMap(store), Log(tiles, old.leaves)
        for first in range(old.consents, new.consents, CHUNK):
            last = min(first + CHUNK, new.consents)
            changes: dict[bytes, bytes | None] = dict(cells(first, last))
            writes = {b"s" + key: value for key, value in changes.items()} | tree.update(changes)
            log.append([outcome_leaf(Digest(consent_id(i) * 2), i, TIME, 0) for i in range(first, last)])
            store.write(writes)
            tree.commit()
        for batch in range(old.batches, new.batches):
            root = (path / "roots" / str(batch)).read_bytes()
            (path / "roots" / f"{batch}.index").write_text(str(log.size))
            log.append([anchor_leaf(batch, root)])
    return time.perf_counter() - start


def grow_bare(path: Path, old: Sizes, new: Sizes) -> float:
    """The same values in the same store, without map or log."""
    start = time.perf_counter()
    with RocksStore(path / "bare", sync=False) as store:
        for first in range(old.consents, new.consents, CHUNK):
            last = min(first + CHUNK, new.consents)
            store.write({b"s" + key: value for key, value in cells(first, last)})
    return time.perf_counter() - start


def anchor_leaf(batch: int, root: bytes) -> bytes:
    """As the outcome of the AnchorBatch would stand in the log; the root in the place of the transaction's digest."""
    return outcome_leaf(Digest(root), batch, TIME, 0)


def anchor_of(path: Path, batch: int) -> tuple[bytes, int]:
    """Root, and index in the log."""
    return (path / "roots" / str(batch)).read_bytes(), int((path / "roots" / f"{batch}.index").read_text())


# --- batches: a hospital's own


def prints_of(batch: int) -> list[Fingerprint]:
    data = random.Random(batch).randbytes(32 * BATCH)
    return [Fingerprint(data[at : at + 32]) for at in range(0, len(data), 32)]


def seed_of(batch: int) -> bytes:
    return sha256(b"seed %d" % batch).digest()


def keep_batch(path: Path, batch: int) -> float:
    """Build and keep one batch's tree; and beside it the fingerprints alone, as the same without authentication."""
    prints = prints_of(batch)
    start = time.perf_counter()
    tree = build_batch(prints, seed_of(batch))
    TreeFiles(path / "trees").keep(batch, tree)
    took = time.perf_counter() - start
    (path / "roots" / str(batch)).write_bytes(tree.root)
    (path / "prints" / str(batch)).write_bytes(b"".join(fp.digest for fp in prints))
    return took


def keep_batches(path: Path, first: int, last: int, processes: int) -> float:
    """Mean seconds of one process for a batch."""
    for name in ("roots", "prints"):
        (path / name).mkdir(exist_ok=True)
    with get_context("spawn").Pool(processes) as pool:
        took = pool.starmap(keep_batch, [(path, batch) for batch in range(first, last)])
    return sum(took) / len(took)


# --- serving


def timed(work: Callable[[int], object], indexes: list[int]) -> tuple[float, float]:
    took = []
    for index in indexes:
        start = time.perf_counter()
        work(index)
        took.append(time.perf_counter() - start)
    return percentile(took, 0.5) * 1e3, percentile(took, 0.99) * 1e3


def serve(path: Path, sizes: Sizes) -> Served:
    """Open the state, prove (each proof is verified, outside the clock), change it a little."""
    source, start = random.Random(5), time.perf_counter()
    store, tiles, trees = RocksStore(path / "state"), TileFiles(path / "tiles"), TreeFiles(path / "trees")
    tiles.truncate(sizes.leaves)
    log, tree = Log(tiles, sizes.leaves), AuthenticatedMap(store)
    tree.prove(consent_key(consent_id(0)))
    restart = (time.perf_counter() - start) * 1e3
    found: list[tuple[bytes, bytes | None, MapProof]] = []
    anchored: list[tuple[BatchProof | None, tuple[bytes, ...]]] = []

    def prove_consent(index: int) -> None:
        key = consent_key(consent_id(index))
        found.append((key, store.get(b"s" + key), tree.prove(key)))

    def prove_record(index: int) -> None:
        batch, fp = chosen[index]
        anchored.append((trees.prove(batch, seed_of(batch), roots[batch], fp), log.prove_inclusion(places[batch])))

    some = [source.randrange(sizes.consents) for _ in range(PROOFS)]
    proofs = {"consent": timed(prove_consent, some)}
    assert all(value is not None and verify_presence(tree.root, key, value, proof) for key, value, proof in found)
    found.clear()
    proofs["absence"] = timed(prove_consent, [sizes.consents + index for index in some])
    assert all(value is None and verify_absence(tree.root, key, proof) for key, value, proof in found)
    roots, places = zip(*(anchor_of(path, batch) for batch in range(sizes.batches)), strict=True)
    chosen = [(batch, _a_print(path, batch, source)) for batch in source.choices(range(sizes.batches), k=PROOFS)]
    proofs["record"] = timed(prove_record, list(range(PROOFS)))
    for (batch, fp), (in_batch, in_log) in zip(chosen, anchored, strict=True):
        assert in_batch is not None and verify_in_batch(fp, in_batch, roots[batch])
        assert verify_inclusion(
            leaf_hash(anchor_leaf(batch, roots[batch])), places[batch], log.size, in_log, log.root()
        )

    def block(_index: int) -> None:
        changes = _changes(sizes, source)
        staged = log.stage([source.randbytes(90) for _ in range(len(changes) + 1)])
        writes = {b"s" + key: value for key, value in changes.items()} | tree.update(changes)
        log.commit(staged)
        tiles.sync()
        store.write(writes)
        tree.commit()

    proofs["block"] = timed(block, list(range(BLOCKS)))
    resident = resident_bytes()
    store.close()
    tiles.close()  # its last leaves are cut off when the state is opened at its size again
    return Served(restart, resident, proofs)


def serve_bare(path: Path, sizes: Sizes) -> Served:
    """The same questions to the same store without authentication: the value itself."""
    source, start = random.Random(5), time.perf_counter()
    store = RocksStore(path / "bare")
    store.get(b"s" + consent_key(consent_id(0)))
    restart = (time.perf_counter() - start) * 1e3

    def read_print(batch: int) -> None:
        _a_print(path, batch, source)

    some = [source.randrange(sizes.consents) for _ in range(PROOFS)]
    proofs = {
        "consent": timed(lambda index: store.get(b"s" + consent_key(consent_id(index))), some),
        "absence": timed(lambda index: store.get(b"s" + consent_key(consent_id(sizes.consents + index))), some),
        "record": timed(read_print, source.choices(range(sizes.batches), k=PROOFS)),
        "block": timed(
            lambda _: store.write({b"s" + key: value for key, value in _changes(sizes, source).items()}),
            list(range(BLOCKS)),
        ),
    }
    resident = resident_bytes()
    store.close()
    return Served(restart, resident, proofs)


def _changes(sizes: Sizes, source: random.Random) -> dict[bytes, bytes | None]:
    return {consent_key(consent_id(source.randrange(sizes.consents))): source.randbytes(120) for _ in range(100)}


def _a_print(path: Path, batch: int, source: random.Random) -> Fingerprint:
    with (path / "prints" / str(batch)).open("rb") as file:
        file.seek(32 * source.randrange(BATCH))
        return Fingerprint(file.read(32))
