// SPDX-License-Identifier: Apache-2.0
/*
 *   crash [--cycles N] [--seed N]
 *
 * Without --cycles each side is killed twice at each point, one test a point and side. With it N
 * cycles are drawn from a seed: point, how often it is passed before, and how both sides wait.
 *
 * One broker serves all cycles, and one loop all cycles of a kind. After each kind everything must
 * be as it was: descriptors, mappings of halves, memory; the broker's too.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crash.h"

#define WARM_UP 40u /* cycles before anything is counted: pools fill */
#define HEAP_SLACK_BYTES ((uint64_t)256 << 10)
#define BROKER_SLACK_KIB 1024u
#define SECOND_PASS 3u /* the second kill at a point is at the third pass, where there is one */

static struct {
	char dir[64];
	pid_t broker;
	struct plan *plan;
	uint64_t *learned_ns, *settled_ns; /* of each cycle that ended in a death */
	uint64_t n_learned, n_learned_max;
	unsigned n_tests, n_failed;
	uint64_t seed;
} run = {.seed = 1};

/* ── one broker for all ── */

static const char *socket_of(const char *workload)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/s/%s/broker.sock", run.dir, workload);
	return path;
}

static void die(const char *what)
{
	fprintf(stderr, "crash: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_policy(const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		die(path);
	fprintf(file,
		"version: 1\n"
		"workloads:\n"
		"  server:\n    identity: { uid: %1$u }\n    serve: [crash.Test]\n"
		"  client:\n    identity: { uid: %1$u }\n    call: { crash.Test: [\"*\"] }\n",
		(unsigned)geteuid());
	if (fclose(file) != 0)
		die(path);
}

static void become_broker(int ready)
{
	char policy[96], sockets[96], number[16];
	int null = open("/dev/null", O_WRONLY);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (!getenv("BROKER_LOG"))
		(void)dup2(null, STDERR_FILENO);
	(void)snprintf(policy, sizeof(policy), "%s/policy.yaml", run.dir);
	(void)snprintf(sockets, sizeof(sockets), "%s/s", run.dir);
	(void)snprintf(number, sizeof(number), "%d", ready);
	(void)fcntl(ready, F_SETFD, 0);
	(void)execl(BROKER_PROGRAM, "ipc-broker", "--policy", policy, "--sockets", sockets,
		    "--ready-fd", number, (char *)NULL);
	_exit(127);
}

static void start_broker(void)
{
	char path[96];
	int ready[2];

	(void)snprintf(run.dir, sizeof(run.dir), "/tmp/ipc-crash-XXXXXX");
	if (!mkdtemp(run.dir))
		die(run.dir);
	(void)snprintf(path, sizeof(path), "%s/s", run.dir);
	if (mkdir(path, 0755) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		die(path);
	(void)snprintf(path, sizeof(path), "%s/policy.yaml", run.dir);
	write_policy(path);
	run.broker = fork();
	if (run.broker == 0)
		become_broker(ready[1]);
	(void)close(ready[1]);
	if (read(ready[0], path, sizeof(path)) <= 0)
		die("the broker did not start");
	(void)close(ready[0]);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void stop_broker(void)
{
	(void)kill(run.broker, SIGTERM);
	(void)waitpid(run.broker, NULL, 0);
	(void)nftw(run.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ── one cycle ── */

static pid_t start_victim(enum side side, uint32_t wait)
{
	const pid_t self = getpid();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != self)
		_exit(127);
	crash_follow(run.plan);
	if (side == CLIENT)
		live_as_client(socket_of("client"), wait);
	live_as_server(socket_of("server"), wait);
}

static void note(const struct outcome *outcome)
{
	if (!outcome->learned_ns || run.n_learned == run.n_learned_max)
		return;
	run.learned_ns[run.n_learned] = outcome->learned_ns;
	run.settled_ns[run.n_learned++] = outcome->settled_ns;
}

/* A loop that outlives victims of one side. */
struct survivor {
	enum side victims;
	uint32_t wait;
	ipc_loop *loop;
	ipc_server *server;
	struct holds holds;
};

static void cycle(struct survivor *survivor, enum ipci_crash_point point, uint32_t nth,
		  uint32_t wait, struct outcome *ret)
{
	pid_t victim;

	*ret = (struct outcome){};
	*run.plan = (struct plan){.point = point, .countdown = nth};
	victim = start_victim(survivor->victims, wait);
	if (victim < 0)
		die("fork");
	if (survivor->victims == CLIENT)
		survive_as_server(survivor->loop, &survivor->holds, victim, run.plan, ret);
	else
		survive_as_client(survivor->loop, victim, run.plan, ret);
	note(ret);
}

static void survivor_init(struct survivor *survivor, enum side victims, uint32_t wait)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .wait = wait};
	struct ipc_serve_opts serve_opts = {.size = sizeof(serve_opts),
					    .ring_bytes = survivor_flow.ring_bytes};
	int r;

	*survivor = (struct survivor){.victims = victims,
				      .wait = wait,
				      .holds.flow = &survivor_flow};
	opts.broker = socket_of(victims == CLIENT ? "server" : "client");
	r = ipc_loop_new(&survivor->loop, &opts);
	if (r == 0 && victims == CLIENT)
		r = ipc_serve(survivor->loop, &service, &serve_opts, &survivor->server);
	if (r < 0) {
		errno = -r;
		die(ipc_loop_error(survivor->loop));
	}
}

/* ── what must not grow ── */

struct holdings {
	uint64_t n_fds, n_halves, heap_bytes;	/* this process's */
	uint64_t n_broker_fds, broker_data_kib; /* the broker's */
};

static uint64_t count_lines(const char *path, const char *with)
{
	FILE *file = fopen(path, "re");
	uint64_t n = 0;
	char line[512];

	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, with) != NULL;
	(void)fclose(file);
	return n;
}

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw);
static uint64_t n_counted;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)st;
	(void)type;
	(void)ftw;
	n_counted++;
	return 0;
}

