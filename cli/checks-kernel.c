// SPDX-License-Identifier: Apache-2.0
/*
 * What this kernel, with its settings and filters, offers. Nothing is concluded from a version where
 * it can be tried: a container's filter refuses what the kernel has.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bell.h"
#include "cleanup.h"
#include "findings.h"
#include "futex.h"
#include "half.h"
#include "loop.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define RING_BYTES 65536u

/* Is what this thread calls filtered? */
static bool is_filtered(void)
{
	char line[128];
	FILE *file = fopen("/proc/self/status", "re");
	int mode = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	if (file)
		(void)fclose(file);
	return mode == 2;
}

static void check_version(struct findings *findings)
{
	unsigned major = 0, minor = 0;
	struct utsname name;

	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2) {
		findings_add(findings, "kernel", FINDING_NOTE, NULL, "a kernel without a version");
		return;
	}
	if (major > 5 || (major == 5 && minor >= 10))
		findings_add(findings, "kernel", FINDING_OK, NULL, "%s %s, %s", name.sysname,
			     name.release, name.machine);
	else
		findings_add(findings, "kernel", FINDING_BAD,
			     "Run Linux 5.10 or later. (gVisor says 4.4, and cannot pass memfds.)",
			     "%s %s is older than 5.10", name.sysname, name.release);
}

void check_kernel(struct findings *findings)
{
	const long page = sysconf(_SC_PAGESIZE);

	check_version(findings);
	findings_add(findings, "page_size", FINDING_OK, NULL, "%ld bytes", page);
}

/* ── memory ── */

/* Each way to write into a sealed memfd of somebody else. NULL, or the one that is open. */
static const char *way_in(int fd, size_t size)
{
	static const char byte = 'x';
	_cleanup_(closep) int again = -EBADF;
	char path[64];
	void *map;
	bool open_way;

	if (pwrite(fd, &byte, 1, 0) >= 0)
		return "pwrite() writes into it";
	if (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		return "it can be mapped writable";
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return "it cannot be mapped at all";
	open_way = mprotect(map, size, PROT_READ | PROT_WRITE) == 0;
	(void)munmap(map, size);
	if (open_way)
		return "a read-only mapping of it can be made writable";
	if (ftruncate(fd, 0) == 0)
		return "it can be shrunk";
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0)
		return "holes can be punched into it";
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0)
		return NULL;
	if (pwrite(again, &byte, 1, 0) >= 0 ||
	    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) != MAP_FAILED)
		return "it can be written when it is opened again through /proc";
	return NULL;
}

/* A half as libipc makes it, attacked as a peer would. */
static void check_sealing(struct findings *findings)
{
	struct ipci_error error = {};
	struct ipci_half half = {};
	_cleanup_(closep) int fd = -EBADF;
	const char *way;
	int r = ipci_half_create(&half, &fd, RING_BYTES, &error);

	if (r < 0) {
		findings_add(findings, "sealing", FINDING_BAD,
			     "Run a kernel with memfds and F_SEAL_FUTURE_WRITE (5.1) that the "
			     "container's filter does not refuse.",
			     "no half can be made: %s", error.text);
		return;
	}
	way = way_in(fd, (size_t)ipci_half_size_bytes(RING_BYTES));
	if (way)
		findings_add(findings, "sealing", FINDING_BAD,
			     "Do not use this kernel: its F_SEAL_FUTURE_WRITE does not hold, and a "
			     "peer could write into this process's messages.",
			     "a sealed memfd is not safe: %s", way);
	else
		findings_add(findings, "sealing", FINDING_OK, NULL,
			     "a sealed memfd cannot be written, remapped, shrunk, or opened again "
			     "for writing");
	ipci_half_deinit(&half);
}

static void check_noexec(struct findings *findings)
{
	_cleanup_(closep) int fd = memfd_create("ipc-doctor", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	const long sysctl = findings_read_number("/proc/sys/vm/memfd_noexec", -1);

	if (fd >= 0 && fcntl(fd, F_GET_SEALS) & F_SEAL_EXEC)
		findings_add(findings, "noexec_seal", FINDING_OK, NULL,
			     "memfds are sealed against execution (vm.memfd_noexec is %ld)",
			     sysctl);
	else
		findings_add(
			findings, "noexec_seal", FINDING_NOTE,
			"Linux 6.3 and later have MFD_NOEXEC_SEAL. Nothing else depends on it.",
			"memfds cannot be sealed against execution");
}

static void check_huge_pages(struct findings *findings)
{
	const char *advice = "Huge pages matter to rings of megabytes alone. To reserve 64 of "
			     "them: sysctl vm.nr_hugepages=64";
	const long total = findings_read_number("/proc/sys/vm/nr_hugepages", -1);
	_cleanup_(closep) int fd = memfd_create("ipc-doctor", MFD_CLOEXEC | MFD_HUGETLB);
	const int error = errno;
	char shmem[128] = "unknown";

	(void)findings_read_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shmem,
				 sizeof(shmem));
	if (fd >= 0 && total > 0)
		findings_add(findings, "huge_pages", FINDING_OK, NULL,
			     "%ld reserved; transparent ones for shared memory: %s", total, shmem);
	else if (fd >= 0)
		findings_add(findings, "huge_pages", FINDING_NOTE, advice,
			     "none reserved; transparent ones for shared memory: %s", shmem);
	else
		findings_add(findings, "huge_pages", FINDING_NOTE, NULL,
			     "this kernel has none to give: %s", strerror(error));
}

