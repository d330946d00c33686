/*
 * fd.c - filar.wait_readable() and its kin: Python threads that wait for file descriptors, and
 * receive from sockets.
 *
 * As park.h has it: the GIL is let go of only while the thread sleeps or is parked, or copies much.
 * Events are those of the select module (POLLIN and so on), which Linux gives the numbers of
 * epoll's.
 */
#include "py/arguments.h"
#include "py/types.h"

#include <errno.h>
#include <limits.h>

#include "io/fd.h"
#include "os/calls.h"

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

/* ---- receiving ---- */

/*
 * What socket.recv() comes to: it tries, and waits by its ticket, so a wait costs no system call
 * (io/README.md, "Record").  Asking the C class of the socket module first would cost an exception
 * for each wait, and the wait after it, which knows nothing of the attempt, one epoll_ctl.  The
 * file descriptor must be known to be new when it is (new_fd()), and closed by close_fd().
 */
struct receiving {
	struct fd_user user;
	int flags;
	PyObject *timeout; /* as the socket has it: None, or a float */
	int64_t deadline_ns;
	bool has_waited;
};

/* Copying more takes longer than letting go of the GIL. */
#define KEPT_BYTES_MAX 65536

/* An exception as the socket module raises it; false. */
static bool raise_errno(int error)
{
	errno = error;
	(void)PyErr_SetFromErrno(PyExc_OSError);
	return false;
}

static bool receiving_begin(
	struct receiving *receiving, PyObject *fd, PyObject *flags, PyObject *timeout)
{
	long number = PyLong_AsLong(fd), bits = PyLong_AsLong(flags);
	enum filar_status status;

	if ((number == -1 || bits == -1) && PyErr_Occurred() != NULL)
		return false;
	if (number < 0 || number > INT_MAX)
		return raise_errno(EBADF);
	if (bits < INT_MIN || bits > INT_MAX)
		return raise_errno(EINVAL);
	receiving->flags = (int)bits;
	receiving->timeout = timeout;
	receiving->has_waited = false;
	status = fd_begin(&receiving->user, (int)number);
	return status == FILAR_OK || raise_for_fd(status, (int)number) != NULL;
}

/* As recv(2); -1 with errno. */
static ssize_t receive_once(struct receiving *receiving, void *buffer, size_t bytes)
{
	int fd = receiving->user.fd, flags = receiving->flags | MSG_DONTWAIT;
	ssize_t got;

	fd_take_ticket(&receiving->user);
	if (bytes <= KEPT_BYTES_MAX)
		return call_recv(fd, buffer, bytes, flags);
	Py_BEGIN_ALLOW_THREADS
	got = call_recv(fd, buffer, bytes, flags);
	Py_END_ALLOW_THREADS
	return got;
}

static enum filar_status wait_tried(void *object, int64_t deadline_ns)
{
	struct receiving *receiving = object;

	return fd_wait_tried(&receiving->user, EPOLLIN, deadline_ns);
}

static bool wait_for_more(struct receiving *receiving)
{
	enum filar_status status;

	if (!receiving->has_waited && !py_deadline(receiving->timeout, &receiving->deadline_ns))
		return false;
	receiving->has_waited = true;
	status = py_wait_leaving(wait_tried, receiving, receiving->deadline_ns);
	if (status == FILAR_OK || status == FD_LOOK_AGAIN)
		return true;
	if (status == FILAR_TIMED_OUT)
		PyErr_SetString(PyExc_TimeoutError, "timed out");
	else
		(void)raise_for_fd(status, receiving->user.fd);
	return false;
}

static bool never_waits(const struct receiving *receiving)
{
	return (receiving->flags & MSG_DONTWAIT) != 0 ||
	       (PyFloat_Check(receiving->timeout) && PyFloat_AS_DOUBLE(receiving->timeout) == 0.0);
}

/* After an attempt has failed: waits if that helps.  True: to be tried again; else it has raised.
 */
static bool goes_on(struct receiving *receiving, int error)
{
	if (error == EINTR)
		return PyErr_CheckSignals() == 0;
	if (error != EAGAIN || never_waits(receiving))
		return raise_errno(error);
	return wait_for_more(receiving);
}

