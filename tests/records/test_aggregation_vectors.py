"""Every rule gives the bytes that the vectors say, on whatever processor and beside whatever linear algebra."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commonward.ledger.rounds.words import Rule
from tests.aggregationkit import VECTORS, answer, inputs, tensor, told_answer, wide_case

ROOT = Path(__file__).parents[2]
TOLD = json.loads(VECTORS.read_text())
# numpy says only there which loops it has for which processors, by the names with which they can be switched off.
NUMPY: Any = importlib.import_module("numpy._core._multiarray_umath")
FEATURES: dict[str, bool] = NUMPY.__cpu_features__
DISPATCHED: list[str] = [each for each in NUMPY.__cpu_dispatch__ if FEATURES.get(each)]
KERNELS = {"X86_V2": "Nehalem", "X86_V3": "Haswell", "X86_V4": "SkylakeX"}
"""A kernel of OpenBLAS for each level of x86-64: set only where the processor has it, as it is used without asking."""


def settings() -> list[tuple[str, str]]:
    """(features switched off, OpenBLAS kernel): all of them off, one more on each time, until none is off."""
    kernels = [kernel for level, kernel in KERNELS.items() if FEATURES.get(level)] or [""]
    steps = [" ".join(DISPATCHED[at:]) for at in range(len(DISPATCHED) + 1)]
    return [(off, kernels[at % len(kernels)]) for at, off in enumerate(steps)]


@pytest.mark.parametrize("case", TOLD["cases"], ids=lambda case: case["name"])
def test_a_rule_makes_the_model_that_the_vectors_say(case: dict[str, Any]) -> None:
    made = answer(case)
    assert list(made.model) == [tensor(each) for each in case["model"]]
    assert told_answer(case) == {key: case[key] for key in ("weights", "digest", "state")}


@pytest.mark.parametrize("rule", TOLD["wide"])
def test_a_rule_makes_the_same_of_many_numbers(rule: str) -> None:
    assert told_answer(wide_case(rule)) == TOLD["wide"][rule]


def test_every_rule_has_vectors() -> None:
    assert {case["rule"] for case in TOLD["cases"]} == set(TOLD["wide"]) == {rule.name for rule in Rule}
    assert all(inputs(case) for case in TOLD["cases"])


@pytest.mark.parametrize(("off", "kernel"), settings())
def test_the_bytes_are_the_same_on_every_processor(off: str, kernel: str) -> None:
    environment = {
        **os.environ,
        "NPY_DISABLE_CPU_FEATURES": off,
        "OPENBLAS_CORETYPE": kernel,
        "OPENBLAS_NUM_THREADS": "1",
    }
    if not kernel:
        del environment["OPENBLAS_CORETYPE"]
    run = subprocess.run(
        [sys.executable, "-m", "tests.aggregationkit"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    wanted = {case["name"]: {key: case[key] for key in ("weights", "digest", "state")} for case in TOLD["cases"]}
    assert json.loads(run.stdout) == wanted | TOLD["wide"]