static uint64_t count_fds(pid_t pid)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	n_counted = 0;
	(void)nftw(path, count_one, 8, FTW_PHYS);
	return n_counted;
}

static uint64_t data_kib(pid_t pid)
{
	char path[64], line[256];
	uint64_t kib = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmData: %" SCNu64, &kib) == 1)
			break;
	if (file)
		(void)fclose(file);
	return kib;
}

static struct holdings take_stock(void)
{
	return (struct holdings){
		.n_fds = count_fds(getpid()),
		.n_halves = count_lines("/proc/self/maps", "ipc-half"),
#ifdef __GLIBC__
		.heap_bytes = mallinfo2().uordblks,
#endif
		.n_broker_fds = count_fds(run.broker),
		.broker_data_kib = data_kib(run.broker),
	};
}

/* "": nothing has. Descriptors that are being closed elsewhere get their time. */
static const char *grown(struct survivor *survivor, const struct holdings *before)
{
	static char text[160];
	const uint64_t limit_ns = now_ns() + PATIENCE_NS;
	struct holdings now;
	struct ipc_event event;

	do {
		(void)ipc_loop_next(survivor->loop, &event, 1000000);
		now = take_stock();
	} while ((now.n_fds > before->n_fds || now.n_broker_fds > before->n_broker_fds ||
		  now.n_halves > 0) &&
		 now_ns() < limit_ns);
	if (now.n_fds <= before->n_fds && now.n_broker_fds <= before->n_broker_fds &&
	    now.n_halves == 0 && now.heap_bytes <= before->heap_bytes + HEAP_SLACK_BYTES &&
	    now.broker_data_kib <= before->broker_data_kib + BROKER_SLACK_KIB)
		return "";
	(void)snprintf(text, sizeof(text),
		       "descriptors %" PRIu64 " to %" PRIu64 ", halves %" PRIu64 ", heap %" PRIu64
		       " to %" PRIu64 "; broker's descriptors %" PRIu64 " to %" PRIu64
		       ", data %" PRIu64 " to %" PRIu64 " KiB",
		       before->n_fds, now.n_fds, now.n_halves, before->heap_bytes, now.heap_bytes,
		       before->n_broker_fds, now.n_broker_fds, before->broker_data_kib,
		       now.broker_data_kib);
	return text;
}

