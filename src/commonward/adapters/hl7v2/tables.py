"""HL7 v2 tables as FHIR R4 codes, after the HL7 guide "Version 2 to FHIR" where that decides; else as noted."""

from __future__ import annotations

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
V3 = TERMINOLOGY + "v3-"

SYSTEMS = {  # table 0396 -> FHIR
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "SNM": "http://snomed.info/sct",
    "SNOMED": "http://snomed.info/sct",
    "SNOMED-CT": "http://snomed.info/sct",
    "I9": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9C": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9CDX": "http://hl7.org/fhir/sid/icd-9-cm",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm",
    "ICD-10": "http://hl7.org/fhir/sid/icd-10",
    "UCUM": "http://unitsofmeasure.org",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "NDC": "http://hl7.org/fhir/sid/ndc",
    "CVX": "http://hl7.org/fhir/sid/cvx",
    "MVX": "http://hl7.org/fhir/sid/mvx",
    "C4": "http://www.ama-assn.org/go/cpt",
    "CPT": "http://www.ama-assn.org/go/cpt",
    "ISO3166_1": "urn:iso:std:iso:3166",
    "CDCREC": "urn:oid:2.16.840.1.113883.6.238",
}

GENDER = {"M": "male", "F": "female", "O": "other", "A": "other", "N": "other", "X": "other", "U": "unknown"}  # 0001

MARITAL = {  # 0002 -> v3-MaritalStatus
    "A": "L",
    "D": "D",
    "I": "I",
    "M": "M",
    "S": "S",
    "W": "W",
    "C": "C",
    "P": "T",
    "U": "UNK",
}

NAME_USE = {  # 0200
    "L": "official",
    "D": "usual",
    "C": "usual",
    "M": "maiden",
    "N": "nickname",
    "S": "anonymous",
    "NOUSE": "old",
    "BAD": "old",
    "T": "temp",
    "TEMP": "temp",
}

ADDRESS_USE = {"H": "home", "O": "work", "B": "work", "C": "temp", "BA": "old", "BI": "billing"}  # 0190
TELECOM_USE = {"PRN": "home", "ORN": "home", "VHN": "home", "WPN": "work", "PRS": "mobile"}  # 0201
TELECOM_SYSTEM = {  # 0202
    "PH": "phone",
    "CP": "phone",
    "SAT": "phone",
    "FX": "fax",
    "BP": "pager",
    "INTERNET": "email",
    "X.400": "email",
    "MD": "other",
    "TDD": "other",
    "TTY": "other",
}

ENCOUNTER_CLASS = {"E": "EMER", "I": "IMP", "O": "AMB", "P": "PRENC"}  # 0004 -> v3-ActCode

ENCOUNTER_STATUS = {  # by trigger event; A08 and the rest follow the discharge time
    "A01": "in-progress",
    "A02": "in-progress",
    "A03": "finished",
    "A04": "in-progress",
    "A05": "planned",
    "A06": "in-progress",
    "A07": "in-progress",
    "A09": "in-progress",
    "A10": "in-progress",
    "A11": "cancelled",
    "A12": "in-progress",
    "A13": "in-progress",
    "A14": "planned",
    "A15": "in-progress",
    "A16": "in-progress",
    "A21": "onleave",
    "A22": "in-progress",
    "A23": "entered-in-error",
    "A25": "in-progress",
    "A26": "in-progress",
    "A27": "cancelled",
    "A32": "in-progress",
    "A33": "in-progress",
    "A38": "cancelled",
}

OBSERVATION_STATUS = {  # 0085; D, I, N, O, R, U, V, W where the guide leaves them open: the nearest word
    "A": "amended",
    "B": "amended",
    "C": "corrected",
    "D": "entered-in-error",
    "F": "final",
    "I": "registered",
    "N": "cancelled",
    "O": "registered",
    "P": "preliminary",
    "R": "preliminary",
    "S": "preliminary",
    "U": "final",
    "V": "final",
    "W": "entered-in-error",
    "X": "cancelled",
}

REPORT_STATUS = {  # 0123
    "A": "partial",
    "C": "corrected",
    "F": "final",
    "I": "registered",
    "M": "partial",
    "N": "registered",
    "O": "registered",
    "P": "preliminary",
    "R": "preliminary",
    "S": "registered",
    "X": "cancelled",
    "Y": "unknown",
    "Z": "unknown",
}

# fmt: off
INTERPRETATIONS = frozenset((  # 0078 codes that v3-ObservationInterpretation has too
    "A", "AA", "B", "CAR", "D", "DET", "E", "EX", "EXP", "H", "HH", "HM", "HU", "HX", "I", "IE", "IND",
    "L", "LL", "LU", "LX", "N", "NCL", "ND", "NEG", "NR", "NS", "POS", "R", "RR", "S", "SDD", "SYN-R",
    "SYN-S", "TOX", "U", "UNE", "VS", "W", "WR", "<", ">",
))
# fmt: on

CONFIDENTIALITY = {  # 0177 -> (v3 system, code); whatever is not usual control is at least restricted
    "U": (),
    "R": (("Confidentiality", "R"),),
    "V": (("Confidentiality", "V"),),
    "HIV": (("Confidentiality", "R"), ("ActCode", "HIV")),
    "PSY": (("Confidentiality", "R"), ("ActCode", "PSY")),
    "ETH": (("Confidentiality", "R"), ("ActCode", "ETH")),
    "VIP": (("Confidentiality", "R"), ("ActCode", "CEL")),
}

LAB_SECTIONS = frozenset(  # 0074
    ("AU", "BG", "BLB", "CG", "CH", "CP", "HM", "IMM", "LAB", "MB", "MCB", "MYC", "OSL", "SP", "TX", "VR")
)
IMAGING_SECTIONS = frozenset(("CT", "CUS", "NMR", "NMS", "OUS", "RAD", "RUS", "RX", "VUS", "XRC"))

IDENTITY_EVENTS = {  # trigger event -> what it says of two names of a patient, or of a visit
    "A18": "merge",
    "A24": "link",
    "A29": "delete",
    "A30": "merge",
    "A34": "merge",
    "A35": "merge-account",
    "A36": "merge",
    "A37": "unlink",
    "A39": "merge",
    "A40": "merge",
    "A41": "merge-account",
    "A42": "merge-visit",
    "A43": "move-patient",
    "A44": "move-account",
    "A45": "move-visit",
    "A46": "change-identifier",
    "A47": "change-identifier",
    "A48": "change-identifier",
    "A49": "change-account",
    "A50": "change-visit",
    "A51": "change-visit",
}
