"""A photograph of an eye as FHIR R4: a Media resource with the picture in it, and the diagnosis as a Condition.

The causes of keratitis have a code system of their own here: which SNOMED CT concepts mean exactly "bacterial, proven"
and so on is each country's edition to say, and a wrong code in a hospital's records is worse than a local one. A
hospital adds its codes beside. ICD-10's H16.9, keratitis, stands beside each, so that a table of sensitive codes knows
what kind of thing it is. Sides of the body are SNOMED CT; the modality is DICOM's OP, ophthalmic photography (PS3.16
CID 29).
"""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

__all__ = ["CAUSES", "DICOM", "Pictured", "condition", "media", "patient"]

CAUSES: Final = "https://commonward.example/CodeSystem/keratitis-cause"
DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_SNOMED: Final = "http://snomed.info/sct"
_ICD_10: Final = "http://hl7.org/fhir/sid/icd-10"
_HL7: Final = "http://terminology.hl7.org/CodeSystem"

_EYES: Final = {
    "R": ("18944008", "Right eye structure"),
    "L": ("8966001", "Left eye structure"),
    "B": ("40638003", "Structure of both eyes"),
}

# Not meta.security: a label there narrows who may read, and test data is no secret (FHIR R4, 2.1.2.4 "Test Data").
_TEST: Final = {"tag": [{"system": f"{_HL7}/v3-ActReason", "code": "HTEST", "display": "test health data"}]}


@dataclass(frozen=True, slots=True)
class Pictured:
    """What is told of one picture.

    Attributes:
        patient: the source's id of the patient, a FHIR id.
        name: what tells this picture from the patient's others, so that the same one again is the same record.
        data, form: the file's bytes and their MIME type.
        width, height: in pixels.
        eye: R, L, B or "".
        device: maker and model.
        taken: when, as FHIR's dateTime; "" where it is not known.
        synthetic: drawn by a program: tagged as test data, and said so.
    """

    patient: str
    name: bytes
    data: bytes
    form: str
    width: int
    height: int
    eye: str = ""
    device: str = "unknown"
    taken: str = ""
    synthetic: bool = False


def media(picture: Pictured) -> dict[str, Any]:
    """The Media resource of a picture."""
    made: dict[str, Any] = {
        "resourceType": "Media",
        "id": f"photograph-{_short(picture.patient.encode(), picture.name)}",
        "status": "completed",
        "type": {"coding": [{"system": f"{_HL7}/media-type", "code": "image", "display": "Image"}]},
        "modality": {"coding": [{"system": DICOM, "code": "OP", "display": "Ophthalmic Photography"}]},
        "subject": {"reference": f"Patient/{picture.patient}"},
        "device": {"display": picture.device},
        "height": picture.height,
        "width": picture.width,
        "content": {"contentType": picture.form, "data": b64encode(picture.data).decode()},
    }
    if picture.eye:
        code, display = _EYES[picture.eye]
        made["bodySite"] = {"coding": [{"system": _SNOMED, "code": code, "display": display}], "text": picture.eye}
    if picture.taken:
        made["createdDateTime"] = picture.taken
    return {**made, **_synthetic(picture.synthetic)}


def condition(patient_id: str, cause: str, *, synthetic: bool = False) -> dict[str, Any]:
    """What the patient has, as far as a study of the causes of keratitis asks: one for a patient, so that another cause
    later is a correction of this one and not a second disease."""
    return {
        "resourceType": "Condition",
        "id": f"keratitis-{_short(patient_id.encode())}",
        "category": [{"coding": [{"system": f"{_HL7}/condition-category", "code": "encounter-diagnosis"}]}],
        "code": {
            "coding": [
                {"system": CAUSES, "code": cause},
                {"system": _ICD_10, "code": "H16.9", "display": "Keratitis, unspecified"},
            ],
            "text": "Keratitis of another cause" if cause == "other" else f"{cause.capitalize()} keratitis",
        },
        "subject": {"reference": f"Patient/{patient_id}"},
        **_synthetic(synthetic),
    }


def patient(patient_id: str, *, synthetic: bool = False) -> dict[str, Any]:
    """A Patient of whom nothing but the key is known."""
    return {"resourceType": "Patient", "id": patient_id, **({"meta": _TEST} if synthetic else {})}


def _synthetic(said: bool) -> dict[str, Any]:
    note = "SYNTHETIC: drawn by a program; no patient was photographed"
    return {"meta": _TEST, "note": [{"text": note}]} if said else {}


def _short(*parts: bytes) -> str:
    joined = b"".join(len(each).to_bytes(8, "big") + each for each in parts)
    return sha256(b"commonward photograph id v1\0" + joined).hexdigest()[:32]
