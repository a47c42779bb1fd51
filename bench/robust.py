"""What one lying site of five can do to a model: garbage, scaled, flipped, stealthy and backdoored updates.

The rule that is judged was fixed beforehand, on other splits and patients: for heart disease the trimmed mean with f
= 1, for photographs norm-clip with its bound at the median length. Each stands beside where it is not judged, and so
do median, Krum, MultiKrum and the plain mean. Lost is the accuracy of the four honest sites by themselves under the
plain mean, less that of the five under attack, both on the honest sites' test rows; the clean price is that of the
rule where nobody lies. The liar is another site in each deal. Heart disease is real patients, in four hospitals of
which the largest is cut in two (unequal) or dealt out alike (equal); keratitis is SYNTHETIC photographs, five pools
of patients whom no other pool has. Updates are bytes, aggregation is the members' own.
"""

from collections.abc import Iterator

from bench.results import Result, Unavailable


def run(scale: float = 1.0) -> Iterator[Result]:
    """Raises Unavailable, after the heart study's figures, without PyTorch."""
    from bench import _robust_studies as studies  # Flower takes seconds to import: only a run does

    yield from studies.heart(scale)
    try:
        import torch
    except ImportError as cause:
        raise Unavailable("photographs need the extra `vision` (PyTorch)") from cause
    torch.set_num_threads(1)
    yield from studies.keratitis(scale)
