"""What a preparation found and did, as numbers and as lines for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fgcme.corpora.contract import Rejection

# Not counted as rejected: files outside the corpus, and duplicates.
_NOT_REJECTED = frozenset({"not_of_corpus", "duplicate"})
# Examples that a line names.
_EXAMPLES = 3


@dataclass(frozen=True)
class PreparedSummary:
    """What a preparation found and did.

    Attributes:
        folder: folder of the prepared corpus.
        utterances: number of prepared utterances in it.
        newly_prepared: how many of them this preparation added.
        aligned: number of utterances by the method that really aligned them.
        rejections: everything that could not become a prepared utterance.
        seconds: wall time.
        kept: number of utterances that keep the row of an earlier preparation, because what they are made from cannot
            be reached now.
        kept_examples: audio of some of them.
        copies: speeds of the copies that each utterance has beside its recording.
        clipped: number of the encoders' values beyond the range of half precision, which are stored at its limit.
        empty_words: number of words that no piece of the text encoder's vocabulary stands for.
        cut_words: number of words beyond the pieces that the text encoder can read.
        oddities: number of utterances by what is odd about them and was taken all the same.
    """

    folder: Path
    utterances: int
    newly_prepared: int
    aligned: dict[str, int]
    rejections: list[Rejection] = field(repr=False)
    seconds: float
    kept: int = 0
    kept_examples: Sequence[str] = ()
    clipped: int = 0
    copies: Sequence[float] = ()
    empty_words: int = 0
    cut_words: int = 0
    oddities: Mapping[str, int] = field(default_factory=dict)

    @property
    def rejected(self) -> list[Rejection]:
        """Utterances that could not be prepared."""
        return [rejection for rejection in self.rejections if rejection.reason not in _NOT_REJECTED]

    @property
    def left_out(self) -> list[Rejection]:
        """Files outside the corpus, and duplicates: no utterance is lost with them."""
        return [rejection for rejection in self.rejections if rejection.reason in _NOT_REJECTED]

    @property
    def rejected_share(self) -> float:
        """Share of the corpus's utterances that was rejected, 0 to 1."""
        return len(self.rejected) / max(1, self.utterances + len(self.rejected))

    @property
    def kept_line(self) -> str:
        """How many utterances keep the row of an earlier preparation, and why, as a phrase."""
        utterances = "utterance" if self.kept == 1 else "utterances"
        return f"{self.kept} {utterances} kept whose audio or imported alignment cannot be reached"

    def lines(self) -> Iterator[str]:
        """The summary as lines for a person."""
        yield f"prepared corpus: {self.folder}"
        before = self.utterances - self.newly_prepared
        counts = f"{self.newly_prepared} prepared now" + (f", {before} before" if before else "")
        speeds = f", each at {1 + len(self.copies)} speeds" if self.copies else ""
        yield f"utterances: {self.utterances}{speeds} ({counts}; {self.seconds:.1f} s)"
        if self.kept:
            yield f"{self.kept_line}: {', '.join(self.kept_examples)}"
        if self.clipped:
            yield f"clipped: {self.clipped} values are beyond the range of half precision, and stored at its limit"
        if self.empty_words or self.cut_words:
            yield (
                f"words that the text encoder says nothing of: {self.empty_words} without a piece of its vocabulary, "
                f"{self.cut_words} beyond the length that it reads"
            )
        yield f"aligned: {', '.join(f'{count} {method}' for method, count in self.aligned.items()) or 'none'}"
        if self.oddities:
            yield f"taken all the same: {'; '.join(f'{count} {oddity}' for oddity, count in self.oddities.items())}"
        if self.rejected:
            share, folder = f"{self.rejected_share:.1%}", self.folder / "rejected"
            yield f"rejected: {len(self.rejected)} ({share}), listed in {folder} (Parquet)"
        reasons = Counter(rejection.reason for rejection in self.rejected)
        for reason, count in reasons.most_common():
            first = next(rejection for rejection in self.rejected if rejection.reason == reason)
            yield f"  {reason}: {count}, such as {first.id}: {first.message}"
        if self.left_out:
            examples = ", ".join(rejection.audio for rejection in self.left_out[:_EXAMPLES])
            yield f"left out: {len(self.left_out)} (duplicates or files outside the corpus), such as {examples}"
