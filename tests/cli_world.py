"""A member's data directory on disk, and the command line run against it."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from commonward.adapters.store.blocks import BlockFiles
from commonward.apps.cli import main
from commonward.apps.founding import found, plan
from commonward.apps.settings import Address, load
from commonward.apps.wiring import WallClock, open_keys, read_genesis
from commonward.ledger.checkpoint import Checkpoint, Note, origin_of, sign_note
from commonward.ledger.ids import BlockTime, Digest, Height, MemberId, Purpose
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.proofs import ProofKind, member_proof
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import (
    Header,
    Payload,
    assemble,
    build_block,
    build_body,
    build_bundle,
    transaction_digest,
)
from commonward.ledger.transition import Machine
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity
from commonward.workflows.blocklog import Record


def found_pilot(directory: Path, port: int = 17400, members: Sequence[str] = ("north:hospital:3=North",)) -> Path:
    """A consortium of one member, who operates the sequencer; returns the member's folder."""
    planned = plan(list(members), "127.0.0.1", port)
    made = found(
        directory,
        planned,
        name="Pilot",
        operator=MemberId("north"),
        sequencer=Address(host="127.0.0.1", port=port),
        now=WallClock().now(),
        tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
        tick_ms=1000,
    )
    return made.members[MemberId("north")]


def copied(folder: Path, to: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(folder, to, symlinks=True)
    return to


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def commonward(*arguments: object) -> Ran:
    """Runs the command line in this process, as a shell would."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        patch.object(sys, "argv", ["commonward", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int | None)
    return Ran(code or 0, out.getvalue(), err.getvalue())


def begun(*arguments: object) -> subprocess.Popen[bytes]:
    """The command line in a process of its own, to be killed.

    A shell that starts the tests in the background has them ignore Ctrl-C, and their children would inherit that.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "commonward", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class Chain:
    """Blocks of a pilot, made and signed with its own keys, and written where its node would have them."""

    def __init__(self, folder: Path) -> None:
        settings = load(folder)
        self.genesis = read_genesis(settings)
        self.keys = open_keys(settings)
        self.machine = Machine(self.genesis, MemoryStore(), MemoryLogStore(), map_bits=8)
        self.path = settings.ledger_directory / "blocks"
        self._nonce = 0

    def signed(self, payload: Payload) -> bytes:
        self._nonce += 1
        algorithm, _, author = self.keys.public(Purpose.OPERATE)
        tip = self.machine.tip
        body = build_body(
            self.machine.ledger_id,
            payload,
            self._nonce.to_bytes(16, "big"),
            (tip.size, tip.root),
            self.machine.applied.time + 60_000,
            author=author,
        )
        sign = lambda message: self.keys.sign(Purpose.OPERATE, message)  # noqa: E731
        return assemble(body, ProofKind.MEMBER, member_proof(algorithm, author, sign, transaction_digest(body)))

    def block(self, *payloads: Payload, root: bytes | None = None) -> bytes:
        """One more block, durably. `root`: what the sequencer signs instead of the true root."""
        header = Header(Height(self.machine.applied.height + 1), BlockTime(self.machine.applied.time + 1000))
        bundle = build_bundle(
            self.machine.ledger_id,
            self.keys.public(Purpose.CARRY)[2],
            [self.signed(each) for each in payloads],
            lambda message: self.keys.sign(Purpose.CARRY, message),
        )
        block = build_block(header, [bundle])
        staged = self.machine.stage(block)
        self.machine.commit(staged)
        checkpoint = Checkpoint(
            origin_of(self.machine.ledger_id), staged.checkpoint.size, Digest(root or staged.checkpoint.root)
        )
        line = sign_note(
            checkpoint, self.keys.public(Purpose.SEQUENCE)[1], lambda message: self.keys.sign(Purpose.SEQUENCE, message)
        )
        with BlockFiles(self.path) as files:
            files.append(header.height, Record(block, Note(checkpoint, (line,)).to_bytes()).to_bytes())
        return staged.outcomes[0].digest
