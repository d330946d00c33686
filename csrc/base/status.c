/*
 * status.c - status codes in words.
 */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/self.h"

/* In the order of the enum: 0, -1, -2, ...  Each sentence can stand alone in front of a user. */
static const struct {
	const char *name;
	const char *sentence;
} status_texts[] = {
	{ "FILAR_OK", "success" },
	{ "FILAR_INVALID", "an argument is outside what the function accepts" },
	{ "FILAR_NO_MEMORY", "the system has no memory for this" },
	{ "FILAR_LIMIT", "a limit of the system, the container or the process is reached" },
	{ "FILAR_NO_PERMISSION", "this process may not do that" },
	{ "FILAR_NO_CPU", "no such CPU, or this process may not run on it" },
	{ "FILAR_TIMED_OUT", "the deadline passed first" },
	{ "FILAR_INTERRUPTED", "a signal arrived during the wait" },
	{ "FILAR_CANCELLED", "the operation was cancelled" },
	{ "FILAR_WRONG_STATE", "the object is not in a state that allows this" },
	{ "FILAR_DEADLOCK", "waiting for this would never end" },
	{ "FILAR_BUSY", "the object is in use" },
	{ "FILAR_NOT_SUPPORTED", "this kernel, CPU or build has no such feature" },
	{ "FILAR_NOT_FOUND", "no such thing" },
	{ "FILAR_FORKED", "the object belongs to the parent process of a fork" },
	{ "FILAR_SYSTEM", "the operating system reported an unexpected error" },
	{ "FILAR_CLOSED", "the channel is closed" },
};

_Static_assert(FILAR_COUNT_OF(status_texts) == 1 - FILAR_STATUS_LAST, "a text for each status");

static int status_index(int status)
{
	return status <= 0 && status >= FILAR_STATUS_LAST ? -status : -FILAR_SYSTEM;
}

const char *filar_status_name(int status)
{
	return status_texts[status_index(status)].name;
}

const char *filar_status_sentence(int status)
{
	return status_texts[status_index(status)].sentence;
}

const char *filar_status_detail(void)
{
	struct self *self = self_get();

	return self != NULL ? self->status_detail : "";
}

int32_t filar_status_errno(void)
{
	struct self *self = self_get();

	return self != NULL ? self->status_errno : 0;
}

void filar_status_detail_clear(void)
{
	struct self *self = self_get();

	if (self == NULL)
		return;
	self->status_detail[0] = '\0';
	self->status_errno = 0;
}

enum filar_status status_detail(enum filar_status status, const char *format, ...)
{
	struct self *self = self_get_or_create();
	va_list arguments;

	if (self == NULL)
		return status;
	va_start(arguments, format);
	vsnprintf(self->status_detail, sizeof self->status_detail, format, arguments);
	va_end(arguments);
	self->status_errno = 0;
	return status;
}

static enum filar_status status_of_errno(int error)
{
	switch (error) {
	case ENOMEM:
		return FILAR_NO_MEMORY;
	case EAGAIN:
	case EMFILE:
	case ENFILE:
		return FILAR_LIMIT;
	case EPERM:
	case EACCES:
		return FILAR_NO_PERMISSION;
	case EINVAL:
		return FILAR_INVALID;
	case ETIMEDOUT:
		return FILAR_TIMED_OUT;
	case EINTR:
		return FILAR_INTERRUPTED;
	case ENOSYS:
	case EOPNOTSUPP:
		return FILAR_NOT_SUPPORTED;
	case ENOENT:
	case ESRCH:
		return FILAR_NOT_FOUND;
	default:
		return FILAR_SYSTEM;
	}
}

enum filar_status status_from_errno(int error, const char *what)
{
	char text[96];
	/* The GNU strerror_r returns the text, which need not be in the buffer. */
	enum filar_status status = status_detail(status_of_errno(error), "%s: %s (errno %d)", what,
		strerror_r(error, text, sizeof text), error);
	struct self *self = self_get();

	if (self != NULL)
		self->status_errno = error;
	return status;
}
