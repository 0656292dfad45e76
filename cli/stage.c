// SPDX-License-Identifier: Apache-2.0
/*
 * Every child is told to die with this process by the kernel (PR_SET_PDEATHSIG); what the broker
 * logs goes to a file in the directory, and from there to stderr where something failed.
 */
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

#define START_TIMEOUT_MS 5000
#define BASE_MAX_BYTES 48u /* of the directory: a socket's address has to fit behind it */
#define LOG_NAME "broker.log"

volatile sig_atomic_t stage_stop;

static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGALRM};

static void on_signal(int number)
{
	/* What came from outside counts for more than the end of a child that it also reached. */
	if (!stage_stop || stage_stop == SIGCHLD)
		stage_stop = number;
}

/* Without SA_RESTART: who sleeps is to look at stage_stop. */
static void watch_signals(bool watch)
{
	struct sigaction action = {.sa_handler = watch ? on_signal : SIG_DFL};

	(void)sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(watched) / sizeof(*watched); i++)
		(void)sigaction(watched[i], &action, NULL);
	(void)alarm(watch ? STAGE_BOUND_S : 0);
}

/* ── the directory ── */

static int make_directory(struct stage *stage, struct ipci_error *error)
{
	const char *base = getenv("TMPDIR");

	if (!base || base[0] != '/' || strlen(base) > BASE_MAX_BYTES)
		base = "/tmp";
	(void)snprintf(stage->directory, sizeof(stage->directory), "%s/ipc-bench-XXXXXX", base);
	if (!mkdtemp(stage->directory)) {
		stage->directory[0] = '\0';
		return ipci_error_errno(error, "%s: cannot make a directory", base);
	}
	(void)snprintf(stage->client_socket, sizeof(stage->client_socket),
		       "%.64s/client/broker.sock", stage->directory);
	(void)snprintf(stage->server_socket, sizeof(stage->server_socket),
		       "%.64s/server/broker.sock", stage->directory);
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

static int write_policy(const char *path, const char *directory, const char *service,
			const char *methods, struct ipci_error *error)
{
	static const char policy[] = "version: 1\n"
				     "sockets: %s\n"
				     "defaults:\n"
				     "  limits: { channels: 16384, shared_memory: 8GiB }\n"
				     "workloads:\n"
				     "  server:\n"
				     "    identity: { uid: %u }\n"
				     "    serve: [%s]\n"
				     "  client:\n"
				     "    identity: { uid: %u }\n"
				     "    call: { %s: [%s] }\n";
	FILE *file = fopen(path, "wxe");
	int n;

	if (!file)
		return ipci_error_errno(error, "%s: cannot make it", path);
	n = fprintf(file, policy, directory, geteuid(), service, geteuid(), service, methods);
	if (fclose(file) != 0 || n < 0)
		return ipci_error_errno(error, "%s: cannot write it", path);
	return 0;
}

/* What the broker had to say, for who is to find out why something failed. */
static void show_log(const struct stage *stage)
{
	char path[STAGE_PATH_BYTES], text[4096];
	_cleanup_(closep) int fd = -EBADF;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%.64s/" LOG_NAME, stage->directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text));
	if (n > 0)
		(void)fwrite(text, 1, (size_t)n, stderr);
}

/* ── the processes ── */

/* In the child: dies with its parent, which may be dead by now, and takes signals as usual. */
static void be_a_child(pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	watch_signals(false);
}

/* @name beside this program where it is installed, or in ../broker where it was built. */
static bool beside(char path[PATH_MAX], const char *name)
{
	static const char *const places[] = {"", "../broker/"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return false;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return false;
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		n = snprintf(path, PATH_MAX, "%s/%s%s", self, places[i], name);
		if (n < PATH_MAX && access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static __attribute__((__noreturn__)) void exec_broker(const struct stage *stage, const char *broker,
						      int ready_fd)
{
	char path[PATH_MAX], policy[STAGE_PATH_BYTES], log[STAGE_PATH_BYTES], ready[16];
	char program[] = "ipc-broker", option_policy[] = "--policy", option_ready[] = "--ready-fd";
	char *argv[] = {program, option_policy, policy, option_ready, ready, NULL};
	int fd;

	(void)snprintf(policy, sizeof(policy), "%.64s/policy.yaml", stage->directory);
	(void)snprintf(log, sizeof(log), "%.64s/" LOG_NAME, stage->directory);
	(void)snprintf(ready, sizeof(ready), "%d", ready_fd);
	fd = open(log, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		_exit(EXIT_FAILURE);
	if (!broker)
		broker = beside(path, program) ? path : program;
	(void)execvp(broker, argv);
	fprintf(stderr, "%s: %s\n", broker, strerror(errno));
	_exit(EXIT_FAILURE);
}

/* Waits for the broker's line. A pipe that ends without it is a broker that did not start. */
static int wait_until_ready(int fd, struct ipci_error *error)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	char line[16];

	/* A child that ends interrupts the first poll; the pipe says the rest. */
	while (poll(&pollfd, 1, START_TIMEOUT_MS) < 0) {
		if (errno != EINTR || (stage_stop && stage_stop != SIGCHLD))
			return ipci_error_errno(error, "waiting for ipc-broker");
	}
	if (!(pollfd.revents & POLLIN) || read(fd, line, sizeof(line)) <= 0)
		return ipci_error_set(error, -ESRCH, "ipc-broker did not start");
	return 0;
}

static void end_child(pid_t *pid)
{
	if (*pid == 0)
		return;
	(void)kill(*pid, SIGTERM);
	while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
		;
	*pid = 0;
}

static int start_broker(struct stage *stage, const char *broker, struct ipci_error *error)
{
	_cleanup_(closep) int read_end = -EBADF, write_end = -EBADF;
	pid_t self = getpid(), pid;
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return ipci_error_errno(error, "cannot make a pipe");
	read_end = fds[0];
	write_end = fds[1];
	pid = fork();
	if (pid < 0)
		return ipci_error_errno(error, "cannot start a process");
	if (pid == 0) {
		be_a_child(self);
		if (fcntl(write_end, F_SETFD, 0) < 0)
			_exit(EXIT_FAILURE);
		exec_broker(stage, broker, write_end);
	}
	stage->broker = pid;
	closep(&write_end);
	write_end = -EBADF;
	r = wait_until_ready(read_end, error);
	if (r < 0) {
		show_log(stage);
		end_child(&stage->broker);
	}
	return r;
}

int stage_init(struct stage *stage, const char *broker, const char *service, const char *methods,
	       struct ipci_error *error)
{
	char policy[STAGE_PATH_BYTES];
	int r;

	*stage = (struct stage){.watching = true};
	watch_signals(true);
	r = make_directory(stage, error);
	if (r < 0)
		return r;
	(void)snprintf(policy, sizeof(policy), "%.64s/policy.yaml", stage->directory);
	r = write_policy(policy, stage->directory, service, methods, error);
	return r < 0 ? r : start_broker(stage, broker, error);
}

int stage_start(struct stage *stage, const char *socket,
		int (*run)(const char *socket, void *context), void *context,
		struct ipci_error *error)
{
	pid_t self = getpid(), pid;
	size_t i = 0;

	while (i < STAGE_CHILDREN_MAX && stage->children[i])
		i++;
	if (i == STAGE_CHILDREN_MAX)
		return ipci_error_set(error, -ENOSPC, "the stage has no place for more processes");
	pid = fork();
	if (pid < 0)
		return ipci_error_errno(error, "cannot start a process");
	if (pid == 0) {
		be_a_child(self);
		_exit(run(socket, context) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	stage->children[i] = pid;
	return 0;
}

/* ── the end ── */

/* The child ended by itself: it is no longer there to be ended. */
static bool reap(pid_t *pid)
{
	if (*pid == 0 || waitpid(*pid, NULL, WNOHANG) != *pid)
		return false;
	*pid = 0;
	return true;
}

static bool reap_any(struct stage *stage)
{
	for (size_t i = 0; i < STAGE_CHILDREN_MAX; i++)
		if (reap(&stage->children[i]))
			return true;
	return false;
}

void stage_explain(struct stage *stage, struct ipci_error *error)
{
	if (stage_stop == SIGALRM) {
		(void)ipci_error_set(error, -ETIMEDOUT, "it was not done after %u s",
				     STAGE_BOUND_S);
	} else if (stage_stop && stage_stop != SIGCHLD) {
		(void)ipci_error_set(error, -EINTR, "stopped by signal %d", (int)stage_stop);
	} else if (reap(&stage->broker)) {
		show_log(stage);
		(void)ipci_error_set(error, -ESRCH, "ipc-broker ended before the measurement did");
	} else if (reap_any(stage)) {
		(void)ipci_error_set(error, -ESRCH, "the server ended before the measurement did");
	}
}

void stage_deinit(struct stage *stage)
{
	/* The last first: nobody is to complain of one that went before. */
	for (size_t i = STAGE_CHILDREN_MAX; i > 0; i--)
		end_child(&stage->children[i - 1]);
	end_child(&stage->broker);
	if (stage->directory[0])
		(void)nftw(stage->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	if (stage->watching)
		watch_signals(false);
	/* Its children ended because they were told to. */
	if (stage_stop == SIGCHLD)
		stage_stop = 0;
	*stage = (struct stage){};
}

void stage_die_as_told(void)
{
	if (stage_stop && stage_stop != SIGCHLD && stage_stop != SIGALRM)
		(void)raise(stage_stop);
}
