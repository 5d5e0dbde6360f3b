"""Addresses: no password is shown or written, whatever it holds, and who needs it finds it again."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import unquote

import pytest
import sqlalchemy
from pydantic import ValidationError

from fgcme.addresses import (
    STUDY,
    TRACKING,
    hide,
    hide_in_override,
    is_hidden,
    known_addresses,
    learn_addresses,
    reveal,
    without_passwords,
)
from fgcme.errors import UserError
from fgcme.experiment.settings import TrackingSettings, TuneSettings
from fgcme.tracking import resolve_uri

PASSWORDS = ["secret", "sec/ret", "sec@ret", "s@ec/r@et", "sec:ret", "sec#ret", "sec%ret", "sec ret", "sec%40ret"]
WITHOUT = [
    "sqlite:////data/a:b@c/mlflow.db",
    "http://host:5000/mlflow",
    "http://[::1]:5000",
    "postgresql://me@host/study",
    "postgresql+psycopg2://me:@/study?host=/run/postgresql",
    "runs",
    "",
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("host", ["host", "host:5432", ""])
def test_a_password_is_hidden_and_found_again(password: str, host: str) -> None:
    address = f"postgresql://me:{password}@{host}/study?connect_timeout=3"
    hidden = hide(address)
    assert hidden == f"postgresql://me:...@{host}/study?connect_timeout=3" and is_hidden(hidden)
    assert hide(hidden) == hidden
    url = sqlalchemy.make_url(reveal(hidden))
    # `%40` is how an address has an `@`.
    assert url.password == unquote(password)
    assert (url.username, url.host or "", url.database) == ("me", host.partition(":")[0], "study")


@pytest.mark.parametrize("name", ["password", "sslpassword", "PWD", "access_token", "client_secret"])
def test_a_password_among_the_parameters_is_hidden_and_found_again(name: str) -> None:
    address = f"postgresql://host:5432/study?user=me&{name}=a/b@c:d&connect_timeout=3"
    hidden = hide(address)
    assert hidden == f"postgresql://host:5432/study?user=me&{name}=...&connect_timeout=3" and is_hidden(hidden)
    assert reveal(hidden) == address


@pytest.mark.parametrize("address", WITHOUT)
def test_an_address_without_a_password_stays_as_it_is(address: str) -> None:
    assert hide(address) == reveal(address) == address == without_passwords(address)
    assert not is_hidden(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:sec?ret@host:5000",
        "http://me:sec?password=ret@host:5000",
        "http://me:sec@r?et@host:5000",
        "http://me:s@host?x=ret@elsewhere",
    ],
)
def test_an_address_of_which_nobody_can_tell_the_password_is_refused_without_showing_it(address: str) -> None:
    for use in (hide, lambda text: hide_in_override(f"tracking.uri={text}")):
        with pytest.raises(UserError, match=r"^http://\.\.\.: write each `@` behind a `\?` as %40") as refusal:
            use(address)
        assert "sec" not in str(refusal.value)
    with pytest.raises(ValidationError, match="as %40"):
        TrackingSettings(uri=address)


def test_no_setting_holds_a_password() -> None:
    address = "postgresql://me:sec/ret@host/study"
    assert TrackingSettings(uri=address).uri == TuneSettings(study_storage=address).study_storage
    assert TrackingSettings(uri=address).uri == "postgresql://me:...@host/study"
    assert TrackingSettings().uri is None


def test_the_slash_at_the_end_of_a_server_makes_no_other_address() -> None:
    assert hide("http://me:secret@slash/mlflow/") == hide("http://me:secret@slash/mlflow")
    assert reveal(hide("http://me:secret@slash/mlflow/")) == "http://me:secret@slash/mlflow"
    assert resolve_uri(TrackingSettings(uri="http://me:secret@slash/").uri) == "http://me:...@slash"
    assert reveal("http://me:...@slash") == "http://me:secret@slash"


@pytest.mark.parametrize("name", [TRACKING, STUDY])
def test_another_process_finds_a_password_in_the_environment(name: str) -> None:
    code = "import sys; from fgcme.addresses import reveal; print(reveal(sys.argv[1]))"
    hidden = "http://me:...@elsewhere:5000/mlflow"

    def run(**environment: str) -> str:
        command = [sys.executable, "-c", code, hidden]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        return done.stdout or done.stderr

    assert run(**{name: "http://me:sec@ret@elsewhere:5000/mlflow/"}) == "http://me:sec%40ret@elsewhere:5000/mlflow\n"
    refusal = run(**{name: "http://me:secret@another:5000"})
    assert f"UserError: {hidden}: its password is not known here; set {TRACKING} (of the runs) or {STUDY}" in refusal


def test_a_process_learns_what_another_one_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = hide("http://me:secret@learned")
    known = known_addresses()
    monkeypatch.setattr("fgcme.addresses._known", {})
    with pytest.raises(UserError, match="is not known here"):
        reveal(hidden)
    learn_addresses(known)
    assert reveal(hidden) == "http://me:secret@learned"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/runs is away", "postgresql://me:...@host/runs is away"),
        ("http://host:5000 and postgresql://me:secret@host", "http://host:5000 and postgresql://me:...@host"),
        ("a mail to me@host, at 10:30", "a mail to me@host, at 10:30"),
        ("GET http://me:s@ec/r@et@host:5000/api failed", "GET http://me:...@host:5000/api failed"),
        ("postgresql://host:5432/db?password=a/b@c is away", "postgresql://host:... is away"),
        ("http://host/api?token=secret&x=1", "http://host/api?token=...&x=1"),
    ],
)
def test_no_text_shows_a_password(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("tune.study_storage=postgresql://me:two words@host/db", "tune.study_storage=postgresql://me:...@host/db"),
        ("training.epochs=5", "training.epochs=5"),
        ("see http://me:secret@host", "see http://me:secret@host"),
        ("--resume", "--resume"),
    ],
)
def test_only_the_address_of_an_override_is_hidden(word: str, shown: str) -> None:
    assert hide_in_override(word) == shown
