"""The program `fgcme`: runs one verb, and says in one line what was wrong."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib import metadata

from fgcme.addresses import STUDY, TRACKING, hide_in_override, is_hidden, without_passwords
from fgcme.errors import NotPreparedError, UnfinishedError, UserError
from fgcme.files import way_out
from pipelines.surroundings import keep_loopback_from_proxies, write_what_can_be_written
from pipelines.verbs import VERBS

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
Options and an example of each verb: fgcme VERB --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    write_what_can_be_written((sys.stdout, sys.stderr))
    keep_loopback_from_proxies()
    options = parse(sys.argv[1:] if arguments is None else arguments)
    # SIGTERM ends open runs as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.run(options) or 0)
    except UnfinishedError as error:
        _complain(f"{error}; {_way_to_resume(options, *error.settings)}")
        return 2
    except NotPreparedError as error:
        prepare = ["fgcme", "prepare", options.experiment, *options.overrides] if "experiment" in options else []
        _complain(f"{error.reason}; run `{shlex.join(prepare)}`" if prepare else str(error))
        return 2
    except UserError as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        _complain(f"interrupted; what is finished is kept; {_way_to_resume(options)}")
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        # A full disk, or a file that this user may not write: nothing that a stack trace explains.
        if (said := way_out(error)) is None:
            raise
        _complain(f"{said}; what is finished is kept")
        return 2


def _complain(sentence: str) -> None:
    print(f"fgcme: {without_passwords(sentence)}", file=sys.stderr)


def _way_to_resume(options: argparse.Namespace, *changes: str) -> str:
    """How to resume a call, with overrides that have to be changed for it."""
    if not options.resume_words:
        return "run it again to continue"
    added = [] if options.resume else options.resume_words
    note = f" and the whole address in {TRACKING} or {STUDY}" if any(map(is_hidden, options.words)) else ""
    return f"resume with `{shlex.join(['fgcme', *options.words, *changes, *added])}`{note}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """As `parse_args`, with overrides allowed anywhere behind the verb, after options too, and passwords hidden."""
    parser = argparse.ArgumentParser(
        prog="fgcme",
        description="Fine-grained cross-modality excitement for speech emotion recognition.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fgcme {_version()}")
    verbs = parser.add_subparsers(metavar="VERB")
    for verb in VERBS:
        verb.add_to(verbs)
    try:
        words = _joined([hide_in_override(word) for word in arguments])
    except UserError as error:
        parser.error(str(error))
    options, rest = parser.parse_known_args(words)
    options.words = words
    if "verb" not in options:
        parser.exit(2, parser.format_help())
    if rest and ("overrides" not in options or any(word.startswith("-") or "=" not in word for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}; see `fgcme {options.verb} --help`")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _joined(words: Sequence[str]) -> list[str]:
    """The words of a call, a text joined to its option: it may begin with the sign of one, as `--text "-no"` does."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--text" and not word.startswith("--"):
            joined[-1] = f"--text={word}"
        else:
            joined.append(word)
    return joined


def _version() -> str:
    try:
        return metadata.version("fgcme")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
