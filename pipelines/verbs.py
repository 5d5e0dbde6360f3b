"""The verbs of the program, with their help and what they run; a stage loads when its verb is used."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pipelines.alignment_verb import COMPARE_ALIGNMENTS
from pipelines.export_corpus_verb import EXPORT_CORPUS
from pipelines.predict_verb import PREDICT
from pipelines.verb import EXPERIMENT, LANGUAGE, MODEL, OVERRIDES, ROOT, TRANSCRIBE, Verb, argument, load, root_override


def _demo(options: argparse.Namespace) -> None:
    from pipelines import demo

    demo.run(options.overrides)


def _corpora(options: argparse.Namespace) -> None:
    from pipelines import corpora

    corpora.run(fetches=options.action == "get", name=options.name, folder=options.output)


def _prepare(options: argparse.Namespace) -> None:
    root = root_override(options)
    experiment = load(options, root)
    from pipelines import prepare
    from pipelines.runs.corpus import feature_settings

    # A training needs the root only where it tells one prepared corpus from another.
    needed = root if "corpus.root" in feature_settings(experiment) else []
    train = ["fgcme", "train", options.experiment, *options.overrides, *needed]
    prepare.run(experiment, next_command=shlex.join(train))


def _check(options: argparse.Namespace) -> int:
    from pipelines import check

    return check.run(load(options))


def _train(options: argparse.Namespace) -> None:
    experiment = load(options)
    from pipelines import final, train

    if options.final:
        final.run(experiment, options.final, options.resume)
    else:
        train.run(experiment, options.fold, options.resume)


def _tune(options: argparse.Namespace) -> None:
    experiment = load(options, [f"tune.trials={options.trials}"] if options.trials is not None else [])
    from pipelines import tune
    from pipelines.sweep.plan import preview

    if options.dry_run:
        preview(experiment, options.space)
    else:
        tune.run(experiment, options.space, options.resume)


def _ablate(options: argparse.Namespace) -> None:
    experiment = load(options)
    from pipelines import ablate

    asked = options.selection
    selections = None if asked is None else ablate.RULES if asked == "both" else (asked,)
    ablate.run(experiment, options.space, selections, options.resume)


def _report(options: argparse.Namespace) -> None:
    from pipelines import report

    report.report(options.run_id, None if options.output is None else Path(options.output))


def _robustness(options: argparse.Namespace) -> None:
    from pipelines import robustness

    robustness.robustness(options.run_id, options.utterances, options.root)


def _register(options: argparse.Namespace) -> None:
    from pipelines import register

    register.register(options.run_id, options.name, options.alias, together=options.ensemble, force=options.force)


def _promote(options: argparse.Namespace) -> int:
    from pipelines import promote

    return 0 if promote.promote(options.name, options.version, options.margin) else 1


def _demote(options: argparse.Namespace) -> None:
    from pipelines import promote

    promote.demote(options.name)


def _export(options: argparse.Namespace) -> None:
    from pipelines import export

    folder, onnx = (None if path is None else Path(path) for path in (options.hub_folder, options.onnx))
    export.export(options.model, folder, onnx)


def _serve(options: argparse.Namespace) -> None:
    from pipelines import serve

    serve.serve(options.model, options.port, transcribe=options.transcribe, language=options.language)


def _sync(options: argparse.Namespace) -> int:
    from pipelines import sync

    return sync.run(Path(options.storage))


def _doctor(options: argparse.Namespace) -> int:
    from pipelines import doctor

    return doctor.run()


def _run(word: str) -> str:
    if "=" in word:
        raise argparse.ArgumentTypeError(f"{word!r} is no run: put settings before this option")
    return word


VERBS = (
    Verb(
        name="demo",
        summary="do the whole job on the embedded corpus, start to end",
        example="fgcme demo",
        run=_demo,
        details="Prepares, trains, tunes, registers and predicts: about 2 minutes on 2 cores.",
        arguments=[OVERRIDES],
    ),
    Verb(
        name="corpora",
        summary="list the corpora that are supported, and fetch those that everybody may fetch",
        example="fgcme corpora get ravdess",
        run=_corpora,
        details=(
            "Without arguments it lists them. `get` fetches one from its makers, goes on where it broke off, keeps\n"
            "only bytes that are theirs, and unpacks them."
        ),
        arguments=[
            argument("action", "fetch the corpus that is named", metavar="get", nargs="?", choices=["get"]),
            argument("name", "of the corpus", metavar="NAME", nargs="?"),
            argument("--output", "folder for the corpus (corpora/NAME)", metavar="DIR"),
        ],
    ),
    Verb(
        name="prepare",
        summary="align every word of a corpus with its frames and extract features",
        example="fgcme prepare ravdess --root path/to/RAVDESS",
        run=_prepare,
        details="Run again, it prepares only what is missing or has changed.",
        arguments=[EXPERIMENT, OVERRIDES, ROOT],
    ),
    Verb(
        name="check",
        summary="compare a prepared corpus with its protocol",
        example="fgcme check ravdess",
        run=_check,
        details="Shows the counts, what train, dev and test parts share, and how many words the aligner found.",
        arguments=[EXPERIMENT, OVERRIDES],
    ),
    COMPARE_ALIGNMENTS,
    EXPORT_CORPUS,
    Verb(
        name="train",
        summary="cross-validate over folds and seeds",
        example="fgcme train ravdess training.epochs=5 --fold 0",
        run=_train,
        details=(
            "Records a run, and one below it for each fold and seed.\n"
            "With --final it trains each seed once on all speakers, for the model that is used. Nobody is left to\n"
            "choose or to test: a finished cross-validation of the same settings is the estimate, and chooses the\n"
            "epochs: the median of its best ones, which folds that peak early or late by chance do not move."
        ),
        arguments=[
            EXPERIMENT,
            OVERRIDES,
            argument("--resume", "complete a run that was interrupted: its id, name or `latest`", metavar="RUN"),
        ],
        one_of=[
            argument("--fold", "only this fold; may be repeated", metavar="N", type=int, action="append"),
            argument(
                "--final",
                "train on all speakers, as long as this cross-validation chose: its id, name or `latest` (latest)",
                metavar="RUN",
                nargs="?",
                const="latest",
                type=_run,
            ),
        ],
        resume=["--resume", "latest"],
    ),
    Verb(
        name="tune",
        summary="search for a better configuration, on dev parts only",
        example="fgcme tune ravdess --space pooling --trials 8",
        run=_tune,
        details="Writes the best one as an experiment file that `fgcme train` takes.",
        arguments=[
            EXPERIMENT,
            OVERRIDES,
            argument("--space", "name or path of a search space", metavar="NAME", required=True),
            argument("--trials", "configurations to try (tune.trials)", metavar="N", type=int),
        ],
        one_of=[
            argument("--resume", "resume the latest sweep over this space", action="store_true"),
            argument("--dry-run", "say what it would take, and start nothing", action="store_true"),
        ],
        resume=["--resume"],
    ),
    Verb(
        name="ablate",
        summary="train variants on the same folds and seeds, and compare them",
        example="fgcme ablate ravdess --space paper_ablation",
        run=_ablate,
        details="Each variant is compared with the ablation's reference, paired by fold and seed.",
        arguments=[
            EXPERIMENT,
            OVERRIDES,
            argument("--space", "name or path of an ablation", metavar="NAME", required=True),
            argument(
                "--selection",
                "how epochs are chosen (protocol.selection); `test` is the published code's rule, and optimistic",
                choices=["dev", "test", "both"],
            ),
            argument("--resume", "resume the latest ablation over this space", action="store_true"),
        ],
        resume=["--resume"],
    ),
    Verb(
        name="report",
        summary="write a page with the tables and figures of an ablation, a cross-validation or a sweep",
        example="fgcme report latest --output report",
        run=_report,
        details="Besides the page: the figures, and the tables as CSV and LaTeX.",
        arguments=[
            argument("run_id", "a run of `fgcme ablate`, `train` or `tune`: its id, name or `latest`", metavar="RUN"),
            argument("--output", "folder for the page and its files (report-ID)", metavar="DIR"),
        ],
    ),
    Verb(
        name="robustness",
        summary="measure how much worse a cross-validation's models answer from worse recordings and transcripts",
        example="fgcme robustness latest --utterances 200",
        run=_robustness,
        details=(
            "Test utterances with noise, by telephone, as MP3, softer, louder, and with wrong words, by the model of\n"
            "their fold, which has not heard their speaker. It is recorded with the run, for `fgcme register`'s card."
        ),
        arguments=[
            argument("run_id", "a finished run of `fgcme train`: its id, name or `latest`", metavar="RUN"),
            argument("--utterances", "how many are asked about (200)", metavar="N", type=int, default=200),
            argument("--root", "folder of the corpus, if it has moved (corpus.root)", metavar="DIR"),
        ],
    ),
    Verb(
        name="register",
        summary="put a run's model into the MLflow registry",
        example="fgcme register latest --name fgcme-ravdess --alias champion",
        run=_register,
        details=(
            "Of a cross-validation it takes the fold with the highest dev score, of a final one the first seed. A run\n"
            "that is not finished, of an unknown protocol or corpus, or selected on the test part is refused."
        ),
        arguments=[
            argument("run_id", "a run of `fgcme train`: its id, name or `latest`", metavar="RUN"),
            argument("--name", "name in the registry", required=True),
            argument("--alias", "alias to set, such as champion"),
            argument("--ensemble", "all models of the run, which answer together", action="store_true"),
            argument("--force", "register what would be refused, with a tag that says why", action="store_true"),
        ],
    ),
    Verb(
        name="promote",
        summary="make a version of a registered model its champion, if it beats the present one",
        example="fgcme promote fgcme-ravdess 2",
        run=_promote,
        details=(
            "Both are compared on the same test utterances, by the predictions of their cross-validations. The\n"
            "champion before is kept as `previous`. Where the champion stays, the status is 1."
        ),
        arguments=[
            argument("name", "name in the registry", metavar="NAME"),
            argument("version", "number of the version, or an alias that it has", metavar="VERSION"),
            argument(
                "--margin",
                "points of UA, or hundredths of CCC where ratings decide, by which it must be better; by default the "
                "paired test has to say so (p at most 0.05)",
                metavar="POINTS",
                type=float,
            ),
        ],
    ),
    Verb(
        name="demote",
        summary="make the previous champion of a registered model the champion again",
        example="fgcme demote fgcme-ravdess",
        run=_demote,
        arguments=[argument("name", "name in the registry", metavar="NAME")],
    ),
    PREDICT,
    Verb(
        name="export",
        summary="write a registered model as a folder for the Hugging Face hub, or as an ONNX graph",
        example="fgcme export models:/fgcme-ravdess@champion --hub-folder fgcme-ravdess --onnx fgcme-ravdess.onnx",
        run=_export,
        details=(
            "The folder holds weights, settings, the model card and the code that loads it; `fgcme predict` answers\n"
            "from it. The graph takes any number of frames and words; it is compared with the model on random\n"
            "utterances, and not written where it answers otherwise."
        ),
        arguments=[
            MODEL,
            argument("--hub-folder", "folder to write, new or empty", metavar="DIR"),
            argument("--onnx", "file to write (needs the extra `onnx`)", metavar="FILE"),
        ],
    ),
    Verb(
        name="serve",
        summary="answer questions over HTTP on this machine, with a page to record or drop a file",
        example="fgcme serve models:/fgcme-ravdess@champion",
        run=_serve,
        details=(
            "POST /predict takes JSON: `audio` in base64, and `text`; /openapi.json describes it. With --transcribe\n"
            "what is said is recognised where `text` is left out. Ctrl-C stops it."
        ),
        arguments=[
            MODEL,
            argument("--port", "on this machine (8080); 0 for one that is free", metavar="N", type=int, default=8080),
            TRANSCRIBE,
            LANGUAGE,
        ],
    ),
    Verb(
        name="sync",
        summary="send to MLflow what could not be recorded while its server was away",
        example="fgcme sync --storage storage",
        run=_sync,
        arguments=[argument("--storage", "folder of the results (storage.path)", metavar="DIR", default="storage")],
    ),
    Verb(
        name="doctor",
        summary="show what this machine has for each stage, and what is missing",
        example="fgcme doctor",
        run=_doctor,
    ),
)
