"""The verb that compares alignments, with its help."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.verb import Verb, argument


def _compare_alignments(options: argparse.Namespace) -> int:
    from pipelines import compare_alignments

    return compare_alignments.run(Path(options.first), Path(options.second), options.worst)


COMPARE_ALIGNMENTS = Verb(
    name="compare-alignments",
    summary="show how far apart two alignments put the edges of words",
    example="fgcme compare-alignments storage/prepared/emodb-1a2b3c4d labels/textgrids",
    run=_compare_alignments,
    details=(
        "Each is a prepared corpus, or a folder with .TextGrid, .wdseg, .ctm or .json files by utterance id.\n"
        "Utterances whose words differ are counted and not compared. Exit status 1 if none could be compared."
    ),
    arguments=[
        argument("first", "prepared corpus or folder of alignments", metavar="A"),
        argument("second", "the same, to compare with", metavar="B"),
        argument("--worst", "name so many of the utterances that differ most (10)", metavar="N", type=int, default=10),
    ],
)
