"""The contract of every recogniser: what is said in a recording."""

from __future__ import annotations

from typing import Protocol

from fgcme.audio import Samples


class Recogniser(Protocol):
    """Writes down what is said. Several threads may use one."""

    @property
    def name(self) -> str:
        """What answers call it."""
        ...

    def recognise(self, samples: Samples) -> str:
        """The words of one utterance, as the recogniser writes them; empty where it hears none.

        The result does not depend on earlier calls.

        Args:
            samples: [samples] mono at 16 kHz, at least one window long.
        """
        ...
