// SPDX-License-Identifier: Apache-2.0
/*
 * The directory is what containers mount, so it outlives the broker, and only its owner may change
 * what is in it. It is locked first: of two brokers that start at once, one must not remove the
 * other's fresh socket as stale.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access.h"
#include "cleanup.h"

#define SOCKET_NAME "broker.sock"
#define BACKLOG 64
#define STALE_LOOKS 50u

static int make_directory(const char *path, struct ipci_error *error)
{
	_cleanup_(closep) int fd = -EBADF;
	struct stat st;

	/* The umask is the daemon's own, 077: the mode is set on the directory itself, where it is
	 * new. */
	bool made = mkdir(path, 0700) == 0;

	if (!made && errno != EEXIST)
		return ipci_error_errno(error, "%s: cannot make the directory", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return ipci_error_errno(error, "%s: cannot open the directory", path);
	if (made && fchmod(fd, 0755) < 0)
		return ipci_error_errno(error, "%s: cannot set its mode", path);
	if (!made && ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022)))
		return ipci_error_set(
			error, -EPERM,
			"%s: belongs to uid %u with mode %04o: expected it to be ours, and no "
			"one else's to write",
			path, st.st_uid, st.st_mode & 07777);
	return TAKE_FD(fd);
}

/* Is it a socket that nobody answers on? */
static bool is_dead(const struct sockaddr_un *address)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
					  0);
	struct stat st;

	return fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

/* The kernel may keep a killed broker's listener for a moment longer than its process: io_uring
 * lets go of it late. */
static bool is_stale(const struct sockaddr_un *address)
{
	const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};

	for (unsigned i = 0; i < STALE_LOOKS; i++) {
		if (is_dead(address))
			return true;
		(void)nanosleep(&moment, NULL);
	}
	return false;
}

static int bind_socket(int fd, const struct sockaddr_un *address, struct ipci_error *error)
{
	const struct sockaddr *any = (const struct sockaddr *)address;

	if (bind(fd, any, sizeof(*address)) == 0)
		return 0;
	if (errno == EADDRINUSE) {
		if (!is_stale(address))
			return ipci_error_set(error, -EADDRINUSE,
					      "%s: is in the way, and no dead broker's socket",
					      address->sun_path);
		if (unlink(address->sun_path) == 0 && bind(fd, any, sizeof(*address)) == 0)
			return 0;
	}
	return ipci_error_errno(error, "%s: cannot bind", address->sun_path);
}

int ipci_listener_init(struct ipci_listener *listener, const char *sockets,
		       const struct ipci_policy_workload *workload, struct ipci_error *error)
{
	_cleanup_(closep) int parent = -EBADF, directory = -EBADF, fd = -EBADF;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[sizeof(address.sun_path)];
	int n, r;

	n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/" SOCKET_NAME, sockets,
		     workload->name);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return ipci_error_set(error, -ENAMETOOLONG,
				      "%s/%s/" SOCKET_NAME
				      ": longer than a socket's address (%zu bytes)",
				      sockets, workload->name, sizeof(address.sun_path) - 1);
	(void)snprintf(path, sizeof(path), "%.*s", n - (int)strlen("/" SOCKET_NAME),
		       address.sun_path);

	parent = make_directory(sockets, error);
	directory = parent < 0 ? parent : make_directory(path, error);
	if (directory < 0)
		return directory;
	if (flock(directory, LOCK_EX | LOCK_NB) < 0)
		return ipci_error_set(error, -EADDRINUSE, "%s: another broker serves it", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ipci_error_errno(error, "cannot make a socket");
	r = bind_socket(fd, &address, error);
	if (r < 0)
		return r;
	/* Nobody can connect before it listens, so the rights may come after the name. */
	r = ipci_access_grant(address.sun_path, workload, error);
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = ipci_error_errno(error, "%s: cannot listen", address.sun_path);
	if (r < 0) {
		(void)unlink(address.sun_path);
		return r;
	}
	listener->fd = TAKE_FD(fd);
	listener->directory = TAKE_FD(directory);
	memcpy(listener->path, address.sun_path, sizeof(listener->path));
	return 0;
}

void ipci_listener_deinit(struct ipci_listener *listener)
{
	if (listener->fd < 0)
		return;
	(void)unlink(listener->path);
	closep(&listener->fd);
	closep(&listener->directory);
	listener->fd = listener->directory = -EBADF;
}
