"""Writes the vectors of stored bytes, fingerprints, batches and decisions beside itself.

`python tests/vectors/make_record_vectors.py`. JSON with bytes in hex, for implementations in other languages. What is
expected is written by hand, or computed here by another road than the package's (hashlib and recursion); the tests
hold the package against it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from commonward.ledger.encoding import encode
from commonward.records.record import Period
from commonward.records.rules import Carve, Effect, Rule, Scope

HERE = Path(__file__).parent

# Name, input, stored bytes: both as text, written as UTF-8.
STORED: list[tuple[str, str, str]] = [
    ("trailing zero", '{"value": 7.40}', '{"value":7.40}'),
    ("no trailing zero", '{"value": 7.4}', '{"value":7.4}'),
    ("leading zeros of a fraction", "[0.010]", "[0.010]"),
    ("exponent", "[1.0e2]", "[1.0e2]"),
    ("exponent with plus, capital", "[1E+2]", "[1E+2]"),
    ("negative zero", "[-0]", "[-0]"),
    ("negative zero with fraction", "[-0.00]", "[-0.00]"),
    ("twenty digits", "[12345678901234567890]", "[12345678901234567890]"),
    ("forty digits", "[" + "9" * 40 + "]", "[" + "9" * 40 + "]"),
    ("names in order of code points", '{"b":1,"a":2,"B":3,"":4}', '{"":4,"B":3,"a":2,"b":1}'),
    ("an astral name after U+FFEE", '{"\\ud83d\\ude00":1,"\uffee":2}', '{"\uffee":2,"\U0001f600":1}'),
    ("white space of all four kinds", ' {\t"a"\n:\r[ 1 , 2 ] } ', '{"a":[1,2]}'),
    ("escapes that need not be", '["\\u0041\\u00e9\\u4e2d\\/"]', '["A\u00e9\u4e2d/"]'),
    ("escapes that must be", '["\\u0022\\u005c\\u000a\\u0009\\u000d\\u0008\\u000c"]', '["\\"\\\\\\n\\t\\r\\b\\f"]'),
    ("other control characters", '["\\u0000\\u001F\x7f"]', '["\\u0000\\u001f\x7f"]'),
    ("a pair of surrogates is one character", '["\\uD83D\\uDE00"]', '["\U0001f600"]'),
    ("line separators stay as they are", '["\\u2028\\u2029"]', '["\u2028\u2029"]'),
    ("text is not normalised", '["e\\u0301"]', '["e\u0301"]'),
    ("a byte order mark inside text is text", '["\\ufeff"]', '["\ufeff"]'),
    ("nothing and empty", '{"a":null,"b":[],"c":{},"d":"","e":[true,false]}', ""),
    ("64 containers", "[" * 64 + "]" * 64, "[" * 64 + "]" * 64),
    ("a number alone", " 5 ", "5"),
]

# Name, input as bytes, offset of the byte where it breaks.
REFUSED: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 0),
    ("a byte order mark", b"\xef\xbb\xbf{}", 0),
    ("a name twice", b'{"a":1,"a":1}', 7),
    ("a name twice by an escape", b'{"a":1,"\\u0061":2}', 7),
    ("a name twice, deep", b'[{"x":{"a":1,"b":2,"a":3}}]', 19),
    ("NaN", b'{"a":NaN}', 5),
    ("Infinity", b"[Infinity]", 1),
    ("minus Infinity", b"[-Infinity]", 1),
    ("a lone high surrogate", b'["\\ud800"]', 2),
    ("a lone low surrogate", b'["\\udc00"]', 2),
    ("a high surrogate before text", b'["\\ud800a"]', 2),
    ("a lone surrogate in a name", b'{"\\ud800":1}', 2),
    ("surrogates in UTF-8", b'["\xed\xa0\x80"]', 2),
    ("Latin-1", b'["\xe9"]', 2),
    ("overlong UTF-8", b'["\xc0\xaf"]', 2),
    ("65 containers", b"[" * 65 + b"]" * 65, 64),
    ("a leading zero", b"[01]", 2),
    ("a plus", b"[+1]", 1),
    ("no digit after the point", b"[1.]", 2),
    ("no digit before the point", b"[.5]", 1),
    ("a comma too many", b"[1,]", 3),
    ("a member without a name", b'{"a":1,}', 7),
    ("a comment", b"[1] // one", 4),
    ("single quotes", b"{'a':1}", 1),
    ("a control character", b'["\x01"]', 2),
    ("a tab in text", b'["\t"]', 2),
    ("an unknown escape", b'["\\x41"]', 2),
    ("no end of text", b'["abc', 1),
    ("no end of array", b"[1", 2),
    ("two values", b"{} {}", 3),
    ("a form feed for space", b"[\x0c1]", 1),
    ("UTF-16", "{}".encode("utf-16-le"), 1),
]


def sha(label: str, *parts: bytes) -> bytes:
    """The project's digest, written down again."""
    return hashlib.sha256(label.encode() + b"\0" + b"".join(parts)).digest()


