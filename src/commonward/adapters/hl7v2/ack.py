"""Acknowledgements: what the sender is told (HL7 v2.8.2 2.9.2 and 2.13.8, 2.13.5).

AA: taken, do not send again. AE: this message has a fault, mend it. AR: refused for a reason that is not the
message's; send it again later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from commonward.adapters.hl7v2.er7 import Message, Separators, escape
from commonward.adapters.hl7v2.times import utc

Answer = Literal["AA", "AE", "AR"]
_CONDITIONS = {  # HL7 table 0357
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One ERR segment: a code of table 0357, a sentence for people, and where (`PID-3`) if known."""

    condition: int
    text: str
    where: str = ""


def acknowledge(
    message: Message | None,
    answer: Answer,
    *,
    control_id: str,
    now: int,
    faults: Sequence[Fault] = (),
    application: str = "",
    facility: str = "",
) -> bytes:
    """The acknowledgement of a message, unframed. `now` in ms; `control_id` is ours, unique for this sender.

    Without a message (it could not be read) the answer goes to nobody by name. Sender and receiver change places;
    `application` and `facility` stand in where the message names no receiver.
    """
    marks = message.marks if message else Separators()
    bar, hat = marks.field, marks.component
    encoding = hat + marks.repetition + marks.escape + marks.subcomponent
    version = (message.version if message else "") or "2.5"
    from_, to = ["", ""], ["", ""]
    if message:
        msh = message.msh
        to = [msh.raw(3), msh.raw(4)]
        from_ = [msh.raw(5), msh.raw(6)]
    from_ = [from_[0] or escape(application, marks), from_[1] or escape(facility, marks)]
    event = message.event if message else ""
    kind = hat.join(part for part in ("ACK", escape(event, marks), "ACK" if event else "") if part)
    processing = message.msh.raw(11) if message else "P"
    head = ["MSH", encoding, *from_, *to, utc(now), "", kind, escape(control_id, marks), processing, version]
    charset = message.msh.raw(18) if message else "UNICODE UTF-8"
    if charset:
        head += ["", "", "", "", "", charset]
    text = escape("; ".join(fault.text for fault in faults), marks)[:80] if version < "2.5" else ""
    msa = ["MSA", answer, escape(message.control_id, marks) if message else "", text]
    lines = [bar.join(head), bar.join(msa).rstrip(bar)]
    lines += [_error(fault, marks, version) for fault in faults]
    codec = message.charset if message else "utf-8"
    return ("\r".join(lines) + "\r").encode(codec, "backslashreplace")


def _error(fault: Fault, marks: Separators, version: str) -> str:
    name = _CONDITIONS.get(fault.condition, "Application internal error")
    segment, _, number = fault.where.partition("-")
    location = marks.component.join(part for part in (segment, "1", number) if part) if segment.isalnum() else ""
    code = marks.component.join((str(fault.condition), name, "HL70357"))
    if version < "2.5":  # ERR-1 then: segment, sequence, field, code
        sub = marks.subcomponent.join((str(fault.condition), name, "HL70357"))
        return marks.field.join(("ERR", marks.component.join((segment, "1", number, sub))))
    return marks.field.join(("ERR", "", location, code, "E", "", "", "", escape(fault.text, marks)))
