// SPDX-License-Identifier: Apache-2.0
/*
 * Credentials are those of the process that called connect(), at that time. The uid needs nothing
 * more. The cgroup is looked up by pid, and a pid may have been given to another process since: so
 * a pidfd is held, from the socket itself where the kernel has that (6.5), and the process must
 * still live after its cgroup was read.
 */
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define CGROUP_FILE_BYTES 8192u

bool ipci_identity_cgroup_matches(const char *glob, const char *path)
{
	return fnmatch(glob, path, FNM_PATHNAME | FNM_LEADING_DIR) == 0;
}

static int uids_text(const struct ipci_policy_workload *workload, char *text, size_t n)
{
	int used = 0;

	text[0] = 0;
	for (size_t i = 0; i < workload->n_uids && (size_t)used < n; i++) {
		const struct ipci_uid_range *range = &workload->uids[i];

		used += snprintf(text + used, n - (size_t)used, "%s%u", i ? ", " : "",
				 range->first);
		if (range->last != range->first && (size_t)used < n)
			used += snprintf(text + used, n - (size_t)used, "-%u", range->last);
	}
	return used;
}

static int peer_pidfd(int socket, pid_t pid)
{
	int fd;
	socklen_t n = sizeof(fd);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &n) == 0)
		return fd;
	if (errno != ENOPROTOOPT)
		return -errno;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : fd;
}

/* The unified hierarchy's line, "0::/path", cut out of /proc/<pid>/cgroup. */
static int read_cgroup(pid_t pid, uid_t uid, char *text, size_t n, char **ret)
{
	char name[64];
	_cleanup_(closep) int fd = -EBADF;
	struct stat st;
	ssize_t got;

	(void)snprintf(name, sizeof(name), "/proc/%d/cgroup", (int)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* Without SO_PEERPIDFD this is what tells a reused pid; an undumpable process's files are
	 * root's. */
	if (st.st_uid != uid && st.st_uid != 0)
		return -ESRCH;
	got = read(fd, text, n - 1);
	if (got < 0)
		return -errno;
	text[got] = 0;
	for (char *line = text; line && *line;) {
		char *end = strchr(line, '\n');

		if (end)
			*end++ = 0;
		if (strncmp(line, "0::", 3) == 0) {
			*ret = line + 3;
			return 0;
		}
		line = end;
	}
	return -ENODATA;
}

static bool is_alive(int pidfd)
{
	struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};

	return poll(&pollfd, 1, 0) == 0;
}

static int check_cgroup(int socket, const struct ucred *cred,
			const struct ipci_policy_workload *workload, struct ipci_error *error)
{
	_cleanup_(closep) int pidfd = -EBADF;
	char text[CGROUP_FILE_BYTES];
	char *path = NULL;
	int r;

	if (cred->pid == 0)
		return ipci_error_set(
			error, -EACCES,
			"workloads.%s.identity.cgroup is demanded, but the peer's pid is not "
			"visible from the broker's pid namespace",
			workload->name);
	pidfd = peer_pidfd(socket, cred->pid);
	r = pidfd < 0 ? pidfd : read_cgroup(cred->pid, cred->uid, text, sizeof(text), &path);
	if (r < 0)
		return ipci_error_set(
			error, -EACCES,
			"workloads.%s.identity.cgroup is demanded, but the cgroup of pid %d "
			"cannot be told: %s",
			workload->name, (int)cred->pid,
			r == -ENODATA ? "no unified hierarchy" : strerror(-r));
	if (!is_alive(pidfd))
		return ipci_error_set(error, -EACCES, "pid %d died before its cgroup was known",
				      (int)cred->pid);
	if (!ipci_identity_cgroup_matches(workload->cgroup, path))
		return ipci_error_set(
			error, -EACCES,
			"pid %d is in cgroup \"%.128s\", workloads.%s.identity.cgroup demands "
			"\"%.128s\"",
			(int)cred->pid, path, workload->name, workload->cgroup);
	return 0;
}

int ipci_identity_check(int socket, const struct ipci_policy_workload *workload,
			struct ipci_error *error)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);
	char uids[128];

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return ipci_error_set(error, -EACCES, "the peer has no credentials: %s",
				      strerror(errno));
	if (!ipci_policy_has_uid(workload, cred.uid)) {
		(void)uids_text(workload, uids, sizeof(uids));
		return ipci_error_set(error, -EACCES,
				      "the peer's uid is %u, workloads.%s.identity.uid allows %s",
				      cred.uid, workload->name, uids);
	}
	return workload->cgroup ? check_cgroup(socket, &cred, workload, error) : 0;
}
