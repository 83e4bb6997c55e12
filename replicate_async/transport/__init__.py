"""The network: the only part of the client that knows aiohttp.

Its errors are ours from here on. No aiohttp exception escapes, not even as a cause: some of them
print the request's headers, and with them the token.
"""