/* ── reports ── */

static void report(bool good, const char *name, const char *why)
{
	run.n_tests++;
	run.n_failed += !good;
	printf("%s %u - %s\n", good ? "ok" : "not ok", run.n_tests, name);
	if (!good)
		printf("# %s\n", why);
	(void)fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Of all cycles from number @first on. */
static void report_times(const char *what, uint64_t *ns, uint64_t first)
{
	const uint64_t n = run.n_learned - first;

	ns += first;
	if (n == 0)
		return;
	qsort(ns, n, sizeof(*ns), compare);
	printf("# %s: median %.1f ms, 99 %% within %.1f, longest %.1f of %" PRIu64 "\n", what,
	       (double)ns[n / 2] / 1e6, (double)ns[n * 99 / 100] / 1e6, (double)ns[n - 1] / 1e6, n);
	(void)fflush(stdout);
}

/* ── the short run ── */

static const char *const side_names[] = {[CLIENT] = "client", [SERVER] = "server"};

/* Nothing of the library's publishes that yet, and a server sends no deadline. */
static bool is_reachable(enum side side, enum ipci_crash_point point)
{
	if (point == IPCI_CRASH_PRODUCED)
		return false;
	if (side == SERVER)
		return point != IPCI_CRASH_EXTENSION && point != IPCI_CRASH_EXPIRE;
	return point != IPCI_CRASH_TEXT;
}

/* What was found of each point, in both passes. */
struct finding {
	bool reached;
	char fault[sizeof(((struct outcome *)0)->fault)];
};

/* Kills once at each point; whatever is served, is by one survivor at a time. */
static const char *pass(enum side side, uint32_t wait, uint32_t victim_wait, uint32_t nth,
			struct finding findings[])
{
	struct survivor survivor;
	struct holdings before;
	struct outcome outcome;
	const char *why;

	survivor_init(&survivor, side, wait);
	for (unsigned i = 0; i < WARM_UP; i++)
		cycle(&survivor, IPCI_CRASH_NONE, 10 * i, victim_wait, &outcome);
	before = take_stock();
	for (unsigned p = 1; p < IPCI_N_CRASH_POINTS; p++) {
		struct finding *finding = &findings[p];

		if (!is_reachable(side, (enum ipci_crash_point)p))
			continue;
		cycle(&survivor, (enum ipci_crash_point)p, nth, victim_wait, &outcome);
		finding->reached = finding->reached || outcome.reached;
		if (!finding->fault[0])
			(void)memcpy(finding->fault, outcome.fault, sizeof(finding->fault));
	}
	why = grown(&survivor, &before);
	ipc_loop_free(survivor.loop);
	return why;
}

static void short_run(enum side side)
{
	struct finding findings[IPCI_N_CRASH_POINTS] = {0};
	char name[128];
	const char *why = pass(side, IPC_WAIT_AUTO, IPC_WAIT_EPOLL, 1, findings);

	if (!*why)
		why = pass(side, IPC_WAIT_FUTEX, IPC_WAIT_FUTEX, SECOND_PASS, findings);
	for (unsigned p = 1; p < IPCI_N_CRASH_POINTS; p++) {
		const struct finding *finding = &findings[p];

		if (!is_reachable(side, (enum ipci_crash_point)p))
			continue;
		(void)snprintf(name, sizeof(name), "a %s killed before %s", side_names[side],
			       crash_point_name((enum ipci_crash_point)p));
		report(finding->reached && !finding->fault[0], name,
		       finding->fault[0] ? finding->fault : "the point was never reached");
	}
	(void)snprintf(name, sizeof(name), "nothing is left of the %ss", side_names[side]);
	report(!*why, name, why);
}

/* ── the long run ── */

static const char *const wait_names[] = {"default", "spin", "futex", "epoll", "io_uring"};

static uint64_t draw(uint64_t below)
{
	uint64_t z = run.seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % below;
}

static bool waits_so(uint32_t wait)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .wait = wait};
	ipc_loop *loop;

	opts.broker = socket_of("client");
	if (ipc_loop_new(&loop, &opts) < 0)
		return false;
	ipc_loop_free(loop);
	return true;
}

