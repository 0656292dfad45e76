// SPDX-License-Identifier: Apache-2.0
/*
 * Read-only means read-only: every route by which the holder of a foreign half might write into it,
 * tried, refused with the error that is written down here, and the owner's bytes looked at
 * afterwards. The holder has all that a peer has, the descriptor and a mapping, and is one of:
 *
 *   itself      the owner's uid, beside it: with all that uid's capabilities, root's included
 *   another     an unprivileged uid
 *   sandboxed   the owner's uid, but in a user namespace of its own with all capabilities there:
 *               what a container is
 *
 * What leads not into the half but into its owner's process (ptrace, /proc/PID/mem and their kin) is
 * the owner's uid's right by the kernel's rules, and root's, where no namespace lies between: it is
 * left out for "itself", and refused to the other two.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/logging.h>

#include "half.h"

#define RING_BYTES UINT64_C(65536)
#define HALF_BYTES (IPCI_HALF_RING_OFFSET + RING_BYTES)
#define PAGE 4096u
#define NOBODY 65534
#define NO_SUCH 254 /* as a result: this kernel, or this sandbox, has no such route */

/* Where headers are older than the kernel. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1U << 14)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum identity { ITSELF, ANOTHER, SANDBOXED, N_IDENTITIES };

static const char *const identities[] = {"itself", "another uid", "sandboxed"};

/* The owner's, and what its bytes are. */
static struct ipci_half own;
static uint8_t before[HALF_BYTES];
static pid_t owner;
/* The holder's. */
static int half;
static struct ipci_half seen;

static void set_up(void)
{
	cr_assert_eq(ipci_half_create(&own, &half, RING_BYTES, NULL), 0);
	for (size_t i = 0; i < HALF_BYTES; i++)
		own.base[i] = before[i] = (uint8_t)(i * 7 + i / 251 + 1);
	owner = getpid();
}

static void tear_down(void)
{
	ipci_half_deinit(&own);
	(void)close(half);
}

TestSuite(read_only, .init = set_up, .fini = tear_down, .timeout = 60);

/* ── who tries ── */

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	(void)close(fd);
	return ok;
}

