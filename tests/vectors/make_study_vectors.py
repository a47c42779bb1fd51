"""Makes studies.json: the chain over a study's rounds, digests of manifests, and the tables that decide by numbers.

python -m tests.vectors.make_study_vectors
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from commonward.ledger.encoding import encode
from commonward.ledger.ids import BlockTime, Digest, MemberId, StudyId
from commonward.ledger.rounds import (
    BANDS,
    Link,
    Manifest,
    Mode,
    ProposeStudy,
    Rule,
    Waits,
    allows,
    first_link,
    least_sites,
    link,
    manifest_digest,
    quorum,
    survivors,
)
from commonward.ledger.rounds.budget import CONVERSION, ORDERS, after, epsilon

HERE = Path(__file__).parent
SITES = tuple(map(MemberId, ("clinic", "north", "south")))
CHARGE = tuple(-(-order * 1_000_000 // 32) for order in ORDERS)
"""Gaussian noise of four times the sensitivity."""


def fill(word: str) -> Digest:
    return Digest(hashlib.sha256(word.encode()).digest())


def study() -> ProposeStudy:
    return ProposeStudy(
        StudyId(bytes(range(16))), Mode.OPEN, Rule.NORM_CLIP, 0, fill("learner"), fill("model 0"), 2, 100, 3,
        Waits(3_600_000, 0, 600_000, 600_000, 86_400_000), BlockTime(1_800_000_000_000), fill("protocol"),
        fill("cohort"), fill("viewers"), False, 3, CHARGE, 5,
    )  # fmt: skip


def chain() -> list[dict[str, Any]]:
    """Three rounds; in the second a site is left out, and it took two attempts."""
    asked = study()
    before, base = first_link(SITES[0], asked), asked.model
    told: list[dict[str, Any]] = [
        {"proposer": SITES[0], "proposal": encode(asked.to_value()).hex(), "link": before.hex()}
    ]
    for number in (1, 2, 3):
        exclusions = (SITES[2],) if number == 2 else ()
        updates = [(site, fill(f"update {number} {site}"), fill(f"manifest {site}")) for site in SITES]
        of = Link(
            asked.study, number, 2 if number == 2 else 1, base, SITES, updates, exclusions, fill(f"state {number}"),
            fill(f"model {number}"),
        )  # fmt: skip
        before, base = link(before, of), of.model
        told.append(
            {
                "round": number,
                "attempt": of.attempt,
                "base": of.base.hex(),
                "voters": list(SITES),
                "updates": [[site, update.hex(), manifest.hex()] for site, update, manifest in updates],
                "exclusions": list(exclusions),
                "state": of.state.hex(),
                "model": of.model.hex(),
                "link": before.hex(),
            }
        )
    return told


def manifests() -> list[dict[str, Any]]:
    found = []
    for site, patients, rows in ((SITES[0], 0, 0), (SITES[1], 2, 5)):
        said = Manifest(
            study().study, fill("train"), fill("test"), patients, rows, fill("exact patients"), fill("exact rows")
        )
        found.append(
            {"site": site, "manifest": encode(said.to_value()).hex(), "digest": manifest_digest(site, said).hex()}
        )
    return found


def spending() -> list[dict[str, Any]]:
    """What one update after another leaves spent, and what that is at two deltas."""
    spent: tuple[int, ...] = (0,) * len(ORDERS)
    told = []
    for _ in range(4):
        spent = after(spent, CHARGE)
        told.append({"spent": list(spent), "epsilon_1e-5": epsilon(spent, 5), "epsilon_1e-7": epsilon(spent, 7)})
    return told


def make() -> dict[str, Any]:
    return {
        "note": "Bytes in hex. The chain, manifests, budget and bounds of docs/transactions.md, Studies.",
        "chain": chain(),
        "manifests": manifests(),
        "orders": list(ORDERS),
        "conversion": {str(delta): list(row) for delta, row in CONVERSION.items()},
        "charge": list(CHARGE),
        "spending": spending(),
        "bands": list(BANDS),
        "quorum": {str(voters): quorum(voters) for voters in range(1, 65)},
        "survivors": {str(sites): survivors(sites) for sites in range(3, 65)},
        "rules": [
            {
                "mode": int(mode),
                "rule": int(rule),
                "allowed": allows(mode, rule),
                "least_sites": [least_sites(mode, rule, f) for f in (0, 1, 2)],
            }
            for mode in Mode
            for rule in Rule
        ],
    }


def main() -> None:
    (HERE / "studies.json").write_text(json.dumps(make(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
