"""Waiting for file descriptors, on threads of every kind: sockets, pipes, terminals, timerfd, pidfd and so on."""

from filar._lib import extension

__all__ = ["close_fd", "forget_fd", "wait_fd", "wait_readable", "wait_writable"]

close_fd = extension.close_fd
forget_fd = extension.forget_fd
wait_fd = extension.wait_fd
wait_readable = extension.wait_readable
wait_writable = extension.wait_writable
