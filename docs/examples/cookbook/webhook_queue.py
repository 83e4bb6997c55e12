"""Receive webhooks and answer them at once; results are handled from a queue."""

import asyncio

from aiohttp import web

from replicate_async import Prediction, Replicate, WebhookVerificationError
from replicate_async.local import LocalReplicate

MODEL = "replicate/hello-world"
NAMES = ["Ada", "Grace", "Hedy"]


async def main() -> None:
    # With a token: async with Replicate() as client:
    async with LocalReplicate() as local, Replicate(local.api_token, base_url=local.url) as client:
        queue = asyncio.Queue[Prediction]()

        async def receive(request: web.BaseRequest) -> web.Response:
            try:
                run = await client.predictions.handle_webhook(await request.read(), request.headers)
            except WebhookVerificationError:
                return web.Response(status=400)
            queue.put_nowait(run)
            return web.Response()

        await (runner := web.ServerRunner(web.Server(receive))).setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hook = f"http://127.0.0.1:{runner.addresses[0][1]}/"  # or your public https URL
        create = client.predictions.create
        for name in NAMES:
            await create(MODEL, {"text": name}, webhook=hook, webhook_events_filter=["completed"])
        for _ in NAMES:
            print((await queue.get()).output)
        await runner.cleanup()


asyncio.run(main())