static bool become(enum identity identity)
{
	char map[64];

	switch (identity) {
	case ANOTHER:
		return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
		       setresuid(NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0;
	case SANDBOXED:
		(void)snprintf(map, sizeof(map), "0 %u 1", (unsigned)getuid());
		return unshare(CLONE_NEWUSER) == 0 && write_text("/proc/self/uid_map", map) &&
		       getuid() == 0;
	default:
		return true;
	}
}

/* The error that the route ends with for who tries it; 0 none, 1000 + signal. */
static int attempt(enum identity identity, int (*route)(void))
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (!become(identity))
			_exit(NO_SUCH);
		if (ipci_half_import(&seen, half, RING_BYTES, NULL) < 0)
			_exit(253);
		_exit(route());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void expect_of(enum identity identity, const char *name, int (*route)(void), int expected,
		      int or_else)
{
	int error = attempt(identity, route);

	if (error == NO_SUCH)
		cr_log_warn("%s, %s: not to be had here", name, identities[identity]);
	else
		cr_assert(error == expected || error == or_else, "%s, %s: ended with %d (%s)", name,
			  identities[identity], error, error < 1000 ? strerror(error) : "a signal");
	cr_assert_eq(memcmp(own.base, before, HALF_BYTES), 0, "%s, %s: wrote", name,
		     identities[identity]);
	cr_assert_eq(memcmp(own.base + HALF_BYTES, before + IPCI_HALF_RING_OFFSET, RING_BYTES), 0);
}

#define REFUSED_EITHER(route, expected, or_else)                                                   \
	do {                                                                                       \
		for (int _i = 0; _i < N_IDENTITIES; _i++)                                          \
			expect_of((enum identity)_i, #route, route, expected, or_else);            \
	} while (0)
#define REFUSED(route, expected) REFUSED_EITHER(route, expected, expected)
/* It does not fail, and nothing comes of it. */
#define HARMLESS(route) REFUSED_EITHER(route, 0, 0)
/* Into the owner, not its half. */
#define REFUSED_TO_OTHERS(route, expected, or_else)                                                \
	do {                                                                                       \
		for (int _i = ANOTHER; _i < N_IDENTITIES; _i++)                                    \
			expect_of((enum identity)_i, #route, route, expected, or_else);            \
	} while (0)

static int errno_of(long r)
{
	return r < 0 ? errno : 0;
}

static int map_for_writing(int fd, int flags)
{
	uint8_t *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (map == MAP_FAILED)
		return errno;
	map[0] = 0;
	return 0;
}

/* ── the mapping ── */

static int change_its_protection(void)
{
	for (size_t at = 0; at < HALF_BYTES + RING_BYTES; at += PAGE)
		if (mprotect(seen.base + at, PAGE, PROT_READ | PROT_WRITE) == 0)
			seen.base[at] = 0;
	return errno_of(mprotect(seen.base, PAGE, PROT_WRITE));
}

static int change_its_protection_with_a_key(void)
{
	return errno_of(syscall(SYS_pkey_mprotect, seen.base, PAGE, PROT_READ | PROT_WRITE, -1));
}

static int write_through_it(void)
{
	(void)signal(SIGSEGV, SIG_DFL);
	*(volatile uint8_t *)seen.base = 0;
	return 0;
}

static int move_it_and_change_its_protection(void)
{
	uint8_t *moved = mremap(seen.base, PAGE, (size_t)2 * PAGE, MREMAP_MAYMOVE);

	if (moved == MAP_FAILED)
		return 0;
	return errno_of(mprotect(moved, PAGE, PROT_READ | PROT_WRITE));
}

/* An old size of 0 makes a second mapping of the same pages. */
static int duplicate_it_and_change_its_protection(void)
{
	uint8_t *twin = mremap(seen.base, 0, PAGE, MREMAP_MAYMOVE);

	if (twin == MAP_FAILED)
		return 0;
	return errno_of(mprotect(twin, PAGE, PROT_READ | PROT_WRITE));
}

static int remap_its_pages_and_change_its_protection(void)
{
	if (syscall(SYS_remap_file_pages, seen.base, PAGE, 0, 1, 0) < 0)
		return errno == ENOSYS ? NO_SUCH : errno;
	return errno_of(mprotect(seen.base, PAGE, PROT_READ | PROT_WRITE));
}

static int map_it_again(void)
{
	return map_for_writing(half, MAP_SHARED);
}

static int map_it_again_validated(void)
{
	return map_for_writing(half, MAP_SHARED_VALIDATE);
}

static int map_it_over_itself(void)
{
	return errno_of((long)mmap(seen.base, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				   half, 0));
}

static int map_it_unreadable_first(void)
{
	uint8_t *map = mmap(NULL, PAGE, PROT_NONE, MAP_SHARED, half, 0);

	return map == MAP_FAILED ? 0 : errno_of(mprotect(map, PAGE, PROT_READ | PROT_WRITE));
}

static int advise_to_remove(void)
{
	return errno_of(madvise(seen.base, PAGE, MADV_REMOVE));
}

static int advise_to_forget(void)
{
	if (madvise(seen.base, HALF_BYTES, MADV_DONTNEED) < 0)
		return errno;
	return memcmp(seen.base, before, HALF_BYTES) ? 99 : 0;
}

static int advise_to_free(void)
{
	return errno_of(madvise(seen.base, PAGE, MADV_FREE));
}

static int advise_to_populate_for_writing(void)
{
	return errno_of(madvise(seen.base, PAGE, MADV_POPULATE_WRITE));
}

static int advise_to_merge(void)
{
	if (madvise(seen.base, HALF_BYTES, MADV_MERGEABLE) < 0)
		return errno == EINVAL ? NO_SUCH : errno;
	return memcmp(seen.base, before, HALF_BYTES) ? 99 : 0;
}

Test(read_only, the_mapping_cannot_be_made_writable)
{
	REFUSED(write_through_it, 1000 + SIGSEGV);
	REFUSED(change_its_protection, EACCES);
	REFUSED(change_its_protection_with_a_key, EACCES);
	REFUSED(move_it_and_change_its_protection, EACCES);
	REFUSED(duplicate_it_and_change_its_protection, EACCES);
	REFUSED(remap_its_pages_and_change_its_protection, EACCES);
}

Test(read_only, no_other_mapping_is_writable)
{
	REFUSED(map_it_again, EPERM);
	REFUSED(map_it_again_validated, EPERM);
	REFUSED(map_it_over_itself, EPERM);
	REFUSED(map_it_unreadable_first, EACCES);
}

Test(read_only, advice_changes_nothing)
{
	REFUSED(advise_to_remove, EACCES);
	HARMLESS(advise_to_forget);
	REFUSED(advise_to_free, EINVAL);
	REFUSED_EITHER(advise_to_populate_for_writing, EINVAL, EFAULT);
	HARMLESS(advise_to_merge);
}

/* ── the descriptor ── */

static int write_to_it(void)
{
	return errno_of(write(half, "x", 1));
}

static int write_into_its_middle(void)
{
	return errno_of(pwrite(half, "x", 1, 5000));
}

static int write_a_vector(void)
{
	struct iovec iov = {.iov_base = (char[]){"xy"}, .iov_len = 2};

	return errno_of(pwritev2(half, &iov, 1, 0, 0));
}

static int append(void)
{
	struct iovec iov = {.iov_base = (char[]){"xy"}, .iov_len = 2};

	return errno_of(pwritev2(half, &iov, 1, 0, RWF_APPEND));
}

static int source(void)
{
	int fd = memfd_create("source", MFD_CLOEXEC);

	return fd < 0 || ftruncate(fd, PAGE) < 0 ? -1 : fd;
}

static int send_a_file_into_it(void)
{
	return errno_of(sendfile(half, source(), NULL, PAGE));
}

static int splice_a_pipe_into_it(void)
{
	loff_t at = 0;
	int fds[2];

	if (pipe(fds) < 0 || write(fds[1], "xyz", 3) != 3)
		return 0;
	return errno_of(splice(fds[0], NULL, half, &at, 3, 0));
}

static int copy_a_range_into_it(void)
{
	loff_t from = 0, to = 0;

	return errno_of(copy_file_range(source(), &from, half, &to, PAGE, 0));
}

static int clone_a_file_into_it(void)
{
	return errno_of(ioctl(half, FICLONE, source()));
}

static int punch_a_hole(void)
{
	return errno_of(fallocate(half, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
}

static int zero_a_range(void)
{
	return errno_of(fallocate(half, FALLOC_FL_ZERO_RANGE, 0, PAGE));
}

static int collapse_a_range(void)
{
	return errno_of(fallocate(half, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE));
}

static int insert_a_range(void)
{
	return errno_of(fallocate(half, FALLOC_FL_INSERT_RANGE, 0, PAGE));
}

static int grow_it(void)
{
	return errno_of(fallocate(half, 0, 0, HALF_BYTES + PAGE));
}

static int truncate_it(void)
{
	return errno_of(ftruncate(half, 0));
}

static int truncate_it_to_more(void)
{
	return errno_of(ftruncate(half, HALF_BYTES + PAGE));
}

static int seal_it_further(void)
{
	return errno_of(fcntl(half, F_ADD_SEALS, F_SEAL_WRITE));
}

Test(read_only, nothing_is_written_to_the_descriptor)
{
	REFUSED(write_to_it, EPERM);
	REFUSED(write_into_its_middle, EPERM);
	REFUSED(write_a_vector, EPERM);
	REFUSED(append, EPERM);
	REFUSED(send_a_file_into_it, EPERM);
	REFUSED(splice_a_pipe_into_it, EPERM);
	REFUSED(copy_a_range_into_it, EPERM);
	REFUSED_EITHER(clone_a_file_into_it, EOPNOTSUPP, EXDEV);
}

Test(read_only, its_size_and_its_pages_stay)
{
	REFUSED(punch_a_hole, EPERM);
	REFUSED(zero_a_range, EOPNOTSUPP);
	REFUSED(collapse_a_range, EOPNOTSUPP);
	REFUSED(insert_a_range, EOPNOTSUPP);
	REFUSED(grow_it, EPERM);
	REFUSED(truncate_it, EPERM);
	REFUSED(truncate_it_to_more, EPERM);
	REFUSED(seal_it_further, EPERM);
}

/* ── opened again ── */

static int open_again(int flags)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", half);
	(void)fchmod(half, 0777);
	return open(path, flags | O_CLOEXEC);
}

static int map_what_was_opened_again(void)
{
	int fd = open_again(O_RDWR);

	return fd < 0 ? errno : map_for_writing(fd, MAP_SHARED);
}

static int write_to_what_was_opened_again(void)
{
	int fd = open_again(O_WRONLY);

	return fd < 0 ? errno : errno_of(pwrite(fd, "x", 1, 0));
}

static int append_to_what_was_opened_again(void)
{
	int fd = open_again(O_WRONLY | O_APPEND);

	return fd < 0 ? errno : errno_of(write(fd, "x", 1));
}

static int truncate_by_opening(void)
{
	int fd = open_again(O_RDWR | O_TRUNC);

	return fd < 0 ? errno : 0;
}

static int truncate_by_path(void)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", half);
	return errno_of(truncate(path, 0));
}

/* Of what a process maps, /proc has links too. */
static int map_by_the_owners_map_files(void)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", owner,
		       (unsigned long)(uintptr_t)own.base,
		       (unsigned long)((uintptr_t)own.base + HALF_BYTES));
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? errno : map_for_writing(fd, MAP_SHARED);
}

Test(read_only, opening_it_again_gives_no_more)
{
	REFUSED(map_what_was_opened_again, EPERM);
	REFUSED(write_to_what_was_opened_again, EPERM);
	REFUSED(append_to_what_was_opened_again, EPERM);
	REFUSED(truncate_by_opening, EPERM);
	REFUSED(truncate_by_path, EPERM);
	/* Root gets the file, and no mapping of it. */
	REFUSED_EITHER(map_by_the_owners_map_files, EPERM, EACCES);
}

/* ── private copies ── */

static uint8_t *private_copy(int protection)
{
	return mmap(NULL, PAGE, protection, MAP_PRIVATE, half, 0);
}

static int write_into_a_private_copy(void)
{
	uint8_t *copy = private_copy(PROT_READ | PROT_WRITE);

	copy[0] = 0;
	return seen.base[0] == before[0] && copy[0] == 0 ? 0 : 99;
}

static atomic_bool raced;

static void *forget_for_ever(void *copy)
{
	while (!atomic_load(&raced))
		(void)madvise(copy, PAGE, MADV_DONTNEED);
	return NULL;
}

/* Dirty COW: writes forced into a read-only private copy, which is thrown away meanwhile. */
static int race_for_a_private_copy(void)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	uint8_t *copy = private_copy(PROT_READ);
	pthread_t thread;

	if (fd < 0 || pthread_create(&thread, NULL, forget_for_ever, copy))
		return 99;
	for (unsigned i = 0; i < 20000; i++)
		(void)!pwrite(fd, "\0\0\0\0", 4, (off_t)(uintptr_t)copy);
	atomic_store(&raced, true);
	(void)pthread_join(thread, NULL);
	return memcmp(seen.base, before, HALF_BYTES) ? 98 : 0;
}

