"""Claims about filar.trace(): what records say of lives, pictures that show it, files that others can read."""

import gzip
import json
import math
import os
import sys
import threading
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import filar
from filar import chart, lab
from filar.lab import watched
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows
from filar.watching import kernel, pictures
from filar.watching.lives import ELSEWHERE, EXECUTE, IDLE, IO, PREEMPTED, READY, SLEEP, SYNCHRONISE, Lives
from filar.watching.records import EVENT, EVENT_NAMES, RECORD, WAIT_NAMES
from once import run_once
from programs import run_program
from rows import row
from states import parked

SECOND = 1_000_000_000


# ---- made-up records ---------------------------------------------------------------------------------------------

PLACE, OTHER_PLACE = 1 << 16, 1 << 16 | 1
WORKER, OTHER_WORKER, MAIN = 11, 12, 10


def green(number):
    """The subject of a green thread of the first scheduler."""
    return 1 << 48 | number


def wait(name):
    return WAIT_NAMES.index(name)


def records(*lines):
    """(time, thread, event, subject, object, argument); the last two may be left out."""
    made = np.zeros(len(lines), RECORD)
    for at, (time_ns, thread, event, *rest) in enumerate(lines):
        subject, about, argument = [*rest, 0, 0, 0][:3]
        made[at] = (time_ns, subject, about, argument, thread, EVENT[event], 0, at)
    return made


def lives(*lines, end=1000):
    return Lives(records(*lines), 0, end)


def spans(found, name):
    """(state, start, end) of the life with that label."""
    life = next(life for life in found.all if life.label == name)
    return [(span.state, span.start_ns, span.end_ns) for span in life.spans]


def test_a_green_threads_states_follow_its_records():
    found = lives(
        (0, MAIN, "green-spawn", green(1)),
        (10, WORKER, "green-run", green(1), 0, PLACE),
        (30, WORKER, "green-run", green(2), 0, PLACE),
        (31, WORKER, "green-park", green(1), 0, wait("event")),
        (50, WORKER, "green-wake", green(1), green(2), 0),
        (60, WORKER, "green-run", green(1), 0, PLACE),
        (61, WORKER, "green-yield", green(2), 0, PLACE),
        (80, WORKER, "green-end", green(1), 0, PLACE),
    )
    # It left when the next one began to run, not when that one's stack got to say where it went.
    assert spans(found, "green 1") == [
        (READY, 0, 10),
        (EXECUTE, 10, 30),
        (SYNCHRONISE, 30, 50),
        (READY, 50, 60),
        (EXECUTE, 60, 80),
    ]
    assert spans(found, "green 2") == [(EXECUTE, 30, 60), (READY, 60, 1000)]
    first = found.of_kind("green thread")[0]
    assert first.spans[2].why == "event"
    assert first.ended_ns == 80
    assert [(wake.time_ns, wake.by.label, wake.whom.label) for wake in found.wakes] == [(50, "green 2", "green 1")]
    assert found.latencies_ns().tolist() == [10]


@pytest.mark.parametrize(
    ("name", "state"), [("sleep", SLEEP), ("mutex", SYNCHRONISE), ("receive", SYNCHRONISE), ("readable fd", IO)]
)
def test_what_it_waits_for_decides_the_state(name, state):
    found = lives(
        (10, WORKER, "green-run", green(1), 0, PLACE),
        (20, WORKER, "green-park", green(1), 0, wait(name)),
    )
    assert spans(found, "green 1") == [(EXECUTE, 10, 20), (state, 20, 1000)]


def test_one_that_is_preempted_is_told_from_one_that_yields():
    found = lives(
        (10, WORKER, "green-run", green(1), 0, PLACE),
        (20, WORKER, "green-preempt", green(1), 0, PLACE),
        (21, WORKER, "green-run", green(2), 0, PLACE),
        (22, WORKER, "green-yield", green(1), 0, PLACE),
        (40, WORKER, "green-run", green(1), 0, PLACE),
        (41, WORKER, "green-yield", green(2), 0, PLACE),
    )
    assert (PREEMPTED, 21, 40) in spans(found, "green 1")
    assert (READY, 40, 1000) in spans(found, "green 2")


