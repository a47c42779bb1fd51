"""The vectors of studies: what any implementation must find of the same chain, manifests and numbers."""

import hashlib
import json
from pathlib import Path

from commonward.ledger.encoding import Encodable, decode, encode
from commonward.ledger.rounds import Manifest, ProposeStudy
from tests.vectors.make_study_vectors import make

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "studies.json").read_text())


def digest(label: str, value: Encodable) -> str:
    """By hand: SHA-256 of label, zero byte, encoding."""
    return hashlib.sha256(label.encode() + b"\0" + encode(value)).hexdigest()


def test_the_chain_is_what_the_page_says_it_is():
    first, *rounds = VECTORS["chain"]
    fields = decode(bytes.fromhex(first["proposal"]))
    assert first["link"] == digest("commonward study v1", [first["proposer"], fields])
    study, before = ProposeStudy.from_value(fields).study, first["link"]
    for each in rounds:
        updates: list[Encodable] = [[site, *map(bytes.fromhex, digests)] for site, *digests in each["updates"]]
        base, state, model = (bytes.fromhex(each[name]) for name in ("base", "state", "model"))
        value: list[Encodable] = [
            bytes.fromhex(before), study, each["round"], each["attempt"], base, each["voters"], updates,
            each["exclusions"], state, model,
        ]  # fmt: skip
        before = digest("commonward round v1", value)
        assert before == each["link"]


def test_manifests_are_named_as_the_page_says():
    for each in VECTORS["manifests"]:
        fields = decode(bytes.fromhex(each["manifest"]))
        assert Manifest.from_value(fields).to_value() == fields
        assert each["digest"] == digest("commonward manifest v1", [each["site"], fields])


def test_the_vectors_of_studies_are_what_the_code_makes_today():
    assert make() == VECTORS
