"""The verb that writes a prepared corpus in the formats of others, with its help."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.verb import EXPERIMENT, OVERRIDES, ROOT, Verb, argument, load, root_override

# As in `fgcme.interchange.FORMATS`, which is not imported for a line of help.
_FORMATS = ("textgrid", "ctm", "audformat", "lhotse", "hf-folder", "hf-parquet")


def _export_corpus(options: argparse.Namespace) -> None:
    experiment = load(options, root_override(options))
    from pipelines import export_corpus

    export_corpus.run(experiment, options.to, Path(options.output))


EXPORT_CORPUS = Verb(
    name="export-corpus",
    summary="write a prepared corpus in a format of others: its words and their times, labels, speakers",
    example="fgcme export-corpus ravdess --to textgrid --output ravdess-textgrids",
    run=_export_corpus,
    details=(
        "  textgrid   a Praat TextGrid an utterance, by its id, with tiers of words, text, label and speaker\n"
        "  ctm        words.ctm, NIST's time-marked words: a line a word, of all utterances\n"
        "  audformat  a database with a table of utterances and one of words; it names the audio, wherever that lies\n"
        "  lhotse     recordings.jsonl.gz and supervisions.jsonl.gz, which name the audio too\n"
        "  hf-folder  Hugging Face's audio folder: metadata.jsonl, and links to the files (`cp -rL` copies them)\n"
        "  hf-parquet Hugging Face's Parquet, with the sound in it\n"
        "Features are not written. What a format cannot hold is left out, counted and said."
    ),
    arguments=[
        EXPERIMENT,
        OVERRIDES,
        argument("--to", "the format", choices=_FORMATS, required=True),
        argument("--output", "folder to write, new or empty", metavar="DIR", required=True),
        ROOT,
    ],
)
