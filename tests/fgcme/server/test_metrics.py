"""Metrics count questions and say nothing of what is asked."""

from fgcme.server.metrics import Metrics


def test_questions_are_counted_by_status_and_timed_by_part() -> None:
    metrics = Metrics()
    for status in (200, 200, 422):
        metrics.count(status)
    with metrics.time("answering"):
        pass
    metrics.held.set(12)
    text = metrics.text().decode()
    assert 'fgcme_questions_total{status="200"} 2.0' in text
    assert 'fgcme_questions_total{status="422"} 1.0' in text
    assert 'fgcme_seconds_count{part="answering"} 1.0' in text
    assert "fgcme_bytes_held 12.0" in text
    assert "process_resident_memory_bytes" in text


def test_two_servers_of_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.count(200)
    assert 'status="200"' not in second.text().decode()
