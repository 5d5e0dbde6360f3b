"""The verb `predict`: its help and what it runs; it has more to say than others."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.verb import LANGUAGE, MODEL, TRANSCRIBE, Verb, argument


def _predict(options: argparse.Namespace) -> int:
    from pipelines import predict

    return predict.predict(
        options.model,
        [Path(path) for path in options.inputs],
        options.text,
        options.format,
        None if options.output is None else Path(options.output),
        transcribe=options.transcribe,
        language=options.language,
        longest=options.longest,
        workers=options.workers,
    )


PREDICT = Verb(
    name="predict",
    summary="predict the emotions of recordings, word by word",
    example='fgcme predict models:/fgcme-ravdess@champion some.wav --text "Kids are talking by the door"',
    run=_predict,
    details=(
        "A manifest is a CSV, TSV, JSONL or Parquet file with a column audio and, if you like, text, start, end.\n"
        "What is said comes from --text; else from the manifest; else from a file beside the recording, its name\n"
        "with .txt or .lab; else --transcribe; else a model that learnt it answers by the sound alone. Long\n"
        "recordings are cut at pauses. A folder of answers is filled by several processes; run again, it goes on."
    ),
    arguments=[
        MODEL,
        argument("inputs", "sound files, folders, patterns such as '*.wav', manifests", metavar="AUDIO", nargs="+"),
        argument("--text", "what is said; once for all, or once a file", action="append", default=[]),
        TRANSCRIBE,
        LANGUAGE,
        argument("--format", "what is printed", choices=["table", "json", "csv", "textgrid"], default="table"),
        argument("--output", "FILE.parquet; or a folder for TextGrids, or for many answers", metavar="DIR"),
        argument("--longest", "cut what lasts longer (as long as the model hears)", metavar="SECONDS", type=float),
        argument("--workers", "processes that fill a folder (as many as there is room for)", metavar="N", type=int),
    ],
)
