"""What the tests share: servers made of raw sockets, a cancelling sweep, and the token sentinel."""

from __future__ import annotations
