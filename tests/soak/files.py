"""300 MB in and out of the embedded server: the same bytes, little memory, no held event loop."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.local.transfer import transfer


def main() -> int:
    """Print the figures, and fail when one is too large."""
    measured = asyncio.run(transfer(300_000_000))
    print(json.dumps({"soak": "files", **measured._asdict()}))
    return 0 if measured.same and measured.grown < 16_384 and measured.held < 50 else 1


if __name__ == "__main__":
    sys.exit(main())