def test_a_joiner_is_woken_by_the_one_that_has_ended():
    found = lives(
        (0, WORKER, "green-run", green(1), 0, PLACE),
        (5, WORKER, "green-run", green(2), 0, PLACE),
        (6, WORKER, "green-park", green(1), 0, wait("join")),
        (20, WORKER, "green-run", green(3), 0, PLACE),
        (21, WORKER, "green-end", green(2), 0, PLACE),
        (22, WORKER, "green-wake", green(1), green(3), 0),
        (30, OTHER_WORKER, "green-run", green(1), 0, OTHER_PLACE),
    )
    by_name = {wake.whom.label: wake.by for wake in found.wakes}
    assert by_name["green 1"].label == "green 2"
    assert found.of_kind("green thread")[0].workers() == [PLACE, OTHER_PLACE]


def test_wakes_from_outside_count_once_and_those_by_a_timer_have_no_waker():
    found = lives(
        (0, WORKER, "green-run", green(1), 0, PLACE),
        (5, WORKER, "green-park", green(1), 0, wait("event")),
        (5, WORKER, "worker-sleep", 0, 0, PLACE),
        (10, MAIN, "green-wake", green(1), 0, 3),  # posted
        (12, WORKER, "worker-wake", 0, 0, PLACE),
        (13, WORKER, "green-wake", green(1), 0, 0),
        (14, WORKER, "green-run", green(1), 0, PLACE),
        (20, WORKER, "green-park", green(1), 0, wait("sleep")),
        (30, WORKER, "green-wake", green(1), 0, 1),  # timed out
    )
    assert [(wake.time_ns, wake.by and wake.by.number, wake.how) for wake in found.wakes] == [
        (10, MAIN, "woken"),
        (30, None, "timed out"),
    ]
    assert (READY, 10, 14) in spans(found, "green 1")
    assert [(span.start_ns, span.end_ns) for span in found.asleep[PLACE]] == [(5, 12)]


def test_a_wake_before_the_park_keeps_its_waker():
    found = lives(
        (0, WORKER, "green-run", green(1), 0, PLACE),
        (1, OTHER_WORKER, "green-run", green(2), 0, OTHER_PLACE),
        (5, OTHER_WORKER, "green-wake", green(1), green(2), 0),
        (6, WORKER, "green-park", green(1), 0, wait("mutex")),
        (7, WORKER, "green-wake", green(1), 0, 4),  # early
        (9, WORKER, "green-run", green(1), 0, PLACE),
    )
    assert spans(found, "green 1") == [(EXECUTE, 0, 6), (SYNCHRONISE, 6, 7), (READY, 7, 9), (EXECUTE, 9, 1000)]
    assert [(wake.by.label, wake.time_ns) for wake in found.wakes] == [("green 2", 7)]


def test_calls_wait_run_and_are_left_for_what_their_worker_helps_with():
    found = lives(
        (0, MAIN, "call-submit", 100, 7),
        (1, MAIN, "call-submit", 200, 7),
        (10, WORKER, "call-run", 100, 7, PLACE),
        (20, WORKER, "call-run", 200, 7, PLACE),
        (30, WORKER, "call-end", 200, 7, PLACE),
        (40, WORKER, "call-end", 100, 7, PLACE),
    )
    first, second = found.of_kind("call")
    assert [(s.state, s.start_ns, s.end_ns) for s in first.spans] == [
        (READY, 0, 10),
        (EXECUTE, 10, 20),
        (SYNCHRONISE, 20, 30),
        (EXECUTE, 30, 40),
    ]
    assert second.spawned_by.number == MAIN
    times, counts = found.count_over_time([READY], "call")
    assert (times.tolist(), counts.tolist()) == ([0, 1, 10, 20], [1, 2, 1, 0])


