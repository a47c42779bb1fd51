"""Cases of aggregation as JSON tells them, and the package's answer to them. `python -m tests.aggregationkit` answers
all cases of the vectors and the wide ones: so that a test can ask it under other settings of processor and library.
"""

import json
import math
import struct
import sys
from hashlib import shake_256
from pathlib import Path
from typing import Any, Final

import numpy as np

from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import Aggregated, Parameters, aggregate, kind_of
from commonward.records.model import DType, Model, Tensor
from commonward.records.updates import Update

VECTORS: Final = Path(__file__).parent / "vectors" / "aggregation.json"
WIDE: Final = {"a": [40_001], "b": [17, 13], "c": []}
"""More than a piece (`exact.PIECE`), an odd number, and one number: every loop of numpy's is used, and its tail."""

WIDE_COEFFICIENTS: Final = 33


def tensor(told: dict[str, Any]) -> Tensor:
    dtype, shape = DType(told["dtype"]), tuple(told["shape"])
    if dtype is DType.F64:
        values = np.array([struct.unpack(">d", bytes.fromhex(each))[0] for each in told["values"]], np.float64)
    else:
        values = np.array(told["values"], np.int64)
    return Tensor.of(told["name"], dtype, values.reshape(shape))


def parameters(told: dict[str, Any]) -> Parameters:
    options = dict(told["parameters"])
    if "intercept" in options:
        options["intercept"] = bool(options["intercept"])
    if told["rule"] == "SUM":
        options["sums"] = {each["name"]: tuple(each["shape"]) for each in told["updates"][0]["tensors"]}
    return Parameters(**options)


def inputs(told: dict[str, Any], study: bytes = bytes(16)) -> tuple[Rule, Parameters, Model, list[Update]]:
    rule, base = Rule[told["rule"]], Model.of(tensor(each) for each in told["base"])
    updates = [
        Update(
            study,
            3,
            1,
            each["site"],
            base.digest,
            kind_of(rule),
            each["rows"],
            tuple(tensor(part) for part in each["tensors"]),
        )
        for each in told["updates"]
    ]
    return rule, parameters(told), base, updates


def answer(told: dict[str, Any]) -> Aggregated:
    """What the package makes of a case, by way of the updates' bytes."""
    rule, given, base, updates = inputs(told)
    return aggregate(rule, given, base, [Update.parse(each.to_bytes()) for each in updates])


def told_answer(told: dict[str, Any]) -> dict[str, Any]:
    made = answer(told)
    return {
        "weights": [weight for _, weight in made.weights],
        "digest": made.model.digest.hex(),
        "state": made.model.state_digest.hex(),
    }


def _numbers(label: str, count: int, limit: int) -> list[int]:
    """From SHAKE256 of the label: 8 bytes each, little-endian, modulo 2 limit + 1, less the limit."""
    stream = shake_256(label.encode()).digest(8 * count)
    return [int.from_bytes(stream[at : at + 8], "little") % (2 * limit + 1) - limit for at in range(0, 8 * count, 8)]


def wide_case(rule: str) -> dict[str, Any]:
    """A case with many numbers, made of `_numbers` instead of written down."""
    shapes = {"coefficients": [WIDE_COEFFICIENTS]} if rule == "NEWTON" else WIDE
    base = [_told(f"{rule} base {name}", name, shapes[name], 1 << 26) for name in shapes]
    if rule in ("FEDADAM", "FEDADAGRAD"):
        base = [_state(rule, which, each) for which in "mv" for each in base] + base
    updates = []
    for at in range(7):
        tensors = [_told(f"{rule} {at} {name}", name, shapes[name], 1 << 22) for name in shapes]
        if rule == "NEWTON":
            tensors = _curvature(at)
        elif rule == "SUM":
            tensors = [{**each, "dtype": "i64"} for each in tensors]
        rows = 1 if rule == "SUM" else 500 + _numbers(f"{rule} rows {at}", 1, 400)[0]
        updates.append({"site": f"site-{at}", "rows": rows, "tensors": tensors})
    options = {"f": 2} if rule in ("KRUM", "MULTI_KRUM", "TRIMMED_MEAN", "MEDIAN") else {}
    return {"rule": rule, "parameters": options, "base": base, "updates": updates}


def _told(label: str, name: str, shape: list[int], limit: int) -> dict[str, Any]:
    return {"name": name, "dtype": "q24", "shape": shape, "values": _numbers(label, math.prod(shape), limit)}


def _state(rule: str, which: str, weights: dict[str, Any]) -> dict[str, Any]:
    """Any m between -1/16 and 1/16; any v from 0 to 1/16."""
    name = f"optimiser/{which}/{weights['name']}"
    numbers = [each / (1 << 50) for each in _numbers(f"{rule} {name}", len(weights["values"]), 1 << 46)]
    values = [struct.pack(">d", abs(each) if which == "v" else each).hex() for each in numbers]
    return {**weights, "name": name, "dtype": "f64", "values": values}


def _curvature(at: int) -> list[dict[str, Any]]:
    """A gradient, and a Hessian whose diagonal outweighs its rows."""
    size = WIDE_COEFFICIENTS
    gradient = _told(f"NEWTON {at} gradient", "gradient", [size], 1 << 22)
    hessian = _told(f"NEWTON {at} hessian", "hessian", [size * (size + 1) // 2], 1 << 18)
    for row in range(size):
        hessian["values"][row * (row + 1) // 2 + row] += size << 19
    return [gradient, hessian]


def main() -> None:
    told = json.loads(VECTORS.read_text())
    made = {case["name"]: told_answer(case) for case in told["cases"]}
    made |= {rule: told_answer(wide_case(rule)) for rule in told["wide"]}
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
