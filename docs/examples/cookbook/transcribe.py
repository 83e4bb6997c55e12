"""Transcribe a long recording in parts, several at a time; the text comes in order."""

import asyncio
import io
import sys
import wave
from collections.abc import Iterator

from replicate_async import Replicate
from replicate_async.local import InputFile, LocalReplicate

MODEL = "openai/whisper"


def stand_in(audio: InputFile) -> dict[str, str]:
    return {"transcription": f"{audio.size} bytes of speech."}


def parts(path: str, seconds: int = 60) -> Iterator[dict[str, bytes]]:
    with wave.open(path, "rb") as recording:
        while frames := recording.readframes(seconds * recording.getframerate()):
            part = io.BytesIO()
            with wave.open(part, "wb") as writer:
                writer.setparams(recording.getparams())
                writer.writeframes(frames)
            yield {"audio": part.getvalue()}


async def main(path: str) -> None:
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate(models={MODEL: stand_in}) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        async for result in client.batch(MODEL, parts(path), ordered=True, retries=2):
            print(result.unwrap()["transcription"])


asyncio.run(main(sys.argv[1]))
