"""How a report looks: light, dark, on paper, on a telephone. No font, picture or style from elsewhere."""

# ruff: noqa: E501  # a style sheet reads as lines of rules
from __future__ import annotations

from typing import Final

__all__ = ["POLICY", "STYLE"]

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_LIGHT: Final = """--page:#f3f6f7;--card:#fff;--ink:#1d2b34;--soft:#51606a;--edge:#d9e0e4;--grid:#dde4e8;--line:#7d8a93;--lead:#1f6f8b;--bad:#a02a40;--warn:#fdf0d5;--warnink:#5c3d00;--warnedge:#c98a16;--heat:31 111 139;--miss:179 77 18;
--c0:#1f6f8b;--c1:#b34d12;--c2:#3f7a2e;--c3:#7a4e9c;--c4:#a33b4f;--c5:#51606a"""
_DARK: Final = """--page:#10161a;--card:#19222a;--ink:#e8eef2;--soft:#adbac3;--edge:#33424c;--grid:#33424c;--line:#84939d;--lead:#5fb8d6;--bad:#ff9aa9;--warn:#3a2c0c;--warnink:#ffdf9e;--warnedge:#c98a16;--heat:95 184 214;--miss:240 147 90;
--c0:#5fb8d6;--c1:#f0935a;--c2:#8fc97a;--c3:#c39be0;--c4:#f08a9b;--c5:#adbac3"""

