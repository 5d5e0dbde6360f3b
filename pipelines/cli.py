"""The program `fgcme`: one function a verb. Stages are imported only when their verb is used."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import NotPreparedError, UnfinishedError, UserError, without_passwords

if TYPE_CHECKING:
    from fgcme.experiment import Experiment

_EPILOG = """\
From a folder of speech to a registered model:
  fgcme prepare ravdess --root path/to/RAVDESS
  fgcme train   ravdess
  fgcme tune    ravdess --space pooling --trials 8
  fgcme ablate  ravdess_ablation --space paper_ablation
  fgcme report  latest
  fgcme register latest --name fgcme-ravdess --alias champion
  fgcme predict models:/fgcme-ravdess@champion some.wav --text "Kids are talking by the door"
No corpus at hand: fgcme demo
"""
# The words that make an interrupted verb resume.
_RESUME = {"train": ["--resume", "latest"], "tune": ["--resume"], "ablate": ["--resume"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(words)
    run: Callable[[argparse.Namespace], int | None] = options.run
    # A program that is told to end says so in the runs that it began, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options) or 0
    except UnfinishedError as error:
        _complain(f"{error}; {_way_to_resume(options.verb, [*words, *error.settings])}")
        return 2
    except NotPreparedError as error:
        prepare = ["fgcme", "prepare", options.experiment, *options.overrides] if "experiment" in options else []
        _complain(f"{error.reason}; run `{shlex.join(prepare)}`" if prepare else str(error))
        return 2
    except UserError as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        _complain(f"interrupted; what is finished is kept; {_way_to_resume(options.verb, words)}")
        return 130
    except BrokenPipeError:
        return 141


def _complain(sentence: str) -> None:
    print(f"fgcme: {without_passwords(sentence)}", file=sys.stderr)


def _way_to_resume(verb: str, words: list[str]) -> str:
    """How to resume a verb that was called with these words."""
    if verb not in _RESUME:
        return "run it again to continue"
    resuming = any(word.partition("=")[0] == "--resume" for word in words)
    return f"resume with `{shlex.join(['fgcme', *words, *([] if resuming else _RESUME[verb])])}`"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """As `parse_args`, with overrides allowed anywhere behind the verb, after options too."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and ("overrides" not in options or any(word.startswith("-") or "=" not in word for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fgcme",
        description="Fine-grained cross-modality excitement for speech emotion recognition.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, run: Callable[[argparse.Namespace], int | None], text: str, example: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run, verb=name)
        return added

    def experiment_verb(
        name: str, run: Callable[[argparse.Namespace], int | None], text: str, example: str
    ) -> argparse.ArgumentParser:
        added = verb(name, run, text, example)
        added.add_argument("experiment", metavar="EXPERIMENT", help="name or path of an experiment file")
        added.add_argument(
            "overrides", metavar="key=value", nargs="*", default=(), help="settings, e.g. training.epochs=5"
        )
        return added

    demo = verb("demo", _demo, "the whole job on the embedded corpus, start to end", "fgcme demo")
    _add_overrides(demo)
    verb("corpora", _corpora, "what corpora are supported, and how to get them", "fgcme corpora")
    prepare = experiment_verb(
        "prepare",
        _prepare,
        "align every word of a corpus with its frames and extract features",
        "fgcme prepare ravdess --root path/to/RAVDESS",
    )
    prepare.add_argument("--root", metavar="DIR", help="folder of the corpus (corpus.root)")
    experiment_verb(
        "check",
        _check,
        "counts against the protocol, overlap of speakers and texts between the parts, coverage of the alignment",
        "fgcme check ravdess",
    )
    train = experiment_verb(
        "train", _train, "cross-validate over folds and seeds", "fgcme train ravdess training.epochs=5 --fold 0"
    )
    train.add_argument("--fold", metavar="N", type=int, action="append", help="only this fold; may be repeated")
    train.add_argument("--resume", metavar="RUN", help="complete a run that was interrupted: its id, name or `latest`")
    tune = experiment_verb(
        "tune",
        _tune,
        "search for a better configuration, on dev parts only",
        "fgcme tune ravdess --space pooling --trials 8",
    )
    tune.add_argument("--space", metavar="NAME", required=True, help="name or path of a search space")
    tune.add_argument("--trials", metavar="N", type=int, help="configurations to try (tune.trials)")
    way = tune.add_mutually_exclusive_group()
    way.add_argument("--resume", action="store_true", help="resume the latest sweep over this space")
    way.add_argument("--dry-run", action="store_true", help="say what it would take, and start nothing")
    ablate = experiment_verb(
        "ablate",
        _ablate,
        "train variants on the same folds and seeds, and compare them",
        "fgcme ablate ravdess --space paper_ablation",
    )
    ablate.add_argument("--space", metavar="NAME", required=True, help="name or path of an ablation")
    ablate.add_argument(
        "--selection",
        choices=["dev", "test", "both"],
        help="how epochs are chosen (protocol.selection); `test` is the published code's rule, and optimistic",
    )
    ablate.add_argument("--resume", action="store_true", help="resume the latest ablation over this space")
    report = verb(
        "report",
        _report,
        "a page with the tables and figures of an ablation, a cross-validation or a sweep",
        "fgcme report latest --output report",
    )
    report.add_argument(
        "run_id", metavar="RUN", help="a run of `fgcme ablate`, `train` or `tune`: its id, name or `latest`"
    )
    report.add_argument("--output", metavar="DIR", help="folder for the page and its files (report-ID)")
    register = verb(
        "register",
        _register,
        "put a run's model into the MLflow registry",
        "fgcme register latest --name fgcme-ravdess --alias champion",
    )
    register.add_argument("run_id", metavar="RUN", help="a run of `fgcme train`: its id, name or `latest`")
    register.add_argument("--name", required=True, help="name in the registry")
    register.add_argument("--alias", help="alias to set, such as champion")
    predict = verb(
        "predict",
        _predict,
        "emotions of recordings, word by word",
        'fgcme predict models:/fgcme-ravdess@champion some.wav --text "Kids are talking by the door"',
    )
    predict.add_argument(
        "model", metavar="MODEL_URI", help="models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model"
    )
    predict.add_argument("audio", metavar="AUDIO", nargs="+", help="sound files")
    predict.add_argument("--text", action="append", default=[], help="what is said; once for all, or once a file")
    predict.add_argument("--format", choices=["table", "json", "csv", "textgrid"], default="table")
    predict.add_argument("--output", metavar="DIR", help="folder for TextGrid files")
    sync = verb(
        "sync",
        _sync,
        "send to MLflow what could not be recorded while its server was away",
        "fgcme sync --storage storage",
    )
    sync.add_argument("--storage", metavar="DIR", default="storage", help="folder of the results (storage.path)")
    verb("doctor", _doctor, "what this machine has", "fgcme doctor")
    return parser


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    # With a default, argparse does not count them among the arguments that are required.
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", default=(), help="settings, e.g. training.epochs=5"
    )


