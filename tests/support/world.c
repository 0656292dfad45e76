// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

static const struct ipc_method called_methods[] = {
	{"Missing", MISSING, 0, 0},
	{"Echo", ECHO, 0, 0},
	{"Secret", SECRET, 0, 0},
	{"Hold", HOLD, 0, 0},
};
static const struct ipc_method served_methods[] = {
	{"Secret", SERVED_SECRET, 0, 0},
	{"Hold", SERVED_HOLD, 0, 0},
	{"Echo", SERVED_ECHO, 0, 0},
};
static const struct ipc_method get_methods[] = {{"Get", 0, 0, 0}};

const struct ipc_service echo_called = {"test.Echo", called_methods, 4, 0};
const struct ipc_service echo_served = {"test.Echo", served_methods, 3, 0};
const struct ipc_service other_service = {"test.Other", get_methods, 1, 0};
const struct ipc_service mirror_service = {"test.Mirror", get_methods, 1, 0};

static const char policy[] =
	"version: 1\n"
	"defaults:\n"
	"  limits: { channels: 1024, shared_memory: 8GiB, calls_in_flight: "
	"1024, connections: 64 }\n"
	"workloads:\n"
	"  shop:\n"
	"    identity: { uid: %1$u }\n"
	"    serve: [test.Echo, test.Other]\n"
	"    call: { test.Mirror: [Get] }\n"
	"  web:\n"
	"    identity: { uid: %1$u }\n"
	"    serve: [test.Mirror]\n"
	"    call: { test.Echo: [Echo, Hold, Missing], test.Other: [\"*\"], test.Mirror: [Get] }\n"
	"  stranger:\n"
	"    identity: { uid: %1$u }\n";

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>

/*
 * What Criterion itself leaks is suppressed by its name, which is on every test's stack. So stacks
 * are cut where only the caller's name is left.
 */
__attribute__((__visibility__("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "malloc_context_size=2";
}

bool leaked(void)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000000};

	/* What a thread has that just starts or ends looks like a leak for a moment. */
	for (unsigned i = 0; i < 10; i++) {
		if (__lsan_do_recoverable_leak_check() == 0)
			return false;
		(void)nanosleep(&pause, NULL);
	}
	return true;
}
#else
bool leaked(void)
{
	return false;
}
#endif

uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* The child dies with its parent, even if that died before the child could ask for it. */
static void die_with(pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(127);
}

static void write_policy(const char *path)
{
	FILE *file = fopen(path, "we");

	cr_assert_not_null(file, "%s: %s", path, strerror(errno));
	cr_assert_gt(fprintf(file, policy, (unsigned)geteuid()), 0);
	cr_assert_eq(fclose(file), 0);
}

static void run_broker(const char *policy_path, const char *sockets, int ready_fd, pid_t parent)
{
	char number[16];

	die_with(parent);
	(void)snprintf(number, sizeof(number), "%d", ready_fd);
	if (!getenv("BROKER_LOG")) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		(void)dup2(null, STDERR_FILENO);
	}
	(void)fcntl(ready_fd, F_SETFD, 0);
	(void)execl(BROKER_PROGRAM, "ipc-broker", "--policy", policy_path, "--sockets", sockets,
		    "--ready-fd", number, (char *)NULL);
	_exit(127);
}

void world_start(struct world *world)
{
	char policy_path[96], sockets[96], ready[8] = "";
	pid_t self = getpid();
	int fds[2];

	(void)snprintf(world->dir, sizeof(world->dir), "/tmp/ipc-test-XXXXXX");
	cr_assert_not_null(mkdtemp(world->dir));
	(void)snprintf(policy_path, sizeof(policy_path), "%s/policy.yaml", world->dir);
	(void)snprintf(sockets, sizeof(sockets), "%s/s", world->dir);
	cr_assert_eq(mkdir(sockets, 0755), 0);
	write_policy(policy_path);
	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	world->broker = fork();
	cr_assert_geq(world->broker, 0);
	if (world->broker == 0)
		run_broker(policy_path, sockets, fds[1], self);
	(void)close(fds[1]);
	cr_assert_gt(read(fds[0], ready, sizeof(ready) - 1), 0, "the broker did not start");
	(void)close(fds[0]);
	cr_assert_str_eq(ready, "ready\n");
}

void world_kill_broker(struct world *world)
{
	slay(world->broker);
	world->broker = 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void world_stop(struct world *world)
{
	if (world->broker) {
		cr_assert_eq(kill(world->broker, SIGTERM), 0);
		cr_expect_eq(reap(world->broker), 0, "the broker did not end well");
	}
	world->broker = 0;
	(void)nftw(world->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	cr_expect(!leaked(), "something was not freed");
}

const char *world_socket(const struct world *world, const char *workload)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/s/%s/broker.sock", world->dir, workload);
	return path;
}

ipc_loop *world_loop(const struct world *world, const char *workload, uint32_t wait)
{
	return world_loop_with(world, workload, wait, 0);
}

ipc_loop *world_loop_with(const struct world *world, const char *workload, uint32_t wait,
			  uint32_t flags)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .wait = wait, .flags = flags};
	ipc_loop *loop = NULL;
	int r;

	opts.broker = world_socket(world, workload);
	r = ipc_loop_new(&loop, &opts);
	cr_assert_eq(r, 0, "ipc_loop_new: %s", ipc_loop_error(NULL));
	return loop;
}

pid_t spawn(int (*run)(const struct world *world, void *arg), const struct world *world, void *arg)
{
	pid_t self = getpid(), pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		die_with(self);
		_exit(run(world, arg));
	}
	return pid;
}

void slay(pid_t pid)
{
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

int reap(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 32)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 29);
}

void fill(void *data, size_t size_bytes, uint64_t seed)
{
	uint8_t *bytes = data;

	for (size_t i = 0; i < size_bytes; i += 8) {
		uint64_t word = mix(seed * 1000003 + size_bytes + i);

		memcpy(bytes + i, &word, size_bytes - i < 8 ? size_bytes - i : 8);
	}
}

int filled(const void *data, size_t size_bytes, uint64_t seed)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size_bytes; i += 8) {
		uint64_t word = mix(seed * 1000003 + size_bytes + i);

		if (memcmp(bytes + i, &word, size_bytes - i < 8 ? size_bytes - i : 8) != 0)
			return 0;
	}
	return 1;
}