def test_a_kernel_thread_parks_and_one_that_is_no_worker_is_not_said_to_execute():
    found = lives(
        (0, MAIN, "thread-name", MAIN, int.from_bytes(b"main", "little"), 0),
        (10, MAIN, "park", 0x99, 0, wait("mutex")),
        (20, WORKER, "unpark", 0x99),
        (25, MAIN, "park-end", 0x99),
        (30, WORKER, "worker-sleep", 0, 0, PLACE),
    )
    assert spans(found, "main") == [(ELSEWHERE, 0, 10), (SYNCHRONISE, 10, 25), (ELSEWHERE, 25, 1000)]
    assert spans(found, "thread 11") == [(EXECUTE, 20, 30), (IDLE, 30, 1000)]
    assert found.wakes[0].by.number == WORKER


def test_names_of_several_words_are_put_together_and_made_unique():
    found = lives(
        *((at, MAIN, "green-spawn", green(number)) for at, number in enumerate((1, 2))),
        *(
            (5, WORKER, "green-name", green(number), int.from_bytes(part, "little"), at)
            for number in (1, 2)
            for at, part in ((0, b"a long n"), (8, b"ame"))
        ),
    )
    assert [life.label for life in found.of_kind("green thread")] == ["a long name #1", "a long name #2"]


def test_records_in_any_order_do_not_break_the_pass():
    """As after a ring was overwritten: beginnings are missing, ends come alone."""
    random = np.random.default_rng(1)
    for _ in range(20):
        many = np.zeros(300, RECORD)
        many["time_ns"] = np.sort(random.integers(0, 900, 300))
        many["event"] = random.integers(0, len(EVENT_NAMES), 300)
        many["subject"] = random.choice([0, green(1), green(2), 10, 77], 300)
        many["object"] = random.choice([0, green(1), 5], 300)
        many["argument"] = random.choice([0, 1, PLACE, OTHER_PLACE, 4], 300)
        many["argument"][many["event"] == EVENT["green-wake"]] %= 5
        many["thread"] = random.choice([MAIN, WORKER, OTHER_WORKER], 300)
        found = Lives(many, 0, 1000)
        for life in found.all:
            edges = [edge for span in life.spans for edge in (span.start_ns, span.end_ns)]
            assert edges == sorted(edges)
        window = pictures.Window(found, many, 0, 1000, 12, True)
        for one in pictures.draw(window, list(pictures.KINDS), "trace").charts:
            ET.fromstring(one.svg())


# ---- real traces -------------------------------------------------------------------------------------------------


def exchange(items=5, greens=3):
    """Green threads that sleep, lock, send; one that receives."""
    lock, channel = filar.Lock(), filar.Channel(1)

    def producer():
        for item in range(items):
            filar.sleep(0.0001)
            with lock:
                filar.yield_()
            channel.send(item)

    def consumer():
        for _ in range(items * greens):
            channel.receive()

    def main():
        with filar.TaskGroup() as group:
            group.spawn(consumer)
            for _ in range(greens):
                group.spawn(producer)

    filar.run(main)


@pytest.fixture(scope="module")
def taken():
    """A trace of green threads and of an executor."""
    with filar.trace() as t:
        exchange(items=4)  # few enough wake-ups to be drawn
        with filar.ThreadPoolExecutor(2) as executor:
            assert list(executor.map(abs, [-1, 2, -3])) == [1, 2, 3]
            assert executor.submit(pow, 2, 3).result() == 8
        t.mark("all done")
    return t


def test_a_trace_tells_of_every_green_thread_call_and_kernel_thread(taken):
    found = taken.statistics()
    assert found.green_threads == 5
    assert found.calls == 4
    assert found.kernel_threads >= 3
    assert found.overwritten == found.left_out == 0
    assert found.wakes > 0
    assert found.latency_median_ns >= 0
    names = {life.name for life in taken.threads}
    assert {"abs", "pow", "exchange.<locals>.producer"} <= names
    for life in taken.threads:
        assert life.born_ns >= taken.start_ns
        for before, after in zip(life.spans, life.spans[1:], strict=False):
            assert before.end_ns <= after.start_ns
    main = next(life for life in taken.threads if life.name == "exchange.<locals>.main")
    children = [life for life in taken.threads if life.spawned_by is main]
    assert len(children) == 4
    waits = {span.why for life in children for span in life.spans}
    assert "sleep" in waits
    assert waits & {"mutex", "receive", "send", "event"}


