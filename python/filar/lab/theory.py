"""The sentences of the theory, and what puts each to the test: the claims of docs/claims.md.

Each sentence names experiments, or a reason why nothing here can decide it, or both where a part of it is left.
The sentences are those of five texts on threads, shortened; a number is the text's and the sentence's.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DOCUMENTS", "SENTENCES", "Sentence"]

DOCUMENTS = (
    "System threads, an overview",
    "What is a thread",
    "Notes on threads, scheduling and pools",
    "Using threads to run code simultaneously",
    "Notes on threads against processes, and levels of threads",
)


@dataclass(frozen=True)
class Sentence:
    """A sentence of the theory. `document` counts `DOCUMENTS` from 0, `number` the sentences in it from 1."""

    document: int
    number: int
    text: str
    experiments: tuple[str, ...] = ()
    reason: str = ""

    @property
    def label(self) -> str:
        """As it is cited: "0.5"."""
        return f"{self.document}.{self.number}"


def _of(document: int, *sentences: tuple[str, str] | tuple[str, str, str]) -> tuple[Sentence, ...]:
    """Sentences as (text, experiments, reason)."""
    return tuple(
        Sentence(document, number, text, tuple(names.split()), *rest)
        for number, (text, names, *rest) in enumerate(sentences, 1)
    )


_COMPILER = "A matter of the language: a C compiler gives no such guard, so there is nothing to measure."

SENTENCES: tuple[Sentence, ...] = (
    *_of(
        0,
        ("Threads do many tasks at once, or seem to on a single CPU.", "parallelism time-slice"),
        ("Threads of a process share its memory, and each has a stack of its own.", "address-map"),
        (
            "Scheduling is preemptive; priority and pinning influence it.",
            "time-slice fairness nice-share pin-effect sleep-precision",
        ),
        ("A thread can be interrupted in the middle of a write.", "lost-update"),
        (
            "Threads are lighter than processes; creating one takes 9,000 ns on Skylake, 20,000 ns on Ampere.",
            "kthread-create process-create",
        ),
        (
            "threads-max bounds their number (63,704 on a sample machine); on Windows some 8,000 are possible.",
            "kthread-limit",
            "Windows is not here to be asked.",
        ),
        ("Thousands of threads make the system crawl.", "crawl crawl-latency contention-crawl kthread-alive"),
        (
            "Use a thread only where it pays, or in the background.",
            "grain-size loop-grain interactive python-interactive",
        ),
        (
            "A stack for each thread is dear: reuse threads.",
            "kthread-memory thread-reuse thread-per-task",
        ),
        ("Threads divide a workload.", "speedup uneven-work"),
        ("Threads keep a program interactive.", "interactive python-interactive"),
        ("For thousands of tasks, async is the better choice.", "waiters async-models py-memory green-memory"),
        ("Rust's compiler guards against races.", "", _COMPILER),
    ),
    *_of(
        1,
        ("A thread shares memory, file descriptors and the heap of its process.", "address-map"),
        (
            "It is lighter to create than a process, and takes 1 to 8 MB for its stack.",
            "process-create kthread-memory process-memory",
        ),
        ("It is a unit of execution of its own: truly parallel, or in slices.", "parallelism time-slice core-latency"),
        (
            "Data need no copying; the price is races, mutexes and deadlocks.",
            "sharing-cost lost-update mutex-cost false-sharing deadlock",
        ),
        (
            "There are three models: a kernel thread each, many on one, many on many.",
            "seen-by-kernel green-seen-by-kernel n1-blocking mn-blocking green-scaling",
        ),
        (
            "A web server and an encoder gain from threads; a processor with eight cores is idle without them.",
            "video-frames parallelism pool-size pool-queue async-models server-models",
        ),
    ),
    *_of(
        2,
        ("A thread is the unit of scheduling.", "time-slice seen-by-kernel"),
        (
            "Processes have address spaces of their own; threads need no communication.",
            "address-map sharing-cost green-channel",
        ),
        ("Threads are created and switched faster than processes.", "process-create thread-vs-process-switch"),
        ("Threads are fully parallel.", "parallelism gil"),
        (
            "One thread that fails takes all others along, and what is shared needs care.",
            "process-isolation lost-update",
        ),
        (
            "Threads of the user level are faster than the kernel's; one that blocks stops all on its kernel thread.",
            "kthread-switch green-switch green-spawn n1-blocking py-switch py-spawn py-blocking",
        ),
        ("Scheduling is preemptive or cooperative.", "fairness py-preemption"),
        (
            "A pool keeps threads ready; a dispatcher hands them requests.",
            "thread-reuse task-overhead task-latency dispatcher pool-blocking python-executor server-models",
        ),
    ),
    *_of(
        3,
        ("Threads run at the same time, or in slices.", "parallelism time-slice"),
        (
            "They may make a program faster, and there is no order among them.",
            "speedup predicted-speedup grain-size run-order",
        ),
        ("Races, deadlocks, and bugs that are hard to reproduce.", "lost-update deadlock heisenbug"),
        ("Rust makes many of these errors compile errors.", "", _COMPILER),
        (
            "A language with threads of its own has a larger runtime, and larger binaries.",
            "runtime-size",
            "Of languages only those that are installed are measured; how large their binaries are is the compiler's.",
        ),
        (
            "Threads of the user level give control over scheduling, and cheap switches.",
            "green-switch green-ring green-control fairness",
        ),
    ),
    *_of(
        4,
        ("Threads share data and are not isolated.", "sharing-cost process-isolation"),
        ("What is shared needs synchronisation.", "mutex-cost lost-update"),
        ("Processes are dearer.", "process-create process-memory"),
        ("Threads share code, heap and files.", "address-map"),
        ("Browsers use processes, for isolation.", "process-isolation"),
        ("Switching threads exchanges registers only.", "switch-working-set"),
        ("Isolation stands against speed.", "process-isolation process-vs-thread-work"),
        ("A switch in user space needs no kernel.", "green-switch kthread-switch"),
        (
            "A pool bounds the number of threads; some are idle.",
            "pool-size pool-queue thread-reuse thread-per-task",
        ),
        ("A server queues requests, and a thread returns to its pool.", "pool-queue pool-blocking server-slow-clients"),
        ("Four threads run on four cores at once.", "parallelism speedup green-scaling"),
        ("Affinity keeps a thread's data in the cache.", "pin-effect pool-pinning core-latency noisy-neighbour"),
        ("Threads of the user level use the time slice of their process.", "n1-share"),
        ("A blocking call of one stops all of them.", "n1-blocking green-seen-by-kernel py-blocking"),
        ("Kernel threads stand in a table of the operating system.", "seen-by-kernel"),
        ("If a kernel thread blocks, another one runs.", "n1-blocking mn-blocking pool-blocking server-blocking"),
        ("A process with more threads gets a larger share of the CPU.", "cpu-share"),
        ("Switching threads is as slow as switching processes.", "thread-vs-process-switch"),
    ),
)
