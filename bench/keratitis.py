"""What four hospitals learn together from photographs of infectious keratitis. SYNTHETIC: drawn, see docs/keratitis.md.

A linear head on a frozen backbone (EfficientNet-Lite0, ImageNet), our road: the learner's own functions, updates as
bytes, our aggregation. One photograph a patient; test patients are never learnt from; a fifth site with a camera of
its own takes no part and is judged by the model. Beside every figure stands what a hospital has without: its own model,
and the majority class. Means are over the four sites' test patients; intervals are of means over splits of the same
patients (Nadeau and Bengio 2003).
"""

from collections.abc import Iterator
from importlib.util import find_spec

from bench.results import Result, Unavailable


def run(scale: float = 1.0) -> Iterator[Result]:
    if find_spec("torch") is None:
        raise Unavailable("the extra `vision` is not installed (no torch)")
    from bench import _keratitis_report as report  # PyTorch and Flower take seconds to import: only a run does

    yield from report.results(scale)
