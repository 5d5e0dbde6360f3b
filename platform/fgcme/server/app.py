"""The server's addresses: questions, the page, health and metrics."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
import soundfile
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fgcme.audio import SAMPLE_RATE
from fgcme.recognition import Recogniser
from fgcme.server.guard import Guard
from fgcme.server.limits import Limits, RefusalError
from fgcme.server.metrics import Metrics
from fgcme.server.page import page
from fgcme.server.question import Answered, Format, Question, Refused, answer, parse
from fgcme.server.workers import Held, Workers
from fgcme.serving.classifier import Classifier

_DESCRIPTION = """\
Recognises the emotion of an utterance, and says what each word contributes to the answer: from `base`, the
contributions of the words add up to the log-odds of `label`. It answers on this machine only.
"""
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refused, "description": "no JSON"},
    403: {"model": Refused, "description": "sent by a page of another origin"},
    408: {"model": Refused, "description": "the request did not arrive in time"},
    413: {"model": Refused, "description": "the body is too large"},
    415: {"model": Refused, "description": "the body is of another type, or compressed"},
    421: {"model": Refused, "description": "sent to another name than this machine's"},
    422: {"model": Refused, "description": "no question, or sound or text that cannot be used"},
    503: {"model": Refused, "description": "busy; `Retry-After` says when to ask again"},
    504: {"model": Refused, "description": "the answer takes too long"},
}


class _Desk:
    """Takes questions from requests, and answers them."""

    def __init__(self, classifier: Classifier, limits: Limits, recogniser: Recogniser | None) -> None:
        self._classifier = classifier
        self._recogniser = recogniser
        self._limits = limits
        self._workers = Workers(limits)
        self._held = Held(limits.held)
        self._metrics = Metrics()

    async def answer(self, request: Request, form: Format) -> Response:
        """The answer to the question in a request, or why there is none."""
        try:
            response = await self._answer(request, form)
        except RefusalError as error:
            response = error.response()
        except ClientDisconnect:
            # Nobody hears it.
            response = Response(status_code=499)
        self._metrics.count(response.status_code)
        return response

    async def _answer(self, request: Request, form: Format) -> Response:
        with self._held.body() as keep:
            with self._metrics.time("arriving"):
                body = await _read(request, self._limits.body, keep)
            question = parse(body, self._limits)
            del body
            with self._metrics.time("answering"):
                work = functools.partial(answer, self._classifier, question, form, self._limits, self._recogniser)
                text = await self._workers.run(work)
        kind = "application/json" if form == "json" else "text/plain; charset=utf-8"
        return Response(text, media_type=kind)

    def measure(self) -> bytes:
        """All counts, in Prometheus's format."""
        self._metrics.inside.set(self._workers.inside)
        self._metrics.held.set(self._held.size)
        return self._metrics.text()

    def close(self) -> None:
        """Start nothing that still waits."""
        self._workers.close()


def build_app(classifier: Classifier, name: str, limits: Limits, recogniser: Recogniser | None = None) -> FastAPI:
    """The server of one classifier.

    Args:
        classifier: answers.
        name: of the model, as its user calls it.
        limits: what it takes at most.
        recogniser: writes down what is said where a question does not say it; None for none.
    """
    desk = _Desk(classifier, limits, recogniser)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    # The pages that FastAPI makes of the description load scripts from elsewhere.
    app = FastAPI(title="fgcme", description=_DESCRIPTION, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Guard)
    app.add_exception_handler(HTTPException, _refuse_address)
    app.add_exception_handler(RequestValidationError, _refuse_query)
    needed = {"audio": classifier.needs.sound, "text": classifier.needs.text and recogniser is None}
    state = {
        "status": "ok",
        "model": name,
        "classes": classifier.spec.classes,
        "dimensions": classifier.spec.dimensions,
        "needs": [name for name, is_needed in needed.items() if is_needed],
        "transcribes": recogniser and recogniser.name,
        "without_contributions": classifier.without_contributions,
        "limits": {"bytes": limits.body, "seconds": limits.seconds, "characters": limits.text},
    }
    _add_addresses(app, desk, state)
    return app


def _add_addresses(app: FastAPI, desk: _Desk, state: dict[str, Any]) -> None:
    @app.post(
        "/predict",
        summary="Answer one question",
        responses={200: {"model": Answered, "content": {"text/plain": {}}}, **_REFUSALS},
        openapi_extra={"requestBody": _described_body()},
    )
    async def predict(
        request: Request,
        form: Annotated[Format, Query(alias="format", description="of the answer: JSON, or Praat's TextGrid")] = "json",
    ) -> Response:
        """Classify an utterance by its sound, `audio`, and what is said, `text`."""
        return await desk.answer(request, form)

    @app.get("/health", summary="Whether the server answers, and with which model")
    async def health() -> JSONResponse:
        """The model and the limits of this server."""
        return JSONResponse(state)

    @app.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Questions by status, seconds, what waits, and the process's memory."""
        return PlainTextResponse(desk.measure(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def show() -> HTMLResponse:
        text, policy = page()
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})


async def _read(request: Request, limit: int, keep: Callable[[int], None]) -> bytearray:
    """The body of a request, refused as soon as it is known to be too large."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise RefusalError(415, "type", "send JSON in UTF-8: Content-Type: application/json")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusalError(415, "compressed", "send the body without Content-Encoding")
    if int(request.headers.get("content-length", "0")) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > limit:
            raise _too_large(limit)
        keep(len(chunk))
        body += chunk
    return body


def _too_large(limit: int) -> RefusalError:
    return RefusalError(413, "too_large", f"the body has over {limit} bytes; send FLAC, or a shorter utterance")


def _refuse_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = "POST /predict, GET /, /health, /metrics or /openapi.json"
    refusal = RefusalError(error.status_code, "address", f"{error.detail}: {known}", dict(error.headers or {}))
    return refusal.response()


def _refuse_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return RefusalError(422, "query", f"`{first['loc'][-1]}`: {first['msg']}").response()


def _described_body() -> dict[str, Any]:
    """The body of a question, with an example that can be sent: a tone, which shows the form only."""
    file = io.BytesIO()
    tone = 0.3 * np.sin(np.arange(0, 0.1, 1 / SAMPLE_RATE) * 2 * np.pi * 400)
    soundfile.write(file, tone, SAMPLE_RATE, format="FLAC")
    encoded = base64.b64encode(file.getvalue()).decode()
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": Question.model_json_schema(),
                "examples": {"tone": {"summary": "A tone of 0.1 s", "value": {"audio": encoded, "text": "hello"}}},
            }
        },
    }
