"""Watching threads at work: what ran where, who waited for what, who woke whom.

    with filar.trace() as t:
        work()
    t.plot()                        in a notebook: workers by time, threads by state, what waits to run
    t.to_perfetto("work.json")      for ui.perfetto.dev or chrome://tracing
    t.to_dataframe()                for pandas; t.events is the same as a NumPy array

Layers, lowest first: records (numbers and names of the C core), lives (records to spans of time), kernel (/proc),
perfetto and pictures (lives to files and charts), session (the object that users hold).
`docs/watching.md` says what is seen and what is not.
"""

from filar.watching.lives import Life, Span, Wake
from filar.watching.pictures import TracePlot
from filar.watching.session import Trace, TraceStatistics, trace

__all__ = ["Life", "Span", "Trace", "TracePlot", "TraceStatistics", "Wake", "trace"]
