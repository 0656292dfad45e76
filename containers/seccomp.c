/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc-seccomp: writes a seccomp filter to a descriptor and becomes another program, which hands the
 * descriptor to whoever loads it:
 *
 *   ipc-seccomp [--refuse-io-uring] FD COMMAND [ARGUMENT …]
 *
 * The filter allows by default and refuses, with EPERM, what container runtimes refuse: what
 * reaches for the kernel itself, for other processes' memory, for mounts, namespaces, keys and
 * clocks. io_uring is refused on request, since the runtimes differ about it. A memfd carries the
 * filter, so nothing is left behind.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const refused[] = {
	/* the kernel */
	"acct",
	"bpf",
	"delete_module",
	"finit_module",
	"init_module",
	"ioperm",
	"iopl",
	"kexec_file_load",
	"kexec_load",
	"lookup_dcookie",
	"nfsservctl",
	"perf_event_open",
	"quotactl",
	"quotactl_fd",
	"reboot",
	"swapoff",
	"swapon",
	"sysfs",
	"syslog",
	"uselib",
	"userfaultfd",
	"ustat",
	"vhangup",
	"vm86",
	"vm86old",
	/* other processes */
	"kcmp",
	"pidfd_getfd",
	"process_madvise",
	"process_vm_readv",
	"process_vm_writev",
	"ptrace",
	/* mounts and namespaces; a descriptor that names a file by its inode walks out of a mount
	   namespace */
	"chroot",
	"fsconfig",
	"fsmount",
	"fsopen",
	"fspick",
	"mount",
	"mount_setattr",
	"move_mount",
	"name_to_handle_at",
	"open_by_handle_at",
	"open_tree",
	"pivot_root",
	"setns",
	"umount",
	"umount2",
	"unshare",
	/* keys, which no namespace separates */
	"add_key",
	"keyctl",
	"request_key",
	/* clocks and names */
	"adjtimex",
	"clock_adjtime",
	"clock_settime",
	"setdomainname",
	"sethostname",
	"settimeofday",
	"stime",
	/* placement of memory */
	"mbind",
	"migrate_pages",
	"move_pages",
	"set_mempolicy",
};

static const char *const io_uring[] = {"io_uring_enter", "io_uring_register", "io_uring_setup"};

static const unsigned long namespaces[] = {CLONE_NEWNS,	 CLONE_NEWCGROUP, CLONE_NEWUTS,
					   CLONE_NEWIPC, CLONE_NEWUSER,	  CLONE_NEWPID,
					   CLONE_NEWNET};

static int fail(const char *what, int r)
{
	(void)fprintf(stderr, "ipc-seccomp: %s: %s\n", what, strerror(-r));
	return r;
}

static int refuse(scmp_filter_ctx filter, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);
		int r = number == __NR_SCMP_ERROR
				? -ENOSYS
				: seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);

		if (r < 0)
			return fail(names[i], r);
	}
	return 0;
}

/* What depends on an argument. clone3's flags lie in memory that no filter can read: glibc falls
 * back to clone. */
static int refuse_some(scmp_filter_ctx filter)
{
	int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	for (size_t i = 0; r == 0 && i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
	/* Typing into the launcher's terminal. */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCSTI));
	/* To the hypervisor: no network namespace holds these back. */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, AF_VSOCK));
	return r < 0 ? fail("filter", r) : 0;
}

static int make_filter(scmp_filter_ctx filter, int fd, int refuse_io_uring)
{
	int r = refuse(filter, refused, sizeof(refused) / sizeof(refused[0]));

	if (r == 0 && refuse_io_uring)
		r = refuse(filter, io_uring, sizeof(io_uring) / sizeof(io_uring[0]));
	if (r == 0)
		r = refuse_some(filter);
	if (r == 0) {
		r = seccomp_export_bpf(filter, fd);
		if (r < 0)
			(void)fail("export", r);
	}
	return r;
}

/* A memfd at @fd that stays open across exec, holds the filter and is read from its start. */
static int put_filter(int fd, int refuse_io_uring)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int memfd = memfd_create("seccomp", 0);
	int r;

	if (filter == NULL)
		return fail("filter", -ENOMEM);
	if (memfd < 0)
		return fail("memfd", -errno);
	r = make_filter(filter, memfd, refuse_io_uring);
	seccomp_release(filter);
	if (r == 0 && (lseek(memfd, 0, SEEK_SET) < 0 || dup2(memfd, fd) < 0))
		r = fail("descriptor", -errno);
	if (memfd != fd)
		(void)close(memfd);
	return r;
}

int main(int argc, char **argv)
{
	int refuse_io_uring = argc > 1 && strcmp(argv[1], "--refuse-io-uring") == 0;
	char **arguments = argv + 1 + refuse_io_uring;
	char *end = NULL;
	long fd;

	if (argc - 1 - refuse_io_uring < 2) {
		(void)fprintf(stderr,
			      "usage: ipc-seccomp [--refuse-io-uring] FD COMMAND [ARGUMENT ...]\n");
		return 2;
	}
	fd = strtol(arguments[0], &end, 10);
	if (end == arguments[0] || *end != '\0' || fd < 3 || fd > 1023) {
		(void)fprintf(stderr, "ipc-seccomp: %s: not a descriptor from 3 to 1023\n",
			      arguments[0]);
		return 2;
	}
	if (put_filter((int)fd, refuse_io_uring) < 0)
		return 1;
	(void)execvp(arguments[1], arguments + 1);
	(void)fail(arguments[1], -errno);
	return 127;
}
