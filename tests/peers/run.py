"""Run a published client of the service, unchanged, against the embedded server.

    python -m tests.peers.run RELEASE [PART OF A TITLE]

RELEASE is the version of the package `replicate` that is installed beside `replicate_async`.
"""

from __future__ import annotations

import faulthandler
import sys
from importlib import import_module
from importlib.metadata import version

from tests.peers.harness import report, running, use_environment

# Where the release finds its flows, and whether its base URL ends in /v1.
_RELEASES = {"1.0.7": ("tests.peers.legacy", False), "2.0.0b4": ("tests.peers.beta", True)}

_PATIENCE = 300


def main(release: str, chosen: str = "") -> int:
    found = version("replicate")
    if found != release:
        print(f"replicate {found} is installed, not {release}")
        return 2
    # Some of their loops have no end: a hang is shown, and ends the run.
    faulthandler.dump_traceback_later(_PATIENCE, exit=True)
    module, versioned = _RELEASES[release]
    print(f"replicate {release}, in Python {sys.version.split()[0]}")
    with running() as server:
        use_environment(server, server.url if versioned else server.origin)
        # Imported only now: 1.0.7 reads its poll interval when it is imported.
        return report(import_module(module).flow, server, chosen)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
