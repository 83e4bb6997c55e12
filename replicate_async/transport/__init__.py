"""The network: from a request value to a decoded answer, over aiohttp.

No aiohttp exception leaves this package, not even as a cause: some of them print the request's
headers, and with them the token.
"""
