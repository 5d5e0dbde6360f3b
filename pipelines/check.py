"""Check: does the prepared corpus fit the protocol, and does anything leak between the parts?"""

from __future__ import annotations

from collections import Counter

import numpy as np
from rich.console import Console
from rich.table import Table

from fgcme.dataset import SpeechCorpus
from fgcme.experiment import Experiment
from fgcme.protocol import Assignment, Protocol, assign, resolve, split
from pipelines import prepare


def run(experiment: Experiment) -> int:
    """Print counts against the protocol's, what is left out, and the overlap of speakers and texts; 1 on a mismatch."""
    corpus = SpeechCorpus(prepare.locate(experiment))
    protocol = resolve(experiment.protocol, experiment.corpus.kind)
    assignment = assign(protocol, corpus.members, allow_missing=True)
    console = Console()
    console.print(_counts(protocol, assignment))
    for reason, count in assignment.left_out.items():
        console.print(f"left out: {count} x {reason}")
    console.print(_folds(corpus, assignment, experiment))
    methods = Counter(corpus.alignments)
    console.print("alignment: " + ", ".join(f"{count} {method}" for method, count in methods.most_common()))
    for mismatch in assignment.mismatches:
        console.print(f"[bold]mismatch:[/bold] {mismatch}")
    return 1 if assignment.mismatches and not experiment.protocol.allow_missing else 0


def _counts(protocol: Protocol, assignment: Assignment) -> Table:
    table = Table(title=f"{protocol.name}", caption=protocol.source or None)
    table.add_column("class")
    table.add_column("utterances", justify="right")
    table.add_column("expected", justify="right")
    for index, name in enumerate(protocol.classes):
        expected = "" if protocol.expected is None else str(protocol.expected[name])
        table.add_row(name, str(int((assignment.labels == index).sum())), expected)
    return table


def _folds(corpus: SpeechCorpus, assignment: Assignment, experiment: Experiment) -> Table:
    selection = experiment.protocol.selection
    table = Table(title=f"folds, selection {selection}" + (" (optimistic)" if selection == "test" else ""))
    for column in ("fold", "train", "dev", "test", "test speakers", "speakers shared", "test texts seen in training"):
        table.add_column(column, justify="left" if column == "test speakers" else "right")
    speakers, texts = np.array(corpus.members.speakers), np.array(corpus.texts)
    for fold in range(assignment.fold_count):
        parts = split(assignment, fold, selection)
        shared = set(speakers[parts.train]) & (set(speakers[parts.dev]) | set(speakers[parts.test]))
        seen = np.isin(texts[parts.test], np.unique(texts[parts.train])).mean()
        table.add_row(
            str(fold),
            *(str(len(part)) for part in (parts.train, parts.dev, parts.test)),
            " ".join(sorted(set(speakers[parts.test]))),
            str(len(shared)),
            f"{100 * seen:.0f} %",
        )
    return table
