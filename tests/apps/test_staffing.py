"""Day certificates are issued and judged under the CA that this member uses now, which need not be that of genesis."""

from pathlib import Path

from commonward.adapters.keys import CertificateAuthority
from commonward.apps import staffing
from commonward.apps.settings import load
from commonward.apps.wiring import WallClock
from tests.cli_world import found_pilot


def test_after_a_vote_for_another_ca_its_certificates_count_and_those_of_the_old_one_do_not(tmp_path: Path) -> None:
    settings = load(found_pilot(tmp_path / "c"), {})
    now = WallClock().now()
    staffing.issue(settings, role="nurse", department="ward", number="A0", hours=1, now=now)
    (settings.data / "ca").rename(settings.data / "ca-before")
    CertificateAuthority.create(settings.data / "ca", "North", settings.passphrase(), now)
    staffing.issue(settings, role="nurse", department="ward", number="A1", hours=1, now=now)
    held = {each.path.stem: each for each in staffing.held(settings, WallClock().now())}
    assert held["A1"].staff is not None
    assert held["A0"].staff is None and "CA" in held["A0"].why
