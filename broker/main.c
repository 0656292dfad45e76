// SPDX-License-Identifier: Apache-2.0
/* ipc-broker: options, the process's own state (signals, limits, privileges), and when it begins
 * and ends. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ipc/version.h>

#include "broker.h"
#include "check.h"
#include "cleanup.h"
#include "log.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum {
	EXIT_OK = 0,
	EXIT_RUNTIME = 1,
	EXIT_USAGE = 2, /* the command line or the policy is wrong */
};

struct options {
	const char *policy;
	const char *sockets; /* NULL: the policy's */
	int ready_fd;
	bool check, json, epoll;
};

static const char usage[] =
	"Usage: ipc-broker [--policy FILE] [--sockets DIR] [--ready-fd N] [--epoll]\n"
	"       ipc-broker --check POLICY [--json]\n"
	"Introduces sandboxed services to each other, as the policy allows.\n"
	"\n"
	"  --policy FILE   the policy; /etc/ipc/policy.yaml unless given\n"
	"  --sockets DIR   where the workloads' sockets are, in place of the policy's \"sockets\"\n"
	"  --ready-fd N    write the line \"ready\" to descriptor N, and close it, once all "
	"sockets listen;\n"
	"                  on standard output unless given\n"
	"  --epoll         do not use io_uring; IPC_WAIT=epoll does the same\n"
	"  --check POLICY  say what is wrong with a policy, or \"ok\", and exit\n"
	"  --json          with --check: print it as data\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 well; 1 a failure at run time; 2 a wrong command line or policy.\n";

/* -1 go on; else the exit status. */
static int parse_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"policy", required_argument, NULL, 'p'},
		{"sockets", required_argument, NULL, 's'},
		{"ready-fd", required_argument, NULL, 'r'},
		{"epoll", no_argument, NULL, 'e'},
		{"check", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	uint64_t number;
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'p':
			options->policy = optarg;
			break;
		case 's':
			options->sockets = optarg;
			break;
		case 'r':
			if (!ipci_parse_number(optarg, optarg + strlen(optarg), &number) ||
			    number > INT32_MAX || fcntl((int)number, F_GETFD) < 0) {
				fprintf(stderr,
					"ipc-broker: --ready-fd: expected an open "
					"descriptor, not \"%s\"\n",
					optarg);
				return EXIT_USAGE;
			}
			options->ready_fd = (int)number;
			break;
		case 'e':
			options->epoll = true;
			break;
		case 'c':
			options->check = true;
			options->policy = optarg;
			break;
		case 'j':
			options->json = true;
			break;
		case 'v':
			printf("ipc-broker %s\n", IPC_VERSION);
			return EXIT_OK;
		case 'h':
			fputs(usage, stdout);
			return EXIT_OK;
		default:
			fputs("Try \"ipc-broker --help\".\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc || (options->json && !options->check)) {
		fprintf(stderr, "ipc-broker: %s\nTry \"ipc-broker --help\".\n",
			optind < argc ? "unexpected argument" : "--json goes with --check");
		return EXIT_USAGE;
	}
	return -1;
}

static int check(const struct options *options, const struct ipci_policy *policy,
		 const struct ipci_faults *faults)
{
	if (options->json)
		ipci_check_print_json(stdout, options->policy, policy, faults);
	else if (policy)
		puts("ok");
	else
		ipci_check_print_faults(stderr, options->policy, faults);
	if (fflush(stdout) != 0)
		return EXIT_RUNTIME;
	return policy ? EXIT_OK : EXIT_USAGE;
}

struct signals {
	struct ipci_handler handler;
	struct ipci_broker *broker;
};

static void on_signal(struct ipci_handler *handler, uint32_t revents)
{
	struct signals *signals = IPCI_CONTAINER_OF(handler, struct signals, handler);
	struct signalfd_siginfo info;

	(void)revents;
	if (read(handler->source.fd, &info, sizeof(info)) != sizeof(info))
		return;
	ipci_log("ends on signal %u", info.ssi_signo);
	signals->broker->stop = true;
}

/* Blocked before anything else is done, so that a signal that comes early is a clean end as well.
 */
static int open_signals(void)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void restrict_process(void)
{
	struct rlimit files;

	(void)umask(077);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* Nobody attaches to it, and no core holds its descriptors. LeakSanitizer attaches to its
	 * own process. */
	if (!SANITIZED)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void tell_ready(const struct options *options)
{
	static const char line[] = "ready\n";
	int fd = options->ready_fd >= 0 ? options->ready_fd : STDOUT_FILENO;

	/* Who started it may have stopped listening for that. */
	if (write(fd, line, sizeof(line) - 1) < 0)
		ipci_log("cannot say that it is ready: %s", strerror(errno));
	if (options->ready_fd >= 0)
		(void)close(options->ready_fd);
}

static enum ipci_loop_backend choose_backend(const struct options *options)
{
	const char *wait = getenv("IPC_WAIT");

	if (options->epoll || (wait && strcmp(wait, "epoll") == 0))
		return IPCI_LOOP_EPOLL;
	return wait && strcmp(wait, "uring") == 0 ? IPCI_LOOP_URING : IPCI_LOOP_ANY;
}

static int run(const struct options *options, const struct ipci_policy *policy)
{
	_cleanup_(closep) int signal_fd = open_signals();
	struct signals signals = {.handler.ready = on_signal};
	struct ipci_error error = {0};
	int r;

	restrict_process();
	if (signal_fd < 0) {
		ipci_log("cannot take signals: %s", strerror(errno));
		return EXIT_RUNTIME;
	}
	r = ipci_broker_new(&signals.broker, policy, options->sockets, choose_backend(options),
			    &error);
	if (r == 0)
		r = ipci_broker_watch(signals.broker, &signals.handler, signal_fd, EPOLLIN);
	if (r < 0) {
		ipci_log("%s", error.code ? error.text : strerror(-r));
		ipci_broker_free(signals.broker);
		return EXIT_RUNTIME;
	}
	ipci_log("ready: %zu workloads in %s, waiting with %s", policy->n_workloads,
		 options->sockets ? options->sockets : policy->sockets,
		 ipci_loop_backend(signals.broker->loop) == IPCI_LOOP_URING ? "io_uring" : "epoll");
	tell_ready(options);
	ipci_broker_run(signals.broker);
	ipci_loop_remove(signals.broker->loop, &signals.handler.source);
	ipci_broker_free(signals.broker);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct options options = {.policy = "/etc/ipc/policy.yaml", .ready_fd = -1};
	struct ipci_policy *policy = NULL;
	struct ipci_faults faults = {0};
	int status = parse_options(&options, argc, argv);

	if (status >= 0)
		return status;
	if (ipci_policy_load(&policy, options.policy, &faults) < 0 && faults.n == 0) {
		ipci_log("out of memory");
		return EXIT_RUNTIME;
	}
	if (options.check)
		status = check(&options, policy, &faults);
	else if (policy)
		status = run(&options, policy);
	else
		status = EXIT_USAGE;
	if (!options.check && !policy)
		ipci_check_print_faults(stderr, options.policy, &faults);
	ipci_policy_free(policy);
	return status;
}
