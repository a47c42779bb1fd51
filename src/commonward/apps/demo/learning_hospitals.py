"""Four hospitals and a health authority on this machine, and what their people do in a study: each verb is a command's.

What the members do independently of each other they do side by side, as they would on machines of their own.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final, TypeVar

from commonward.apps import running, staffing
from commonward.apps.api.client import ControlClient, NodeRefused
from commonward.apps.demo.stage import Stage, StoryBroken, Voice
from commonward.apps.intake import Intake, Taken, find
from commonward.apps.studies.telling import OVER
from commonward.apps.verify_model import LINEAGE_SUFFIX, MODEL_SUFFIX
from commonward.apps.wiring import WallClock

NORTH, EAST, SOUTH, WEST, AUTHORITY = "north", "east", "south", "west", "authority"
HOSPITALS: Final = (NORTH, EAST, SOUTH, WEST)
CAST: Final = (
    "north:hospital:3=North University Hospital",
    "east:hospital:3=East University Hospital",
    "south:hospital:2=South City Hospital",
    "west:hospital:2=West City Hospital",
    "authority:authority=Provincial Health Commission",
)
ETHICS, FIRST, SECOND, DESK = "E1", "R1", "R2", "D1"
PATIENCE_S: Final = 300.0
"""How long a step of the study may take on a machine that does much else; a step that is well needs a second or two."""

_POLL_S: Final = 0.15
_TICK_MS: Final = 3000
"""Every member's tick is a block for all: more of them would only take processor time from the learning."""

_STAFF: Final = (
    (ETHICS, "ethics-officer", "ethics-board"),
    (FIRST, "records-officer", "studies"),
    (SECOND, "records-officer", "studies"),
    (DESK, "registrar", "front-desk"),
)

T = TypeVar("T")


