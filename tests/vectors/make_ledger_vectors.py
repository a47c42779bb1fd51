"""Writes the vectors of encoding, log and map beside itself: `python tests/vectors/make_ledger_vectors.py`.

They are JSON with bytes in hex, for implementations in other languages. Only what is stated to hold by another road
(RFC 8949 and RFC 9162 written down naively in the tests) is written: run the tests after running this.
"""

import json
from pathlib import Path
from typing import Any

from commonward.ledger.encoding import EncodingError, decode, digest, encode
from commonward.ledger.ids import key_id
from commonward.ledger.merkle.log import Log, MemoryLogStore, leaf_hash
from commonward.ledger.merkle.map import AuthenticatedMap

HERE = Path(__file__).parent

ACCEPT: list[tuple[str, str, str]] = [
    ("zero", "00", "0"),
    ("the last of one byte", "17", "23"),
    ("the first of two bytes", "1818", "24"),
    ("255", "18ff", "255"),
    ("256", "190100", "256"),
    ("2^16 - 1", "19ffff", "65535"),
    ("2^16", "1a00010000", "65536"),
    ("2^32 - 1", "1affffffff", "4294967295"),
    ("2^32", "1b0000000100000000", "4294967296"),
    ("2^64 - 1", "1bffffffffffffffff", "18446744073709551615"),
    ("-1", "20", "-1"),
    ("-24", "37", "-24"),
    ("-25", "3818", "-25"),
    ("-2^63", "3b7fffffffffffffff", "-9223372036854775808"),
    ("no bytes", "40", "h''"),
    ("24 bytes", "5818" + "ab" * 24, "h'" + "ab" * 24 + "'"),
    ("no text", "60", '""'),
    ("text of three scripts", "6b41c3a9e4b8adf09f8fa521", '"A\\u00e9\\u4e2d\\ud83c\\udfe5!"'),
    ("text that is not normalised", "6365cc81", '"e\\u0301"'),
    ("no items", "80", "[]"),
    ("no entries", "a0", "{}"),
    ("keys ascend as bytes", "a5010018180019010000200021" + "00", "{1: 0, 24: 0, 256: 0, -1: 0, -2: 0}"),
    ("sixteen deep", "81" * 16 + "00", "[" * 16 + "0" + "]" * 16),
]  # fmt: skip

REFUSE: list[tuple[str, str]] = [
    ("nothing", ""),
    ("a byte more", "0000"),
    ("0 in two bytes", "1800"),
    ("23 in two bytes", "1817"),
    ("255 in three bytes", "1900ff"),
    ("65535 in five bytes", "1a0000ffff"),
    ("2^32 - 1 in nine bytes", "1b00000000ffffffff"),
    ("-24 in two bytes", "3817"),
    ("-2^63 - 1", "3b8000000000000000"),
    ("length 3 in two bytes", "5803616263"),
    ("text length 3 in two bytes", "7803616263"),
    ("array length 1 in two bytes", "980100"),
    ("map length 1 in two bytes", "b8010000"),
    ("argument of 28, which has no meaning", "1c"),
    ("bytes without end", "5f4161ff"),
    ("text without end", "7f6161ff"),
    ("array without end", "9f00ff"),
    ("map without end", "bf0000ff"),
    ("a lone break", "ff"),
    ("false", "f4"),
    ("true", "f5"),
    ("null", "f6"),
    ("undefined", "f7"),
    ("simple value 32", "f820"),
    ("half float 1.0", "f93c00"),
    ("single float", "fa47c35000"),
    ("double float", "fb3ff199999999999a"),
    ("a tag: date and time", "c000"),
    ("a tag: bignum", "c249010000000000000000"),
    ("a float within", "8301f93c0002"),
    ("bytes cut short", "43aabb"),
    ("a head cut short", "19ff"),
    ("array cut short", "820a"),
    ("map cut short", "a101"),
    ("map with a key and no value", "a20100" + "02"),
    ("array of 2^63 items", "9b8000000000000000"),
    ("keys in falling order", "a202000100"),
    ("a key twice", "a201000100"),
    ("negative before positive", "a220000100"),
    ("negative keys by number, not by bytes", "a221002000"),
    ("a key of text", "a1616100"),
    ("a key of bytes", "a1416100"),
    ("a key that is an array", "a18000"),
    ("a key in a longer form", "a1180100"),
    ("text that is not UTF-8", "61ff"),
    ("text with an overlong slash", "62c0af"),
    ("text with a surrogate", "63eda080"),
    ("text cut within a character", "62e4b8"),
    ("seventeen deep", "81" * 17 + "00"),
]


