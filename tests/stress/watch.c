/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs edges.c's builds and says, in TAP, whether ThreadSanitizer found what it must: nothing in
 * the good build, a race in each weakened one. Called with pairs of a build and a scenario; builds'
 * names say which edge they lack.
 *
 * ThreadSanitizer needs its shadow at fixed addresses, which more random layouts than it knows make
 * impossible: so the layout is not randomised, where that can be asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

#define EXIT_RACE 66
/* Seconds; edges.c ends by itself long before. */
#define PATIENCE_S 100u

struct run {
	int status;
	char said[65536]; /* the beginning of its standard error */
};

static void become(const char *build, const char *scenario, int to)
{
	int now = personality(0xffffffff);

	if (now >= 0)
		(void)personality((unsigned long)now | ADDR_NO_RANDOMIZE);
	(void)setenv("TSAN_OPTIONS", "halt_on_error=1 exitcode=66 abort_on_error=0", 1);
	(void)dup2(to, STDERR_FILENO);
	(void)dup2(to, STDOUT_FILENO);
	(void)alarm(PATIENCE_S);
	(void)execl(build, build, scenario, (char *)NULL);
	_exit(127);
}

/* All that it says is read, so that it never waits for us; the beginning is kept. */
static void listen_to(struct run *run, int from)
{
	size_t n = 0;

	for (;;) {
		char more[4096];
		ssize_t r = read(from, more, sizeof(more));
		size_t room = sizeof(run->said) - 1 - n;

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		if ((size_t)r < room)
			room = (size_t)r;
		memcpy(run->said + n, more, room);
		n += room;
	}
	run->said[n] = '\0';
}

/* 0 or -errno. */
static int run_build(struct run *run, const char *build, const char *scenario)
{
	_cleanup_(closep) int from = -EBADF, to = -EBADF;
	int pipe_fds[2];
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	from = pipe_fds[0];
	to = pipe_fds[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become(build, scenario, to);
	closep(&to);
	to = -EBADF;
	listen_to(run, from);
	while (waitpid(pid, &run->status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Every line of it as a comment. */
static void show(const struct run *run)
{
	const char *line = run->said;

	(void)printf("# wait status %#x\n", (unsigned)run->status);
	while (*line) {
		int n = (int)strcspn(line, "\n");

		(void)printf("# %.*s\n", n, line);
		line += n + (line[n] == '\n');
	}
}

static bool was_found(const struct run *run)
{
	return WIFEXITED(run->status) && WEXITSTATUS(run->status) == EXIT_RACE &&
	       strstr(run->said, "ThreadSanitizer: data race");
}

static bool is_clean(const struct run *run)
{
	return WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0 &&
	       !strstr(run->said, "ThreadSanitizer");
}

static bool check(int number, const char *build, const char *scenario)
{
	static struct run run;
	const char *edge = strstr(build, "-without-");
	bool ok;
	int r = run_build(&run, build, scenario);

	if (r < 0) {
		(void)printf("not ok %d - cannot run %s: %s\n", number, build, strerror(-r));
		return false;
	}
	if (strstr(run.said, "FATAL: ThreadSanitizer: unexpected memory mapping")) {
		(void)printf(
			"ok %d - %s # SKIP ThreadSanitizer cannot run here: the address space is "
			"laid out too randomly (vm.mmap_rnd_bits), and personality(2) is refused\n",
			number, scenario);
		return true;
	}
	ok = edge ? was_found(&run) : is_clean(&run);
	if (edge)
		(void)printf("%s %d - %s: without %s there is a race\n", ok ? "ok" : "not ok",
			     number, scenario, edge + strlen("-without-"));
	else
		(void)printf("%s %d - %s: with every edge there is no race\n", ok ? "ok" : "not ok",
			     number, scenario);
	if (!ok)
		show(&run);
	return ok;
}

int main(int argc, char **argv)
{
	bool ok = true;

	if (argc < 3 || argc % 2 == 0) {
		(void)fprintf(stderr, "usage: %s BUILD SCENARIO …\n", argv[0]);
		return 2;
	}
	(void)printf("1..%d\n", (argc - 1) / 2);
	for (int i = 1; i < argc; i += 2) {
		ok = check((i + 1) / 2, argv[i], argv[i + 1]) && ok;
		(void)fflush(stdout);
	}
	return ok ? 0 : 1;
}
