"""Receive webhooks and answer them at once; results are handled from a queue."""

import asyncio

from aiohttp import web

from replicate_async import Prediction, Replicate, WebhookVerificationError
from replicate_async.local import LocalReplicate

INPUTS = [{"text": "Ada"}, {"text": "Grace"}, {"text": "Hedy"}]


async def main() -> None:
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate() as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):

        async def receive(req: web.BaseRequest) -> web.Response:
            try:
                run = await client.predictions.handle_webhook(await req.read(), req.headers)
            except WebhookVerificationError:
                return web.Response(status=400)
            if run.done:
                queue.put_nowait(run)
            return web.Response()

        queue = asyncio.Queue[Prediction]()
        await (runner := web.ServerRunner(web.Server(receive))).setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hook = f"http://127.0.0.1:{runner.addresses[0][1]}/"  # or your public https URL
        for one in INPUTS:
            await client.predictions.create("replicate/hello-world", one, webhook=hook)
        for _ in INPUTS:
            print((await queue.get()).output)
        await runner.cleanup()


asyncio.run(main())