def stored_vectors() -> dict[str, Any]:
    accepted = []
    for name, given, stored in STORED:
        expected = stored or given.replace(" ", "")
        accepted.append({"name": name, "input": given.encode().hex(), "stored": expected.encode().hex()})
    return {
        "note": "Stored bytes. accepted: input and stored bytes, UTF-8 in hex. "
        "refused: input, and the byte where it breaks.",
        "accepted": accepted,
        "refused": [{"name": name, "input": given.hex(), "offset": offset} for name, given, offset in REFUSED],
    }


def fingerprint_vectors() -> dict[str, Any]:
    cases = [
        ("an empty object", "record", b"{}", bytes(32)),
        ("a pH of 7.40", "record", b'{"resourceType":"Observation","valueQuantity":{"value":7.40}}', bytes(range(32))),
        ("a pH of 7.4", "record", b'{"resourceType":"Observation","valueQuantity":{"value":7.4}}', bytes(range(32))),
        ("a source message", "source", b"MSH|^~\\&|LAB|NORTH\r", bytes(range(32))),
    ]
    labels = {"record": "commonward record v1", "source": "commonward source v1"}
    return {
        "note": f"SHA-256 of the label in UTF-8, a zero byte, the salt (32 bytes), the data. {json.dumps(labels)}",
        "fingerprints": [
            {
                "name": name,
                "of": of,
                "salt": salt.hex(),
                "data": data.hex(),
                "fingerprint": "sha256:" + sha(labels[of], salt, data).hex(),
            }
            for name, of, data, salt in cases
        ],
    }