/* Dirty Pipe: a pipe that refers to the page, and is written to. */
static int write_into_a_pipe_that_has_its_page(void)
{
	static char filler[PAGE];
	loff_t at = 0;
	int fds[2];

	if (pipe(fds) < 0)
		return 99;
	for (unsigned i = 0; i < 16; i++)
		if (write(fds[1], filler, PAGE) != PAGE || read(fds[0], filler, PAGE) != PAGE)
			return 98;
	if (splice(half, &at, fds[1], NULL, 1, 0) != 1 || write(fds[1], filler, 16) != 16)
		return 97;
	return memcmp(seen.base, before, HALF_BYTES) ? 96 : 0;
}

static int give_its_pages_to_a_pipe(void)
{
	struct iovec iov = {.iov_base = seen.base, .iov_len = PAGE};
	int fds[2];

	if (pipe(fds) < 0)
		return 99;
	if (vmsplice(fds[1], &iov, 1, SPLICE_F_GIFT) < 0)
		return 98;
	if (write(fds[1], "x", 1) != 1)
		return 97;
	return memcmp(seen.base, before, HALF_BYTES) ? 96 : 0;
}

Test(read_only, what_is_written_into_a_copy_reaches_nobody)
{
	HARMLESS(write_into_a_private_copy);
	HARMLESS(race_for_a_private_copy);
	HARMLESS(write_into_a_pipe_that_has_its_page);
	HARMLESS(give_its_pages_to_a_pipe);
}

