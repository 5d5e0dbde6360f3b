"""Serve: a model behind HTTP on this machine, with a page for people."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.addresses import without_passwords
from fgcme.errors import UserError

if TYPE_CHECKING:
    import uvicorn

    from fgcme.recognition import Recogniser
    from fgcme.server.limits import Limits
    from fgcme.serving.classifier import Classifier

_HOST = "127.0.0.1"
# Seconds that answers have which are being computed when the server is stopped.
_LEAVE = 10


def serve(
    model_uri: str, port: int, tracking_uri: str | None = None, transcribe: str | None = None, language: str = "en"
) -> None:
    """Answer questions until the process is interrupted.

    Args:
        model_uri: `models:/name@alias`, `models:/name/version`, `runs:/id/model` or a folder.
        port: on this machine; 0 for one that is free.
        tracking_uri: where the model is registered, see `fgcme.tracking.resolve_uri`.
        transcribe: recogniser of what is said where a question does not say it, see `fgcme.recognition.build`; None for
            none.
        language: that the recogniser is told, where it knows several.

    Raises:
        UserError: there is no such model or recogniser, or the port is taken.
    """
    with _listen(port) as listener, tempfile.TemporaryDirectory() as downloads:
        # Importing torch takes seconds: the port is known to be free by then.
        from fgcme import recognition
        from fgcme.server.limits import Limits
        from fgcme.serving.classifier import Classifier
        from fgcme.serving.registry import download_model

        recogniser = None if transcribe is None else recognition.build(transcribe, language)
        classifier = Classifier(download_model(model_uri, tracking_uri, Path(downloads)))
        _warm_up(classifier, recogniser)
        server = make_server(classifier, without_passwords(model_uri), Limits(), recogniser)
        print(f"{model_uri} answers at http://{_HOST}:{listener.getsockname()[1]} until Ctrl-C", flush=True)
        # uvicorn answers what it has begun, and then passes the signal on.
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])
        print("stopped", flush=True)


def make_server(
    classifier: Classifier, name: str, limits: Limits, recogniser: Recogniser | None = None
) -> uvicorn.Server:
    """The server of a classifier, which is still to run.

    Args:
        classifier: answers.
        name: of the model, as its user calls it.
        limits: what the server takes at most.
        recogniser: writes down what is said where a question does not say it; None for none.
    """
    import uvicorn

    from fgcme.server.app import build_app
    from fgcme.server.protocol import HEAD, bounded

    return uvicorn.Server(
        uvicorn.Config(
            build_app(classifier, name, limits, recogniser),
            http=bounded(limits),
            ws="none",
            h11_max_incomplete_event_size=HEAD,
            # Nothing of what is asked is written anywhere.
            access_log=False,
            log_level="error",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_LEAVE,
        )
    )


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    except OverflowError:
        reason = "there are 65,535"
    raise UserError(f"port {port} cannot be used ({reason}); give --port another, or 0 for a free one")


def _warm_up(classifier: Classifier, recogniser: Recogniser | None) -> None:
    """Load what is loaded at the first question."""
    from fgcme.audio import read
    from fgcme.errors import DataError
    from fgcme.serving.classifier import input_example

    row = input_example().iloc[0]
    samples = read(io.BytesIO(row["audio"]))
    # The aligner of a language other than English does not know the word.
    with contextlib.suppress(DataError):
        classifier.predict(samples, row["text"])
    if recogniser is not None:
        recogniser.recognise(samples)