void check_memory(struct findings *findings)
{
	check_sealing(findings);
	check_noexec(findings);
	check_huge_pages(findings);
}

/* ── waiting ── */

/* Who refused io_uring, and what undoes that. */
static void uring_refused(struct findings *findings, int error)
{
	const long disabled = findings_read_number("/proc/sys/kernel/io_uring_disabled", 0);
	const long group = findings_read_number("/proc/sys/kernel/io_uring_group", -1);
	const char *filter = "Allow io_uring_setup, io_uring_enter and io_uring_register in the "
			     "container's seccomp profile. Without, loops wait with epoll.";

	if (error == -EPERM && disabled == 2)
		findings_add(findings, "io_uring", FINDING_SLOWER,
			     "sysctl kernel.io_uring_disabled=0 allows it to all, 1 to a group. "
			     "Without, loops wait with epoll.",
			     "refused: kernel.io_uring_disabled is 2");
	else if (error == -EPERM && disabled == 1 && !is_filtered())
		findings_add(findings, "io_uring", FINDING_SLOWER,
			     "Put this user into the group that kernel.io_uring_group names, or "
			     "set kernel.io_uring_disabled=0. Without, loops wait with epoll.",
			     "refused: kernel.io_uring_disabled is 1, kernel.io_uring_group %ld",
			     group);
	else if (is_filtered())
		findings_add(findings, "io_uring", FINDING_SLOWER, filter,
			     "refused by a seccomp filter: %s", strerror(-error));
	else if (error == -ENOSYS)
		findings_add(findings, "io_uring", FINDING_SLOWER,
			     "Run a kernel with CONFIG_IO_URING, 5.11 or later. Without, loops "
			     "wait with epoll.",
			     "not in this kernel, or too old a one");
	else
		findings_add(findings, "io_uring", FINDING_SLOWER,
			     "Before Linux 5.12 its memory counts as locked: raise "
			     "RLIMIT_MEMLOCK. Without, loops wait with epoll.",
			     "cannot be set up: %s", strerror(-error));
}

static void check_uring(struct findings *findings)
{
	struct ipci_loop *loop;
	int r = ipci_loop_new(&loop, IPCI_LOOP_URING);

	if (r < 0) {
		uring_refused(findings, r);
		return;
	}
	findings->has_uring = true;
	findings->has_uring_futex = ipci_loop_has_words(loop);
	ipci_loop_free(loop);
	findings_add(findings, "io_uring", FINDING_OK, NULL, "allowed");
	if (findings->has_uring_futex)
		findings_add(findings, "io_uring_futex", FINDING_OK, NULL,
			     "a loop can wait for futex words and be woken");
	else
		findings_add(findings, "io_uring_futex", FINDING_SLOWER,
			     "Linux 6.7 and later have it. Without, loops are woken through "
			     "sockets.",
			     "no futex operations");
}

static void check_waitv(struct findings *findings)
{
	findings->has_waitv = ipci_futex_waitv_works();
	if (findings->has_waitv)
		findings_add(findings, "futex_waitv", FINDING_OK, NULL, "works");
	else
		findings_add(findings, "futex_waitv", FINDING_NOTE,
			     "Linux 5.16 and later have it. IPC_WAIT=futex then sleeps on the "
			     "words of several channels at once.",
			     "not there, or refused by a filter");
}

static void check_membarrier(struct findings *findings)
{
	const long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	bool works = known > 0 && known & MEMBARRIER_CMD_GLOBAL_EXPEDITED;

	if (works)
		works = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) ==
				0 &&
			syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
	if (works)
		findings_add(findings, "membarrier", FINDING_OK, NULL, "GLOBAL_EXPEDITED works");
	else
		findings_add(findings, "membarrier", FINDING_SLOWER,
			     "Allow membarrier in the container's seccomp profile. Without, each "
			     "message pays a fence.",
			     "GLOBAL_EXPEDITED is refused: %s",
			     known < 0 ? strerror(errno) : "unknown to this kernel");
}

static void check_sockets(struct findings *findings)
{
	int fds[2], off = 0, pidfd = -EBADF;
	socklen_t size = sizeof(pidfd);

	if (ipci_bell_pair(fds) < 0) {
		findings_add(findings, "bell", FINDING_BAD,
			     "Allow AF_UNIX sockets of type SOCK_SEQPACKET.",
			     "no pair of sockets can be made: %s", strerror(errno));
		return;
	}
	if (setsockopt(fds[0], SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) == 0)
		findings_add(findings, "so_passrights", FINDING_OK, NULL,
			     "bells take no descriptors");
	else
		findings_add(
			findings, "so_passrights", FINDING_NOTE,
			"Linux 6.16 and later have it. Without, descriptors sent by a peer are "
			"closed one by one, on another thread.",
			"not in this kernel");
	if (getsockopt(fds[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
		findings_add(findings, "so_peerpidfd", FINDING_OK, NULL,
			     "a broker here knows its peers without a race");
	else
		findings_add(findings, "so_peerpidfd", FINDING_NOTE,
			     "Linux 6.5 and later have it. It matters to a broker whose policy "
			     "asks for cgroups.",
			     "not in this kernel");
	closep(&pidfd);
	closep(&fds[0]);
	closep(&fds[1]);
}

void check_waiting(struct findings *findings)
{
	check_waitv(findings);
	check_uring(findings);
	check_membarrier(findings);
	check_sockets(findings);
}
