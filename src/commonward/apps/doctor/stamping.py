"""The time-stamping authority, where one is set: does it answer."""

from __future__ import annotations

import httpx

from commonward.apps.doctor.findings import Finding, ok, warn

_TIMEOUT_S = 5.0


def authority(url: str) -> Finding:
    """Any HTTP answer will do: what it stamps is checked token by token. Never raises."""
    do = (
        "checkpoints go without its tokens until it answers; mend `tsa_url` in node.toml, or let this machine out to it"
    )
    try:
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            said = client.get(url).status_code
    except httpx.InvalidURL as why:
        return warn("TSA", f"{url}: no address ({why})", do)
    except httpx.HTTPError as why:
        return warn("TSA", f"{url}: {str(why) or type(why).__name__}", do)
    if said >= 500:
        return warn("TSA", f"{url}: it answers that it failed ({said})", do)
    return ok("TSA", f"{url} answers")
