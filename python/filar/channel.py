"""Channels: items from senders to receivers, between threads of every kind, until they are closed."""

from filar._lib import Selected, extension

__all__ = ["Channel", "Selected", "select"]

Channel = extension.Channel
select = extension.select
