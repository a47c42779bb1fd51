"""A patient who takes part in a study by passkey, from a wallet of her own, and takes it back the same way."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Final

from commonward.apps.demo.learning_hospitals import DESK, Hospitals
from commonward.apps.founding import GENESIS
from commonward.apps.signing.signer import Shown
from commonward.apps.signing.wallet import KeptPatient, Site, WalletFolder
from commonward.apps.signing.words import Words
from commonward.apps.wiring import SystemEntropy, WallClock
from commonward.ledger.consent import Research
from commonward.ledger.ids import ConsentId, MemberId, StudyId
from commonward.workflows.research_consents import research_rules

PIN: Final = b"190325"


class WalletPatient:
    """At one hospital, for one study: a wallet takes part in one."""

    def __init__(self, hospitals: Hospitals, name: str, at: str, show: Callable[[Shown], None]) -> None:
        self.hospitals = hospitals
        self.folder: Path = hospitals.directory / "patients" / name
        self.at = at
        self._show = show
        self._words = Words()
        self._consent = b""

    def takes_part(self, study: str, patient: str) -> str:
        """Makes the wallet, has it enrolled and linked at the hospital's desk, and consents. The consent's id."""
        return asyncio.run(self._takes_part(study, patient))

    async def _takes_part(self, study: str, patient: str) -> str:
        genesis = (self.hospitals.directory / GENESIS).read_bytes()
        addresses = {MemberId(each): self.hospitals.settings(each).signing for each in self.hospitals.members}
        wallet = WalletFolder.create(
            self.folder, genesis, Site(page=MemberId(self.at), addresses=addresses), PIN, SystemEntropy()
        )
        (self.folder / "pin").write_bytes(PIN + b"\n")
        (self.folder / "pin").chmod(0o600)
        asked = await wallet.request(self._words)
        desk = self.hospitals.control(self.at)
        words = "identity card seen at the desk"
        request = base64.b64encode(asked.to_bytes()).decode()
        desk.post("/patients/enrol", {"request": request, "words": words, "staff": DESK})
        known = {"system": "his", "patient": patient, "words": words, "staff": DESK}
        desk.post("/patients/link", {"handle": asked.handle.hex(), **known})
        patient_of = self._opened(wallet)
        await patient_of.learn_links()
        research = Research(StudyId(bytes.fromhex(study)), MemberId(self.at))
        told = await patient_of.grant(research_rules(MemberId(self.at)), days=365, research=research)
        self._consent = told.consent
        wallet.close()
        return told.consent.hex()

    def withdraws(self, reason: str) -> None:
        """From the same wallet, opened again: nobody at the hospital is asked."""

        async def withdrawn() -> None:
            wallet = WalletFolder.open(self.folder, PIN)
            await self._opened(wallet).withdraw(ConsentId(self._consent), reason)
            wallet.close()

        asyncio.run(withdrawn())

    def _opened(self, wallet: WalletFolder) -> KeptPatient:
        return wallet.patient(wallet.gate(WallClock()), self._show, self._words, SystemEntropy())
