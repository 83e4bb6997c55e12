"""A secret input of a model."""

from __future__ import annotations


class Secret:
    """A secret input, whose repr is asterisks; the API shows asterisks for it, too.

    Args:
        value: The text that is sent.
    """

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"
