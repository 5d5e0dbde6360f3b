"""The program as a user meets it: help, one line for each mistake, a status that scripts can trust."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fgcme.errors import UnfinishedError
from pipelines import cli


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status, and what was printed to standard error."""
    status = cli.main(arguments)
    return status, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAVDESS_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_the_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fgcme {metadata.version('fgcme')}\n"


def test_help_loads_no_engine() -> None:
    code = (
        "import sys; from pipelines import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('ray', 'torch', 'mlflow', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "nope"], "no such experiment; name one of"),
        (["train", "ravdess", "model.poling.kind=mean"], "did you mean model.pooling"),
        (["train", "ravdess", "training.epochs=many"], "training.epochs: 'many' is refused"),
        (["train", "ravdess"], "not prepared yet; run `fgcme prepare ravdess`"),
        (["train", "ravdess", "protocol.name=ravdess/9class"], "not prepared yet"),
        (["train", "ravdess", "prepare.features.bins=60"], "run `fgcme prepare ravdess prepare.features.bins=60`"),
        (["tune", "ravdess", "--space", "nope"], "no such search space; name one of"),
        (["tune", "ravdess", "--space", "pooling", "--trials", "0"], "tune.trials: 0 is refused"),
        (["prepare", "ravdess"], "RAVDESS_ROOT"),
        (["prepare", "ravdess", "--root", "nowhere"], "nowhere"),
        (["check", "demo"], "not prepared yet"),
        (["register", "latest", "--name", "x"], "no MLflow database here"),
        (["predict", "models:/nothing@champion", "some.wav", "--text", "hello"], "no MLflow database here"),
    ],
)
def test_a_user_error_is_one_line_and_a_nonzero_status(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run(capsys, *arguments)
    assert status != 0
    assert sentence in text
    assert text.startswith("fgcme: ")
    assert text.count("\n") == 1


def test_an_empty_root_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    status, text = run(capsys, "prepare", "ravdess", "--root", "empty")
    assert status != 0
    assert "empty" in text
    assert text.count("\n") == 1


def test_overrides_may_come_before_and_after_options() -> None:
    options = cli.parse(["train", "ravdess", "training.epochs=5", "--fold", "0", "training.batch_size=8"])
    assert options.overrides == ["training.epochs=5", "training.batch_size=8"]
    assert options.fold == [0]


@pytest.mark.parametrize("arguments", [["train", "ravdess", "--folds", "1"], ["doctor", "now"], [], ["fly"]])
def test_an_unknown_option_or_verb_or_none_is_refused_with_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parse(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (
            ["tune", "ravdess", "--space", "my space"],
            KeyboardInterrupt(),
            "fgcme tune ravdess --space 'my space' --resume",
        ),
        (["train", "ravdess", "name=a"], KeyboardInterrupt(), "fgcme train ravdess name=a --resume latest"),
        (["train", "ravdess", "--resume", "1234567"], KeyboardInterrupt(), "fgcme train ravdess --resume 1234567"),
        (
            ["tune", "ravdess", "--space", "joint"],
            UnfinishedError("2 trials failed", "tune.max_failures=2"),
            "fgcme tune ravdess --space joint tune.max_failures=2 --resume",
        ),
        (
            ["tune", "ravdess", "--space", "joint", "tune.study_storage=postgresql://me:secret@host/study"],
            KeyboardInterrupt(),
            "fgcme tune ravdess --space joint tune.study_storage=postgresql://me:...@host/study --resume",
        ),
    ],
)
def test_interrupted_work_names_the_command_that_resumes_it(
    arguments: list[str],
    error: BaseException,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(*given: object) -> None:
        raise error

    monkeypatch.setattr(f"pipelines.{arguments[0]}.run", end)
    status, text = run(capsys, *arguments)
    assert status != 0
    note = " and the whole address in MLFLOW_TRACKING_URI or FGCME_STUDY_STORAGE" if "..." in sentence else ""
    assert f"; resume with `{sentence}`{note}\n" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "demo", "tracking.uri=http://me:sec@ret?x@host"],
        ["train", "demo", "--unknown", "tracking.uri=http://me:sec/ret@host"],
        ["train", "demo", "tracking.url=http://me:sec/ret@host"],
        ["train", "demo", 'tracking.url="http://me:sec/ret@host"'],
        ["doctor", "tracking.uri=http://me:sec/ret@host"],
    ],
)
def test_a_refused_command_shows_no_password(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err and "sec" not in captured.err.replace("--section", "") and "ret@" not in captured.err


def test_a_text_may_begin_with_the_sign_of_an_option() -> None:
    options = cli.parse(["predict", "models:/m@a", "a.wav", "--text", "-no", "--text", "yes", "--format", "json"])
    assert (options.text, options.format) == (["-no", "yes"], "json")


def test_a_full_disk_is_told_in_a_line_with_the_file_and_the_way_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "storage/a.parquet")

    monkeypatch.setattr("pipelines.demo.run", full)
    status, said = run(capsys, "demo")
    assert status == 2
    assert said == (
        "fgcme: storage/a.parquet: No space left on device; make room on its disk, then run the same again; "
        "what is finished is kept\n"
    )