def _paths(level: list[bytes], height: int, seed: bytes, flips: int) -> tuple[bytes, list[list[bytes]], list[int]]:
    """Root, and for each node of a level its siblings above and its index, by recursion."""
    if height == 16:
        return level[0], [[]], [0]
    if len(level) % 2:
        level = [*level, sha("commonward batch pad v1", seed, bytes([height]))]
    flip = flips >> height & 1
    above = []
    for at in range(0, len(level), 2):
        pair = level[at : at + 2]
        above.append(sha("commonward padded tree v1", *(reversed(pair) if flip else pair)))
    root, paths, indexes = _paths(above, height + 1, seed, flips)
    return (
        root,
        [[level[at ^ 1], *paths[at // 2]] for at in range(len(level))],
        [(at & 1 ^ flip) | indexes[at // 2] << 1 for at in range(len(level))],
    )


def batch_vectors() -> dict[str, Any]:
    batches = []
    for name, count, byte in [("empty", 0, 1), ("one", 1, 2), ("two", 2, 3), ("three", 3, 4), ("thirteen", 13, 255)]:
        seed = bytes([byte]) * 32
        fps = [sha("vector", bytes([n])) for n in range(count)]
        leaves = [fp for _, fp in sorted((sha("commonward batch order v1", seed, fp), fp) for fp in fps)]
        flips = int.from_bytes(sha("commonward batch flips v1", seed)[:2], "big")
        level = leaves or [sha("commonward batch pad v1", seed, bytes([16]))]
        root, paths, indexes = _paths(level, 0, seed, flips)
        batches.append(
            {
                "name": name,
                "seed": seed.hex(),
                "fingerprints": [fp.hex() for fp in fps],
                "root": root.hex(),
                "proofs": [
                    {"fingerprint": fp.hex(), "proof": (indexes[at].to_bytes(2, "big") + b"".join(paths[at])).hex()}
                    for fp in fps[:3]
                    for at in (leaves.index(fp),)
                ],
            }
        )
    return {
        "note": "Batches of fingerprints: how a seed expands is in commonward/records/fingerprint.py, build_batch. "
        "A proof is the index (2 bytes, big-endian) and 16 siblings, deepest first.",
        "batches": batches,
    }


NORTH, SOUTH, INSURER, AUTHORITY = "north", "south", "harbour-mutual", "health-board"
TREAT = frozenset({"TREAT"})
ALL_TO_SOUTH = Rule(1, Effect.PERMIT, Scope(members=frozenset({SOUTH}), purposes=TREAT))
NO_MENTAL = Rule(2, Effect.DENY, Scope(custodians=frozenset({NORTH}), classes=frozenset({"mental-health"})))
HIV_TO_SOUTH = Rule(3, Effect.PERMIT, Scope(members=frozenset({SOUTH}), classes=frozenset({"hiv"}), purposes=TREAT))
LAB_TO_HOSPITALS = Rule(
    4, Effect.PERMIT, Scope(kinds=frozenset({1}), classes=frozenset({"laboratory"}), purposes=TREAT)
)
BILLS_TO_INSURER = Rule(
    5,
    Effect.PERMIT,
    Scope(members=frozenset({INSURER}), purposes=frozenset({"HPAYMT"}), classes=frozenset({"billing"})),
    expires=2_000,
)
SAFETY_HOLD = Rule(6, Effect.DENY)
YEAR = Rule(7, Effect.PERMIT, Scope(members=frozenset({SOUTH}), period=Period(1_000, 2_000), purposes=TREAT))
NOT_THAT_YEAR = Rule(8, Effect.DENY, Scope(period=Period(1_000, 2_000)))
ALL_BUT_IMAGES = Rule(
    9,
    Effect.PERMIT,
    Scope(members=frozenset({SOUTH}), purposes=TREAT),
    exceptions=(Carve(Scope(classes=frozenset({"imaging"})), (Carve(Scope(period=Period(5_000, None))),)),),
)
DENY_BUT_SOUTH = Rule(10, Effect.DENY, Scope(), exceptions=(Carve(Scope(members=frozenset({SOUTH}))),))
NO_IMAGES = Rule(11, Effect.DENY, Scope(members=frozenset({SOUTH}), classes=frozenset({"imaging"})))
NO_RESTRICTED_LABEL = Rule(12, Effect.DENY, Scope(labels=frozenset({"R"})))
STRICT = Rule(
    13,
    Effect.PERMIT,
    Scope(members=frozenset({SOUTH}), classes=frozenset({"very-restricted", "problem"}), purposes=TREAT),
)

LAB = {"type": "Observation", "classes": ["laboratory"]}
MENTAL = {"type": "Condition", "classes": ["problem", "mental-health"], "sensitive": ["mental-health"]}
HIV_LAB = {"type": "Observation", "classes": ["laboratory", "hiv"], "sensitive": ["hiv"]}
UNKNOWN = {"type": "Observation", "classes": ["laboratory"], "classified": False}
IMAGE = {"type": "ImagingStudy", "classes": ["imaging"]}
BILL = {"type": "Claim", "classes": ["billing"]}
MEASLES = {"type": "Condition", "classes": ["problem", "notifiable-disease"]}
LABELLED = {"type": "Condition", "classes": ["problem"], "labels": ["R"]}
STRICT_PROBLEM = {"type": "Condition", "classes": ["problem", "very-restricted"], "sensitive": ["very-restricted"]}


def _at(facts: dict[str, Any], start: int | None, end: int | None) -> dict[str, Any]:
    return facts | {"period": [start, end]}


CARE = {"requester": SOUTH, "kind": 1, "purpose": "TREAT", "role": "clinician"}
CLAIMS = {"requester": INSURER, "kind": 2, "purpose": "HPAYMT", "role": "claims-officer"}
BOARD = {"requester": AUTHORITY, "kind": 3, "purpose": "PUBHLTH", "role": "epidemiologist", "ground": 2}
GLASS = {"requester": SOUTH, "kind": 1, "purpose": "ETREAT", "role": "clinician", "ground": 3}

# What it shows, ask, facts, consents as (rules, assurance, ends), permit, reason, deciding rules as "consent.rule".
DECISIONS: list[tuple[str, dict[str, Any], dict[str, Any], list[Any], bool, str, list[str]]] = [
    ("nothing said means no", CARE, LAB, [], False, "NOTHING_PERMITS", []),
    ("a permit permits", CARE, LAB, [[ALL_TO_SOUTH]], True, "PERMITTED", ["0.1"]),
    (
        "for another purpose it does not",
        CARE | {"purpose": "ETREAT"},
        LAB,
        [[ALL_TO_SOUTH]],
        False,
        "NOTHING_PERMITS",
        [],
    ),
    (
        "to another member it does not",
        CARE | {"requester": "west"},
        LAB,
        [[ALL_TO_SOUTH]],
        False,
        "NOTHING_PERMITS",
        [],
    ),
    (
        "a kind of member names all of it",
        CARE | {"requester": "west"},
        LAB,
        [[LAB_TO_HOSPITALS]],
        True,
        "PERMITTED",
        ["0.4"],
    ),
    ("a class limits a permit", CARE, IMAGE, [[LAB_TO_HOSPITALS]], False, "NOTHING_PERMITS", []),
    ("a deny stands against a permit", CARE, MENTAL, [[ALL_TO_SOUTH, NO_MENTAL]], False, "DENIED", ["0.2"]),
    ("a deny leaves the rest", CARE, LAB, [[ALL_TO_SOUTH, NO_MENTAL]], True, "PERMITTED", ["0.1"]),
    ("no later permit lifts a deny", CARE, MENTAL, [[NO_MENTAL], [ALL_TO_SOUTH]], False, "DENIED", ["0.2"]),
    (
        "a deny is for its custodian",
        CARE | {"custodian": "east"},
        LAB,
        [[ALL_TO_SOUTH, NO_MENTAL]],
        True,
        "PERMITTED",
        ["0.1"],
    ),
    ("a sensitive class needs a permit that names it", CARE, HIV_LAB, [[ALL_TO_SOUTH]], False, "SENSITIVE", ["0.1"]),
    ("and goes with one", CARE, HIV_LAB, [[ALL_TO_SOUTH, HIV_TO_SOUTH]], True, "PERMITTED", ["0.1", "0.3"]),
    ("a permit of the sensitive class is enough", CARE, HIV_LAB, [[HIV_TO_SOUTH]], True, "PERMITTED", ["0.3"]),
    ("unclassified goes where no deny stands", CARE, UNKNOWN, [[ALL_TO_SOUTH]], True, "PERMITTED", ["0.1"]),
    ("and is withheld where one does", CARE, UNKNOWN, [[ALL_TO_SOUTH, NO_MENTAL]], False, "UNCLASSIFIED", ["0.2"]),
    ("a deny for others is no deny here", CARE, UNKNOWN, [[ALL_TO_SOUTH, DENY_BUT_SOUTH]], True, "PERMITTED", ["0.1"]),
    (
        "a deny with an exception for others stands",
        CARE | {"requester": "west"},
        LAB,
        [[LAB_TO_HOSPITALS, DENY_BUT_SOUTH]],
        False,
        "DENIED",
        ["0.10"],
    ),
    ("a safety hold stops all", CARE, LAB, [[ALL_TO_SOUTH], [SAFETY_HOLD]], False, "DENIED", ["1.6"]),
    (
        "a permit ends with its consent",
        CARE | {"at": 3_000},
        LAB,
        [([ALL_TO_SOUTH], 3, 3_000)],
        False,
        "NOTHING_PERMITS",
        [],
    ),
    (
        "a deny outlives the end of its consent",
        CARE | {"at": 3_000},
        MENTAL,
        [([NO_MENTAL], 3, 3_000), [ALL_TO_SOUTH]],
        False,
        "DENIED",
        ["0.2"],
    ),
    ("a rule expires", CLAIMS | {"at": 2_000}, BILL, [[BILLS_TO_INSURER]], False, "NOTHING_PERMITS", []),
    ("and holds until then", CLAIMS | {"at": 1_999}, BILL, [[BILLS_TO_INSURER]], True, "PERMITTED", ["0.5"]),
    (
        "a permit's period holds all of the record's time",
        CARE,
        _at(LAB, 1_000, 2_000),
        [[YEAR]],
        True,
        "PERMITTED",
        ["0.7"],
    ),
    ("not a part of it", CARE, _at(LAB, 1_500, 2_001), [[YEAR]], False, "NOTHING_PERMITS", []),
    ("not what is still going on", CARE, _at(LAB, 1_500, None), [[YEAR]], False, "NOTHING_PERMITS", []),
    ("not what does not say when", CARE, LAB, [[YEAR]], False, "NOTHING_PERMITS", []),
    (
        "a deny's period touches any part",
        CARE,
        _at(LAB, 1_999, 9_000),
        [[ALL_TO_SOUTH, NOT_THAT_YEAR]],
        False,
        "DENIED",
        ["0.8"],
    ),
    (
        "but not what comes right after",
        CARE,
        _at(LAB, 2_000, 9_000),
        [[ALL_TO_SOUTH, NOT_THAT_YEAR]],
        True,
        "PERMITTED",
        ["0.1"],
    ),
    ("and what does not say when", CARE, LAB, [[ALL_TO_SOUTH, NOT_THAT_YEAR]], False, "DENIED", ["0.8"]),
    ("an exception narrows its permit", CARE, _at(IMAGE, 1, 2), [[ALL_BUT_IMAGES]], False, "NOTHING_PERMITS", []),
    (
        "an exception in an exception gives back",
        CARE,
        _at(IMAGE, 5_000, 5_001),
        [[ALL_BUT_IMAGES]],
        True,
        "PERMITTED",
        ["0.9"],
    ),
    (
        "an exception leaves other permits alone",
        CARE,
        _at(IMAGE, 1, 2),
        [[ALL_BUT_IMAGES, ALL_TO_SOUTH]],
        True,
        "PERMITTED",
        ["0.1"],
    ),
    (
        "of two representatives deny wins",
        CARE,
        IMAGE,
        [([ALL_TO_SOUTH], 2, None), ([NO_IMAGES], 2, None)],
        False,
        "DENIED",
        ["1.11"],
    ),
    ("a deny may go by label", CARE, LABELLED, [[ALL_TO_SOUTH, NO_RESTRICTED_LABEL]], False, "DENIED", ["0.12"]),
    (
        "very restricted data need a passkey",
        CARE,
        STRICT_PROBLEM,
        [([STRICT], 1, None)],
        False,
        "WEAK_ASSURANCE",
        ["0.13"],
    ),
    ("and go with one", CARE, STRICT_PROBLEM, [[STRICT]], True, "PERMITTED", ["0.13"]),
    ("a role that the table does not know", CARE | {"role": "inspector"}, LAB, [[ALL_TO_SOUTH]], False, "NO_BASIS", []),
    (
        "an insurer may not ask for treatment",
        CLAIMS | {"purpose": "TREAT"},
        BILL,
        [[ALL_TO_SOUTH]],
        False,
        "NO_BASIS",
        [],
    ),
    ("break-glass is vital interest, despite denies", GLASS, MENTAL, [[SAFETY_HOLD]], True, "PERMITTED", []),
    (
        "break-glass is not for the registrar",
        GLASS | {"role": "registrar"},
        LAB,
        [[ALL_TO_SOUTH]],
        False,
        "NO_BASIS",
        [],
    ),
    ("a statute reaches notifiable disease, despite denies", BOARD, MEASLES, [[SAFETY_HOLD]], True, "PERMITTED", []),
    ("and nothing more", BOARD, LAB, [], False, "BEYOND_BASIS", []),
    ("a contract yields to a deny", CLAIMS | {"ground": 5}, BILL, [[SAFETY_HOLD]], False, "DENIED", ["0.6"]),
    ("a contract reaches bills", CLAIMS | {"ground": 5}, BILL, [], True, "PERMITTED", []),
]


def decide_vectors() -> dict[str, Any]:
    cases = []
    for name, ask, facts, consents, permit, reason, rules in DECISIONS:
        given = []
        for each in consents:
            held, assurance, ends = each if isinstance(each, tuple) else (each, 3, None)
            given.append(
                {"rules": [encode(rule.to_value()).hex() for rule in held], "assurance": assurance, "ends": ends}
            )
        cases.append(
            {
                "name": name,
                "ask": {"custodian": NORTH, "at": 1_000, "ground": 1} | ask,
                "facts": {"sensitive": [], "classified": True, "labels": [], "period": None} | facts,
                "consents": given,
                "permit": permit,
                "reason": reason,
                "rules": rules,
            }
        )
    return {
        "note": "Decisions under the project's jurisdiction table, version 1. Rules in the encoding of "
        "commonward/records/rules.py, in hex. Consents are numbered from 0; a deciding rule is consent.number. "
        "Times are ms. ground: 1 consent, 2 statute, 3 vital interest, 4 court, 5 contract.",
        "decisions": cases,
    }


def main() -> None:
    for name, made in {
        "stored": stored_vectors(),
        "fingerprint": fingerprint_vectors(),
        "batch": batch_vectors(),
        "decide": decide_vectors(),
    }.items():
        (HERE / f"{name}.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
