"""Channels and select."""

import gc
import random
import sys
import threading
import time

import pytest

import filar
from programs import run_program
from test_sync import run_threads


class Thing:
    """Something whose references can be counted."""


def test_what_is_sent_is_received_in_order():
    channel = filar.Channel(3)
    for n in range(3):
        channel.send(n)
    assert len(channel) == 3
    assert bool(filar.Channel())
    with pytest.raises(filar.BusyError):
        channel.send_nowait(4)
    with pytest.raises(filar.DeadlineError):
        channel.send(4, timeout=0.001)
    with pytest.raises(TimeoutError):
        channel.send(4, timeout=0)
    assert [channel.receive(), channel.receive_nowait(), channel.receive(timeout=1)] == [0, 1, 2]
    with pytest.raises(filar.BusyError):
        channel.receive_nowait()
    with pytest.raises(filar.DeadlineError):
        channel.receive(timeout=0)


def test_without_capacity_a_send_ends_when_it_is_received():
    channel, order = filar.Channel(), []

    def send():
        channel.send("item")
        order.append("sent")

    def receive():
        while not order:
            order.append("about to receive")
        assert channel.receive() == "item"

    run_threads(send, receive)
    assert order == ["about to receive", "sent"]
    assert (channel.capacity, len(channel)) == (0, 0)


def test_an_unbounded_channel_takes_whatever_comes():
    channel = filar.Channel(None)
    for n in range(5000):
        channel.send_nowait(n)
    assert channel.capacity is None
    channel.close()
    assert list(channel) == list(range(5000))


@pytest.mark.parametrize(
    ("capacity", "error"), [(-1, ValueError), (2**62, ValueError), ("1", TypeError), (1.5, TypeError)]
)
def test_a_capacity_that_cannot_be_is_refused(capacity, error):
    with pytest.raises(error):
        filar.Channel(capacity)


def test_a_large_capacity_costs_what_is_in_it():
    channel, queue = filar.Channel(2**57), filar.Queue(sys.maxsize)
    assert (channel.capacity, queue.maxsize) == (2**57, sys.maxsize)
    channel.send(1)
    queue.put(1)
    assert (channel.receive(), queue.get(), queue.full()) == (1, 1, False)


@pytest.mark.parametrize("capacity", [None, 3000, 5000])
def test_a_large_channel_holds_as_many_as_it_says_again_and_again(capacity):
    channel = filar.Channel(capacity)
    count = capacity or 20_000
    for _ in range(3):
        for n in range(count):
            channel.send_nowait(n)
        if capacity:
            with pytest.raises(filar.BusyError):
                channel.send_nowait(-1)
        assert [channel.receive_nowait() for _ in range(count)] == list(range(count))


def test_the_memory_of_a_burst_is_given_back():
    """In a program of its own, with nothing on the heap that others have freed or still hold."""
    done = run_program(
        """
        import filar
        def anonymous():
            with open("/proc/self/status") as file:
                kib = dict(line.split()[:2] for line in file if line.startswith(("RssAnon:", "VmSwap:")))
            return sum(map(int, kib.values())) << 10
        queue, thing = filar.SimpleQueue(), object()
        before = anonymous()
        for _ in range(3_000_000):
            queue.put(thing)
        full = anonymous()
        for _ in range(3_000_000):
            queue.get()
        print(full - before, full - anonymous())
        """
    )
    assert done.returncode == 0, done.stderr
    taken, given_back = map(int, done.stdout.split())
    assert taken > 20 << 20
    assert given_back > 20 << 20


def test_a_closed_channel_gives_what_it_has_and_takes_nothing():
    with filar.Channel(2) as channel:
        channel.send(1)
    assert channel.closed
    assert "closed" in repr(channel)
    channel.close()
    with pytest.raises(filar.ClosedError, match="was closed by kernel thread"):
        channel.send(2)
    assert channel.receive() == 1
    with pytest.raises(filar.ClosedError):
        channel.receive()
    assert list(channel) == []