def encoding() -> dict[str, Any]:
    refused = []
    for name, data in REFUSE:
        try:
            decode(bytes.fromhex(data))
        except EncodingError as why:
            refused.append({"name": name, "bytes": data, "what": why.what, "offset": why.offset})
        else:
            raise SystemExit(f"{name!r} was not refused")
    labels = [
        ("commonward key v1", encode([-8, bytes(32)])),
        ("commonward transaction v1", b""),
        ("é", b"\0"),
    ]
    return {
        "note": "Deterministic CBOR subset. accept: bytes and diagnostic notation (RFC 8949 8); they encode back to "
        "the same bytes. refuse: what and offset are ours; another language need only refuse. digest: SHA-256(label "
        "in UTF-8, 00, data).",
        "accept": [{"name": name, "bytes": data, "value": value} for name, data, value in ACCEPT],
        "refuse": refused,
        "digest": [{"label": label, "data": data.hex(), "digest": digest(label, data).hex()} for label, data in labels],
        "key_id": {"algorithm": -8, "public": bytes(32).hex(), "digest": key_id(-8, bytes(32)).hex()},
    }


def log() -> dict[str, Any]:
    sizes = [0, 1, 2, 3, 7, 8, 255, 256, 257, 600]
    tree = Log(MemoryLogStore())
    tree.append([b"entry %d" % n for n in range(600)])
    inclusion: list[dict[str, Any]] = [
        {
            "index": index,
            "size": size,
            "leaf_hash": leaf_hash(b"entry %d" % index).hex(),
            "path": [one.hex() for one in tree.prove_inclusion(index, size)],
        }
        for index, size in [(0, 1), (0, 2), (2, 3), (6, 7), (3, 8), (255, 256), (256, 257), (0, 257), (511, 600)]
    ]  # fmt: skip
    consistency: list[dict[str, Any]] = [
        {"old": old, "new": new, "path": [one.hex() for one in tree.prove_consistency(old, new)]}
        for old, new in [(0, 7), (1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (7, 7), (255, 257), (256, 600), (300, 600)]
    ]
    return {
        "note": "RFC 9162 2.1 with SHA-256. Entry n is the ASCII text 'entry n', n in decimal. bad_*: must not verify.",
        "roots": [{"size": size, "root": tree.root(size).hex()} for size in sizes],
        "inclusion": inclusion,
        "consistency": consistency,
        "bad_inclusion": [
            {**inclusion[4], "index": 2, "why": "another index"},
            {**inclusion[4], "size": 4, "why": "another size"},
            {**inclusion[4], "path": inclusion[4]["path"][:-1], "why": "cut short"},
            {**inclusion[4], "path": [*inclusion[4]["path"], "00" * 32], "why": "one hash too many"},
            {**inclusion[4], "path": [inclusion[4]["path"][0][:62], *inclusion[4]["path"][1:]], "why": "31 bytes"},
            {**inclusion[4], "path": inclusion[3]["path"], "why": "the path of another entry"},
        ],
        "bad_consistency": [
            {**consistency[3], "old": 2, "why": "another old size"},
            {**consistency[3], "path": consistency[3]["path"][:-1], "why": "cut short"},
            {**consistency[3], "path": [*consistency[3]["path"], "00" * 32], "why": "one hash too many"},
            {**consistency[3], "path": [], "why": "nothing shown"},
        ],
    }


class _Store(dict[bytes, bytes]):
    """What the map reads its records from."""


def map_() -> dict[str, Any]:
    trees = []
    for count in (0, 1, 2, 3, 10, 300):
        store = _Store()
        tree = AuthenticatedMap(store, 4)
        store.update(
            {
                k: v
                for k, v in tree.update({b"key %d" % n: b"value %d" % n for n in range(count)}).items()
                if v is not None
            }
        )
        tree.commit()
        presence, absence = [], []
        for n in [n for n in (0, 2, 9, 299) if n < count]:
            proof = tree.prove(b"key %d" % n)
            presence.append(
                {"key": f"key {n}", "value": f"value {n}", "siblings": [one.hex() for one in proof.siblings]}
            )
        for n in range(4):
            proof = tree.prove(b"absent %d" % n)
            absence.append(
                {
                    "key": f"absent {n}",
                    "siblings": [one.hex() for one in proof.siblings],
                    "other": [one.hex() for one in proof.other] if proof.other else None,
                }
            )
        trees.append({"count": count, "root": tree.root.hex(), "presence": presence, "absence": absence})
    return {
        "note": "Canonical compressed sparse Merkle tree. Keys and values are the ASCII texts 'key n' and 'value n', "
        "n below count. kh = SHA-256(key), vh = SHA-256(value), leaf = SHA-256(00, kh, vh), nothing = 32 zero bytes, "
        "inner = SHA-256(01, left, right); a subtree with one leaf is that leaf. Siblings are listed deepest first; "
        "other is (kh, vh) of the leaf that stands where the key would; it shares the first len(siblings) bits.",
        "trees": trees,
    }


def main() -> None:
    for name, content in (("encoding", encoding()), ("log", log()), ("map", map_())):
        (HERE / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
