"""How many evidence files a second `commonward verify` judges, in one process, and how large they are.

Warm: all under one checkpoint with four cosigners and one trust file, each about a transaction of its own, so each is
decoded, its paths hashed and its author's signature checked; what is shared is remembered by its bytes. Cold: the
first file of a process, memories emptied before each. The floor is bare Ed25519 verification of
as many signatures: five for a cold checkpoint, for each warm file one, or two with a clinician's request. Processor
time, as nothing here waits.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from bench.results import Result
from commonward.apps.verify import verify_file
from commonward.ledger import proofs
from commonward.ledger.audit import Release
from commonward.ledger.ids import Purpose, Tag
from commonward.ledger.registry import AnchorBatch
from commonward.records import certificates, evidence, judging, judging_history, timestamps, trust
from commonward.records.certificates import sign_statement
from commonward.records.evidence import Evidence, RecordStatement, label_of
from commonward.records.fingerprint import build_batch, fingerprint
from commonward.records.openings import commit
from commonward.records.stored import Stored
from tests.evidence_world import World, salt, staff_certificate, staff_key

GOAL = 2_000
FILES = 400
STORED = b'{"resourceType":"Observation","id":"%d","status":"final","valueQuantity":{"value":7.40,"unit":"mmol/L"}}'


def records(world: World, count: int) -> list[Evidence]:
    """Each record in a batch of its own, anchored by north."""
    made = []
    for n in range(count):
        stored = Stored(STORED % n)
        mine = fingerprint(stored, salt("record", n))
        batch = build_batch([mine], salt("seed", n))
        world.kit.later(60_000)
        made.append((world.commit(AnchorBatch(world.kit.tick(), batch.root), "north"), batch.prove(mine), stored, n))
    note = world.note()
    author = world.kit.key("north")
    return [
        world.evidence(committed, author, RecordStatement(salt("record", n), proof, stored), note)
        for committed, proof, stored, n in made
    ]


def releases(world: World, count: int) -> list[Evidence]:
    """Marks of north's releases to one clinician, who signed each request; all opened."""
    values = world.release_values()
    certificate = staff_certificate("south", "clinician")
    sign = staff_key("south", "clinician").sign
    numbers = {each.name: each.number for each in Release.FIELDS}
    made = []
    for n in range(count):
        asked = sign_statement(world.kit.ledger, b"show me history %d" % n, certificate, sign)
        mine = {**values, "request": asked.to_bytes(), "running": n}
        bound = {name: commit(label_of(Release, name), salt(name, n), value) for name, value in mine.items()}
        mark = Release(tag=Tag(salt("tag", n)), **bound)  # type: ignore[arg-type]
        made.append((world.commit(mark, "north"), mine, n))
    note = world.note()
    author = world.kit.key("north")
    return [
        world.evidence(committed, author, {numbers[name]: (salt(name, n), value) for name, value in mine.items()}, note)
        for committed, mine, n in made
    ]


def forget() -> None:
    """Empty every memory of the verifier, as if the process had just begun."""
    for module in (certificates, evidence, judging, judging_history, timestamps, trust, proofs):
        for name in dir(module):
            clear = getattr(getattr(module, name), "cache_clear", None)
            if clear is not None:
                clear()
    trust.Trust._quorum.cache_clear()


def judge_all(files: Sequence[bytes], trust_file: bytes) -> int:
    for each in files:
        report = verify_file(each, trust_file)
        assert report.exit_code == 0, report.verdict
    return len(files)


def warm_rate(files: Sequence[bytes], trust_file: bytes) -> float:
    """Files a second under one checkpoint: what is shared is known, no file has been seen."""
    rates = []
    for _ in range(5):
        forget()
        judge_all(files[:1], trust_file)
        started = time.process_time()
        count = judge_all(files[1:], trust_file)
        rates.append(count / (time.process_time() - started))
    return median(rates)


def cold_ms(file: bytes, trust_file: bytes) -> float:
    took = []
    for _ in range(20):
        forget()
        started = time.process_time()
        judge_all([file], trust_file)
        took.append((time.process_time() - started) * 1e3)
    return median(took)


def bare(world: World, signatures: int) -> float:
    """Seconds for that many Ed25519 verifications, no more."""
    key = world.kit.key("north", Purpose.COSIGN)
    message = b"x" * 150
    signature = key.sign(message)
    check: Callable[[], bool] = partial(proofs.verify, int(key.algorithm), key.public, message, signature)
    took = []
    for _ in range(200):
        started = time.process_time()
        for _ in range(signatures):
            assert check()
        took.append(time.process_time() - started)
    return median(took)


def at_ten_million(found: Evidence) -> Evidence:
    """The same with paths as long as in a log of ten million, sharing their upper part as neighbours do."""
    long = tuple(hashlib.sha256(b"%d" % n).digest() for n in range(24))
    own = tuple(hashlib.sha256(each).digest() for each in long)
    paths = (own[:11] + long[11:], own[:9] + long[9:])
    blocks = tuple(replace(block, path=path) for block, path in zip(found.blocks, paths, strict=True))
    return replace(found, path=long, blocks=blocks)


def run(scale: float = 1.0) -> Iterator[Result]:
    count = max(int(FILES * scale), 20)
    # The author's signature, and for a release also that of the clinician who asked.
    for name, make, limit, signatures in (("record", records, 4096, 1), ("release", releases, 8192, 2)):
        world = World()
        made = make(world, count)
        files = [each.to_bytes() for each in made]
        trust_file = world.trust()
        shape = f"{len(files)} files of {median(map(len, files)):,.0f} bytes, four cosigners and the sequencer"
        yield Result(
            name=f"verify, evidence of a {name}, shared checkpoint",
            value=warm_rate(files, trust_file),
            unit="files/s",
            goal=GOAL,
            reference=f"bare Ed25519 verifications, {signatures} each",
            reference_value=1 / bare(world, signatures),
            conditions=f"one process, {shape}, a transaction each; known: checkpoint, trust file, staff certificate",
        )
        yield Result(
            name=f"verify, evidence of a {name}, cold",
            value=cold_ms(files[0], trust_file),
            unit="ms",
            reference="five bare Ed25519 verifications",
            reference_value=bare(world, 5) * 1e3,
            more_is_better=False,
            conditions=f"nothing remembered: trust file of {len(trust_file):,} bytes with five members checked as well",
        )
        deep = at_ten_million(made[0])
        if name == "record":
            deep = replace(deep, statement=replace(deep.statement, stored=None))  # type: ignore[type-var]
        yield Result(
            name=f"size of the evidence of a {name}",
            value=len(deep.to_bytes()),
            unit="bytes",
            goal=limit,
            more_is_better=False,
            conditions="four cosigners and the sequencer, log of ten million"
            + (", without the record's own bytes" if name == "record" else ", every opening and the signed request"),
        )
