"""A program that fetches URLs in an internet of its own, and says what it came to.

It is a program because TLS libraries read what they trust (SSL_CERT_FILE) when they are imported.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Final

from replicate_async import FileOutput, Replicate, ReplicateError, Retry
from replicate_async.context import context_of
from tests.support.fault_server import Stranger
from tests.support.internet import Internet
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer

NAMES: Final = {
    "api.replicate.com": ["10.20.30.40"],
    "replicate.delivery": ["93.184.216.34"],
    "evil.example": ["93.184.216.35"],
    "inward.example": ["10.0.0.1"],
    "loopback.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "mixed.example": ["93.184.216.36", "192.168.0.1"],
    "six.example": ["fd00::1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "translated.example": ["64:ff9b::a00:1"],
    "tunnel.example": ["2002:a00:1::1"],
    "multicast.example": ["224.0.0.1"],
    "isatap.example": ["2600::5efe:a00:1"],
    "compatible.example": ["::10.0.0.1"],
    "stand-in.example": ["198.18.0.7"],
    "stand-in.replicate.delivery": ["198.18.0.7"],
    "store.internal": ["100.64.0.9"],
}


async def surf(
    urls: list[str], certificate: str, loop: Internet, *, verify: bool
) -> dict[str, object]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    results: dict[str, object] = {}
    async with (
        Stranger(Answer(body=b"x"), tls=context) as stranger,
        Replicate(
            TOKEN,
            base_url="https://api.replicate.com",
            retry=Retry(attempts=1),
            trusted_hosts=["Store.internal"],
            ssl=verify,
        ) as client,
    ):
        loop.port = stranger.port
        for url in urls:
            stranger.forget()
            loop.reached.clear()
            ways = {
                "file": FileOutput(url).with_client(client).read(),
                "stream": context_of(client).open_stream(url),
            }
            for way, call in ways.items():
                try:
                    await call
                    said = ""
                except ReplicateError as error:
                    said = type(error).__name__
                asked = len(stranger.requests)
                token = any(TOKEN.encode() in request.head for request in stranger.requests)
                results[f"{way} {url}"] = [said, asked, token, list(loop.reached)]
                stranger.requests.clear()
                loop.reached.clear()
    return results


def main() -> None:
    verify, certificate, *urls = sys.argv[1:]
    loop = Internet(NAMES, 0)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        print(json.dumps(runner.run(surf(urls, certificate, loop, verify=verify == "verified"))))


if __name__ == "__main__":
    main()