def test_events_are_a_structured_array_in_order(taken):
    events = taken.events
    assert events.dtype == RECORD
    assert np.all(np.diff(events["time_ns"]) >= 0)
    assert events["time_ns"][0] >= taken.start_ns
    assert events["time_ns"][-1] <= taken.end_ns
    assert taken.event_names[EVENT["mark"]] == "mark"
    assert np.sum(events["event"] == EVENT["mark"]) == 1
    assert "records" in repr(taken)
    assert "wake-ups" in taken.summary()


def test_a_dataframe_has_names_and_seconds(taken):
    pandas = pytest.importorskip("pandas")
    frame = taken.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(taken.events)
    assert "green-run" in set(frame["event"])
    assert frame["time_s"].between(0, (taken.end_ns - taken.start_ns) / 1e9).all()


def check_chrome_format(whole):
    """The rules of the trace event format, as far as we use it: fields of each phase, nesting, flows in pairs."""
    needs = {
        "M": {"name", "pid", "args"},
        "X": {"name", "ts", "dur", "pid", "tid", "cat"},
        "C": {"name", "ts", "pid", "args"},
        "i": {"name", "ts", "pid", "tid", "s"},
        "s": {"name", "ts", "pid", "tid", "id", "cat"},
        "f": {"name", "ts", "pid", "tid", "id", "cat", "bp"},
    }
    flows, tracks, named = {}, {}, set()
    assert set(whole) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert whole["displayTimeUnit"] in ("ms", "ns")
    for event in whole["traceEvents"]:
        assert needs[event["ph"]] <= set(event), event
        assert event["ph"] == "M" or (event["ts"] >= 0 and math.isfinite(event["ts"]))
        if event["ph"] == "M" and event["name"] == "thread_name":
            named.add((event["pid"], event["tid"]))
        elif event["ph"] == "X":
            assert event["dur"] >= 0
            tracks.setdefault((event["pid"], event["tid"]), []).append(event)
        elif event["ph"] == "C":
            assert all(isinstance(value, int) and value >= 0 for value in event["args"].values())
        elif event["ph"] in "sf":
            flows.setdefault((event["cat"], event["id"]), []).append(event["ph"])
    assert all(sorted(pair) == ["f", "s"] for pair in flows.values())
    assert set(tracks) <= named
    for slices in tracks.values():
        end = -1.0
        for one in slices:  # a state is one after the other, so nothing may overlap
            assert one["ts"] >= end - 0.0011, one
            end = one["ts"] + one["dur"]
    return tracks, flows


def test_the_perfetto_file_keeps_to_the_format(taken, tmp_path):
    path = taken.to_perfetto(tmp_path / "trace.json")
    whole = json.loads(path.read_text())
    tracks, flows = check_chrome_format(whole)
    assert flows
    names = {event["name"] for event in whole["traceEvents"]}
    assert {"all done", "execute", "ready", "sleep", "ready green threads", "pow"} <= names
    assert {pid for pid, _ in tracks} == {1, 2, 3}
    packed = taken.to_perfetto(str(tmp_path / "trace.json.gz"))
    assert json.loads(gzip.decompress(packed.read_bytes())) == whole