/* ── the kernel as a scribe ── */

static int read_a_file_into_it(void)
{
	return errno_of(pread(source(), seen.base, PAGE, 0));
}

static int read_a_pipe_into_it(void)
{
	int fds[2];

	if (pipe(fds) < 0 || write(fds[1], "xyz", 3) != 3)
		return 0;
	return errno_of(read(fds[0], seen.base, 3));
}

static int receive_into_it(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 || write(fds[1], "xyz", 3) != 3)
		return 0;
	return errno_of(recv(fds[0], seen.base, 3, 0));
}

static int splice_out_of_a_pipe_into_it(void)
{
	struct iovec iov = {.iov_base = seen.base, .iov_len = 3};
	int fds[2];

	if (pipe(fds) < 0 || write(fds[1], "xyz", 3) != 3)
		return 0;
	return errno_of(vmsplice(fds[0], &iov, 1, 0));
}

static int draw_random_bytes_into_it(void)
{
	return errno_of(getrandom(seen.base, 16, 0));
}

static int tell_the_time_into_it(void)
{
	return errno_of(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, seen.base));
}

/* Adds one to the second word. */
static int wake_and_add(void)
{
	static uint32_t word;

	return errno_of(syscall(SYS_futex, &word, FUTEX_WAKE_OP, 1, 1, seen.base,
				FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)));
}

