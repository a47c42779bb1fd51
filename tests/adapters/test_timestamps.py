"""The time-stamping client against a real `openssl ts` responder over HTTP, and against servers that misbehave."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from commonward.adapters.timestamps import AuthorityClient
from commonward.records.timestamps import MAX_RESPONSE_BYTES, TokenRefused, build_request, check_token, token_of
from commonward.workflows.timestamps import AuthorityAway
from tests.tsa_world import Responder, Tsa, answers

BODY = b"commonward/0011223344556677\n12\nAAAA\n"
NONCE = 0x1122334455667788
ASK = build_request(BODY, NONCE)


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa.new(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def responder(tsa: Tsa) -> Iterator[Responder]:
    with Responder(tsa) as made:
        yield made


async def test_openssl_answers_our_request_and_its_token_is_believed(responder: Responder, tsa: Tsa) -> None:
    token = token_of(await AuthorityClient(responder.url).stamp(ASK))
    assert check_token(token, BODY, tsa.chain, NONCE).authority == "Stamp Office"


async def test_an_answer_to_another_request_is_told_by_its_nonce(responder: Responder, tsa: Tsa) -> None:
    """Somebody on the way (plain HTTP) plays back an old answer over the same checkpoint."""
    old = await AuthorityClient(responder.url).stamp(build_request(BODY, 1))
    responder.behave = lambda handler, _: answers(handler, old)
    token = token_of(await AuthorityClient(responder.url).stamp(ASK))
    with pytest.raises(TokenRefused, match="nonce"):
        check_token(token, BODY, tsa.chain, NONCE)


async def test_a_server_that_is_down_is_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(AuthorityAway):
            await AuthorityClient(f"http://127.0.0.1:{unused.getsockname()[1]}/").stamp(ASK)


async def test_a_server_that_never_answers_is_given_up(responder: Responder) -> None:
    done = threading.Event()

    def hang(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        done.wait(60)

    responder.behave = hang
    started = time.monotonic()
    try:
        with pytest.raises(AuthorityAway, match="no whole answer within"):
            await AuthorityClient(responder.url, answer_s=0.3).stamp(ASK)
        assert time.monotonic() - started < 30
    finally:
        done.set()


async def test_a_server_that_drips_its_answer_is_given_up(responder: Responder) -> None:
    done = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.05):
            handler.wfile.write(b"0")

    responder.behave = drip
    try:
        with pytest.raises(AuthorityAway, match="no whole answer within"):
            await AuthorityClient(responder.url, answer_s=0.5).stamp(ASK)
    finally:
        done.set()


async def test_a_huge_answer_is_dropped_before_it_is_whole(responder: Responder) -> None:
    sent = 0

    def huge(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _block in range(10_000):  # a gigabyte, if anybody took it
            handler.wfile.write(bytes(100_000))
            sent += 100_000

    responder.behave = huge
    with pytest.raises(AuthorityAway, match=f"more than {MAX_RESPONSE_BYTES} bytes"):
        await AuthorityClient(responder.url).stamp(ASK)
    assert sent < 1_000_000_000


async def test_a_redirect_is_not_followed(responder: Responder, tsa: Tsa) -> None:
    with Responder(tsa) as elsewhere:

        def redirect(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            handler.send_response(307)
            handler.send_header("Location", elsewhere.url)
            handler.end_headers()

        responder.behave = redirect
        with pytest.raises(AuthorityAway, match=r"307 \(a redirect"):
            await AuthorityClient(responder.url).stamp(ASK)
        assert elsewhere.asked == []


@pytest.mark.parametrize("status", [204, 401, 404, 500, 503])
async def test_any_other_status_is_no_answer(responder: Responder, status: int) -> None:
    responder.behave = lambda handler, _: answers(handler, b"", status)
    with pytest.raises(AuthorityAway, match=str(status)):
        await AuthorityClient(responder.url).stamp(ASK)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://nobody.invalid/", "ftp://127.0.0.1/"])
async def test_an_address_that_leads_nowhere_is_away(url: str) -> None:
    with pytest.raises(AuthorityAway):
        await AuthorityClient(url, answer_s=20).stamp(ASK)


async def test_nothing_but_the_hash_of_the_checkpoint_leaves(responder: Responder, tmp_path: Path) -> None:
    await AuthorityClient(responder.url).stamp(ASK)
    assert responder.asked == [ASK]
    assert len(ASK) < 80 and b"commonward" not in ASK