static void long_run(enum side side, uint32_t wait, uint64_t n_cycles, uint64_t n_reached[])
{
	struct survivor survivor;
	struct outcome outcome = {};
	struct holdings before = {};
	const uint64_t first = run.n_learned;
	const char *why;
	char name[96];

	survivor_init(&survivor, side, wait);
	for (uint64_t i = 0; i < n_cycles && !outcome.fault[0]; i++) {
		enum ipci_crash_point point = IPCI_CRASH_NONE;
		uint32_t nth = 1 + (uint32_t)draw(600), victim_wait = (uint32_t)draw(4);

		if (i == WARM_UP)
			before = take_stock();
		if (draw(2)) {
			point = (enum ipci_crash_point)(1 + draw(IPCI_N_CRASH_POINTS - 1));
			nth = 1 + (uint32_t)draw(12);
		}
		cycle(&survivor, point, nth, victim_wait, &outcome);
		for (unsigned p = 0; p < IPCI_N_CRASH_POINTS; p++)
			n_reached[p] += run.plan->n_reached[p];
	}
	why = outcome.fault[0]	   ? outcome.fault
	      : n_cycles > WARM_UP ? grown(&survivor, &before)
				   : "";
	(void)snprintf(name, sizeof(name), "%" PRIu64 " %ss, their survivor waiting by %s",
		       n_cycles, side_names[side], wait_names[wait]);
	report(!*why, name, why);
	report_times("learned of", run.learned_ns, first);
	ipc_loop_free(survivor.loop);
}

static void soak(uint64_t n_cycles)
{
	uint64_t n_reached[IPCI_N_CRASH_POINTS] = {0};
	unsigned n_waits = 0;

	for (uint32_t wait = IPC_WAIT_AUTO; wait <= IPC_WAIT_URING; wait++)
		n_waits += waits_so(wait);
	for (uint32_t wait = IPC_WAIT_AUTO; wait <= IPC_WAIT_URING && !run.n_failed; wait++)
		for (unsigned side = 0; side < 2 && waits_so(wait); side++)
			long_run((enum side)side, wait, n_cycles / (2 * n_waits), n_reached);
	for (unsigned p = 1; p < IPCI_N_CRASH_POINTS; p++)
		printf("# passed before %s: %" PRIu64 "\n",
		       crash_point_name((enum ipci_crash_point)p), n_reached[p]);
}

int main(int argc, char **argv)
{
	uint64_t n_cycles = 0;

	for (int i = 1; i < argc; i++) {
		if (i + 1 < argc && strcmp(argv[i], "--cycles") == 0)
			n_cycles = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
			run.seed = strtoull(argv[++i], NULL, 10);
		else
			return fprintf(stderr, "usage: crash [--cycles N] [--seed N]\n"), 2;
	}
	run.n_learned_max = n_cycles ? n_cycles : 1000;
	run.learned_ns = calloc(run.n_learned_max, sizeof(*run.learned_ns));
	run.settled_ns = calloc(run.n_learned_max, sizeof(*run.settled_ns));
	run.plan = mmap(NULL, sizeof(*run.plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (!run.learned_ns || !run.settled_ns || run.plan == MAP_FAILED)
		die("memory");
	start_broker();
	if (n_cycles) {
		soak(n_cycles);
	} else {
		short_run(CLIENT);
		short_run(SERVER);
	}
	report_times("a death was learned of", run.learned_ns, 0);
	report_times("and every call answered", run.settled_ns, 0);
	printf("1..%u\n", run.n_tests);
	stop_broker();
	free(run.learned_ns);
	free(run.settled_ns);
	return run.n_failed != 0;
}
