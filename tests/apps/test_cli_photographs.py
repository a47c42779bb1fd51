"""`commonward photographs`: lists, class folders and DICOM files into a vault; what is refused, looked at, replayed."""

import zlib
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from commonward.adapters.images import decoded
from commonward.adapters.images.slitlamp import photographs
from commonward.apps import staffing
from commonward.apps.intake import Intake
from commonward.apps.samples import keratitis
from commonward.apps.settings import load
from commonward.apps.studies.hosting import gather
from commonward.apps.wiring import WallClock
from commonward.records.envelope import open_record, unwrap_key
from commonward.workflows.member_log import Event
from commonward.workflows.training.cohorts import Source
from tests.cli_world import Ran, commonward, copied, found_pilot
from tests.imagekit import dicom, jpeg, png, put, written

EYES = list(photographs("east", 3, 5, each=1, size=192))
WORDS = "Smith, Anna 1971"
HEADER = "file,patient,label,eye,device,taken\n"


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_pilot(tmp_path_factory.mktemp("pilot") / "c")


@pytest.fixture
def data(pilot: Path, tmp_path: Path) -> Path:
    return copied(pilot, tmp_path / "north")


def take(data: Path, *more: object) -> Ran:
    return commonward("photographs", "take", "--data", data, "--system", "his", "--json", *more)


def replay(data: Path, *more: object) -> Ran:
    return commonward("photographs", "replay", "--data", data, "--json", *more)


def held(data: Path, *patients: str) -> list[dict[str, Any]]:
    """The records of these patients as the vault has them."""
    with Intake(load(data)) as intake:
        names = sorted(intake.identity.patient("his", each) for each in patients)
        storage = intake.tools().storage
        found = []
        for _, row in intake.vault.current_records(names):
            stored, _ = open_record(row.sealed, unwrap_key(row.wrapped, storage.wrap, row.id), row.id)
            found.append(orjson.loads(stored))
    return found


def listing(folder: Path, *lines: str) -> Path:
    return put(folder / "list.csv", (HEADER + "".join(f"{each}\n" for each in lines)).encode())


