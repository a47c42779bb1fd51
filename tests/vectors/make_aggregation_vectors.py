"""Writes `aggregation.json` beside itself: for every rule, a base, the sites' updates, and the model they make.

`python -m tests.vectors.make_aggregation_vectors`. What is expected is computed here by another road than the
package's: Python's own integers and floats, one number at a time, without numpy. The tests hold the package against it,
on several settings of the processor.
"""

import json
import math
import random
import struct
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

from commonward.ledger.encoding import encode
from tests.aggregationkit import wide_case

HERE = Path(__file__).parent
STUDY, ROUND, ATTEMPT = bytes(16), 3, 1
ONE = 1 << 24
BILLION = 10**9
Tensor: TypeAlias = dict[str, Any]
"""name, dtype, shape, values: integers, or for f64 the bits of each number as 16 hex digits, high byte first."""

NOTE = (
    "What a round's updates make, by each rule. values: integers (q24: units of 2^-24; i64), or for f64 the 64 bits of "
    "each number in hex, most significant first. parameters: integers; rates, memories, tau, ridge and clip in "
    "billionths; what is not said keeps its default. model: the tensors of the outcome in order of names; digest and "
    "state: SHA-256 as records/model.py defines them. weights: what each site counted for, in order of names. wide: "
    "the outcome of longer cases, whose inputs tests/aggregationkit.py makes from SHAKE256."
)


# ------------------------------------------------------------------------------------------------------ bytes, digests


def bits(x: float) -> str:
    return struct.pack(">d", x).hex()


def number(text: str) -> float:
    (x,) = struct.unpack(">d", bytes.fromhex(text))
    return float(x)


def data_of(tensor: Tensor) -> bytes:
    if tensor["dtype"] == "f64":
        return b"".join(bytes.fromhex(each)[::-1] for each in tensor["values"])
    return b"".join(each.to_bytes(8, "little", signed=True) for each in tensor["values"])


def digest_of(label: str, tensors: list[Tensor]) -> str:
    body = [[each["name"], each["dtype"], each["shape"], data_of(each)] for each in tensors]
    return sha256(label.encode() + b"\0" + encode(body)).hexdigest()


def is_state(tensor: Tensor) -> bool:
    return bool(tensor["name"].startswith("optimiser/"))


def model_digest(tensors: list[Tensor]) -> str:
    return digest_of("commonward model v1", [each for each in tensors if not is_state(each)])


def state_digest(tensors: list[Tensor]) -> str:
    return digest_of("commonward optimiser state v1", [each for each in tensors if is_state(each)])


# --------------------------------------------------------------------------------------------- the rules, once more


def nearest(total: int, count: int) -> int:
    """The integer nearest to total / count, halves upwards."""
    return math.floor(Fraction(total, count) + Fraction(1, 2))


def middle(values: list[int]) -> int:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else nearest(ordered[half - 1] + ordered[half], 2)


def columns(updates: list[dict[str, Any]], place: int) -> list[tuple[int, ...]]:
    return list(zip(*(each["tensors"][place]["values"] for each in updates), strict=True))


def weighted(updates: list[dict[str, Any]], weights: list[int]) -> dict[str, list[int]]:
    return {
        tensor["name"]: [
            nearest(sum(q * n for q, n in zip(column, weights, strict=True)), sum(weights))
            for column in columns(updates, place)
        ]
        for place, tensor in enumerate(updates[0]["tensors"])
    }


def moved(base: list[Tensor], change: dict[str, list[int]]) -> list[Tensor]:
    made = []
    for tensor in base:
        if tensor["name"] in change:
            values = [q + d for q, d in zip(tensor["values"], change[tensor["name"]], strict=True)]
            made.append({**tensor, "values": values})
        else:
            made.append(tensor)
    return made


