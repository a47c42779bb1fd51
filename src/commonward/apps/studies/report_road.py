"""The part of a report that is about the road to the model: sites, contributions, consents, rounds."""

from __future__ import annotations

from html import escape
from typing import Any

from commonward.apps.studies import plots
from commonward.apps.studies.lineage_graph import lineage as graph
from commonward.apps.studies.plots import Dot
from commonward.apps.studies.report_parts import Cell, Page, cell, number, share

__all__ = ["contributions", "lineage", "rounds", "sites"]

MOST_ROUNDS = 20
"""In sight; more are folded away."""

MOST_SITES = 12
"""In the graph; the table has them all."""


def sites(page: Page, study: dict[str, Any], best: dict[str, Any]) -> None:
    """What each site brought, and how the model does there where the study shows that."""
    text = page.text
    final = [each for each in study["progress"] if each["final"] is not None]
    charged = any(each["spent"] is not None for each in study["site"])
    rows = []
    for each in study["site"]:
        member = each["member"]
        counted = [one["round"] for one in final if member in one["updates"] and member not in one["exclusions"]]
        row = [
            cell(member),
            cell(text("yes") if each["enrolled"] else text("left")),
            cell(page.band(each["patients"])),
            cell(page.band(each["rows"])),
            cell(len(counted), numeric=True),
            cell(sum(member in one["signed"] for one in final), numeric=True),
            cell(sum(member in one["exclusions"] for one in final), numeric=True),
        ]
        if charged:
            of = None if each["spent"] is None else {"spent": f"{each['spent']:.2f}", "budget": f"{each['budget']:g}"}
            row.append(cell("-" if of is None else text("spent-of", **of), numeric=True))
        rows.append(row)
    heads = ["site", "part", "patients-band", "rows-band", "counted", "signed", "excluded", "spent"][: 7 + charged]
    table = page.table([text(each) for each in heads], rows, label=text("per-site"))
    shown = _per_site(page, study, best)
    page.section("sites", text("per-site"), table + page.note(text("site-note")) + shown)


def _per_site(page: Page, study: dict[str, Any], best: dict[str, Any]) -> str:
    text = page.text
    held = {member: found[""] for member, found in (study["local"].get("per_site") or {}).items() if found.get("")}
    if study["rule"] == "sum":
        return ""
    if not held:
        withheld = study["local"].get("per_site_withheld")
        return page.note(text("per-site-few" if withheld else "per-site-none")) if best else ""
    drawn = []
    for key in ("accuracy", "auroc"):
        name = text(key if key == "accuracy" or not best.get("classes") else "auroc-macro")
        dots = [Dot(member, each.get(key), each.get(f"{key}_interval")) for member, each in sorted(held.items())]
        if best.get("where") == "all":
            dots.append(Dot(text("together"), best.get(key), best.get(f"{key}_interval"), whole=True))
        if all(each.share is None for each in dots):
            continue
        heading = text("per-site-of", name=name)
        told = "; ".join(f"{each.name} {page.ranged(each.share, each.interval)}" for each in dots)
        rows = [[cell(each.name), cell(page.ranged(each.share, each.interval), numeric=True)] for each in dots]
        plot = plots.forest(page.label(f"{heading}. {told}"), name, dots)
        drawn.append(page.figure(heading, plot, table=page.table([text("site"), name], rows)))
    return f'<div class="two">{"".join(drawn)}</div>'


def contributions(page: Page, study: dict[str, Any], best: dict[str, Any]) -> None:
    """Each site's part of the rows, and what is lost without it."""
    text, found = page.text, study["local"].get("contributions") or {}
    if not found:
        page.section("contributions", text("contributions"), page.note(text("contributions-none")))
        return
    most = max((each["rows"] or 0 for each in found.values()), default=0) or 1
    without = any((each.get("left_out") or {}).get("") for each in found.values())
    heads = [text("site"), text("share-of-rows")]
    names = {"accuracy": text("accuracy"), "auroc": text("auroc")}
    if without:
        heads += [text("without", name=names["accuracy"]), text("changes", name=names["accuracy"])]
        heads += [text("without", name=names["auroc"]), text("changes", name=names["auroc"])]
    rows = []
    for member, each in sorted(found.items()):
        part = each["rows"] or 0
        said = "-" if each["rows"] is None else share(part)
        bar = f'<span class="share"><span class="bar" style="--w:{part / most:.3f}"></span>{said}</span>'
        row = [cell(member), Cell(bar)]
        if without:
            left = (each.get("left_out") or {}).get("") or {}
            row.append(
                cell(page.ranged(left["accuracy"], left["accuracy_interval"]) if left else "-", numeric=bool(left))
            )
            row += [
                _lost(best, left, "accuracy"),
                cell(number(left.get("auroc")), numeric=True),
                _lost(best, left, "auroc"),
            ]
        rows.append(row)
    table = page.table(heads, rows, caption=text("contributions-table"), marked=without)
    note = page.note(text("contributions-note" if without else "contributions-rows"))
    whys = sorted({each["why"] for each in found.values() if each.get("why")})
    note += "".join(page.note(each) for each in whys)
    page.section("contributions", text("contributions"), table + note + _committed(page, study))


