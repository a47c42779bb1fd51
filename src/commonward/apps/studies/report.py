"""A study's report: one HTML page that needs nothing else, now or in ten years.

No script, no font, picture or style from elsewhere: the page says so itself by its content security policy. Whatever
came from people or other members is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from commonward.apps.studies import plots
from commonward.apps.studies.card import card
from commonward.apps.studies.words import CARD, words_in

__all__ = ["render"]

Text = Callable[..., str]

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE: Final = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0;background:#f4f6f7;color:#22303a;font:16px/1.55 system-ui,"Segoe UI","Noto Sans","Noto Sans SC","PingFang SC","Microsoft YaHei",sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 24px 64px}
header{border-bottom:3px solid #1f6f8b;padding-bottom:16px;margin-bottom:24px}
h1{font-size:30px;line-height:1.25;margin:0 0 6px}h2{font-size:20px;margin:0 0 12px}
.soft{color:#5b6770}.small{font-size:13px}.mono{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;overflow-wrap:anywhere}
section{background:#fff;border:1px solid #dde3e6;border-radius:10px;padding:20px 22px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tile{border:1px solid #dde3e6;border-radius:8px;padding:12px 14px}.tile b{display:block;font-size:24px;line-height:1.2}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(400px,1fr));gap:18px}
svg{width:100%;height:auto;display:block}.square svg{max-width:330px;margin:0 auto}.wide{overflow-x:auto}.wide svg{min-width:760px}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;padding:7px 10px;border-bottom:1px solid #e8ecee;vertical-align:top}
th{color:#5b6770;font-weight:600}td.number{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#a33b4f;font-weight:600}
dl{display:grid;grid-template-columns:minmax(180px,26%) 1fr;gap:8px 18px;margin:0}dt{font-weight:600}dt span{display:block;font-weight:400;font-size:12px;color:#5b6770}dd{margin:0;min-width:0;overflow-wrap:anywhere}
@media print{body{background:#fff}section{break-inside:avoid}}
@media(max-width:560px){main{padding:20px 12px}.two{grid-template-columns:1fr}dl{grid-template-columns:1fr}}
"""  # noqa: E501  # a style sheet reads as lines of rules


def render(study: dict[str, Any], language: str = "en", made: int | None = None) -> str:
    """The page.

    Args:
        study: as the control API tells a study, with `local` (curve, all, own, consents) and `member`.
        language: `en` or `zh`.
        made: when (ms); not told where None.
    """
    text = words_in(language)
    local = study.get("local") or {}
    best = _best(local)
    parts = [
        _head(study, text, made),
        _summary(study, best, text),
        _curves(local, text),
        _judged(best, text),
        _sites(study, text),
        _contributions(study, local, text),
        _lineage(study, local, text),
        _rounds(study, text),
        _card(study, best, text, language),
    ]
    return (
        f'<!doctype html>\n<html lang="{"zh-CN" if language == "zh" else "en"}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(study['title'])}</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}"
        "</main></body></html>\n"
    )


def _best(local: dict[str, Any]) -> dict[str, Any]:
    """What the last model that was judged does, at all sites together if that is known, else here."""
    for where in ("all", "own"):
        found = local.get(where) or {}
        if found.get(""):
            return {**found[""], "where": where, "home": found.get("home")}
    return {}


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def _note(said: str) -> str:
    return f'<p class="soft small">{escape(said)}</p>'


