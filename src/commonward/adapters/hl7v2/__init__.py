"""HL7 v2 messages: found in what arrives, split as far as needed, answered, and mapped to FHIR R4."""

from commonward.adapters.hl7v2.ack import Fault, acknowledge
from commonward.adapters.hl7v2.datatypes import Context
from commonward.adapters.hl7v2.er7 import Coverage, Message, Segment, Separators, SourceId, Value, source_id
from commonward.adapters.hl7v2.errors import BadMessage
from commonward.adapters.hl7v2.framing import BadPart, RawMessage, frame, split_messages
from commonward.adapters.hl7v2.patients import IdentityEvent, PatientKey
from commonward.adapters.hl7v2.pieces import pieces
from commonward.adapters.hl7v2.translate import Hl7Translator, Mapped, Resource, to_fhir

__all__ = [
    "BadMessage",
    "BadPart",
    "Context",
    "Coverage",
    "Fault",
    "Hl7Translator",
    "IdentityEvent",
    "Mapped",
    "Message",
    "PatientKey",
    "RawMessage",
    "Resource",
    "Segment",
    "Separators",
    "SourceId",
    "Value",
    "acknowledge",
    "frame",
    "pieces",
    "source_id",
    "split_messages",
    "to_fhir",
]