def bomb() -> bytes:
    """16,000 x 16,000 pixels of nothing: a few kilobytes as PNG, 768 MB decoded."""
    data = bytearray(png(EYES[0].pixels))
    data[16:24] = (16_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def test_a_list_becomes_records_and_every_bad_file_is_refused_by_its_reason_while_the_rest_goes_on(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    exif = Image.Exif()
    exif[0x0110] = "Phone of Dr. Li"
    put(folder / "good.jpg", jpeg(EYES[0].pixels, exif=exif))
    put(folder / "dicom.dcm", dicom(EYES[1].pixels, {"PatientID": "P-2", "ContentDate": "20250302"}))
    put(folder / "text.png", png(written(EYES[2], WORDS).pixels))
    put(folder / "broken.jpg", jpeg(EYES[2].pixels)[:2000])
    put(folder / "small.png", png(EYES[2].pixels[:100]))
    put(folder / "bomb.png", bomb())
    put(tmp_path / "outside.png", png(EYES[2].pixels))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    listed = listing(
        folder,
        "good.jpg,P-1,fungal,L,SL-9,2025-03-01",
        "dicom.dcm,P-2,viral,,,",
        "text.png,P-3,viral,,,",
        "broken.jpg,P-3,viral,,,",
        "small.png,P-3,viral,,,",
        "bomb.png,P-3,viral,,,",
        "../outside.png,P-4,viral,,,",
        "link.png,P-4,viral,,,",
        "good.jpg,P-1,mould,,,",
    )
    ran = take(data, listed)
    assert ran.code == 1
    assert (ran.json["taken"], ran.json["new"]) == (2, 6)  # a Patient, a Condition and a Media each
    assert ran.json["refused"] == {"form": 1, "size": 2, "writing": 1}
    assert [each["why"] for each in ran.json["unread"]] == ["list", "list", "class"]
    assert "outside.png" in ran.json["unread"][0]["what"] and "inside" in ran.json["unread"][1]["what"]
    assert ran.json["classes"] == {"fungal": 1, "viral": 1}
    again = take(data, listed)
    assert (again.json["taken"], again.json["new"], again.json["already_there"]) == (2, 0, 4)

    records = held(data, "P-1", "P-2", "P-3", "P-4")
    (media,) = (each for each in records if each["resourceType"] == "Media" and "P-1" in each["subject"]["reference"])
    picture = b64decode(media["content"]["data"])
    assert not Image.open(BytesIO(picture)).getexif() and b"Dr. Li" not in picture
    assert np.abs(decoded(picture, "it").astype(int) - EYES[0].pixels).mean() < 4
    assert (media["createdDateTime"], media["device"]["display"]) == ("2025-03-01", "SL-9")
    table = gather(keratitis.cohort(), [(Source(b"", b""), orjson.dumps(each)) for each in records]).table
    assert table.cells("label") == ("fungal", "viral") and table.cells("eye") == ("L", "R")
    assert table.cells("photograph")[0] == picture


def test_writing_that_a_person_found_to_be_none_is_taken_in_and_the_member_log_says_who_looked(
    data: Path, tmp_path: Path
) -> None:
    put(tmp_path / "in" / "a.png", png(written(EYES[0], WORDS).pixels))
    assert take(data, listing(tmp_path / "in", "a.png,P-1,other,,,")).code == 1
    listed = commonward("photographs", "refused", "--data", data, "--json")
    letter = listed.json
    assert letter["why"].startswith("writing: a.png") and letter["where"] == "a.png"
    saved = tmp_path / "look.png"
    shown = commonward("photographs", "show", "--data", data, letter["id"][:10], "--save", saved, "--json")
    assert shown.code == 0 and saved.read_bytes() == (tmp_path / "in" / "a.png").read_bytes()

    assert replay(data, "--all").code == 1  # in silence it stays refused
    assert commonward("dead-letters", "replay", "--data", data, "--all", "--json").json["still_dead"] == 1
    assert replay(data, "--all", "--text-looked-for", "R1").code == 2  # nobody has looked at all of them
    assert replay(data, letter["id"], "--text-looked-for", "R1").code == 2  # and R1 has no certificate here
    staffing.issue(
        load(data), role="records-officer", department="eyes", number="R1", hours=1, now=WallClock().now()
    )  # fmt: skip
    ran = replay(data, letter["id"], "--text-looked-for", "R1")
    assert ran.code == 0 and ran.json["looked"] == ["a.png"]
    assert commonward("photographs", "refused", "--data", data, "--json").out == ""
    with Intake(load(data)) as intake:
        (entry,) = [entry for _, _, entry in intake.log.entries() if entry.event is Event.PHOTOGRAPH]
    assert entry.who == "R1" and "letters" in entry.detail
    assert {each["resourceType"] for each in held(data, "P-1")} == {"Patient", "Condition", "Media"}


def test_a_picture_whose_camera_says_that_it_wrote_on_it_stays_refused_whoever_looked(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dicom"
    put(folder / "said.dcm", dicom(EYES[0].pixels, {"BurnedInAnnotation": "YES"}))
    put(folder / "found.dcm", dicom(written(EYES[1], WORDS).pixels, {"BurnedInAnnotation": None}))
    put(folder / "deep" / "good.dcm", dicom(EYES[2].pixels, {"PatientID": "P-9", "ManufacturerModelName": "SL\x07 1"}))
    put(folder / "nobody.dcm", dicom(EYES[2].pixels, {"PatientID": "P 9/x"}))
    staffing.issue(
        load(data), role="records-officer", department="eyes", number="R1", hours=1, now=WallClock().now()
    )  # fmt: skip
    ran = take(data, folder, "--text-looked-for", "R1")
    assert ran.json["refused"] == {"patient": 1, "writing": 1} and ran.json["looked"] == ["found.dcm"]
    assert ran.json["taken"] == 2
    (media,) = (each for each in held(data, "P-9") if each["resourceType"] == "Media")
    assert media["device"]["display"] == "Maker SL 1"


def test_the_patient_that_the_hospital_already_has_is_left_as_it_is(data: Path, tmp_path: Path) -> None:
    known = {"resourceType": "Patient", "id": "P-1", "gender": "female"}
    file = put(tmp_path / "p.json", orjson.dumps(known))
    assert commonward("ingest", "--data", data, "--system", "his", file, "--json").json["new"] == 1
    put(tmp_path / "in" / "a.png", png(EYES[0].pixels))
    ran = take(data, listing(tmp_path / "in", "a.png,P-1,other,,,"))
    assert (ran.json["new"], ran.json["corrections"]) == (2, 0)
    assert known in held(data, "P-1")


def test_one_patient_under_two_causes_is_refused_and_a_later_cause_is_a_correction(data: Path, tmp_path: Path) -> None:
    for at, eye in enumerate(EYES):
        put(tmp_path / "in" / f"{at}.png", png(eye.pixels))
    ran = take(data, listing(tmp_path / "in", "0.png,P-1,viral,,,", "1.png,P-1,fungal,,,", "2.png,P-1,viral,,,"))
    assert ran.json["refused"] == {"class": 1} and ran.json["taken"] == 2
    ran = take(data, listing(tmp_path / "in", "0.png,P-1,fungal,,,"))
    assert ran.json["corrections"] == 1
    causes = [each["code"]["text"] for each in held(data, "P-1") if each["resourceType"] == "Condition"]
    assert causes == ["Fungal keratitis"]


def test_class_folders_give_the_class_and_a_patient_for_each_file(data: Path, tmp_path: Path) -> None:
    put(tmp_path / "in" / "viral" / "a b.jpg", jpeg(EYES[0].pixels))
    put(tmp_path / "in" / "viral" / "a-b.jpg", jpeg(EYES[1].pixels))
    put(tmp_path / "in" / "normal" / "c.jpg", jpeg(EYES[2].pixels))
    ran = take(data, tmp_path / "in")
    assert ran.json["classes"] == {"viral": 2} and ran.json["taken"] == 2
    assert [each["why"] for each in ran.json["unread"]] == ["class"]


def test_many_pictures_are_read_in_processes_of_their_own(data: Path, tmp_path: Path) -> None:
    lines = []
    for at in range(66):
        bent = EYES[0].pixels.copy()
        bent[at] = 255
        put(tmp_path / "in" / f"{at}.png", png(bent))
        lines.append(f"{at}.png,P-{at},viral,,,")
    ran = take(data, listing(tmp_path / "in", *lines))
    assert (ran.code, ran.json["taken"], ran.json["new"]) == (0, 66, 198)
