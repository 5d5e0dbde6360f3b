"""Check: does the prepared corpus fit the protocol, and do the parts of a fold share speakers or texts?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from fgcme import prepared
from fgcme.alignment.words import normalise
from fgcme.data import Assignment, Selection, SpeechCorpus, assign_folds, encode, resolve_protocol, split_fold
from fgcme.experiment import Experiment
from pipelines.runs.corpus import locate_prepared

# Speakers of a test part that are named: a narrow terminal has room for so many.
_NAMED_SPEAKERS = 4


def run(experiment: Experiment) -> int:
    """Print how an experiment's prepared corpus fits its protocol.

    That is: counts against the protocol's, what is left out and why, speakers and texts that the parts of a fold share,
    how many utterances each method aligned, and how well.

    Returns:
        The exit status: 1 on a mismatch that is not allowed, else 0.

    Raises:
        UserError: the corpus is not prepared, or there is no such protocol.
    """
    folder = locate_prepared(experiment)
    corpus = SpeechCorpus(folder)
    protocol = resolve_protocol(experiment.protocol, experiment.corpus.kind)
    assignment = assign_folds(protocol, corpus.table, allow_missing=True)
    taking_part = np.flatnonzero(assignment.labels >= 0).tolist()
    groups = corpus.table.speakers if protocol.group == "speaker" else corpus.table.sessions
    by_group = Counter(groups[index] or "" for index in taking_part)
    console = Console()

    def say(line: str) -> None:
        # Never folded, so that the output can be searched.
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    say(f"{protocol.name}: {protocol.source}")
    if protocol.classes:
        by_class = Counter(protocol.classes[assignment.labels[index]] for index in taking_part)
        console.print(_counts("class", protocol.classes, by_class, protocol.expected))
    if protocol.dimensions:
        console.print(_ratings(assignment))
    if protocol.expected_by_group is not None:
        console.print(_counts(protocol.group, list(protocol.expected_by_group), by_group, protocol.expected_by_group))
    for reason, count in assignment.left_out.items():
        say(f"left out: {count} x {reason}")
    for remark in assignment.remarks:
        say(remark)
    if copies := corpus.speeds[1:]:
        say(f"copies: each utterance also at speed {' and '.join(f'{speed:g}' for speed in copies)}, counted nowhere")
    for line in prepared.rejection_lines(folder):
        say(line)
    console.print(_folds(corpus, assignment, experiment.protocol.selection))
    methods = Counter(corpus.alignments[index] for index in taking_part).most_common()
    shares = [f"{count} {method} ({_percent(count / len(taking_part))})" for method, count in methods]
    say(f"alignment: {', '.join(shares)}")
    for line in prepared.quality_lines(folder):
        say(f"  {line}")
    for mismatch in assignment.mismatches:
        say(f"mismatch: {mismatch}")
    allowed = experiment.protocol.allow_missing
    say(f"{protocol.name}: {_verdict(len(assignment.mismatches), allowed, protocol.expected is not None)}")
    return 1 if assignment.mismatches and not allowed else 0


def _verdict(mismatches: int, allowed: bool, counted: bool) -> str:
    if mismatches == 0:
        return (
            "the corpus fits, with the expected counts"
            if counted
            else "the corpus fits; the protocol expects no counts"
        )
    if allowed:
        return f"mismatches: {mismatches}, allowed by protocol.allow_missing; every result is tagged with them"
    return f"mismatches: {mismatches}; complete the corpus, or set protocol.allow_missing=true"


def _counts(kind: str, names: list[str], found: Mapping[str, int], expected: Mapping[str, int] | None) -> Table:
    """Utterances of each class or group, beside the expected counts where the protocol has any."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(kind)
    table.add_column("utterances", justify="right")
    if expected is not None:
        table.add_column("expected", justify="right")
    for name in names:
        table.add_row(name, str(found.get(name, 0)), *([] if expected is None else [str(expected[name])]))
    table.add_section()
    table.add_row("all", str(sum(found.values())), *([] if expected is None else [str(sum(expected.values()))]))
    return table


def _ratings(assignment: Assignment) -> Table:
    """How many utterances that take part have a rating of each dimension, and what the ratings are like."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("rating", "scale", "rated", "not rated", "mean", "deviation"):
        table.add_column(column, justify="left" if column == "rating" else "right")
    tasks, taking_part = assignment.protocol.tasks, assignment.folds >= 0
    values = tasks.unscaled(assignment.ratings[taking_part])
    for (name, (low, high)), own in zip(tasks.dimensions.items(), values.T, strict=True):
        rated = own[~np.isnan(own)]
        moments = (f"{rated.mean():.2f}", f"{rated.std():.2f}") if len(rated) else ("", "")
        table.add_row(name, f"{low:g} to {high:g}", str(len(rated)), str(len(own) - len(rated)), *moments)
    return table


def _folds(corpus: SpeechCorpus, assignment: Assignment, selection: Selection) -> Table:
    """Sizes of the parts of each fold, and the overlap between them.

    For texts, the overlap is the share of a part's utterances whose words are also said in the other part, whatever
    their case and punctuation.
    """
    rule = f"selection {selection}" + (" (optimistic)" if selection == "test" else "")
    table = Table(title=f"folds, {rule}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("fold", "train", "dev", "test"):
        table.add_column(column, justify="right", no_wrap=True)
    # Narrow, so that the table fits an 80-column terminal.
    for column in ("speakers shared", "dev texts in train", "test texts in train", "test texts in dev"):
        table.add_column(column, justify="right", width=len("speakers"))
    table.add_column("tested")
    speakers, names = encode(corpus.table.speakers)
    texts = _number_texts(corpus.texts)
    for fold in range(assignment.fold_count):
        parts = split_fold(assignment, fold, selection)
        train, dev, test = parts.train, parts.dev, parts.test
        tested = sorted([*names, "unknown"][number] for number in np.unique(speakers[test]))
        # With selection `test`, dev is the test part itself.
        distinct = [train, test] if selection == "test" else [train, dev, test]
        shared = Counter(speaker for part in distinct for speaker in np.unique(speakers[part]).tolist())
        table.add_row(
            str(fold),
            *(str(len(part)) for part in (train, dev, test)),
            str(sum(count > 1 for count in shared.values())),
            *(_percent(_seen(texts, part, there)) for part, there in ((dev, train), (test, train), (test, dev))),
            " ".join(tested[:_NAMED_SPEAKERS])
            + (f" and {len(tested) - _NAMED_SPEAKERS} more" if len(tested) > _NAMED_SPEAKERS else ""),
        )
    return table


def _number_texts(texts: Iterable[str]) -> np.ndarray:
    """Number the texts [B]: those have the same number that differ in case and punctuation alone."""
    number_of: dict[str, int] = {}
    return np.fromiter((number_of.setdefault(" ".join(normalise(text)), len(number_of)) for text in texts), np.int64)


def _seen(texts: np.ndarray, part: np.ndarray, there: np.ndarray) -> float:
    """Share of a part's utterances whose text is that of an utterance of another part."""
    return float(np.isin(texts[part], np.unique(texts[there])).mean())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
