"""Drive an embedded server with schemathesis, from the server's own openapi.json.

    python -m tests.fuzz.run [CASES] [OPTION OF SCHEMATHESIS ...]

CASES, 2,000 unless given, is how many are made at random; boundary values and sequences of calls
come on top. It fails on a 5xx, and on a status, a media type or a body that is not documented.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from replicate_async import Replicate
from replicate_async.local import LocalReplicate, RateLimits, Settings
from replicate_async.resources import ENDPOINTS

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Nothing is waited for that the requests could ask for.
_SETTINGS = Settings(
    rate_limits=RateLimits.off(), sync_wait_cap=0.02, run_timeout=0.2, max_models=100_000
)


async def _furnish(server: LocalReplicate) -> Mapping[str, str]:
    """Make one of everything that has an id, and say which."""
    async with Replicate(server.api_token, base_url=server.url) as client:
        found = await client.models.get("local/storyteller")
        version = found.latest_version
        assert version is not None
        await client.models.create("dev/mine", visibility="private", hardware="cpu")
        await client.deployments.create(
            "mine",
            model="local/storyteller",
            version=version.id,
            hardware="cpu",
            min_instances=0,
            max_instances=1,
        )
        training = await client.trainings.create(
            f"local/storyteller:{version.id}",
            destination="dev/mine",
            input={"text": "one two three four"},
        )
        prediction = await client.predictions.create("local/echo", {"value": 1})
        file = await client.files.create(b"a file")
    return {
        "FUZZ_VERSION": version.id,
        "FUZZ_PREDICTION": prediction.id,
        "FUZZ_TRAINING": training.id,
        "FUZZ_FILE": file.id,
    }


async def main(cases: int, options: Sequence[str]) -> int:
    async with LocalReplicate(settings=_SETTINGS) as server:
        known = await _furnish(server)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{server.url}/openapi.json",
            f"--header=Authorization: Bearer {server.api_token}",
            f"--checks={','.join(_CHECKS)}",
            "--phases=coverage,fuzzing,stateful",
            f"--max-examples={-(-cases // len(ENDPOINTS))}",
            "--generation-deterministic",
            "--suppress-health-check=all",
            "--request-timeout=20",
            "--continue-on-failure",
            "--no-color",
            *options,
            env=os.environ | known | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks"},
        )
        code = await process.wait()
        # The server still answers after the fuzzing.
        async with Replicate(server.api_token, base_url=server.url) as client:
            assert await client.run("local/echo", {"value": "still here"}) == "still here"
    return code


if __name__ == "__main__":
    arguments = sys.argv[1:]
    wanted = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 2000
    sys.exit(asyncio.run(main(wanted, arguments)))
