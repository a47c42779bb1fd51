"""What four hospitals learn together about heart disease (UCI, real patients): FLamby's task, our road.

Federated standardisation by sums, then Newton's method over all sites (ridge 0.03, 6 rounds), each site's Flower
ClientApp in one process, updates as bytes, our aggregation. Beside every figure stands what a hospital has without:
its own model, and the majority class. Means are over the four clients' test rows; intervals are of means over splits
(Nadeau and Bengio 2003). AUROC leaves Switzerland out: all but one of its rows are ill.
"""

from collections.abc import Iterator

from bench.results import Result


def run(scale: float = 1.0) -> Iterator[Result]:
    from bench import _heart_studies as studies  # Flower takes seconds to import: only a run does

    splits = max(2, round(100 * scale))
    yield from studies.parity()
    yield from studies.beside_flamby(max(2, round(50 * scale)))
    yield from studies.together(splits)
    yield from studies.private(splits)
    yield from studies.newcomers(splits)
