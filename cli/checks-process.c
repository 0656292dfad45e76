// SPDX-License-Identifier: Apache-2.0
/* What this process may use, whom it can reach, and how its loops will wait. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <ipc/ipc.h>

#include "findings.h"
#include "spin.h"

#define FDS_FEW 1024u
#define MAPPINGS_PER_CHANNEL 4 /* two halves, each ring mapped twice */

static const char *limit_text(rlim_t limit, char *text, size_t size)
{
	if (limit == RLIM_INFINITY)
		return "unlimited";
	(void)snprintf(text, size, "%" PRIu64, (uint64_t)limit);
	return text;
}

static void check_descriptors(struct findings *findings)
{
	struct rlimit limit;
	char soft[24], hard[24];
	bool few;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	few = limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur <= FDS_FEW;
	findings_add(findings, "nofile", few ? FINDING_NOTE : FINDING_OK,
		     few ? "A channel keeps one descriptor. For many of them raise it: ulimit -n, "
			   "LimitNOFILE= or --ulimit nofile="
			 : NULL,
		     "RLIMIT_NOFILE is %s, at most %s",
		     limit_text(limit.rlim_cur, soft, sizeof(soft)),
		     limit_text(limit.rlim_max, hard, sizeof(hard)));
}

static void check_mappings(struct findings *findings)
{
	const long n = findings_read_number("/proc/sys/vm/max_map_count", -1);

	if (n < 0)
		return;
	findings_add(findings, "max_map_count", FINDING_OK, NULL,
		     "vm.max_map_count is %ld: at most %ld channels a process", n,
		     n / MAPPINGS_PER_CHANNEL);
}

static void check_memlock(struct findings *findings)
{
	struct rlimit limit;
	char soft[24];

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return;
	findings_add(findings, "memlock", FINDING_OK, NULL,
		     "RLIMIT_MEMLOCK is %s bytes; nothing is locked here, but io_uring counts "
		     "against it before Linux 5.12",
		     limit_text(limit.rlim_cur, soft, sizeof(soft)));
}

/* What a label may refuse is seen only when a peer's memory is mapped, so it is named before. */
static void check_labels(struct findings *findings)
{
	const long enforcing = findings_read_number("/sys/fs/selinux/enforce", 0);
	char label[192] = "";

	if (!findings_read_line("/proc/self/attr/current", label, sizeof(label)))
		return;
	if (enforcing == 1 && strstr(label, "container"))
		findings_add(findings, "selinux", FINDING_NOTE,
			     "SELinux keeps containers of different categories from each other's "
			     "memory: opening then fails with EACCES. Give both the same: "
			     "--security-opt label=level:s0:c1,c2. Or allow the type to map, read "
			     "and use memfds (tmpfs files) of the other's.",
			     "enforcing, and this process is %s", label);
}

void check_limits(struct findings *findings)
{
	findings->n_cpus = ipci_spin_cpus("");
	if (findings->n_cpus > 1)
		findings_add(findings, "cpus", FINDING_OK, NULL,
			     "%u to run on: a wait spins before it sleeps", findings->n_cpus);
	else
		findings_add(
			findings, "cpus", FINDING_SLOWER,
			"Give it two or more: cpuset, CPU quota, taskset. Where the peer has a "
			"CPU of its own, IPC_WAIT=spin spins all the same.",
			"one to run on: a wait sleeps at once, since a spin would keep its "
			"peer from running");
	check_descriptors(findings);
	check_mappings(findings);
	check_memlock(findings);
	check_labels(findings);
}

void check_broker(struct findings *findings, const char *broker)
{
	/* How it waits is another check's. */
	const struct ipc_loop_opts opts = {.size = sizeof(opts),
					   .wait = IPC_WAIT_EPOLL,
					   .broker = broker};
	const char *environment = getenv("IPC_BROKER");
	const bool named = broker || (environment && *environment);
	const char *path = broker			 ? broker
			   : environment && *environment ? environment
							 : "/run/ipc/broker.sock";
	ipc_loop *loop;

	if (ipc_loop_new(&loop, &opts) == 0) {
		ipc_loop_free(loop);
		findings_add(findings, "broker", FINDING_OK, NULL, "answers at %s", path);
		return;
	}
	findings_add(findings, "broker", named ? FINDING_BAD : FINDING_NOTE,
		     "Start ipc-broker, mount its directory of sockets for this workload, and say "
		     "where the socket is: IPC_BROKER=PATH.",
		     "%s", ipc_loop_error(NULL));
}

/* As ipc_loop_new() will choose, given no options. */
void check_choice(struct findings *findings)
{
	const char *name = getenv("IPC_WAIT");
	const bool chosen = name && *name && strcmp(name, "auto") != 0;
	const char *spin = findings->n_cpus > 1 ? "spins up to 50 us, then " : "";
	const char *kernel = findings->has_uring_futex ? "io_uring with futex waits"
			     : findings->has_uring     ? "io_uring with polls"
						       : "epoll";
	const char *unless_hosted =
		findings->has_uring ? " (epoll until it slept a few times, and where a host polls "
				      "its descriptor)"
				    : "";

	if (!chosen)
		findings_add(findings, "wait", FINDING_OK, NULL,
			     "a loop %ssleeps in %s%s; a call %ssleeps on a futex", spin, kernel,
			     unless_hosted, spin);
	else if (strcmp(name, "epoll") == 0)
		findings_add(findings, "wait", FINDING_OK, NULL,
			     "IPC_WAIT=epoll: a loop %ssleeps in epoll; a call %ssleeps on a futex",
			     spin, spin);
	else if (strcmp(name, "uring") == 0 && findings->has_uring)
		findings_add(findings, "wait", FINDING_OK, NULL,
			     "IPC_WAIT=uring: a loop %ssleeps in %s; a call %ssleeps on a futex",
			     spin, kernel, spin);
	else if (strcmp(name, "uring") == 0)
		findings_add(findings, "wait", FINDING_BAD, "Unset IPC_WAIT, or allow io_uring.",
			     "IPC_WAIT=uring, and io_uring is refused: no loop can be made");
	else if (strcmp(name, "futex") == 0)
		findings_add(
			findings, "wait", FINDING_OK, NULL,
			"IPC_WAIT=futex: nothing spins; a loop sleeps on the words of %s, then "
			"in %s; a call sleeps on a futex",
			findings->has_waitv ? "up to 128 busy channels" : "one busy channel",
			kernel);
	else if (strcmp(name, "spin") == 0)
		findings_add(findings, "wait", FINDING_OK, NULL,
			     "IPC_WAIT=spin: a loop spins up to 20 ms, then sleeps in %s", kernel);
	else
		findings_add(findings, "wait", FINDING_BAD,
			     "Use auto, spin, futex, epoll or uring.",
			     "IPC_WAIT=%.32s is no way to wait: no loop can be made", name);
}