def optimised(rule: str, p: dict[str, int], base: list[Tensor], mean: dict[str, list[int]]) -> list[Tensor]:
    held = {each["name"]: [number(text) for text in each["values"]] for each in base if is_state(each)}
    rate, tau = p["learning_rate"] / BILLION, p["tau"] / BILLION
    beta1, rest1 = p["beta1"] / BILLION, (BILLION - p["beta1"]) / BILLION
    beta2, rest2 = p["beta2"] / BILLION, (BILLION - p["beta2"]) / BILLION
    change: dict[str, list[int]] = {}
    state: list[Tensor] = []
    for tensor in [each for each in base if not is_state(each)]:
        name, firsts, seconds, changes = tensor["name"], [], [], []
        for at, q in enumerate(mean[name]):
            d = float(q) * (1.0 / ONE)
            m = held.get(f"optimiser/m/{name}", {at: 0.0})[at]
            v = held.get(f"optimiser/v/{name}", {at: tau * tau})[at]
            m = m * beta1 + d * rest1
            v = v * beta2 + (d * d) * rest2 if rule == "FEDADAM" else v + d * d
            step = (m * rate) / (math.sqrt(v) + tau)
            firsts.append(bits(m))
            seconds.append(bits(v))
            changes.append(round(step * float(ONE)))
        change[name] = changes
        for which, values in (("m", firsts), ("v", seconds)):
            state.append({**tensor, "name": f"optimiser/{which}/{name}", "dtype": "f64", "values": values})
    return sorted(
        [*moved([each for each in base if not is_state(each)], change), *state], key=lambda each: each["name"]
    )


def newton(p: dict[str, int], base: list[Tensor], mean: dict[str, list[int]]) -> list[Tensor]:
    w = [float(q) * (1.0 / ONE) for q in base[0]["values"]]
    size = len(w)
    ridge = [p["ridge"] / BILLION] * (size - p["intercept"]) + [0.0] * p["intercept"]
    packed = iter(mean["hessian"])
    a = [[float(next(packed)) * (1.0 / ONE) for _ in range(row + 1)] for row in range(size)]
    x = [float(q) * (1.0 / ONE) for q in mean["gradient"]]
    for i in range(size):
        a[i][i] = a[i][i] + ridge[i]
        x[i] = x[i] + ridge[i] * w[i]
    for j in range(size):
        below = [a[i][j] for i in range(size)[j + 1 :]] if j + 1 < size else []
        for i in range(j + 1, size):
            a[i][j] = a[i][j] / a[j][j]
        for i in range(j + 1, size):
            for k in range(j + 1, i + 1):
                a[i][k] = a[i][k] - a[i][j] * below[k - j - 1]
    for j in range(size):
        for i in range(j + 1, size):
            x[i] = x[i] - a[i][j] * x[j]
    x = [x[i] / a[i][i] for i in range(size)]
    for j in reversed(range(size)):
        for i in range(j):
            x[i] = x[i] - a[j][i] * x[j]
    change = [round((s * -(p["learning_rate"] / BILLION)) * float(ONE)) for s in x]
    return moved(base, {"coefficients": change})


def clipped(p: dict[str, int], updates: list[dict[str, Any]]) -> tuple[dict[str, list[int]], list[int]]:
    cap = 2 * middle([each["rows"] for each in updates])
    weights = [min(each["rows"], cap) for each in updates]
    lengths = [math.isqrt(sum(q * q for tensor in each["tensors"] for q in tensor["values"])) for each in updates]
    bound = middle(lengths) * p["clip"] // BILLION
    shortened = []
    for each, length in zip(updates, lengths, strict=True):
        factor = (bound << 30) // length if length > bound else 1 << 30
        tensors = [
            {**tensor, "values": [nearest(q * factor, 1 << 30) for q in tensor["values"]]} for tensor in each["tensors"]
        ]
        shortened.append({**each, "tensors": tensors})
    return weighted(shortened, weights), weights


def by_coordinate(updates: list[dict[str, Any]], off: int) -> dict[str, list[int]]:
    kept = len(updates) - 2 * off
    return {
        tensor["name"]: [nearest(sum(sorted(column)[off : off + kept]), kept) for column in columns(updates, place)]
        for place, tensor in enumerate(updates[0]["tensors"])
    }


def near(f: int, updates: list[dict[str, Any]], select: int) -> tuple[dict[str, list[int]], list[int]]:
    flat = [[q for tensor in each["tensors"] for q in tensor["values"]] for each in updates]
    apart: dict[int, list[int]] = {at: [] for at in range(len(updates))}
    for one, other in combinations(range(len(updates)), 2):
        distance = sum((a - b) ** 2 for a, b in zip(flat[one], flat[other], strict=True))
        apart[one].append(distance)
        apart[other].append(distance)
    scores = [sum(sorted(apart[at])[: len(updates) - f - 2]) for at in range(len(updates))]
    chosen = sorted(range(len(updates)), key=lambda at: (scores[at], updates[at]["site"]))[:select]
    weights = [int(at in chosen) for at in range(len(updates))]
    return weighted(updates, weights), weights


