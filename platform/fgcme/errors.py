"""Errors that are no bugs: what a user can put right, and data that cannot be used."""

from __future__ import annotations

from typing import ClassVar, Literal

Stage = Literal["list", "read", "align", "feature"]


class UserError(Exception):
    """Something the user can put right: names the file or key at fault and the way out, in one line."""


class UnfinishedError(UserError):
    """Work that stopped early and can be resumed.

    Attributes:
        settings: what to change when resuming, as overrides.
    """

    def __init__(self, message: str, *settings: str) -> None:
        super().__init__(message, *settings)
        self.settings = settings

    def __str__(self) -> str:
        return str(self.args[0])


class NotPreparedError(UserError):
    """A corpus that must be prepared first, with the same settings.

    Attributes:
        reason: what is missing, without the way out.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}; run `fgcme prepare` with the same settings"


class DataError(Exception):
    """Data that cannot be used: costs one utterance, never a whole job.

    Attributes:
        stage: of preparing an utterance, where it occurred.
        reason: a short code.
        message: one sentence for a person.
    """

    stage: ClassVar[Stage]

    def __init__(self, reason: str, message: str) -> None:
        # Exception gets both, so that a worker's error survives pickling.
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message
