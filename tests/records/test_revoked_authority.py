"""A member's CA key is stolen: what was signed before the members revoked its certificate stands, nothing after."""

from commonward.ledger.ids import MemberId
from commonward.ledger.members import Change, RenewCertificate, RevokeCertificate, certificate_digest
from commonward.records.evidence import Evidence
from commonward.records.findings import Finding, State
from commonward.records.judging import judge
from commonward.records.trust import AuthorityStep, Trust, load_trust
from tests.evidence_world import ALL, World, ca_certificate

THREE = ("clinic", "health", "north")


def carried(world: World, change: Change) -> AuthorityStep:
    world.kit.decide(change, THREE)
    world.catch_up()
    return world._step(world.kit.machine.get(b"authority") or b"", ALL)


def trust_of(world: World, *steps: AuthorityStep, certificates: tuple[bytes, ...] = ()) -> Trust:
    return load_trust(world.trust_file(*steps, certificates=certificates).to_bytes())


def request_of(evidence: Evidence, trust: Trust) -> Finding:
    return next(each for each in judge(evidence, trust).findings if each.rule == "request")


def test_what_was_signed_before_a_ca_was_revoked_stands_and_what_it_signs_after_does_not() -> None:
    world = World()
    before = world.release()
    new = ca_certificate("south, new")
    step = carried(world, RevokeCertificate(certificate_digest(ca_certificate("south")), new))
    stolen = world.release(world.request())  # the thief issues on, and dates as it likes
    honest = world.release(world.request(by="south, new"))
    trust = trust_of(world, step, certificates=(new,))
    assert judge(before, trust).convinces
    assert request_of(stolen, trust).state is State.FAILED and not judge(stolen, trust).convinces
    assert judge(honest, trust).convinces


def test_a_member_whose_ca_was_revoked_without_another_has_no_staff_until_it_renews() -> None:
    world = World()
    revoked = carried(world, RevokeCertificate(certificate_digest(ca_certificate("south"))))
    without = world.release(world.request())
    new = ca_certificate("south, new")
    renewed = carried(world, RenewCertificate(MemberId("south"), new))
    after = world.release(world.request(by="south, new"))
    trust = trust_of(world, revoked, renewed, certificates=(new,))
    found = request_of(without, trust)
    assert found.state is State.FAILED and "had no CA certificate in force" in str(found.facts["why"])
    assert judge(after, trust).convinces


def test_evidence_under_a_certificate_that_was_renewed_twice_is_judged_by_the_one_of_its_time() -> None:
    """The state keeps those in between: else nobody could check what was signed under them."""
    world = World()
    second, third = ca_certificate("south, second"), ca_certificate("south, third")
    first_step = carried(world, RenewCertificate(MemberId("south"), second))
    between = world.release(world.request(by="south, second"))
    second_step = carried(world, RenewCertificate(MemberId("south"), third))
    former = tuple(each.certificate for each in world.kit.machine.view().authorities.former())
    assert former == (ca_certificate("south"), second)
    trust = trust_of(world, first_step, second_step, certificates=(second, third))
    assert judge(between, trust).convinces