def _lost(best: dict[str, Any], left: dict[str, Any], key: str) -> Cell:
    if best.get("where") != "all" or best.get(key) is None or left.get(key) is None:
        return cell("-", numeric=True)
    return cell(f"{best[key] - left[key]:+.3f}", numeric=True)


def _committed(page: Page, study: dict[str, Any]) -> str:
    """Whether what the proposer put on the ledger is what this site made itself."""
    committed = study["local"].get("committed") or {}
    if False in (committed.get("report"), committed.get("contributions")):
        return f'<p class="bad">{escape(page.text("not-committed"))}</p>'
    return page.note(page.text("committed")) if committed.get("contributions") else ""


def lineage(page: Page, study: dict[str, Any]) -> None:
    """The graph from consent to model."""
    text, local = page.text, study["local"]
    placed = [each for each in study["site"] if each["manifest"] is not None]
    shown_sites, here = placed[:MOST_SITES], local.get("consents")
    final = [each for each in study["progress"] if each["final"] is not None]
    shown = final if len(final) <= 6 else [*final[:3], *final[-3:]]
    consents = [
        (each["member"], text("open-consents", count=here) if each["member"] == study.get("member") and here is not None
         else text("elsewhere"))
        for each in shown_sites
    ]  # fmt: skip
    manifests = [(page.band(each["rows"]), each["manifest"][:16]) for each in shown_sites]
    steps = [
        (f"{text('round')} {each['round']}", text("signed-by", signed=len(each["signed"]), voters=len(each["voters"])))
        for each in shown
    ]
    names = [each["member"] for each in shown_sites]
    arrows: list[tuple[int, int, int, int]] = [(0, at, 1, at) for at in range(len(shown_sites))]
    for at, each in enumerate(shown):
        arrows += [(1, names.index(site), 2, at) for site in each["updates"] if site in names]
    arrows += [(2, at, 3, 0) for at in range(len(shown))]
    columns = [
        (text("consents"), consents), (text("manifests"), manifests), (text("final-rounds"), steps),
        (text("model"), [(text("model"), study["model"][:16])]),
    ]  # fmt: skip
    label = text("lineage-alt", sites=len(placed), rounds=len(final), model=study["model"][:16])
    drawn = page.scrolls(graph(label, columns, arrows), text("lineage"), " graph") if shown_sites else ""
    digests = (
        f'<p class="mono soft">{escape(text("model"))} {escape(study["model"])}<br>{escape(text("chain"))} '
        f"{escape(study['chain'])}</p>"
    )
    table = page.table(
        [text("site"), text("rows-band"), text("manifests")],
        [[cell(each["member"]), cell(page.band(each["rows"])), _mono(each["manifest"])] for each in placed],
    )
    behind = f"<details><summary>{escape(text('numbers'))}</summary>{table}</details>" if placed else ""
    some = page.note(text("lineage-some", count=len(final))) if len(shown) < len(final) else ""
    notes = some + page.note(text("lineage-note")) + page.note(text("vouch"))
    page.section("lineage", text("lineage"), f"{drawn}{behind}{digests}{notes}")


def _mono(said: str) -> Cell:
    return Cell(f'<span class="mono">{escape(said)}</span>')


def rounds(page: Page, study: dict[str, Any]) -> None:
    """Each round: who sent, who signed, and whether this site computed the same."""
    text = page.text
    agreed = {each["round"]: each["agrees"] for each in study["local"].get("rounds", ())}
    rows = []
    for each in study["progress"]:
        agrees = agreed.get(each["round"])
        said = escape(text("not-computed") if agrees is None else text("same" if agrees else "another"))
        rows.append([
            cell(each["round"]), cell(each["attempt"], numeric=True),
            cell(f"{len(each['updates'])} / {len(each['sites'])}", numeric=True),
            cell(f"{len(each['signed'])} / {len(each['voters'])}", numeric=True),
            _mono((each["model"] or each["stage"])[:32]),
            Cell(f'<span class="bad">{said}</span>' if agrees is False else said),
        ])  # fmt: skip
    heads = ["round", "attempt", "updates", "signatures", "digest", "agrees"]
    shown = page.table([text(each) for each in heads], rows) if rows else page.note(text("rounds-none"))
    if len(rows) > MOST_ROUNDS:
        shown = f"<details><summary>{escape(text('rounds-all', count=len(rows)))}</summary>{shown}</details>"
    page.section("rounds", text("rounds-table"), shown)