def expected(rule: str, p: dict[str, int], base: list[Tensor], updates: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [each["rows"] for each in updates]
    half = (len(updates) - 1) // 2
    ones = [1] * len(updates)
    weights = rows
    if rule == "SUM":
        model = [
            {**tensor, "values": [sum(column) for column in columns(updates, place)]}
            for place, tensor in enumerate(updates[0]["tensors"])
        ]
    elif rule == "NEWTON":
        model = newton(p, base, weighted(updates, rows))
    elif rule in ("FEDADAM", "FEDADAGRAD"):
        model = optimised(rule, p, base, weighted(updates, rows))
    elif rule == "FEDAVG":
        model = moved(base, weighted(updates, rows))
    elif rule == "NORM_CLIP":
        change, weights = clipped(p, updates)
        model = moved(base, change)
    elif rule in ("MEDIAN", "TRIMMED_MEAN"):
        model, weights = moved(base, by_coordinate(updates, half if rule == "MEDIAN" else p["f"])), ones
    else:
        select = 1 if rule == "KRUM" else p["select"] or len(updates) - p["f"] - 2
        change, weights = near(p["f"], updates, select)
        model = moved(base, change)
    return {
        "model": model,
        "weights": weights,
        "digest": model_digest(model),
        "state": state_digest(model),
    }


# ------------------------------------------------------------------------------------------------------------ the cases

DEFAULTS = {
    "f": 0,
    "learning_rate": BILLION,
    "beta1": 900_000_000,
    "beta2": 990_000_000,
    "tau": 1_000_000,
    "ridge": 1_000_000,
    "intercept": 1,
    "clip": BILLION,
    "select": 0,
}
SHAPES = {"bias": [3], "head/weight": [3, 5], "scale": []}


def q24(rng: random.Random, name: str, shape: list[int], spread: float) -> Tensor:
    values = [round(rng.gauss(0, spread) * ONE) for _ in range(math.prod(shape))]
    return {"name": name, "dtype": "q24", "shape": shape, "values": values}


def model_base(rng: random.Random) -> list[Tensor]:
    return [q24(rng, name, SHAPES[name], 1.0) for name in sorted(SHAPES)]


def deltas(rng: random.Random, sites: int, spread: float = 0.02) -> list[dict[str, Any]]:
    made = []
    for at in range(sites):
        tensors = [q24(rng, name, SHAPES[name], spread) for name in sorted(SHAPES)]
        made.append({"site": f"site-{at}", "rows": rng.randrange(20, 900), "tensors": tensors})
    return made


def extremes(rng: random.Random) -> list[dict[str, Any]]:
    """Updates at the very bounds of what may be sent: 256 from zero, and 2^30 - 1 rows together."""
    made = deltas(rng, 3)
    for each, rows, end in zip(made, ((1 << 30) - 3, 1, 1), (1 << 32, -(1 << 32), 1 << 32), strict=True):
        each["rows"] = rows
        for tensor in each["tensors"]:
            tensor["values"] = [end for _ in tensor["values"]]
    return made


def halves() -> list[dict[str, Any]]:
    """Means that fall on a half, above and below zero."""
    values = [[1, -1, 3], [0, 0, 0]]
    made = []
    for at, bias in enumerate(values):
        tensors = [
            {"name": "bias", "dtype": "q24", "shape": [3], "values": bias},
            {"name": "head/weight", "dtype": "q24", "shape": [3, 5], "values": [at * -7] * 15},
            {"name": "scale", "dtype": "q24", "shape": [], "values": [-3 * at]},
        ]
        made.append({"site": f"site-{at}", "rows": 1, "tensors": tensors})
    return made


def with_liar(rng: random.Random, sites: int, factor: int) -> list[dict[str, Any]]:
    """All near one change, but the last, which is `factor` times further and claims a million rows."""
    common = deltas(rng, 1, 0.05)[0]["tensors"]
    made = deltas(rng, sites, 0.001)
    for each in made:
        for tensor, shared in zip(each["tensors"], common, strict=True):
            tensor["values"] = [a + b for a, b in zip(tensor["values"], shared["values"], strict=True)]
    made[-1]["rows"] = 1_000_000
    for tensor in made[-1]["tensors"]:
        tensor["values"] = [-factor * q for q in tensor["values"]]
    return made


def curvature(rng: random.Random, sites: int, size: int) -> list[dict[str, Any]]:
    """Gradients and Hessians of made-up rows: sums of v v^T."""
    made = []
    for at in range(sites):
        rows = [[rng.gauss(0, 1) for _ in range(size)] for _ in range(3 * size)]
        hessian = [sum(row[i] * row[j] for row in rows) / len(rows) / 4 for i in range(size) for j in range(i + 1)]
        tensors = [
            q24(rng, "gradient", [size], 0.2),
            {
                "name": "hessian",
                "dtype": "q24",
                "shape": [len(hessian)],
                "values": [round(each * ONE) for each in hessian],
            },
        ]
        made.append({"site": f"site-{at}", "rows": rng.randrange(20, 900), "tensors": tensors})
    return made


def sums(rng: random.Random, sites: int) -> list[dict[str, Any]]:
    made = []
    for at in range(sites):
        counts = {
            "name": "confusion",
            "dtype": "i64",
            "shape": [2, 2],
            "values": [rng.randrange(500) for _ in range(4)],
        }
        wide = {"name": "moments", "dtype": "i64", "shape": [2], "values": [rng.randrange(-(1 << 59), 1 << 59), -at]}
        made.append({"site": f"site-{at}", "rows": 1, "tensors": [counts, wide]})
    return made


def cases() -> list[dict[str, Any]]:
    rng = random.Random(2021)
    base = model_base(rng)
    made: list[tuple[str, str, dict[str, int], list[Tensor], list[dict[str, Any]]]] = [
        ("mean of five sites by their rows", "FEDAVG", {}, base, deltas(rng, 5)),
        ("a mean at the bounds of what may be sent", "FEDAVG", {}, base, extremes(rng)),
        ("means that fall on a half go upwards", "FEDAVG", {}, base, halves()),
        ("one site alone", "FEDAVG", {}, base, deltas(rng, 1)),
    ]
    for rule, options in (("FEDADAM", {"learning_rate": 10_000_000}), ("FEDADAGRAD", {"beta1": 0, "tau": 1_000})):
        first = deltas(rng, 4)
        made.append((f"{rule}, first round", rule, options, base, first))
        later = expected(rule, DEFAULTS | options, base, first)["model"]
        made.append((f"{rule}, second round, from its state", rule, options, later, deltas(rng, 4)))
    coefficients = [q24(rng, "coefficients", [6], 0.5)]
    made += [
        ("a Newton step", "NEWTON", {}, coefficients, curvature(rng, 4, 6)),
        ("half a Newton step, intercept penalised", "NEWTON",
         {"intercept": 0, "learning_rate": BILLION // 2, "ridge": 50_000_000}, coefficients, curvature(rng, 3, 6)),
        ("norm-clip shortens the long and caps their rows", "NORM_CLIP", {}, base, with_liar(rng, 5, 40)),
        ("norm-clip of an even number of sites, at 1.5", "NORM_CLIP", {"clip": 1_500_000_000}, base, deltas(rng, 4)),
        ("median of five", "MEDIAN", {"f": 2}, base, with_liar(rng, 5, 9)),
        ("median of six", "MEDIAN", {"f": 1}, base, deltas(rng, 6)),
        ("trimmed mean", "TRIMMED_MEAN", {"f": 1}, base, with_liar(rng, 5, 9)),
        ("Krum", "KRUM", {"f": 1}, base, with_liar(rng, 5, 9)),
        ("Krum among equals takes the first name", "KRUM", {"f": 1}, base,
         [{**deltas(random.Random(5), 1)[0], "site": f"site-{at}"} for at in range(5)]),
        ("MultiKrum", "MULTI_KRUM", {"f": 1}, base, with_liar(rng, 6, 9)),
        ("MultiKrum of four", "MULTI_KRUM", {"f": 2, "select": 4}, base, with_liar(rng, 7, 9)),
        ("sums", "SUM", {}, base, sums(rng, 4)),
    ]  # fmt: skip
    return [
        {
            "name": name,
            "rule": rule,
            "parameters": options,
            "base": start,
            "updates": updates,
            **expected(rule, DEFAULTS | options, start, updates),
        }
        for name, rule, options, start, updates in made
    ]


def wide() -> dict[str, Any]:
    """Of cases that are too long to write down, the outcome's digests."""
    made = {}
    for rule in sorted({each["rule"] for each in cases()}):
        case = wide_case(rule)
        outcome = expected(rule, DEFAULTS | case["parameters"], case["base"], case["updates"])
        made[rule] = {key: outcome[key] for key in ("weights", "digest", "state")}
    return made


if __name__ == "__main__":
    body = ",\n".join(json.dumps(each, separators=(",", ":")) for each in cases())
    head = f'"note": {json.dumps(NOTE)},\n"study": "{STUDY.hex()}", "round": {ROUND}, "attempt": {ATTEMPT},\n'
    text = f'{{{head}"wide": {json.dumps(wide())},\n"cases": [\n{body}\n]}}\n'
    (HERE / "aggregation.json").write_text(text)
