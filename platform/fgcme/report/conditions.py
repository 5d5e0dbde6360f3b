"""The conditions of a result: protocol, selection rule, seeds, and what makes it optimistic or incomplete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fgcme.data import Selection


@dataclass(frozen=True)
class Conditions:
    """The conditions of a result, which are shown beside its numbers.

    Attributes:
        protocol: its name.
        selection: how epochs were chosen.
        seeds: of the trainings.
        tuned_on: speakers whose dev scores chose the configuration and who are tested all the same.
        missing: how the corpus differs from the protocol's; empty if it does not.
        left_out: speakers whose dev scores chose the configuration and who are therefore not counted.
    """

    protocol: str
    selection: Selection
    seeds: Sequence[int]
    tuned_on: Sequence[str] = ()
    missing: str = ""
    left_out: Sequence[str] = ()

    @property
    def optimistic(self) -> bool:
        """Whether the test part influenced the result."""
        return self.selection == "test" or bool(self.tuned_on)

    @property
    def rule(self) -> str:
        """How epochs were chosen, in a few words."""
        return "epochs chosen on dev" if self.selection == "dev" else "epochs chosen on TEST (optimistic)"

    @property
    def rule_alone(self) -> str:
        """The rule without the word optimistic, for places with a mark of their own."""
        return self.rule.removesuffix(" (optimistic)")

    @property
    def label(self) -> str:
        """All conditions, short enough for a figure.

        >>> Conditions("demo/4class", "test", [0], missing="no utterance of speaker 03").label
        'demo/4class, epochs chosen on TEST (optimistic), incomplete corpus'
        """
        parts = [self.protocol, self.rule]
        if self.tuned_on:
            parts.append("tuned on TEST speakers (optimistic)")
        if self.left_out:
            parts.append("without the speakers tuned on")
        if self.missing:
            parts.append("incomplete corpus")
        return ", ".join(parts)

    @property
    def caveats(self) -> list[str]:
        """Sentences on what makes the result optimistic, or not comparable with one on the whole corpus."""
        sentences = []
        if self.selection == "test":
            sentences.append(
                "Optimistic: the epoch of each training is chosen on the test part itself, and what would be the dev "
                "part is trained on, as in the published code."
            )
        if self.tuned_on:
            sentences.append(
                "Optimistic: the configuration was chosen by its scores on speakers who are test speakers here "
                f"({', '.join(self.tuned_on)})."
            )
        if self.left_out:
            sentences.append(
                f"The speakers by whose scores the configuration was chosen ({', '.join(self.left_out)}) are left out."
            )
        if self.missing:
            sentences.append(
                f"Incomplete corpus: {self.missing}. Not comparable with results on the protocol's whole corpus."
            )
        return sentences

    @property
    def file_name(self) -> str:
        """The part of file names that tells this result from others: `dev` or `test-optimistic`."""
        name = "dev" if self.selection == "dev" else "test-optimistic"
        return f"{name}-without-tuned-on" if self.left_out else name

    def without_tuned_on(self) -> Conditions:
        """The conditions of the same result without the speakers that the configuration was tuned on."""
        return replace(self, tuned_on=(), left_out=self.tuned_on)
