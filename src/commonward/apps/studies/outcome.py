"""What came out of a study beside its model, as the control API tells it."""

from __future__ import annotations

from typing import Any

from commonward.apps.studies.metrics import variants
from commonward.workflows.training.papers import read_tensors
from commonward.workflows.training.reports import Contributions, Report

__all__ = ["contributions_told", "per_site_told"]


def contributions_told(contributions: Contributions) -> dict[str, dict[str, Any]]:
    """{member: {"rows": its share of the rows behind the last model, "left_out": what the last model would be without
    it, judged over all sites' test rows (as `metrics.variants`; empty where it was not measured), "why": why not}}"""
    whole = sum(each.rows for each in contributions.sites)
    return {
        each.site: {
            "rows": each.rows / whole if whole else None,
            "left_out": _judged(each.counts),
            "why": each.why,
        }
        for each in contributions.sites
    }


def per_site_told(report: Report) -> dict[str, dict[str, Any]]:
    """{member: the last model judged by that site's own test rows}, where the study was approved to show it."""
    return {each.site: _judged(each.counts) for each in report.per_site}


def _judged(counts: bytes) -> dict[str, Any]:
    return variants(read_tensors(counts)) if counts else {}
