"""Writes `timestamps.json` beside itself: tokens of the real `openssl ts`, what is believed of each, and why not.

`python -m tests.vectors.make_timestamp_vectors`. Needs `openssl`. Keys and times are new at each run, so run it only to
add a case: the tokens in the file must go on holding after their certificates have ended, which is what they test.
"""

import json
import tempfile
from datetime import timedelta
from pathlib import Path

from cryptography.x509.oid import ExtendedKeyUsageOID

from commonward.records.timestamps import imprint_of
from tests.tsa_world import NOW, Issuer, Tsa

HERE = Path(__file__).parent
BODY = b"commonward/0011223344556677\n12\n" + b"A" * 43 + b"=\n"


def vectors() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        root, other = Issuer.new("Vector Root"), Issuer.new("Other Root")
        good = Tsa.new(folder / "good", issuer=root, name="Vector Stamps", ends=NOW + timedelta(days=2))
        ended = Tsa.new(folder / "ended", issuer=root, starts=NOW - timedelta(days=9), ends=NOW - timedelta(days=5))
        server = Tsa.new(folder / "server", issuer=root, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))
        token = good.token(BODY)
        cases = [
            ("made by openssl ts", token, root, True),
            ("of another checkpoint", good.token(BODY.replace(b"12", b"13")), root, False),
            ("under a root that was not given", token, other, False),
            ("by a certificate that had ended", ended.token(BODY), root, False),
            (
                "in the life of a certificate that has ended since",
                ended.backdated(BODY, NOW - timedelta(days=7)),
                root,
                True,
            ),
            ("by a certificate for servers", server.backdated(BODY, NOW), root, False),
            ("with another time than was signed", altered(token), root, False),
            ("cut short", token[:-1], root, False),
        ]
        return {
            "note": "RFC 3161 tokens over a checkpoint's note body (SHA-256). token: DER in hex; root: PEM; holds: "
            "whether it is believed that the body existed at the token's time. The clock plays no part.",
            "body": BODY.decode(),
            "imprint": imprint_of(BODY).hex(),
            "cases": [
                {"name": name, "token": each.hex(), "root": issuer.pem.decode(), "holds": holds}
                for name, each, issuer, holds in cases
            ],
        }


def altered(token: bytes) -> bytes:
    at = token.index(NOW.strftime("%Y%m%d").encode()) + 13  # the last digit of the seconds
    return token[:at] + bytes((token[at] ^ 1,)) + token[at + 1 :]


if __name__ == "__main__":
    (HERE / "timestamps.json").write_text(json.dumps(vectors(), indent=1) + "\n")
