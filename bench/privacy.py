"""Who can be told to have been in a model's training, and how much one training run shows of a thousand canaries.

Membership: heads on EfficientNet-Lite0's features of SYNTHETIC photographs, few patients and many steps, attacked by
the likelihood-ratio attack (Carlini et al. 2022), by difficulty calibration (Watson et al. 2022) and by a threshold on
the loss (Yeom et al. 2018); the strongest counts. Then the same with patient-level privacy. Two models are attacked:
one hospital's own, which stands for what the other members of an open study see, and the one that four publish.

Audit: one private training run with 1,000 canaries (Steinke, Nasr and Jagielski 2023), through the learner's own
private road: each patient's gradient clipped in whole numbers, exact noise from the system's entropy.
"""

from collections.abc import Iterator

from bench.results import Result, Unavailable


def run(scale: float = 1.0) -> Iterator[Result]:
    """Raises Unavailable without PyTorch."""
    try:
        from bench import _privacy_studies as studies
    except ImportError as cause:
        raise Unavailable("photographs need the extra `vision` (PyTorch)") from cause
    yield from studies.everything(scale)
