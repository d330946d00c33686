"""Web servers: the service in Python is that of C, every model answers, verdicts follow the rows, wrk agrees."""

import http.client
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from agree import agree
from filar import DeadlineError, lab
from filar.lab import httpserver, servers
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Budget, Measured, Row, Rows, Way
from filar.lab.bench import Bench
from filar.lab.servers import (
    ALONE,
    AMONG,
    BLOCK_QUICK,
    CPU,
    EACH,
    EVENTS,
    FAILED,
    LATENCY,
    MEMORY,
    MODELS,
    POOLS,
    SERVED,
    SLOW_CREW,
    SLOW_POOL,
    SLOW_QUICK,
    THREADS,
    WITH,
    HttpServer,
    descriptors,
)
from once import run_once
from programs import run_program
from rows import row
from states import wait_until

# ---- the service ----


def test_a_request_says_what_it_wants():
    found = httpserver.parse(b"GET /work?steps=12&block_us=34 HTTP/1.1\r\nHost: x\r\n\r\nGET")
    assert found == httpserver.Request(52, 12, 34, b"/work?steps=12&block_us=34", True)
    assert httpserver.answer(found).endswith(b"Content-Length: 26\r\n\r\n/work?steps=12&block_us=34")


def test_a_body_is_echoed_and_a_close_is_heard():
    text = b"POST / HTTP/1.1\r\ncontent-length: 5\r\nCONNECTION: Close\r\n\r\nhello"
    assert httpserver.parse(text[:-1]) is None
    found = httpserver.parse(text)
    assert (found.echo, found.keep) == (b"hello", False)


@pytest.mark.parametrize(
    "text",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / SPDY/1.1\r\n\r\n",
        b"GET x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"x" * httpserver.BYTES_MAX,
    ],
)
def test_what_is_no_request_is_refused(text):
    answers, keep = httpserver.respond(bytearray(text), time.sleep)
    assert not keep
    assert answers.startswith(b"HTTP/1.1 400")


def test_several_requests_at_once_are_answered_and_the_rest_kept():
    data = bytearray(b"GET /a HTTP/1.1\r\n\r\nGET /b?block_us=7 HTTP/1.1\r\n\r\nGET /c")
    blocked: list[float] = []
    answers, keep = httpserver.respond(data, blocked.append)
    assert keep
    assert [part.split(b"HTTP")[0] for part in answers.split(b"\r\n\r\n")[1:]] == [b"/a", b"/b?block_us=7"]
    assert blocked == [7e-6]
    assert data == b"GET /c"


# ---- servers in Python ----


@pytest.fixture
def server(request):
    found = HttpServer(request.param, 2)
    try:
        found.await_port()
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("server", list(httpserver.MODES), indirect=True)
def test_every_server_in_python_answers_until_it_is_closed(server):
    clients = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(3)]
    for number, client in enumerate(clients * 2):
        client.request("POST", "/work?steps=500&block_us=100", body=f"hello {number}")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, f"hello {number}".encode())
    clients[0].request("GET", "/bye", headers={"Connection": "close"})
    assert clients[0].getresponse().read() == b"/bye"
    for client in clients:
        client.close()
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_server_ends_with_its_parent():
    script = (
        "import os; from filar.lab.servers import HttpServer; one = HttpServer('threads', 2); one.await_port(); "
        "print(one.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    told = run_program(script)
    assert told.returncode == -signal.SIGKILL
    pid = int(told.stdout)
    wait_until(lambda: not _lives(pid))


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_descriptors_are_put_back():
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with descriptors() as clients:
        assert clients >= 1
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


# ---- verdicts ----


def model_rows(ratios):
    one = lab.find("server-models")
    return Rows(
        row(one.variant(model, clients), SERVED, rate, unit="1/s", connections=clients)
        for clients, ratio in ratios.items()
        for model, rate in ((THREADS, 1e4), (EVENTS, 1e4 * ratio))
    )


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ({10: 2.0, 1_000: 3.0}, HOLDS),
        ({10: 1.0, 1_000: 3.0}, CONDITIONAL),
        ({10: 1.0, 1_000: 0.8}, FAILS),
        ({10: 2.0, 1_000: 1.2}, UNDECIDED),
        ({10: 2.0}, UNDECIDED),
    ],
)
def test_models_are_judged_by_number_of_clients(ratios, word):
    made = model_rows(ratios)
    if word == UNDECIDED and len(ratios) > 1:
        # The rounds of one the other way round: their ratios spread over the threshold.
        made = Rows(
            Row(r.variant, r.metric, r.unit, r.samples[::-1], r.params) if THREADS.name in r.variant else r
            for r in made
        )
    verdict = lab.find("server-models").judge(made)
    assert verdict.word == word
    if word == CONDITIONAL:
        assert "1,000 clients" in verdict.condition


@pytest.mark.parametrize(
    ("events", "pool", "word"), [(480, 0.9, HOLDS), (5_000, 0.9, FAILS), (480, 1.5, FAILS), (480, 0.4, UNDECIDED)]
)
def test_blocking_is_judged_by_how_many_block_at_once(events, pool, word):
    one = lab.find("server-blocking")
    made = [row(one.variant(EVENTS, WITH), SERVED, events, unit="1/s")]
    made += [row(one.variant(model, WITH), SERVED, 500 * pool * model.workers, unit="1/s") for model in POOLS]
    assert one.judge(Rows(made)).word == word


