"""The outbox loses no entry, whatever is killed; and one process sends at a time."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgcme.files import locked
from fgcme.tracking import Outbox, find_outboxes
from fgcme.tracking.outbox import Entry, outbox_for

RUN = "a1b2c3"
PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return outbox_for(tmp_path / "outbox", "http://127.0.0.1:5000")


def numbers(outbox: Outbox, run: str = RUN) -> list[Any]:
    """Drain a run; the numbers of its entries."""
    taken: list[Entry] = []
    outbox.drain(run, taken.extend)
    return [entry["number"] for entry in taken]


def waiting_file(outbox: Outbox) -> Path:
    return outbox.folder / "waiting" / f"{RUN}.jsonl"


def run_in_process(work: Callable[[], object]) -> None:
    process = PROCESSES.Process(target=work)
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0


def test_entries_come_out_once_and_in_order(outbox: Outbox) -> None:
    assert not outbox.has_pending(RUN)
    for number in range(5):
        outbox.append(RUN, {"number": number})
    outbox.append("other", {"number": "other"})
    assert outbox.has_pending(RUN)
    assert outbox.pending_runs() == [RUN, "other"]
    assert outbox.count_pending() == 6
    assert numbers(outbox) == [0, 1, 2, 3, 4]
    assert not outbox.has_pending(RUN)
    assert outbox.pending_runs() == ["other"]
    assert numbers(outbox) == []


def test_entries_of_several_processes_keep_the_order_in_which_they_were_added(outbox: Outbox) -> None:
    outbox.append(RUN, {"number": 0})
    for number in (1, 2):
        run_in_process(lambda number=number: outbox.append(RUN, {"number": number}))  # type: ignore[misc]
    outbox.append(RUN, {"number": 3})
    assert numbers(outbox) == [0, 1, 2, 3]


def test_the_clocks_of_the_machines_do_not_matter(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 3600 * 10**9
    for number, (host, now) in enumerate([("fast", 2 * hour), ("slow", hour), ("fast", 2 * hour + 1), ("fast", 0)]):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        monkeypatch.setattr("time.time", lambda now=now: now / 10**9)
        outbox.append(RUN, {"number": number})
    assert numbers(outbox) == [0, 1, 2, 3]


def test_entries_stay_pending_when_sending_fails(outbox: Outbox) -> None:
    for number in range(3):
        outbox.append(RUN, {"number": number})

    def fail(entries: list[Entry]) -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        outbox.drain(RUN, fail)
    assert numbers(outbox) == [0, 1, 2]


def test_entries_appended_while_sending_are_sent_too(outbox: Outbox) -> None:
    outbox.append(RUN, {"number": 0})
    taken: list[int] = []

    def send(entries: list[Entry]) -> None:
        taken.extend(entry["number"] for entry in entries)
        if taken[-1] < 3:
            outbox.append(RUN, {"number": taken[-1] + 1})

    outbox.drain(RUN, send)
    assert taken == [0, 1, 2, 3]
    assert not outbox.has_pending(RUN)


def test_half_a_line_of_a_killed_process_is_dropped(outbox: Outbox) -> None:
    for number in range(2):
        outbox.append(RUN, {"number": number})
    path = waiting_file(outbox)
    with path.open("ab") as file:
        file.write(b'{"numb')
    # The next process appends behind the last whole line.
    outbox.append(RUN, {"number": 2})
    assert path.read_bytes().count(b"\n") == 3
    with path.open("ab") as file:
        file.write(b'{"n')
    assert numbers(outbox) == [0, 1, 2]
    assert not outbox.has_pending(RUN)


def test_a_process_killed_while_it_appends_holds_up_nobody_and_leaves_nothing(outbox: Outbox) -> None:
    outbox.append(RUN, {"number": 0})
    receiving, sending = PROCESSES.Pipe(duplex=False)

    def write_half() -> None:
        with locked(waiting_file(outbox)) as file:
            file.write(b'{"number": 1, "te')
            sending.send("half")
            time.sleep(600)

    process = PROCESSES.Process(target=write_half)
    process.start()
    assert receiving.recv() == "half"
    other = threading.Thread(target=outbox.append, args=(RUN, {"number": 2}))
    other.start()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(timeout=30)
    other.join(timeout=30)
    assert numbers(outbox) == [0, 2]


def test_a_file_that_another_machine_has_sent_and_deleted_is_begun_anew(
    outbox: Outbox, stale: Callable[[Path, Callable[[], object]], None]
) -> None:
    outbox.append(RUN, {"number": 0})
    stale(waiting_file(outbox), waiting_file(outbox).unlink)
    outbox.append(RUN, {"number": 1})
    stale(waiting_file(outbox), lambda: waiting_file(outbox).rename(waiting_file(outbox).with_name(".nfs01")))
    outbox.append(RUN, {"number": 2})
    assert numbers(outbox) == [2]
    outbox.append(RUN, {"number": 3})
    # The other sender was first: nothing is left for this one.
    stale(waiting_file(outbox), waiting_file(outbox).unlink)
    assert numbers(outbox) == []
    assert not outbox.pending_runs()


def test_entries_are_seen_and_followed_even_if_another_machine_has_just_begun_them(
    outbox: Outbox, late: Callable[[Path], None]
) -> None:
    for unseen in (waiting_file(outbox), waiting_file(outbox).parent, outbox.folder):
        assert not outbox.has_pending(RUN)
        outbox.append(RUN, {"number": 0})
        for look in (lambda: outbox.has_pending(RUN), outbox.pending_runs, outbox.count_pending):
            late(unseen)
            assert look()
        late(unseen)
        outbox.append(RUN, {"number": 1})
        late(unseen)
        assert numbers(outbox) == [0, 1]


def test_a_damaged_line_is_an_entry_that_no_store_accepts(outbox: Outbox) -> None:
    outbox.append(RUN, {"kind": "running"})
    with waiting_file(outbox).open("ab") as file:
        file.write(b"\0\0\0}\n")
    outbox.append(RUN, {"kind": "running"})
    taken: list[Entry] = []
    outbox.drain(RUN, taken.extend)
    assert [entry["kind"] for entry in taken] == ["running", "damaged", "running"]


def test_a_killed_process_loses_no_appended_entry(outbox: Outbox) -> None:
    for _ in range(3):
        receiving, sending = PROCESSES.Pipe(duplex=False)

        def put(sending: Any = sending) -> None:
            for number in range(100_000):
                outbox.append(RUN, {"number": number, "text": "x" * 5000})
                sending.send(number)

        process = PROCESSES.Process(target=put)
        process.start()
        last = -1
        until = time.monotonic() + 0.3
        while last < 5 or time.monotonic() < until:
            last = receiving.recv()
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(timeout=30)
        while receiving.poll():
            last = receiving.recv()
        found = numbers(outbox)
        # One more may be written, whose `append` had not returned.
        assert found == list(range(len(found)))
        assert len(found) in (last + 1, last + 2)


def test_no_entry_is_lost_or_sent_twice_while_several_processes_write_and_send(outbox: Outbox, tmp_path: Path) -> None:
    writers, each = 3, 150
    sent = tmp_path / "sent"

    def write(writer: int) -> None:
        for number in range(each):
            outbox.append(RUN, {"number": f"{writer} {number}"})

    def send_all() -> None:
        def note(entries: list[Entry]) -> None:
            with sent.open("a") as file:
                file.writelines(f"{entry['number']}\n" for entry in entries)

        until = time.monotonic() + 60
        while time.monotonic() < until:
            with outbox.sending_lock(wait=False) as alone:
                if alone:
                    outbox.drain(RUN, note)
            if sent.exists() and len(sent.read_text().splitlines()) >= writers * each:
                return

    processes = [PROCESSES.Process(target=write, args=(writer,)) for writer in range(writers)]
    processes += [PROCESSES.Process(target=send_all) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=90)
    assert [process.exitcode for process in processes] == [0] * 5
    found = [tuple(map(int, line.split())) for line in sent.read_text().splitlines()]
    assert len(found) == writers * each
    for writer in range(writers):
        assert [number for of, number in found if of == writer] == list(range(each))


def test_a_full_disk_is_an_error_and_damages_no_earlier_entry(outbox: Outbox) -> None:
    outbox.append(RUN, {"number": 0})
    size = waiting_file(outbox).stat().st_size

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match="File too large"):
            outbox.append(RUN, {"number": 1, "text": "x" * 1000})
        assert waiting_file(outbox).stat().st_size == size
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        outbox.append(RUN, {"number": 2})

    run_in_process(fill)
    assert numbers(outbox) == [0, 2]


def test_one_process_at_a_time_holds_the_sending_lock(outbox: Outbox) -> None:
    with outbox.sending_lock(wait=False) as first, outbox.sending_lock(wait=False) as second:
        assert (first, second) == (True, False)
    with outbox.sending_lock(wait=True) as later:
        assert later


def test_a_saved_run_id_is_known_to_every_process(outbox: Outbox) -> None:
    local = "local-1"
    assert outbox.run_id(local) is None
    assert outbox.mark_requested(local)
    assert outbox.run_id(local) is None
    run_in_process(lambda: os._exit(outbox.mark_requested(local)))
    run_in_process(lambda: outbox.save_run_id(local, RUN))
    assert outbox.run_id(local) == RUN


def test_copied_files_are_deleted_when_their_entry_is_sent(outbox: Outbox, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "deep" / "weights").write_text("before")
    name = outbox.copy_file(model)
    (model / "deep" / "weights").write_text("after")
    outbox.append(RUN, {"number": 0, "kept": name})
    with pytest.raises(ConnectionError):
        outbox.drain(RUN, lambda entries: (_ for _ in ()).throw(ConnectionError()))
    assert outbox.copied_file(name).name == "model"
    assert (outbox.copied_file(name) / "deep" / "weights").read_text() == "before"
    assert numbers(outbox) == [0]
    assert list((outbox.folder / "files").iterdir()) == []


def test_a_refused_entry_is_kept_with_its_reason_and_its_file(outbox: Outbox, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n")
    entry = {"number": 0, "kept": outbox.copy_file(tmp_path / "table.csv")}
    outbox.append(RUN, entry)
    outbox.drain(RUN, lambda entries: outbox.set_aside(RUN, entries[0], "no such run"))
    assert not outbox.has_pending(RUN)
    assert '"reason": "no such run"' in outbox.refused_file.read_text()
    assert [path.read_text() for path in (outbox.folder / "refused").rglob("table.csv")] == ["a,b\n"]


def test_each_store_has_its_own_outbox_with_its_address(tmp_path: Path) -> None:
    for address in ("http://user:secret@one:5000", "sqlite:////data/mlflow.db"):
        outbox_for(tmp_path, address).append(RUN, {"number": address})
    found = find_outboxes(tmp_path)
    assert {outbox.address: numbers(outbox) for outbox in found} == {
        "http://user:secret@one:5000": ["http://user:secret@one:5000"],
        "sqlite:////data/mlflow.db": ["sqlite:////data/mlflow.db"],
    }
    assert {(outbox.folder / "address").stat().st_mode & 0o777 for outbox in found} == {0o600}


def test_reading_an_outbox_creates_no_files(outbox: Outbox, tmp_path: Path) -> None:
    assert outbox.pending_runs() == []
    assert not outbox.has_pending(RUN)
    assert outbox.count_pending() == 0
    assert find_outboxes(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