class Hospitals(Stage):
    """The consortium of the demonstration of learning, running."""

    def __init__(self, directory: Path, voice: Voice, engine: str = "solo") -> None:
        super().__init__(directory, voice, engine, CAST, frozenset({AUTHORITY}), _TICK_MS)

    def control(self, member: str) -> ControlClient:
        """Patient: looking at a cohort, or bringing many forms, may take minutes on a slow machine."""
        if member not in self._controls:
            self._controls[member] = ControlClient(self.settings(member), timeout_s=2 * PATIENCE_S)
        return self._controls[member]

    def everywhere(
        self, what: str, do: Callable[[str], T], members: Sequence[str] = HOSPITALS, *, shown: bool = True
    ) -> dict[str, T]:
        """`do(member)` for each, side by side. Raises the first error there was, once all have ended."""
        found: dict[str, T] = {}
        with ThreadPoolExecutor(len(members)) as pool:
            going = {pool.submit(do, member): member for member in members}
            if not shown:
                found = {going[each]: each.result() for each in as_completed(going)}
            else:
                with self.voice.progress(what, float(len(members))) as advance:
                    for count, each in enumerate(as_completed(going), 1):
                        found[going[each]] = each.result()
                        advance(count)
        return {member: found[member] for member in members}

    # people and records

    def hire(self) -> None:
        """Day certificates: an ethics officer each; at hospitals two who witness forms, and one at the desk."""

        def one(member: str) -> None:
            for number, role, department in _STAFF[:1] if member == AUTHORITY else _STAFF:
                staffing.issue(
                    self.settings(member), role=role, department=department, number=number, hours=12,
                    now=WallClock().now(),
                )  # fmt: skip

        self.everywhere("issuing staff certificates", one, self.members)

    def take_in(self, what: str, files: Mapping[str, Path]) -> dict[str, Taken]:
        """Each member its own file of FHIR records, as `commonward ingest` does; then until all is anchored."""

        def one(member: str) -> Taken:
            taken = Taken()
            with Intake(self.settings(member)) as intake:
                asyncio.run(intake.take(find([files[member]], system="his"), taken, lambda _: None))
            return taken

        taken = self.everywhere(what, one, list(files))
        for member, each in taken.items():
            if each.report.dead or not each.report.records:
                raise StoryBroken(f"{member} took in {each.report.records} records, {each.report.dead} dead letters")
            self.until(lambda member=member: self.anchored(member), f"{member}'s records to be anchored", PATIENCE_S)
        return taken

    # a study

    def propose(self, member: str, file: Path, cohort: bytes) -> str:
        """Its id, as soon as every member has heard of it."""
        file.parent.mkdir(exist_ok=True)
        file.with_name(f"{file.stem}-cohort.json").write_bytes(cohort)
        body = {"study": file.read_text(), "name": file.name, "cohort": base64.b64encode(cohort).decode()}
        with self.voice.progress("the proposing node reads the file and asks the learner for its first model"):
            study = str(self.control(member).post("/studies", body)["study"])
            for each in self.members:
                self.until(lambda each=each: self.brief(study, each) is not None, f"{each} to hear of it", PATIENCE_S)
        return study

    def brief(self, study: str, member: str = NORTH) -> dict[str, Any] | None:
        """Its line in the list of a member."""
        return next((each for each in self.control(member).get("/studies") if each["study"] == study), None)

    def status(self, study: str, member: str = NORTH) -> str:
        found = self.brief(study, member)
        return "" if found is None else str(found["status"])

    def told(self, study: str, member: str = NORTH) -> dict[str, Any]:
        found = self.control(member).get(f"/studies/{study}")
        assert isinstance(found, dict)
        return found

    def vote(self, study: str, opinions: Mapping[str, str]) -> list[str]:
        """Until it is approved. Returns who voted."""
        voted = []
        for member, opinion in opinions.items():
            body = {"choice": True, "waiver": False, "opinion": opinion, "staff": ETHICS}
            status = self.control(member).post(f"/studies/{study}/vote", body)["status"]
            voted.append(member)
            if status == "approved":
                break
        for member in self.members:
            self.until(
                lambda member=member: self.status(study, member) == "approved", f"{member} to see the votes", PATIENCE_S
            )
        return voted

    def bring_forms(self, study: str, text: str, patients: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Each hospital its patients' forms. Returns how many consents are open at each."""

        def one(member: str) -> int:
            named = [{"system": "his", "patient": each} for each in patients[member]]
            body = {"patients": named, "text": text, "staff": [FIRST, SECOND]}
            return int(self.control(member).post(f"/studies/{study}/forms", body)["open"])

        return self.everywhere("forms, each under two witnesses' signatures", one, list(patients))

    def look(self, study: str) -> dict[str, dict[str, Any]]:
        """What each hospital's own page says."""
        return self.everywhere(
            "each hospital looks at its own rows", lambda member: self.control(member).get(f"/studies/{study}/look")
        )

    def enrol(self, study: str, pages: Mapping[str, Mapping[str, Any]]) -> None:
        """Each hospital, by its officer, who had that page before them."""

        def one(member: str) -> None:
            body = {"words": "agreed by our board", "staff": ETHICS, "seen": pages[member]["digest"]}
            self.control(member).post(f"/studies/{study}/enrol", body)

        self.everywhere("the hospitals enrol", one, list(pages))

    def refused(self, what: Callable[[], Any], otherwise: str) -> str:
        """Why the node, or the ledger, said no. Raises StoryBroken where it did not."""
        try:
            what()
        except NodeRefused as why:
            return str(why)
        raise StoryBroken(otherwise)

    # its rounds

    def follow(
        self, study: str, tell: Callable[[dict[str, Any]], None], *, since: int = 0, to: int | None = None,
        member: str = NORTH,
    ) -> None:  # fmt: skip
        """Until round `to`, or the last, is final: `tell(study as it stands)` whenever a round after `since` became so.

        Raises StoryBroken where nothing moves for long, or the study ends before.
        """
        seen, moved = since, time.monotonic()
        while True:
            brief = self.brief(study, member)
            if brief is None:
                raise StoryBroken(f"{member} does not know study {study[:12]} any more")
            number = int(brief["round"])
            if number > seen:
                seen, moved = number, time.monotonic()
                tell(self.told(study, member))
            if number >= (brief["rounds"] if to is None else to):
                return
            if brief["status"] in OVER or time.monotonic() - moved > PATIENCE_S:
                raise StoryBroken(f"study {study[:12]} stands still: {self.why(study)}")
            time.sleep(_POLL_S)

    def ends(self, study: str) -> None:
        """Until it is closed everywhere."""
        for member in self.members:
            self.until(lambda member=member: self.status(study, member) == "closed", f"{member} to close", PATIENCE_S)

    def why(self, study: str) -> str:
        """What each hospital says it waits for."""
        said = []
        for member in HOSPITALS:
            try:
                said.append(f"{member}: {self.told(study, member)['local'].get('waits_for') or 'nothing'}")
            except (ConnectionError, NodeRefused) as cause:
                said.append(f"{member}: {cause}")
        return "; ".join(said)

    def kill(self, member: str) -> None:
        """As a power cut does."""
        os.kill(running.processes(self.directory)[member], signal.SIGKILL)
        self.until(lambda: member not in running.processes(self.directory), f"{member}'s node to end", PATIENCE_S)

    def revive(self, member: str) -> None:
        running.start(self.directory, PATIENCE_S)
        self.until(lambda: self.control(member).get("/status")["live"], f"{member} to be back", PATIENCE_S)

    # what comes out

    def result(self, study: str, name: str, member: str = NORTH) -> tuple[Path, Path]:
        """The model with its lineage beside it, and the trust file: paths of the model and of the trust file."""
        self.until(lambda: self._has_result(study, member), f"{member} to hold the model with its lineage", PATIENCE_S)
        found = self.control(member).get(f"/studies/{study}/result")
        folder = self.directory / "results"
        folder.mkdir(exist_ok=True)
        model = folder / f"{name}{MODEL_SUFFIX}"
        for path, part in ((model, "model"), (model.with_suffix(LINEAGE_SUFFIX), "lineage")):
            path.write_bytes(base64.b64decode(found[part]))
        trust = model.with_suffix(".trust")
        trust.write_bytes(base64.b64decode(found["trust"]))
        return model, trust

    def _has_result(self, study: str, member: str) -> bool:
        try:
            return bool(self.control(member).get(f"/studies/{study}/result"))
        except NodeRefused:
            return False

    def alone(self, study: str, members: Sequence[str] = HOSPITALS) -> dict[str, dict[str, Any]]:
        """What each hospital would have without the others, by its own test patients. Cheapest while a study runs."""
        return self.everywhere(
            "hospitals learn alone, for comparison",
            lambda member: dict(self.control(member).get(f"/studies/{study}/alone")["alone"]), members,
        )  # fmt: skip

    def together(self, study: str) -> dict[str, dict[str, Any]]:
        """How the last model that was judged does by each hospital's test patients, as the hospital itself knows."""
        return {member: self.told(study, member)["local"].get("own", {}) for member in HOSPITALS}

    def replay(self, study: str, members: Iterable[str] = HOSPITALS) -> dict[str, list[dict[str, Any]]]:
        """Every round computed again at each hospital from the sealed updates it keeps."""
        return self.everywhere(
            "each hospital computes every round again",
            lambda member: self.control(member).post(f"/studies/{study}/replay", {}), list(members),
        )  # fmt: skip