@pytest.mark.parametrize(
    ("crew", "pool", "word"), [(0, 0.9, CONDITIONAL), (0, 0.0, HOLDS), (0.6, 0.9, FAILS), (0, 0.3, UNDECIDED)]
)
def test_slow_clients_are_judged_by_what_is_left(crew, pool, word):
    one = lab.find("server-slow-clients")
    made = []
    for model, share in ((SLOW_CREW, crew), (SLOW_POOL, pool)):
        made.append(row(one.variant(model, ALONE), SERVED, 1e4, unit="1/s"))
        made.append(row(one.variant(model, AMONG), SERVED, 1e4 * share, unit="1/s"))
    assert one.judge(Rows(made)).word == word


@pytest.mark.parametrize("name", ["server-models", "server-blocking", "server-slow-clients"])
def test_nothing_measured_cannot_be_judged(name):
    assert lab.find(name).judge(Rows()).word == UNDECIDED


# ---- for real ----


def run_until_served(name, variants):
    """Rounds until each of the variants has served somebody: on a busy machine a short window may pass without."""
    served, result = set(), None
    for _ in range(5):
        result = run_once(name)
        for variant in variants:
            found = result.rows.find(variant, SERVED)
            assert found is not None, (variant, result.notes)
            assert result.rows.find(variant, FAILED).max == 0, (variant, result.notes)
            if found.max > 0:
                served.add(variant)
        if served == set(variants):
            return result
    raise AssertionError(f"nobody was served by {set(variants) - served}")


@pytest.mark.parametrize(("late", "measured"), [(0, None), (1, 1), (2, 2)])
def test_what_was_measured_before_the_deadline_is_kept(monkeypatch, late, measured):
    plans = []

    def run_ways(bench, ways, **options):
        plans.append(ways)
        if len(plans) > late:
            raise DeadlineError("the time limit passed")
        return Measured(rows=Rows([row(f"plan {len(plans)}", SERVED, 1.0)]))

    monkeypatch.setattr(servers, "run_ways", run_ways)
    monkeypatch.setattr(servers, "http_servers", lambda models, notes: nullcontext({}))
    monkeypatch.setattr(servers, "descriptors", lambda: nullcontext(1 << 20))
    bench = SimpleNamespace(quick=False, budget=Budget(seconds=1.0), safety=SimpleNamespace(threads=lambda n: n))
    one = lab.find("server-models")
    if measured is None:
        with pytest.raises(DeadlineError):
            one.measure(bench)
        return
    found = one.measure(bench)
    assert [each.variant for each in found.rows] == [f"plan {n + 1}" for n in range(measured)]
    late_parts = ["A connection for each request", "10,000 clients"][late - 1 :]
    assert found.notes[1:] == [f"{part}: not measured, the time limit passed." for part in late_parts]


def test_models_run():
    one = lab.find("server-models")
    variants = [one.variant(model, clients) for model in MODELS for clients in one.counts_quick]
    result = run_until_served("server-models", variants + [one.each_variant(model) for model in EACH])
    for metric, unit in ((LATENCY, "ns"), (CPU, "ns"), (MEMORY, "B")):
        rows = result.rows.of_metric(metric)
        assert rows
        assert {found.unit for found in rows} == {unit}
    assert all(found.min > 0 for found in result.rows.of_metric(LATENCY))
    assert not any("port" in found.params for found in result.rows)
    assert result.charts()


def test_blocking_runs():
    one = lab.find("server-blocking")
    result = run_until_served("server-blocking", [one.variant(model, WITH) for model in BLOCK_QUICK])
    # Physics: what blocks one after the other for 2 ms cannot be more than 500 a second, and before the window each
    # client may have been answered once without anybody having looked yet.
    served = result.rows.find(one.variant(EVENTS, WITH), SERVED)
    before = (served.params["connections"] + 1) * 1e9 / served.params["window_ns"]
    assert served.max <= 500 + before
    assert result.charts()


def test_slow_clients_run():
    one = lab.find("server-slow-clients")
    others = [one.variant(model, what) for model in SLOW_QUICK for what in (AMONG, ALONE) if model is not SLOW_CREW]
    result = run_until_served("server-slow-clients", others)
    assert result.rows.find(one.variant(SLOW_CREW, AMONG), SERVED).max == 0
    assert result.charts()


# ---- beside wrk ----


def cpu_s(pid):
    """CPU time of another process, by its clock (clock_getcpuclockid(3) makes the same number)."""
    return time.clock_gettime((~pid << 3) | 2)


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_our_load_generator_costs_the_server_what_wrk_does():
    """By the server's CPU time for each request, which a busy machine changes least."""
    server = HttpServer("threads", 1)

    def ours():
        params = {"kind": 7, "port": server.port, "process": server.pid, "connections": 8, "window_ns": 200_000_000}
        each = None
        while each is None:  # a window may pass without a turn for the server
            bench = Bench(quick=True, budget=Budget(1.0, 1, 1))
            outcome = bench.run([Way("ours", "serve-http", params)], pinned=False, warmup_rounds=0)
            assert not outcome.failures
            assert outcome.rows().find("ours", FAILED).max == 0
            each = outcome.rows().find("ours", CPU)
        return each.median * 1e-9

    def theirs():
        before, requests = cpu_s(server.pid), 0
        while requests == 0:
            command = ["wrk", "-t1", "-c8", "-d1s", f"http://127.0.0.1:{server.port}/work"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            requests = int(re.search(r"(\d+) requests in", told).group(1))
            assert "Non-2xx" not in told
        return (cpu_s(server.pid) - before) / requests

    try:
        server.await_port()
        agree(ours, theirs, times=2.5, looks=(3, 9, 27))
    finally:
        server.close()