static int lock_it(void)
{
	return errno_of(syscall(SYS_futex, seen.base, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
}

/* A thread's last act: the kernel writes 0 where it was told to. */
static int exit_into_it(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		uint8_t *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, half, 0);

		(void)syscall(SYS_set_tid_address, map);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid ? 0 : 99;
}

static int write_to_its_own_memory(void)
{
	struct iovec local = {.iov_base = (char[]){"x"}, .iov_len = 1};
	struct iovec remote = {.iov_base = seen.base, .iov_len = 1};

	return errno_of(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
}

static int write_to_its_own_memory_file(void)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	return fd < 0 ? errno : errno_of(pwrite(fd, "x", 1, (off_t)(uintptr_t)seen.base));
}

/* Its own child has the mapping too, and is its own to trace. */
static int poke_its_own_child(void)
{
	uint8_t *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, half, 0);
	pid_t pid = fork();
	int status, error;

	if (pid == 0) {
		(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		(void)raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return 99;
	error = errno_of(ptrace(PTRACE_POKEDATA, pid, map, NULL));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	return error;
}

Test(read_only, the_kernel_writes_nothing_there_for_who_asks)
{
	REFUSED(read_a_file_into_it, EFAULT);
	REFUSED(read_a_pipe_into_it, EFAULT);
	REFUSED(receive_into_it, EFAULT);
	REFUSED(splice_out_of_a_pipe_into_it, EFAULT);
	REFUSED(draw_random_bytes_into_it, EFAULT);
	REFUSED(tell_the_time_into_it, EFAULT);
	REFUSED(wake_and_add, EFAULT);
	REFUSED(lock_it, EFAULT);
	HARMLESS(exit_into_it);
}

Test(read_only, its_own_memory_by_way_of_procfs_or_ptrace_is_no_way)
{
	REFUSED(write_to_its_own_memory, EFAULT);
	REFUSED(write_to_its_own_memory_file, EIO);
	REFUSED(poke_its_own_child, EIO);
}

/* ── io_uring ── */

static struct io_uring uring;

static bool start_uring(void)
{
	return io_uring_queue_init(4, &uring, 0) == 0;
}

static struct io_uring_sqe *entry(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);

	if (!sqe)
		abort();
	return sqe;
}

static int complete(void)
{
	struct io_uring_cqe *cqe;

	if (io_uring_submit_and_wait(&uring, 1) < 0 || io_uring_wait_cqe(&uring, &cqe) < 0)
		return 99;
	return cqe->res < 0 ? -cqe->res : 0;
}

static int uring_writes_to_it(void)
{
	if (!start_uring())
		return NO_SUCH;
	io_uring_prep_write(entry(), half, "x", 1, 0);
	return complete();
}

static int uring_writes_a_registered_buffer_to_it(void)
{
	static uint8_t buffer[PAGE];
	struct iovec iov = {.iov_base = buffer, .iov_len = sizeof(buffer)};

	if (!start_uring() || io_uring_register_buffers(&uring, &iov, 1) < 0)
		return NO_SUCH;
	io_uring_prep_write_fixed(entry(), half, buffer, 1, 0, 0);
	return complete();
}

static int uring_reads_into_it(void)
{
	if (!start_uring())
		return NO_SUCH;
	io_uring_prep_read(entry(), source(), seen.base, 16, 0);
	return complete();
}

static int uring_splices_into_it(void)
{
	int fds[2];

	if (!start_uring())
		return NO_SUCH;
	if (pipe(fds) < 0 || write(fds[1], "x", 1) != 1)
		return 99;
	io_uring_prep_splice(entry(), fds[0], -1, half, 0, 1, 0);
	return complete();
}

static int uring_punches_a_hole(void)
{
	if (!start_uring())
		return NO_SUCH;
	io_uring_prep_fallocate(entry(), half, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE);
	return complete();
}

/* Pages that a device could write into are pinned to be written to. */
static int uring_registers_it_as_a_buffer(void)
{
	struct iovec iov = {.iov_base = seen.base, .iov_len = PAGE};

	if (!start_uring())
		return NO_SUCH;
	return -io_uring_register_buffers(&uring, &iov, 1);
}

/* The kernel's side of a ring of buffers, and whole rings, may lie in memory of the caller's. */
static int uring_keeps_a_ring_of_buffers_in_it(void)
{
	struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)seen.base, .ring_entries = 16};
	int r;

	if (!start_uring())
		return NO_SUCH;
	r = (int)syscall(SYS_io_uring_register, uring.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
	return errno_of(r);
}

