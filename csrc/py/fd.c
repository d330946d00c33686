/*
 * fd.c - filar.wait_readable() and its kin: Python threads that wait for file descriptors.
 *
 * As park.h has it: the GIL is let go of only while the thread sleeps or is parked.  Events are
 * those of the select module (POLLIN and so on), which Linux gives the numbers of epoll's.
 */
#include "py/arguments.h"
#include "py/types.h"

#include <errno.h>

#include "io/fd.h"

#define EVENTS_ASKED (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP)

struct fd_waiting {
	int fd;
	uint32_t events;
	uint32_t ready;
};

static enum filar_status wait_for_fd(void *object, int64_t deadline_ns)
{
	struct fd_waiting *waiting = object;

	return fd_wait_until(waiting->fd, waiting->events, deadline_ns, &waiting->ready);
}

/* An OSError where the system has said no, as Python's own calls raise; NULL. */
static PyObject *raise_for_fd(enum filar_status status, int fd)
{
	if (status == FILAR_TIMED_OUT || status == FILAR_CANCELLED || status == FILAR_INTERRUPTED)
		return py_raise(status);
	if (status == FILAR_CLOSED) {
		PyObject *error = PyObject_CallFunction(PyExc_OSError, "is", EBADF,
			"the file descriptor was closed while somebody waited for it");

		if (error != NULL)
			PyErr_SetObject(PyExc_OSError, error);
		Py_XDECREF(error);
		return NULL;
	}
	errno = fd >= 0 ? filar_status_errno() : EBADF;
	return errno != 0 ? PyErr_SetFromErrno(PyExc_OSError) : py_raise(status);
}

static bool wait_for(PyObject *file, uint32_t events, PyObject *timeout, uint32_t *ready)
{
	struct fd_waiting waiting = { .fd = PyObject_AsFileDescriptor(file), .events = events };
	int64_t deadline_ns;
	enum filar_status status;

	if (waiting.fd < 0 || !py_deadline(timeout, &deadline_ns))
		return false;
	status = py_wait_leaving(wait_for_fd, &waiting, deadline_ns);
	*ready = waiting.ready;
	return status == FILAR_OK || raise_for_fd(status, waiting.fd) != NULL;
}

static PyObject *wait_one(const char *function, uint32_t events, PyObject *const *args,
	Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "fd", "timeout" };
	const struct py_call call = { function, names, 1, 2 };
	PyObject *found[2] = { NULL };
	uint32_t ready;

	if (!py_arguments(&call, args, nargs, kwnames, found) ||
		!wait_for(found[0], events, found[1], &ready))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *wait_readable(
	PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	(void)module;
	return wait_one("wait_readable", EPOLLIN, args, nargs, kwnames);
}

static PyObject *wait_writable(
	PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	(void)module;
	return wait_one("wait_writable", EPOLLOUT, args, nargs, kwnames);
}

static PyObject *wait_fd(
	PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "fd", "events", "timeout" };
	static const struct py_call call = { "wait_fd", names, 2, 3 };
	PyObject *found[3] = { NULL };
	uint32_t ready;
	long events;

	(void)module;
	if (!py_arguments(&call, args, nargs, kwnames, found))
		return NULL;
	events = PyLong_AsLong(found[1]);
	if (events == -1 && PyErr_Occurred() != NULL)
		return NULL;
	if ((events & ~(long)EVENTS_ASKED) != 0)
		return PyErr_Format(PyExc_ValueError,
			"events are POLLIN, POLLOUT, POLLPRI and POLLRDHUP of the select module, not %ld",
			events);
	if (!wait_for(found[0], (uint32_t)events, found[2], &ready))
		return NULL;
	return PyLong_FromUnsignedLong(ready & ((uint32_t)events | EPOLLERR | EPOLLHUP));
}

static PyObject *forget_fd(PyObject *module, PyObject *file)
{
	int fd = PyObject_AsFileDescriptor(file);

	(void)module;
	if (fd < 0)
		return NULL;
	fd_forget(fd);
	Py_RETURN_NONE;
}

static PyObject *close_fd(PyObject *module, PyObject *file)
{
	int fd = PyObject_AsFileDescriptor(file);
	enum filar_status status;

	(void)module;
	if (fd < 0)
		return NULL;
	/* It may last (SO_LINGER, a network's file). */
	Py_BEGIN_ALLOW_THREADS
	status = fd_close(fd);
	Py_END_ALLOW_THREADS
	if (status != FILAR_OK)
		return raise_for_fd(status, fd);
	Py_RETURN_NONE;
}

#define WAITS                                                                                      \
	"Waits, on a green thread by parking it. DeadlineError, a TimeoutError, after `timeout` "  \
	"seconds;\nOSError (EBADF) if it is not open, or is closed by close_fd() or given up by "  \
	"forget_fd() meanwhile.\n"

PyDoc_STRVAR(readable_doc,
	"wait_readable($module, /, fd, timeout=None)\n--\n\n"
	"Until a read of the file descriptor (or object with fileno()) would not "
	"wait.\n\n" WAITS "\n"
	">>> import os\n"
	">>> receiver, sender = os.pipe()\n"
	">>> wait_readable(receiver, timeout=0)\n"
	"Traceback (most recent call last):\n"
	"filar.errors.DeadlineError: the deadline passed first\n"
	">>> os.write(sender, b\"x\")\n"
	"1\n"
	">>> wait_readable(receiver)\n"
	">>> close_fd(receiver), close_fd(sender)\n"
	"(None, None)\n");

PyDoc_STRVAR(writable_doc,
	"wait_writable($module, /, fd, timeout=None)\n--\n\n"
	"Until a write to the file descriptor (or object with fileno()) would not "
	"wait.\n\n" WAITS);

PyDoc_STRVAR(fd_doc,
	"wait_fd($module, /, fd, events, timeout=None)\n--\n\n"
	"Until one of `events` is there: POLLIN, POLLOUT, POLLPRI, POLLRDHUP of the select module.\n\n"
	"Returns those that are, with POLLERR and POLLHUP. " WAITS);

PyDoc_STRVAR(forget_doc,
	"forget_fd($module, fd, /)\n--\n\n"
	"All waits for the file descriptor end with OSError (EBADF); it stays open.\n\n"
	"To be called before something else than close_fd() closes a file descriptor that was waited "
	"for.");

PyDoc_STRVAR(close_doc, "close_fd($module, fd, /)\n--\n\n"
			"forget_fd(), then os.close(): nobody goes on waiting for it.");

PyMethodDef py_fd_methods[] = {
	{ "wait_readable", PY_FAST(wait_readable), readable_doc },
	{ "wait_writable", PY_FAST(wait_writable), writable_doc },
	{ "wait_fd", PY_FAST(wait_fd), fd_doc },
	{ "forget_fd", forget_fd, METH_O, forget_doc },
	{ "close_fd", close_fd, METH_O, close_doc },
	{ NULL, NULL, 0, NULL },
};