/* receive(fd, bufsize, flags, timeout) */
static PyObject *receive(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
	struct receiving receiving;
	Py_ssize_t bytes;

	(void)module;
	if (nargs != 4)
		return PyErr_Format(PyExc_TypeError, "receive() takes 4 arguments");
	bytes = PyNumber_AsSsize_t(args[1], PyExc_OverflowError);
	if (bytes == -1 && PyErr_Occurred() != NULL)
		return NULL;
	if (bytes < 0)
		return PyErr_Format(PyExc_ValueError, "negative buffersize in recv");
	if (!receiving_begin(&receiving, args[0], args[2], args[3]))
		return NULL;
	for (;;) {
		/* None while it waits: of ten thousand that wait each would keep one. */
		PyObject *found = PyBytes_FromStringAndSize(NULL, bytes);
		ssize_t got;
		int error;

		if (found == NULL || bytes == 0)
			return found;
		got = receive_once(&receiving, PyBytes_AS_STRING(found), (size_t)bytes);
		error = errno;
		if (got >= 0) {
			/* With MSG_TRUNC it is the length of the datagram. */
			if (got < bytes)
				(void)_PyBytes_Resize(&found, got);
			return found;
		}
		Py_DECREF(found);
		if (!goes_on(&receiving, error))
			return NULL;
	}
}

static ssize_t receive_view(struct receiving *receiving, Py_buffer *view, size_t bytes)
{
	ssize_t got;

	do {
		got = receive_once(receiving, view->buf, bytes);
	} while (got < 0 && goes_on(receiving, errno));
	return got;
}

/* receive_into(fd, buffer, nbytes, flags, timeout) */
static PyObject *receive_into(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
	struct receiving receiving;
	Py_ssize_t bytes;
	ssize_t got = -1;
	Py_buffer view;

	(void)module;
	if (nargs != 5)
		return PyErr_Format(PyExc_TypeError, "receive_into() takes 5 arguments");
	bytes = PyNumber_AsSsize_t(args[2], PyExc_OverflowError);
	if ((bytes == -1 && PyErr_Occurred() != NULL) || !PyArg_Parse(args[1], "w*", &view))
		return NULL;
	if (bytes < 0)
		PyErr_SetString(PyExc_ValueError, "negative buffersize in recv_into");
	else if (bytes > view.len)
		PyErr_SetString(PyExc_ValueError, "buffer too small for requested bytes");
	else if (view.len == 0)
		got = 0;
	else if (receiving_begin(&receiving, args[0], args[3], args[4]))
		got = receive_view(&receiving, &view, (size_t)(bytes > 0 ? bytes : view.len));
	PyBuffer_Release(&view);
	return got >= 0 ? PyLong_FromSsize_t(got) : NULL;
}

/* ---- beginning and end ---- */

static PyObject *new_fd(PyObject *module, PyObject *file)
{
	int fd = PyObject_AsFileDescriptor(file);

	(void)module;
	if (fd < 0)
		return NULL;
	fd_is_another(fd);
	Py_RETURN_NONE;
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

PyDoc_STRVAR(receive_doc,
	"receive($module, fd, bufsize, flags, timeout, /)\n--\n\n"
	"As socket.recv() of a socket with that timeout (None, or a float), whatever mode the file "
	"descriptor\nis in. Known to this module as new_fd(), closed by close_fd().");

PyDoc_STRVAR(receive_into_doc,
	"receive_into($module, fd, buffer, nbytes, flags, timeout, /)\n--\n\n"
	"As socket.recv_into(), as receive() is as socket.recv().");

PyDoc_STRVAR(new_doc,
	"new_fd($module, fd, /)\n--\n\n"
	"What was known of the number is of a file that may have been closed without a word.");

PyDoc_STRVAR(close_doc, "close_fd($module, fd, /)\n--\n\n"
			"forget_fd(), then os.close(): nobody goes on waiting for it.");

PyMethodDef py_fd_methods[] = {
	{ "wait_readable", PY_FAST(wait_readable), readable_doc },
	{ "wait_writable", PY_FAST(wait_writable), writable_doc },
	{ "wait_fd", PY_FAST(wait_fd), fd_doc },
	{ "receive", (PyCFunction)(void (*)(void))receive, METH_FASTCALL, receive_doc },
	{ "receive_into", (PyCFunction)(void (*)(void))receive_into, METH_FASTCALL,
		receive_into_doc },
	{ "new_fd", new_fd, METH_O, new_doc },
	{ "forget_fd", forget_fd, METH_O, forget_doc },
	{ "close_fd", close_fd, METH_O, close_doc },
	{ NULL, NULL, 0, NULL },
};
