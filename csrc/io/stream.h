/*
 * stream.h - system calls that try first and wait where they say EAGAIN: read, write, accept,
 * connect and their kin, for green and kernel threads.
 *
 * Each gives its result (bytes, the new fd) in *done; failures as filar.h says.
 */
#ifndef FILAR_IO_STREAM_H
#define FILAR_IO_STREAM_H

#include <sys/socket.h>

#include "base/status.h"

enum filar_status stream_read(
	int fd, void *buffer, size_t bytes, int64_t deadline_ns, size_t *done);
enum filar_status stream_write(
	int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done);
enum filar_status stream_recv(
	int fd, void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done);
enum filar_status stream_send(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done);
enum filar_status stream_write_all(
	int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done);
enum filar_status stream_send_all(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done);
enum filar_status stream_recvfrom(int fd, void *buffer, size_t bytes, int flags,
	struct sockaddr *address, socklen_t *address_bytes, int64_t deadline_ns, size_t *done);
enum filar_status stream_sendto(int fd, const void *buffer, size_t bytes, int flags,
	const struct sockaddr *address, socklen_t address_bytes, int64_t deadline_ns, size_t *done);
enum filar_status stream_recvmsg(
	int fd, struct msghdr *message, int flags, int64_t deadline_ns, size_t *done);
enum filar_status stream_sendmsg(
	int fd, const struct msghdr *message, int flags, int64_t deadline_ns, size_t *done);
enum filar_status stream_accept(int fd, struct sockaddr *address, socklen_t *address_bytes,
	int64_t deadline_ns, int *accepted);
enum filar_status stream_connect(
	int fd, const struct sockaddr *address, socklen_t address_bytes, int64_t deadline_ns);

#endif