static int uring_keeps_its_completions_in_it(void)
{
	static _Alignas(4096) uint8_t submissions[PAGE];
	struct io_uring_params params = {.flags = IORING_SETUP_NO_MMAP};
	uint64_t at = (uintptr_t)seen.base, sq_at = (uintptr_t)submissions;
	long r;

	/* user_addr, which older headers do not have */
	memcpy((uint8_t *)&params.cq_off + sizeof(params.cq_off) - 8, &at, sizeof(at));
	memcpy((uint8_t *)&params.sq_off + sizeof(params.sq_off) - 8, &sq_at, sizeof(sq_at));
	r = syscall(SYS_io_uring_setup, 4, &params);
	return r < 0 && (errno == EINVAL || errno == ENOSYS || errno == EPERM) ? NO_SUCH
									       : errno_of(r);
}

Test(read_only, io_uring_is_no_way)
{
	REFUSED(uring_writes_to_it, EPERM);
	REFUSED(uring_writes_a_registered_buffer_to_it, EPERM);
	REFUSED(uring_splices_into_it, EPERM);
	REFUSED(uring_punches_a_hole, EPERM);
	REFUSED(uring_reads_into_it, EFAULT);
	REFUSED(uring_registers_it_as_a_buffer, EFAULT);
	REFUSED(uring_keeps_a_ring_of_buffers_in_it, EFAULT);
	REFUSED(uring_keeps_its_completions_in_it, EFAULT);
}

/* ── userfaultfd ── */

