"""`fgcme serve` as its users meet it: from a browser, from careless and from hostile clients, and when it ends."""

from __future__ import annotations

import base64
import io
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from fgcme import audio, recognition
from fgcme.audio import SAMPLE_RATE
from fgcme.serving.classifier import Classifier
from tests.fitted_model import save_fitted, write_audio
from tests.integration import browser
from tests.integration.conftest import program, wait_for
from tests.served import Reply, exchange, get, question, request, served
from tests.speech import say

pytestmark = pytest.mark.integration

TEXT = "dogs are sitting by the door"
# Bytes by which the server's memory may grow, whatever comes in: 16 bodies of nearly 8 MiB, and what is made of them.
GROWTH = 512 << 20


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        process: of the program.
        port: that it listens on.
    """

    process: subprocess.Popen[str]
    port: int


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio(tmp_path_factory.mktemp("recording") / "a.wav", seconds=2.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    save_fitted(folder / "small")
    with program(folder, "serve", "small", "--port", "0") as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = re.fullmatch(r"small answers at http://127\.0\.0\.1:(\d+) until Ctrl-C\n", said)
        assert address is not None, said
        yield Served(process, int(address[1]))


def sound(samples: np.ndarray, form: str = "WAV", subtype: str | None = None, rate: int = SAMPLE_RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def noise(seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * SAMPLE_RATE))


def without_length(flac: bytes) -> bytes:
    content = bytearray(flac)
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return bytes(content)


def sounds() -> dict[str, bytes]:
    """Files that cannot be answered."""
    wav, flac, pcm = sound(noise()), sound(noise(), "FLAC"), sound(noise(), subtype="FLOAT")
    click = np.zeros(1800 * SAMPLE_RATE, np.int16)
    click[5] = 9_000
    return {
        "no bytes": b"",
        "a text": b"This is no sound, and never was one.\n" * 10,
        "random bytes": np.random.default_rng(0).bytes(5_000),
        "a zip file": b"PK\x03\x04" + bytes(200),
        "a pickle": b"\x80\x04\x95" + bytes(200),
        "a web page": b"<!DOCTYPE html><html></html>",
        "a Git LFS pointer": b"version https://git-lfs.example/spec/v1\noid sha256:0\nsize 12\n",
        "half a WAV": wav[: len(wav) // 2],
        "half a FLAC": flac[: len(flac) // 2],
        "the header of a WAV": wav[:44],
        "a header of no sense": wav[:20] + b"\xff" * 60,
        "no samples": sound(np.zeros(0)),
        "20 ms": sound(noise(0.02)),
        "silence": sound(np.zeros(SAMPLE_RATE)),
        "no numbers": sound(np.append(noise(), np.nan), subtype="FLOAT"),
        "half an hour in 40 kB": sound(click, "FLAC"),
        "an hour that no header states": without_length(sound(np.tile(click, 2), "FLAC")),
        "a rate of no recording": sound(noise(), rate=383_987),
        "two thousand million samples a second": sound(noise(), rate=2**31 - 1),
        "bytes beyond full scale": pcm[:-8] + np.array([1e9, 1e30], np.float32).tobytes(),
    }


def bodies() -> dict[str, tuple[int, bytes]]:
    """Bodies that are no question, or none that has an answer, each with the status."""
    tone = base64.b64encode(sound(noise())).decode()

    def asked(**parts: object) -> bytes:
        return json.dumps(parts).encode()

    return {
        "nothing": (400, b""),
        "half of JSON": (400, asked(audio=tone, text=TEXT)[:-5]),
        "no JSON": (400, b"audio=1&text=dogs"),
        "UTF-16": (400, json.dumps({"text": TEXT}).encode("utf-16")),
        "no UTF-8": (400, b'{"text": "\xff\xfe"}'),
        "half a character": (400, b'{"text": "\\ud800"}'),
        "deep": (400, b'{"text": ' + b"[" * 900),
        "a number of millions of digits": (400, b'{"text": ' + b"1" * (4 << 20) + b"}"),
        "a million lists": (422, b'{"audio": [' + b"[]," * (1 << 20) + b"[]]}"),
        "a million keys": (422, b"{" + b",".join(b'"%d":1' % number for number in range(1 << 19)) + b"}"),
        "a list": (422, b"[]"),
        "null": (422, b"null"),
        "nothing asked": (422, b"{}"),
        "a key too many": (422, asked(audio=tone, text=TEXT, model="other")),
        "sound as a number": (422, asked(audio=7, text=TEXT)),
        "sound as numbers": (422, asked(audio=[1] * 100, text=TEXT)),
        "words as a list": (422, asked(audio=tone, text=["dogs"])),
        "no base64": (422, asked(audio="not base64!", text=TEXT)),
        "cut base64": (422, asked(audio=tone[:-1], text=TEXT)),
        "base64 of addresses": (422, asked(audio=tone.replace("+", "-").replace("/", "_"), text=TEXT)),
        "no sound": (422, asked(text=TEXT)),
        "no words": (422, asked(audio=tone)),
        "an empty text": (422, asked(audio=tone, text="")),
        "a text without words": (422, asked(audio=tone, text="... !")),
        "a book": (422, asked(audio=tone, text="dogs " * 1_000)),
        "a body too large": (413, asked(audio="A" * (9 << 20), text=TEXT)),
    }


def requests(port: int) -> dict[str, tuple[int, Reply]]:
    """Answers to requests that are none, or are not sent as they should be, each with the status."""
    host = b"Host: localhost\r\n"
    typed = b"POST /predict HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
    body = question(sound(noise()), TEXT)
    chunks = [b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * 12
    return {
        "another protocol": (400, exchange(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
        "no version": (400, exchange(port, b"GET /\r\n\r\n")),
        "a header without a colon": (400, exchange(port, b"GET / HTTP/1.1\r\n" + host + b"nonsense\r\n\r\n")),
        "no host": (400, exchange(port, b"GET / HTTP/1.1\r\n\r\n")),
        "a length below zero": (400, exchange(port, typed + b"Content-Length: -1\r\n\r\n")),
        "two lengths": (400, exchange(port, typed + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}")),
        "a broken chunk": (400, exchange(port, typed + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
        "a huge length": (413, exchange(port, typed + b"Content-Length: 99999999999\r\n\r\n{")),
        "chunks without end": (413, exchange(port, typed + b"Transfer-Encoding: chunked\r\n\r\n", *chunks)),
        "another host": (421, request(port, body, Host="rebound.example")),
        "another page": (403, request(port, body, Origin="https://other.example")),
        "a page without origin": (403, request(port, body, Origin="null")),
        "no such address": (404, get(port, "/nowhere")),
        "a way out": (404, get(port, "/../../../../etc/passwd")),
        "another method": (405, request(port, body, method="PUT")),
        "a form": (415, request(port, body, Content_Type="multipart/form-data; boundary=x")),
        "another charset": (415, request(port, body, Content_Type="application/json; charset=latin-1")),
        "compressed": (415, request(port, body, Content_Encoding="gzip")),
        "an unknown format": (422, request(port, body, "/predict?format=yaml")),
    }


def test_malformed_requests_and_files_get_a_clear_4xx_and_memory_stays_bounded(server: Served) -> None:
    port, process = server.port, psutil.Process(server.process.pid)
    assert request(port, question(sound(noise()), TEXT)).status == 200
    before = process.memory_info().rss
    asked = [(name, (422, question(content, TEXT))) for name, content in sounds().items()] + [*bodies().items()]
    with ThreadPoolExecutor(16) as clients:
        replies = list(clients.map(lambda each: request(port, each[1][1]), asked))
    found = {name: (status, reply) for (name, (status, _)), reply in zip(asked, replies, strict=True)} | requests(port)
    assert len(found) > 60
    for name, (status, reply) in found.items():
        assert reply.status == status, (name, reply)
        told = reply.json
        assert set(told) == {"detail", "reason"}, name
        assert 15 < len(told["detail"]) < 250, (name, told)
        assert "Traceback" not in told["detail"]
    # What grows most: 16 clients at once, each with as much FLAC as a body and a minute take.
    large = question(
        sound(np.random.default_rng(0).normal(0, 0.1, (58 * 44_100, 2)), "FLAC", rate=44_100)[: 5 << 20], TEXT
    )
    with ThreadPoolExecutor(16) as clients:
        assert {reply.status for reply in clients.map(lambda _: request(port, large), range(16))} <= {422, 503}
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert peak is not None
    assert int(peak[1]) * 1024 - before < GROWTH
    assert request(port, question(sound(noise()), TEXT)).status == 200


@pytest.mark.skipif(browser.program() is None, reason="no Chromium here")
def test_a_person_records_corrects_and_plays_from_a_word(server: Served, recording: Path, tmp_path: Path) -> None:
    microphone = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
        "--autoplay-policy=no-user-gesture-required",
    ]
    address = f"http://127.0.0.1:{server.port}/"
    with browser.tab(str(browser.program()), *microphone) as tab:

        def text(element: str) -> str:
            return str(tab.evaluate(f"document.getElementById('{element}').textContent"))

        for width, dark in ((390, True), (1280, False)):
            tab.open(address, width, dark)
            wait_for(lambda: "angry, calm, happy" in text("model"), every=0.02)
            tab.evaluate("document.getElementById('ask').requestSubmit()")
            assert text("status").startswith("Record something, or choose a file")
            tab.evaluate("document.getElementById('record').click()")
            wait_for(lambda: text("chosen") == "Recording, 1 s", every=0.02)
            tab.evaluate("document.getElementById('record').click()")
            wait_for(lambda: text("chosen").startswith("Your recording, "), every=0.02)
            tab.evaluate("document.getElementById('ask').requestSubmit()")
            assert text("status").startswith("Write what is said")
            for said in ("dogs are", TEXT):
                # Typing it as a person does: the page hears of it.
                tab.evaluate(
                    f"{{ const field = document.getElementById('text'); field.value = {said!r};"
                    " field.dispatchEvent(new Event('input')); document.getElementById('ask').requestSubmit(); }"
                )
                wait_for(lambda: text("status").startswith("Answered in"), every=0.02)
                words = tab.evaluate("[...document.querySelectorAll('.word span')].map(each => each.textContent)")
                assert words == said.split()
            numbers = tab.evaluate("[...document.querySelectorAll('.word small')].map(each => each.textContent)")
            assert all(re.fullmatch(r"0\.0|[+−]\d+\.\d", number) for number in numbers)
            assert re.search(r"; from [+−]?\d+\.\d to [+−]?\d+\.\d = (angry|calm|happy) \d+\xa0%$", text("sum"))
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            # From the keyboard: to the next word, and play from there.
            tab.evaluate(
                "{ const words = document.querySelectorAll('.word'); words[1].focus(); words[1].dispatchEvent("
                "new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true })); document.activeElement.click(); }"
            )
            wait_for(lambda: tab.evaluate("document.querySelector('.now span')?.textContent") == "sitting", every=0.02)
            tab.evaluate("document.getElementById('sound').pause()")
            # What is typed makes the answer that is shown one of other words.
            tab.evaluate(
                "{ const field = document.getElementById('text'); field.value += '!';"
                " field.dispatchEvent(new Event('input')); }"
            )
            assert "of the words before" in text("status")
            # Every control has a name, and is large enough for a finger.
            controls = tab.evaluate(
                "[...document.querySelectorAll('button, .choose, textarea')].map(each => "
                "[(each.labels?.[0] ?? each).textContent.trim(), each.getBoundingClientRect().height])"
            )
            assert all(name and height >= 44 for name, height in controls), controls
        assert tab.complaints == []


@pytest.mark.skipif(browser.program() is None, reason="no Chromium here")
def test_a_person_leaves_the_words_to_the_server_and_corrects_them(tmp_path: Path) -> None:
    said = "we walked slowly along the river"
    soundfile.write(tmp_path / "said.wav", say(said)[0], SAMPLE_RATE)
    (tmp_path / "other.wav").write_bytes(sound(noise()))
    files = {name: base64.b64encode((tmp_path / name).read_bytes()).decode() for name in ("said.wav", "other.wav")}
    sphinx = recognition.build()
    heard = sphinx.recognise(audio.read(tmp_path / "said.wav"))
    with (
        served(Classifier(save_fitted(tmp_path / "small")), recogniser=sphinx) as port,
        browser.tab(str(browser.program())) as tab,
    ):

        def drop(name: str) -> None:
            tab.evaluate(
                f"{{ const bytes = Uint8Array.from(atob('{files[name]}'), each => each.charCodeAt(0));"
                f" choose(new File([bytes], '{name}')); }}"
            )

        def ask(says: str) -> str:
            """The words in the field, once the page says so."""
            tab.evaluate("document.getElementById('ask').requestSubmit()")
            wait_for(lambda: says in str(tab.evaluate("document.getElementById('status').textContent")), every=0.02)
            return str(tab.evaluate("document.getElementById('text').value"))

        def how() -> str:
            return str(tab.evaluate("document.getElementById('how').textContent"))

        tab.open(f"http://127.0.0.1:{port}/", 390, dark=False)
        field = "document.getElementById('text')"
        wait_for(lambda: "recognised by sphinx" in str(tab.evaluate(f"{field}.placeholder")), every=0.02)
        drop("said.wav")
        assert ask("words recognised by sphinx: correct them") == heard
        assert "The words were recognised by sphinx." in how()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.evaluate(f"{field}.value = '{said}'; {field}.dispatchEvent(new Event('input'));")
        assert ask("Answered in") == said and "recognised" not in how()
        # Words that a person wrote stay; those that were recognised are another sound's.
        tab.evaluate(f"{field}.value = ''")
        ask("words recognised by sphinx")
        drop("other.wav")
        assert tab.evaluate(f"{field}.value") == ""
        assert tab.complaints == []


def test_it_ends_cleanly_and_has_written_nothing_of_what_was_asked(server: Served) -> None:
    assert request(server.port, question(sound(noise()), "a secret of mine")).status == 200
    assert request(server.port, b'{"text": "another secret', Origin="http://127.0.0.1:9").status == 403
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    out, err = server.process.communicate(timeout=30)
    assert (server.process.returncode, out, err) == (0, "stopped\n", "")
    assert time.monotonic() - began < 15