def test_pictures_are_svg_with_rows_states_and_arrows(taken, tmp_path):
    plot = taken.plot()
    assert len(plot.charts) == 3
    workers, threads, queue = plot.charts
    assert isinstance(threads, chart.Gantt)
    assert isinstance(queue, chart.Lines)
    labels = {life.label for life in taken.threads}
    assert {one.row for one in threads.intervals} <= labels
    assert {"execute", "sleep"} <= {one.category for one in threads.intervals}
    assert threads.arrows
    assert {arrow.from_row for arrow in threads.arrows} <= labels
    assert any(one.category == "no work" for one in workers.intervals)
    for one in plot.charts:
        ET.fromstring(one.svg())
    assert plot._repr_html_().count("<img") == 3
    assert plot.save(tmp_path / "all.html").read_text().count("<svg") == 3
    ET.fromstring(taken.plot("workers").save(tmp_path / "one.svg").read_text())
    with pytest.raises(ValueError, match="3 pictures"):
        plot.save(tmp_path / "all.svg")
    with pytest.raises(ValueError, match="not as"):
        plot.save(tmp_path / "all.png")


def test_a_part_of_the_time_and_few_rows_can_be_chosen(taken):
    # Half of what happened: half of the time may have gone by before anything did.
    middle = int(taken.events["time_ns"][len(taken.events) // 2]) - taken.start_ns
    (threads,) = taken.plot("threads", start=0, end=middle / 1e9, rows=3).charts
    assert len(threads.rows) <= 3
    assert "are shown" in threads.note
    assert all(one.end <= middle + 1 for one in threads.intervals)
    assert not taken.plot("threads", arrows=False).charts[0].arrows
    for wrong in ({"what": ("pie",)}, {"rows": 0}, {"start": 9e9}, {"start": 1.0, "end": 0.5}):
        what = wrong.pop("what", ())
        with pytest.raises(filar.InvalidArgumentError):
            taken.plot(*what, **wrong)


def test_html_shows_facts_and_pictures(taken):
    page = taken._repr_html_()
    assert "from wake to run" in page
    assert page.count("<img") == 3
    assert "<script" not in page


def test_cpus_of_kernel_threads_are_drawn_and_migrations_counted(taken):
    (cpus,) = taken.plot("cpus").charts
    assert {one.category for one in cpus.intervals} <= {f"CPU {cpu}" for cpu in range(os.cpu_count() or 1)}
    assert taken.statistics().migrations >= 0
    assert threading.get_native_id() in taken.kernel_totals
    here = taken.kernel_totals[threading.get_native_id()]
    assert here.voluntary is None or here.voluntary >= 0


def test_what_the_kernel_counts_is_none_where_it_does_not_tell(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tworker\nvoluntary_ctxt_switches:\t12\n")
    (tmp_path / "8").mkdir()
    found = kernel.read(str(tmp_path))
    assert found[7] == kernel.KernelTotals("worker", voluntary=12)
    assert 8 not in found
    assert kernel.read(str(tmp_path / "nowhere")) == {}
    after = {7: kernel.KernelTotals("worker", run_ns=5, voluntary=20)}
    assert kernel.difference(found, after)[7] == kernel.KernelTotals("worker", voluntary=8)


# ---- sessions ----------------------------------------------------------------------------------------------------


def test_one_trace_at_a_time_and_each_is_taken_once():
    t = filar.trace()
    with pytest.raises(filar.WrongStateError, match="not been started"):
        _ = t.events
    with t:
        with pytest.raises(filar.BusyError, match="already"):
            filar.trace().start()
        assert len(t.events) == 0
        t.mark("one")
        assert len(t.events) >= 1  # while it is being taken
        assert "being taken" in repr(t)
    t.stop()
    with pytest.raises(filar.WrongStateError, match="once"):
        t.start()
    with pytest.raises(filar.InvalidArgumentError, match="not 3"):
        filar.trace(records_per_thread=3).start()
    with filar.trace():  # nothing is left of those that failed
        pass


def test_an_exception_ends_the_trace_and_what_was_seen_stays():
    t = filar.trace()

    def fails():
        with t:
            t.mark("before")
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert np.sum(t.events["event"] == EVENT["mark"]) == 1
    with filar.trace():
        pass


def test_overwritten_records_are_counted_and_pictures_begin_after_them():
    with filar.trace(records_per_thread=64) as t:
        exchange(items=60)
    found = t.statistics()
    assert found.overwritten > 0
    assert t.complete_from_ns > t.start_ns
    assert " lost" in t.summary()
    for one in t.plot().charts:
        ET.fromstring(one.svg())


def test_an_empty_trace_can_be_looked_at(tmp_path):
    with filar.trace() as t:
        pass
    assert t.statistics().records == 0
    assert math.isnan(t.statistics().latency_median_ns)
    for one in t.plot(*pictures.KINDS).charts:
        ET.fromstring(one.svg())
    check_chrome_format(json.loads(t.to_perfetto(tmp_path / "empty.json").read_text()))


def test_native_green_threads_tell_by_whom_they_were_woken():
    """Two runtimes' worth of workers: the places are told apart."""
    with filar.trace() as t, filar.GreenRuntime(workers=2) as runtime:
        runtime.spawn(exchange_inside).join()
    assert len({place >> 16 for place in t.lives.places() if place > 0}) == 1
    assert any(wake.by is not None and wake.by.kind == "green thread" for wake in t.lives.wakes)


def exchange_inside():
    event = filar.Event()
    with filar.TaskGroup() as group:
        waiting = [group.spawn(event.wait) for _ in range(2)]
        while not all(parked(green) for green in waiting):  # it is traced: no sleeps in between
            filar.yield_()
        event.set()


def test_a_forked_child_is_not_traced_and_says_so():
    done = run_program(
        """
        import os, filar
        t = filar.trace().start()
        t.mark("parent")
        child = os.fork()
        if child == 0:
            t.mark("child")
            t.stop()
            try:
                t.events
            except filar.WrongStateError as error:
                assert "parent process" in str(error), error
                with filar.trace() as own:
                    own.mark("mine")
                os._exit(0 if len(own.events) >= 1 else 3)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        t.stop()
        print(sum(t.event_names[number] == "mark" for number in t.events["event"]))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


def test_a_trace_that_is_never_stopped_does_not_hold_up_the_end():
    done = run_program("import filar; t = filar.trace().start(); t.mark('x'); filar.run(lambda: filar.sleep(0.001))")
    assert (done.returncode, done.stderr) == (0, "")


def test_import_filar_does_not_load_the_pictures():
    done = run_program("import sys, filar; print('filar.watching' in sys.modules, 'numpy' in sys.modules)")
    assert done.stdout == "False False\n", done.stderr


def test_without_pandas_the_error_says_what_to_install(taken, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        taken.to_dataframe()


# ---- what it costs -----------------------------------------------------------------------------------------------


def cost_rows(off, on, n=40):
    figures = {watched.variant(watched.RECORD, False): off, watched.variant(watched.RECORD, True): on}
    return Rows(row(name, watched.PER_OPERATION, value, n=n) for name, value in figures.items())


@pytest.mark.parametrize(
    ("off", "on", "word"),
    [(0.4, 50, HOLDS), (0.4, 300, CONDITIONAL), (3.0, 50, CONDITIONAL), (3.0, 300, FAILS), (1.0, 50, UNDECIDED)],
)
def test_watching_is_judged_by_its_two_figures(off, on, word):
    verdict = lab.find("trace-cost").judge(cost_rows(off, on))
    assert verdict.word == word
    assert "ns" in verdict.reason


def test_watching_is_judged_only_if_both_were_measured():
    assert lab.find("trace-cost").judge(Rows()).word == UNDECIDED
    assert lab.find("trace-cost").judge(cost_rows(0.4, 50, n=3)).word == UNDECIDED


def test_what_watching_costs_is_measured_for_each_operation():
    result = run_once("trace-cost")
    for what in (watched.RECORD, watched.SWITCH, watched.SPAWN, watched.PARK):
        for traced in (False, True):
            one = result.rows.find(watched.variant(what, traced), watched.PER_OPERATION)
            assert one is not None
            assert one.unit == "ns"
            assert np.isfinite(one.samples).all()
    counts = result.rows.find(watched.variant(watched.SWITCH, True), watched.RECORDS)
    assert counts is not None
    assert counts.median >= 2
    assert [one.svg() for one in lab.find("trace-cost").charts(result)]
