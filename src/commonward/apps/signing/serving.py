"""Serves the signing API over TLS, on the node's own loop."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from commonward.apps.errors import CannotListen
from commonward.apps.settings import Address


class SigningServer:
    """One listener. TLS 1.3; patients show no certificate, their passkeys speak for them."""

    def __init__(self, app: FastAPI, address: Address, certificate: Path, key: Path, passphrase: bytes) -> None:
        config = uvicorn.Config(
            app,
            host=address.host,
            port=address.port,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            ssl_keyfile_password=passphrase.decode(),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            # The same parser with and without the learning extra, which brings others along.
            http="h11",
            ws="none",
            limit_concurrency=256,
            timeout_keep_alive=30,
        )
        config.load()
        assert config.ssl is not None
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        self._address = address
        self._server = uvicorn.Server(config)

    async def run(self) -> None:
        """Serve until cancelled. Raises CannotListen."""
        try:  # here, since uvicorn ends the whole process when it cannot
            listener = socket.create_server((self._address.host, self._address.port), backlog=2048)
        except OSError as cause:
            raise CannotListen("signing", str(self._address), cause) from cause
        with listener:
            # Signals are the node's business: `_serve` is what `serve` runs inside its own signal handlers.
            await self._server._serve(sockets=[listener])
