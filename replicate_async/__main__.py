"""The command line: ``replicate-async`` and ``python -m replicate_async``."""

from __future__ import annotations

import sys

_NEEDS = ("cyclopts", "rich")


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from replicate_async.cli.main import run  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _NEEDS:
            raise
        sys.exit("The command line needs an extra: pip install 'replicate-async[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