def _load(options: argparse.Namespace, extra: Sequence[str] = ()) -> Experiment:
    from fgcme.experiment import load_experiment
    from pipelines.bundled import experiment_file

    return load_experiment(experiment_file(options.experiment), [*options.overrides, *extra])


def _demo(options: argparse.Namespace) -> None:
    from pipelines import demo

    demo.run(options.overrides)


def _corpora(options: argparse.Namespace) -> None:
    from fgcme.corpora.catalogue import CORPORA

    for corpus in CORPORA.values():
        print(f"{corpus.name}: {corpus.title}\n  size     {corpus.size}\n  licence  {corpus.licence}")
        print(f"  citation {corpus.citation}\n  get it   {corpus.obtain}\n")


def _prepare(options: argparse.Namespace) -> None:
    root = [f"corpus.root={json.dumps(options.root)}"] if options.root else []
    experiment = _load(options, root)
    from pipelines import prepare
    from pipelines.runs.corpus import feature_settings

    # A training needs the root only where it tells one prepared corpus from another.
    needed = root if "corpus.root" in feature_settings(experiment) else []
    train = ["fgcme", "train", options.experiment, *options.overrides, *needed]
    prepare.run(experiment, next_command=shlex.join(train))


def _check(options: argparse.Namespace) -> int:
    from pipelines import check

    return check.run(_load(options))


def _train(options: argparse.Namespace) -> None:
    experiment = _load(options)
    from pipelines import train

    train.run(experiment, options.fold, options.resume)


def _tune(options: argparse.Namespace) -> None:
    experiment = _load(options, [f"tune.trials={options.trials}"] if options.trials is not None else [])
    from pipelines import tune
    from pipelines.sweep.plan import preview

    if options.dry_run:
        preview(experiment, options.space)
    else:
        tune.run(experiment, options.space, options.resume)


def _ablate(options: argparse.Namespace) -> None:
    experiment = _load(options)
    from pipelines import ablate

    asked = options.selection
    selections = None if asked is None else ablate.RULES if asked == "both" else (asked,)
    ablate.run(experiment, options.space, selections, options.resume)


def _report(options: argparse.Namespace) -> None:
    from pipelines import report

    report.report(options.run_id, None if options.output is None else Path(options.output))


def _register(options: argparse.Namespace) -> None:
    from pipelines import register

    register.register(options.run_id, options.name, options.alias)


def _predict(options: argparse.Namespace) -> int:
    from pipelines import predict

    return predict.predict(
        options.model,
        [Path(path) for path in options.audio],
        options.text,
        options.format,
        None if options.output is None else Path(options.output),
    )


def _sync(options: argparse.Namespace) -> int:
    from pipelines import sync

    return sync.run(Path(options.storage))


def _doctor(options: argparse.Namespace) -> int:
    from pipelines import doctor

    return doctor.run()


if __name__ == "__main__":
    sys.exit(main())