static int fault_handler(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	return fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 ? -1 : fd;
}

static int handle_its_faults(uint64_t mode)
{
	struct uffdio_register reg = {.range = {(uintptr_t)seen.base, PAGE}, .mode = mode};
	int fd = fault_handler();

	return fd < 0 ? NO_SUCH : errno_of(ioctl(fd, UFFDIO_REGISTER, &reg));
}

static int handle_its_missing_pages(void)
{
	return handle_its_faults(UFFDIO_REGISTER_MODE_MISSING);
}

static int handle_its_write_faults(void)
{
	return handle_its_faults(UFFDIO_REGISTER_MODE_WP);
}

static int copy_a_page_into_it(void)
{
	static _Alignas(4096) uint8_t page[PAGE];
	struct uffdio_copy copy = {.dst = (uintptr_t)seen.base,
				   .src = (uintptr_t)page,
				   .len = PAGE};
	int fd = fault_handler();

	if (fd < 0)
		return NO_SUCH;
	(void)madvise(seen.base, PAGE, MADV_DONTNEED);
	return errno_of(ioctl(fd, UFFDIO_COPY, &copy));
}

static int zero_a_page_of_it(void)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)seen.base, PAGE}};
	int fd = fault_handler();

	if (fd < 0)
		return NO_SUCH;
	(void)madvise(seen.base, PAGE, MADV_DONTNEED);
	return errno_of(ioctl(fd, UFFDIO_ZEROPAGE, &zero));
}

Test(read_only, handling_page_faults_is_no_way)
{
	REFUSED(handle_its_missing_pages, EPERM);
	REFUSED_EITHER(handle_its_write_faults, EPERM, EINVAL);
	REFUSED(copy_a_page_into_it, ENOENT);
	REFUSED(zero_a_page_of_it, ENOENT);
}

/* ── the owner's process ── */

static int write_to_the_owners_memory(void)
{
	struct iovec local = {.iov_base = (char[]){"x"}, .iov_len = 1};
	struct iovec remote = {.iov_base = own.base, .iov_len = 1};

	return errno_of(process_vm_writev(owner, &local, 1, &remote, 1, 0));
}

static int write_to_the_owners_memory_file(void)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", owner);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? errno : errno_of(pwrite(fd, "x", 1, (off_t)(uintptr_t)own.base));
}

static int trace_the_owner(void)
{
	return errno_of(ptrace(PTRACE_SEIZE, owner, NULL, NULL));
}

static int take_the_owners_descriptors(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, owner, 0);

	return pidfd < 0 ? NO_SUCH : errno_of(syscall(SYS_pidfd_getfd, pidfd, half, 0));
}

static int open_the_owners_descriptors(void)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", owner, half);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? errno : 0;
}

static int advise_the_owners_memory(void)
{
	struct iovec range = {.iov_base = own.base, .iov_len = PAGE};
	int pidfd = (int)syscall(SYS_pidfd_open, owner, 0);

	if (pidfd < 0)
		return NO_SUCH;
	return errno_of(syscall(SYS_process_madvise, pidfd, &range, 1, MADV_PAGEOUT, 0));
}

Test(read_only, the_owners_process_is_its_own)
{
	REFUSED_TO_OTHERS(write_to_the_owners_memory, EPERM, EPERM);
	REFUSED_TO_OTHERS(write_to_the_owners_memory_file, EACCES, EPERM);
	REFUSED_TO_OTHERS(trace_the_owner, EPERM, EPERM);
	REFUSED_TO_OTHERS(take_the_owners_descriptors, EPERM, EPERM);
	REFUSED_TO_OTHERS(open_the_owners_descriptors, EACCES, EPERM);
	REFUSED_TO_OTHERS(advise_the_owners_memory, EPERM, EACCES);
}

/* What this file says of the seal is the seal's doing: without it the routes are open. */
static int map_one_without_the_seal(void)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (ftruncate(fd, PAGE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return 99;
	return map_for_writing(fd, MAP_SHARED);
}

Test(read_only, without_the_seal_it_would_not_be)
{
	HARMLESS(map_one_without_the_seal);
}