def _head(study: dict[str, Any], text: Text, made: int | None) -> str:
    when = "" if made is None else datetime.fromtimestamp(made / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    by = _note(text("made", member=study.get("member", "?"), time=when)) if made is not None else ""
    about = f"<p>{escape(study['about'])}</p>" if study["about"] else ""
    return (
        f'<header><div class="soft">{escape(text("report"))}</div><h1>{escape(study["title"])}</h1>{about}'
        f'<div class="mono soft">{escape(study["study"])}</div>{by}{_note(text("synthetic-no"))}</header>'
    )


def _summary(study: dict[str, Any], best: dict[str, Any], text: Text) -> str:
    sites = [each for each in study["site"] if each["rows"] is not None]
    tiles = [
        (text("status"), text(f"status-{study['status']}"), ""),
        (text("rounds"), f"{study['round']} / {study['rounds']}", f"{study['rule']}, {study['mode']}"),
        (text("sites"), str(len(sites)), ""),
    ]
    if best:
        low, high = best["accuracy_interval"]
        where = text("all-sites" if best["where"] == "all" else "own-site")
        tiles.append((text("rows"), str(best["rows"]), where))
        tiles.append((text("accuracy"), f"{best['accuracy']:.3f}", f"{low:.3f} - {high:.3f}"))
        tiles.append((text("majority"), f"{best['majority']:.3f}", ""))
        if best.get("auroc") is not None:
            tiles.append((text("auroc"), f"{best['auroc']:.3f}", ""))
        if best.get("brier") is not None:
            tiles.append((text("brier"), f"{best['brier']:.3f}", ""))
        home = best.get("home")
        if home:
            tiles.append((f"{text('accuracy')}, {text('home')}", f"{home['accuracy']:.3f}", ""))
    body = "".join(
        f'<div class="tile"><span class="soft small">{escape(name)}</span><b>{escape(value)}</b>'
        f'<span class="soft small">{escape(under)}</span></div>'
        for name, value, under in tiles
    )
    return _section(text("summary"), f'<div class="tiles">{body}</div>')


def _curves(local: dict[str, Any], text: Text) -> str:
    curve = local.get("curve") or []
    if not curve:
        return _section(text("curves"), _note(text("no-counts")))
    drawn = []
    for where in ("all", "own"):
        series = [
            plots.Series(text(name), [(each["round"], each[name]) for each in curve if each["of"] == where
                                      and each.get(name) is not None])
            for name in ("accuracy", "auroc", "brier")
        ]  # fmt: skip
        kept = [each for each in series if each.points]
        if kept:
            title = text("all-sites" if where == "all" else "own-site")
            plot = plots.lines(f"{text('curves')}: {title}", text("round"), text("share"), kept)
            drawn.append(f"<div><h3>{escape(title)}</h3>{plot}</div>")
    return _section(text("curves"), f'<div class="two">{"".join(drawn)}</div>')


def _judged(best: dict[str, Any], text: Text) -> str:
    if not best:
        return ""
    parts = []
    if best.get("calibration"):
        plot = plots.calibration(text("calibration"), text("said"), text("was"), best["calibration"])
        parts.append(f"<div><h2>{escape(text('calibration'))}</h2>{plot}{_note(text('calibration-note'))}</div>")
    grid = plots.confusion(text("confusion"), text("truth"), text("guess"), best["confusion"])
    parts.append(f'<div class="square"><h2>{escape(text("confusion"))}</h2>{grid}</div>')
    return f'<section><div class="two">{"".join(parts)}</div></section>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _sites(study: dict[str, Any], text: Text) -> str:
    final = [each for each in study["progress"] if each["final"] is not None]
    charged = any(each["spent"] is not None for each in study["site"])
    rows = []
    for each in study["site"]:
        member = each["member"]
        counted = [one["round"] for one in final if member in one["updates"] and member not in one["exclusions"]]
        row = [
            escape(member), text("yes") if each["enrolled"] else text("left"), escape(each["patients"] or "-"),
            escape(each["rows"] or "-"), str(len(counted)), str(sum(member in one["signed"] for one in final)),
            str(sum(member in one["exclusions"] for one in final)),
        ]  # fmt: skip
        rows.append(
            [*row, "-" if each["spent"] is None else f"{each['spent']:.2f} / {each['budget']:g}"][: 7 + charged]
        )
    heads = ["site", "part", "patients-band", "rows-band", "counted", "signed", "excluded", "spent"][: 7 + charged]
    return _section(text("per-site"), _table([text(each) for each in heads], rows) + _note(text("site-note")))


def _contributions(study: dict[str, Any], local: dict[str, Any], text: Text) -> str:
    found = local.get("contributions") or {}
    if not found:
        return _section(text("contributions"), _note(text("contributions-none")))
    most = max(found.values()) or 1
    rows = [(name, share / most, f"{share:.0%}") for name, share in sorted(found.items())]
    return _section(text("contributions"), plots.bars(text("contributions"), rows) + _note(text("contributions-note")))


def _lineage(study: dict[str, Any], local: dict[str, Any], text: Text) -> str:
    sites = [each for each in study["site"] if each["manifest"] is not None][:12]
    final = [each for each in study["progress"] if each["final"] is not None]
    shown = final if len(final) <= 6 else [*final[:3], *final[-3:]]
    here = local.get("consents")
    consents = [
        (each["member"], text("open-consents", count=here) if each["member"] == study.get("member") and here is not None
         else text("elsewhere"))
        for each in sites
    ]  # fmt: skip
    manifests = [(f"{each['rows']}", each["manifest"][:16]) for each in sites]
    rounds = [
        (f"{text('round')} {each['round']}", f"{len(each['signed'])}/{len(each['voters'])} {text('signatures')}")
        for each in shown
    ]
    end = [(text("model"), study["model"][:16])]
    names = [each["member"] for each in sites]
    arrows: list[tuple[int, int, int, int]] = [(0, at, 1, at) for at in range(len(sites))]
    for at, each in enumerate(shown):
        arrows += [(1, names.index(site), 2, at) for site in each["updates"] if site in names]
    arrows += [(2, at, 3, 0) for at in range(len(shown))]
    columns = [
        (text("consents"), consents), (text("manifests"), manifests), (text("final-rounds"), rounds),
        (text("model"), end),
    ]  # fmt: skip
    graph = plots.lineage(text("lineage"), columns, arrows)
    digests = f'<p class="mono soft">{escape(study["model"])}<br>{escape(study["chain"])}</p>'
    notes = _note(text("lineage-note")) + _note(text("vouch"))
    return _section(text("lineage"), f'<div class="wide">{graph}</div>{digests}{notes}')


def _rounds(study: dict[str, Any], text: Text) -> str:
    agreed = {each["round"]: each["agrees"] for each in (study.get("local") or {}).get("rounds", ())}
    rows = []
    for each in study["progress"]:
        agrees = agreed.get(each["round"])
        said = text("not-computed") if agrees is None else text("same" if agrees else "another")
        said = f'<span class="bad">{escape(said)}</span>' if agrees is False else escape(said)
        rows.append([
            str(each["round"]), str(each["attempt"]), f"{len(each['updates'])} / {len(each['sites'])}",
            f"{len(each['signed'])} / {len(each['voters'])}",
            f'<span class="mono">{escape((each["model"] or each["stage"])[:32])}</span>', said,
        ])  # fmt: skip
    heads = ["round", "attempt", "updates", "signatures", "digest", "agrees"]
    return _section(text("rounds-table"), _table([text(each) for each in heads], rows))


def _card(study: dict[str, Any], best: dict[str, Any], text: Text, language: str) -> str:
    said = card(study, best, text, language)
    which = 3 if language == "zh" else 2
    body = "".join(
        f"<dt>{escape(item[which])}<span>{escape(item[1])}</span></dt>"
        f"<dd>{escape(said.get(item[0], text('not-stated')))}</dd>"
        for item in CARD
    )
    return _section(text("card"), f"{_note(text('card-note'))}<dl>{body}</dl>")