STYLE: Final = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%;text-size-adjust:100%}}
body{{margin:0;background:var(--page);color:var(--ink);font:17px/1.6 system-ui,"Segoe UI","Noto Sans","Noto Sans SC","PingFang SC","Microsoft YaHei","WenQuanYi Micro Hei",sans-serif}}
main{{max-width:1080px;margin:0 auto;padding:32px 24px 64px}}
h1,h2,h3,p,dd,dt,li,figcaption,summary,caption{{overflow-wrap:anywhere}}td,th{{overflow-wrap:break-word}}
header{{border-bottom:3px solid var(--lead);padding-bottom:14px;margin-bottom:20px}}
h1{{font-size:30px;line-height:1.25;margin:4px 0 8px}}h2{{font-size:21px;line-height:1.3;margin:0 0 12px}}h3{{font-size:16px;line-height:1.35;margin:0;display:inline}}
p{{margin:0 0 10px}}.soft{{color:var(--soft)}}.small{{font-size:14px}}.mono{{font-family:ui-monospace,Menlo,Consolas,"Liberation Mono",monospace;font-size:12.5px;overflow-wrap:anywhere}}
a{{color:var(--lead)}}:focus-visible{{outline:3px solid var(--lead);outline-offset:2px}}
nav ul{{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:0;padding:0;font-size:15px}}nav a{{display:inline-block;padding:4px 0}}
section{{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:20px 22px;margin:18px 0}}
.plain{{border-left:6px solid var(--lead)}}.plain p{{font-size:20px;line-height:1.65;margin:0 0 8px;max-width:44em}}
.banner{{background:var(--warn);color:var(--warnink);border:2px solid var(--warnedge);border-radius:10px;padding:12px 18px;margin:16px 0}}
.mark{{display:inline-block;background:var(--warn);color:var(--warnink);border:1px solid var(--warnedge);border-radius:4px;font-size:12px;font-weight:700;line-height:1.3;padding:1px 6px;letter-spacing:.04em;vertical-align:middle;white-space:nowrap}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,150px),1fr));gap:12px}}
.tile{{border:1px solid var(--edge);border-radius:8px;padding:12px 14px;min-width:0}}.tile b{{display:block;font-size:25px;line-height:1.25;overflow-wrap:anywhere}}.tile span{{display:block}}.tile .mark{{display:inline-block}}
.two{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:26px 30px}}
figure{{margin:0;min-width:0}}figcaption{{margin:0 0 8px}}figure svg{{width:100%;max-width:470px;height:auto;display:block}}
.legend{{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;margin:6px 0 0;padding:0;font-size:14px}}.legend li{{display:flex;align-items:center;gap:7px}}.legend svg{{width:26px;height:14px;flex:none}}
details{{margin:8px 0 0;font-size:14px}}summary{{cursor:pointer;color:var(--soft);padding:4px 0}}
.wide{{overflow-x:auto;max-width:100%}}.graph svg{{min-width:700px;max-width:900px;margin:0 auto;width:100%;height:auto;display:block}}
table{{border-collapse:collapse;width:100%;font-size:15px}}caption{{text-align:left;padding:0 0 8px;color:var(--soft)}}th,td{{text-align:left;padding:7px 10px;border-bottom:1px solid var(--edge);vertical-align:top}}
th{{color:var(--soft);font-weight:600}}tbody th{{color:var(--ink)}}td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums}}td.n{{white-space:nowrap}}.bad{{color:var(--bad);font-weight:700}}
.heat{{width:auto;border-collapse:separate;border-spacing:4px}}.heat th,.heat td{{border:0;padding:8px 10px;text-align:center;vertical-align:middle}}.heat tbody th{{text-align:right}}.heat td{{border-radius:6px;min-width:64px;background:rgb(var(--miss) / var(--s))}}.heat td.hit{{background:rgb(var(--heat) / var(--s))}}.heat td b{{display:block;font-size:18px;line-height:1.2}}
.share{{display:flex;align-items:center;gap:8px;justify-content:flex-start}}.bar{{display:block;flex:none;height:14px;width:calc(2px + 88px * var(--w));border-radius:3px;background:var(--c0)}}.wide+p{{margin-top:8px}}.wide+.wide{{margin-top:18px}}.tiles+p{{margin-top:12px}}
dl.items{{display:grid;grid-template-columns:minmax(190px,30%) 1fr;gap:8px 18px;margin:10px 0 0;font-size:15px}}dl.items dt{{font-weight:600}}dl.items dt span{{display:block;font-weight:400;font-size:13px;color:var(--soft)}}dl.items dd{{margin:0;min-width:0}}
ul.facts{{margin:0;padding-left:20px}}ul.facts li{{margin:4px 0}}
svg text{{font-family:inherit}}svg .ink{{fill:var(--ink)}}svg .soft{{fill:var(--soft)}}svg .grid{{stroke:var(--grid)}}svg .line{{stroke:var(--line)}}svg .box{{fill:var(--card)}}
{"".join(f"svg .f{each}{{fill:var(--c{each})}}svg .s{each}{{stroke:var(--c{each})}}" for each in range(6))}
@media print{{body{{background:#fff;font-size:11pt}}main{{max-width:none;padding:0}}nav{{display:none}}section{{break-inside:auto;border-color:#bbb}}figure,tr,.tile,.plain{{break-inside:avoid}}h2,h3{{break-after:avoid}}details::details-content{{content-visibility:visible;block-size:auto}}*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}.wide{{overflow:visible}}.graph svg{{min-width:0}}}}
@media(max-width:560px){{main{{padding:18px 12px 40px}}h1{{font-size:25px}}section{{padding:16px 14px}}.plain p{{font-size:18px}}.tiles{{grid-template-columns:1fr 1fr}}.tile{{padding:10px}}.tile b{{font-size:21px}}dl.items{{grid-template-columns:1fr;gap:2px}}dl.items dd{{margin-bottom:12px}}.heat{{border-spacing:2px}}.heat th,.heat td{{padding:6px 4px;font-size:13px}}.heat td{{min-width:0}}.heat td b{{font-size:16px}}table.stack thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}table.stack tr{{display:block;border-bottom:2px solid var(--edge);padding:6px 0}}table.stack th,table.stack td{{overflow-wrap:anywhere;display:flex;justify-content:space-between;gap:14px;border:0;padding:3px 2px;text-align:right}}table.stack tbody th{{font-size:16px;text-align:left}}table.stack td::before{{content:attr(data-head);color:var(--soft);text-align:left;flex:none;max-width:55%}}table.stack td.n{{white-space:normal}}}}
"""