def test_closing_wakes_all_that_wait():
    channel, heard = filar.Channel(), []

    def wait(call):
        try:
            call()
        except filar.ClosedError as error:
            heard.append(error.case)

    threads = [
        threading.Thread(target=wait, args=(call,))
        for call in [channel.receive, lambda: channel.receive(timeout=600), lambda: filar.select(None, channel)]
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    channel.close()
    for thread in threads:
        thread.join()
    assert sorted(heard, key=str) == [1, None, None]


def test_an_iteration_ends_with_the_channel():
    channel, got = filar.Channel(1), []
    run_threads(lambda: got.extend(channel), lambda: ([channel.send(n) for n in range(100)], channel.close()))
    assert got == list(range(100))


# ---- select ----


def test_select_takes_what_is_possible():
    first, second = filar.Channel(1), filar.Channel(1)
    second.send("x")
    assert filar.select(first, second) == (1, "x")
    chosen = filar.select((first, "y"), second)
    assert (chosen.case, chosen.value) == (0, None)
    assert first.receive() == "y"
    with pytest.raises(filar.DeadlineError):
        filar.select(first, (None, 1), None, timeout=0)
    with pytest.raises(filar.DeadlineError):
        filar.select(first, second, timeout=0.001)
    with pytest.raises(filar.DeadlineError):
        filar.select(timeout=0.001)


def test_select_without_anything_to_wait_for_never_waits_for_ever():
    with pytest.raises(filar.DeadlockError, match="never end"):
        filar.select()
    with pytest.raises(filar.DeadlockError):
        filar.select(None, (None, 1))


def test_select_refuses_what_is_no_case():
    channel = filar.Channel(1)
    with pytest.raises(TypeError, match="case 1 of select"):
        filar.select(channel, 7)
    with pytest.raises(TypeError, match="case 0 of select"):
        filar.select((channel, 1, 2))
    with pytest.raises(TypeError, match="'until'"):
        filar.select(channel, until=1)
    with pytest.raises(ValueError, match="at most 256"):
        filar.select(*[channel] * 257)
    assert len(channel) == 0


def test_select_of_many_cases():
    channels = [filar.Channel(1) for _ in range(200)]
    channels[150].send("here")
    assert filar.select(*channels) == (150, "here")
    assert filar.select(*channels[:100], (channels[7], "sent"), *channels[100:]) == (100, None)
    assert channels[7].receive() == "sent"


def test_select_says_which_channel_is_closed():
    channels = [filar.Channel() for _ in range(3)]
    channels[2].close()
    with pytest.raises(filar.ClosedError) as caught:
        filar.select(*channels)
    assert caught.value.case == 2


def test_select_chooses_by_chance():
    channels, seen = [filar.Channel(1) for _ in range(4)], set()
    for _ in range(300):
        for channel in channels:
            if not len(channel):
                channel.send(0)
        seen.add(filar.select(*channels).case)
    assert seen == {0, 1, 2, 3}


def test_items_that_select_did_not_send_stay_the_callers():
    full, thing = filar.Channel(1), Thing()
    full.send(0)
    empty = filar.Channel(1)
    before = sys.getrefcount(thing)
    for _ in range(10):
        with pytest.raises(filar.DeadlineError):
            filar.select((full, thing), (full, thing), timeout=0)
        assert filar.select((full, thing), (empty, thing)).case == 1
        assert sys.getrefcount(thing) == before + 1
        assert empty.receive() is thing
    assert sys.getrefcount(thing) == before


@pytest.mark.parametrize("capacity", [0, 1, 5, None])
def test_stress_select_moves_every_item_once(capacity):
    """Hunts two selects that meet, claims that race, and items left in a case that was not done."""
    channels = [filar.Channel(capacity) for _ in range(3)]
    total, senders, receivers = 200, 3, 3
    got, sent = [], []

    def send(seed):
        chance = random.Random(seed)
        for n in range(total):
            item = (seed, n)
            cases = [(channel, item) for channel in chance.sample(channels, 2)]
            while True:
                try:
                    filar.select(*cases, timeout=chance.choice([None, 0, 0.001]))
                    break
                except filar.DeadlineError:
                    continue
            sent.append(item)

    def receive(seed):
        chance = random.Random(seed)
        while len(got) < total * senders:
            try:
                got.append(filar.select(*chance.sample(channels, 3), timeout=0.01).value)
            except filar.DeadlineError:
                continue

    run_threads(
        *[lambda seed=seed: send(seed) for seed in range(senders)],
        *[lambda seed=seed: receive(seed + 10) for seed in range(receivers)],
    )
    assert sorted(got) == sorted(sent)
    assert len(got) == total * senders


def test_stress_close_delivers_or_refuses_each_item():
    for _ in range(30):
        channel, sent, got = filar.Channel(random.randrange(3)), [], []

        def send(channel=channel, sent=sent):
            try:
                for n in range(1000):
                    thing = (threading.get_ident(), n)
                    channel.send(thing)
                    sent.append(thing)
            except filar.ClosedError:
                pass

        run_threads(
            send,
            send,
            lambda channel=channel, got=got: got.extend(channel),
            lambda channel=channel: (time.sleep(0.001), channel.close()),
        )
        assert sorted(got) == sorted(sent)


def test_waits_leave_no_references_behind():
    channel, thing = filar.Channel(), Thing()
    before = sys.getrefcount(thing)
    for _ in range(200):
        with pytest.raises(filar.DeadlineError):
            channel.send(thing, timeout=1e-6)
    run_threads(lambda: [channel.send(thing) for _ in range(50)], lambda: [channel.receive() for _ in range(50)])
    gc.collect()
    assert sys.getrefcount(thing) == before
