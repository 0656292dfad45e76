// SPDX-License-Identifier: Apache-2.0
/*
 * The broker against its workloads: two of them, up to three connections each, which say anything
 * with any descriptors in any order, and hang up. When all have gone nothing is left of them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker.h"
#include "packet.h"
#include "target.h"

#define WORKLOADS 2u
#define PEERS 6u

static char directory[] = "/tmp/ipc-fuzz-XXXXXX";
static struct ipci_policy *policy;
static struct ipci_broker *broker;
static struct ipci_handler stopper;
static int sockets[PEERS];
static unsigned n_fds_at_rest;
static uint64_t n_runs;

static void stop(struct ipci_handler *handler, uint32_t revents)
{
	(void)handler;
	(void)revents;
	broker->stop = true;
}

/* One batch: the stopper is always ready. */
static void step(void)
{
	broker->stop = false;
	ipci_broker_run(broker);
}

static void write_policy(const char *path)
{
	FILE *file = fopen(path, "we");

	must(file);
	fprintf(file,
		"version: 1\nsockets: %s\n"
		"defaults:\n  limits: { channels: 8, shared_memory: 256KiB, pending_opens: 4 }\n"
		"workloads:\n"
		"  a:\n    identity: { uid: %u }\n    serve: [fuzz.Service]\n"
		"    call: { fuzz.Other: [Zero] }\n"
		"  b:\n    identity: { uid: %u }\n    serve: [fuzz.Other]\n"
		"    call: { fuzz.Service: [Zero, One] }\n",
		directory, geteuid(), geteuid());
	must(fclose(file) == 0);
}

/* All but pipes: a symbolizer that the fuzzer runs has some. */
static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	char target[16];
	unsigned n = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		const ssize_t r = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));

		n += r > 5 && strncmp(target, "pipe:", 5) != 0;
	}
	(void)closedir(dir);
	return n;
}

static void clean_up(void)
{
	static const char *const paths[] = {"/a", "/b", "/policy.yaml", ""};
	char path[64];

	ipci_broker_free(broker);
	ipci_policy_free(policy);
	for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", directory, paths[i]);
		(void)remove(path);
	}
}

void target_start(void)
{
	struct ipci_faults faults = {};
	struct ipci_error error;
	char path[64];

	/* What the broker logs of each of a million bad packets is nobody's to read. */
	must(freopen("/dev/null", "w", stdout));
	(void)umask(077);
	must(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/policy.yaml", directory);
	write_policy(path);
	must(ipci_policy_load(&policy, path, &faults) == 0);
	must(ipci_broker_new(&broker, policy, NULL, IPCI_LOOP_EPOLL, &error) == 0);
	stopper.ready = stop;
	must(ipci_broker_watch(broker, &stopper, eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), 1) == 0);
	must(atexit(clean_up) == 0);
	for (unsigned i = 0; i < PEERS; i++)
		sockets[i] = -1;
	step();
}

static int dial(unsigned workload)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%c/broker.sock", directory,
		       "ab"[workload]);
	must(fd >= 0);
	must(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void hang_up(unsigned i)
{
	if (sockets[i] >= 0)
		(void)close(sockets[i]);
	sockets[i] = -1;
}

/* Takes what came, and what is of use later: the channel's number is always the latest. */
static void read_answers(int fd)
{
	static uint8_t data[IPCI_PACKET_MAX_BYTES];
	int fds[IPCI_PACKET_FDS_MAX];
	unsigned n_fds;

	while (ipci_packet_recv(fd, data, sizeof(data), fds, IPCI_PACKET_FDS_MAX, &n_fds) > 0)
		for (unsigned i = 0; i < n_fds; i++)
			(void)close(fds[i]);
}

/* The first thing that most say, so that most get further. */
static void say_hello(int fd)
{
	/* A well-formed packet: kind 1, both numbers known; the hello alone; version 1. */
	static const uint8_t hello[] = {0, 1 | 16 | 32, 1, 0, 4};
	struct input in = {hello, sizeof(hello)};

	(void)packet_send(fd, &in, 1, 0, "fuzz");
}

static void act(struct input *in)
{
	const uint8_t how = take_u8(in);
	const unsigned i = how % PEERS;

	if (sockets[i] < 0) {
		sockets[i] = dial(i % WORKLOADS);
		if (how & 0x80)
			return;
		say_hello(sockets[i]);
	} else if ((how & 0x70) == 0x70) {
		hang_up(i);
	} else if ((how & 0x70) == 0x60) {
		read_answers(sockets[i]);
	} else {
		(void)packet_send(sockets[i], in, how & 8 ? 1 : broker->last_channel,
				  broker->last_channel, how & 1 ? "fuzz.Other" : "fuzz.Service");
	}
	step();
}

void target_run(const uint8_t *data, size_t n)
{
	struct input in = {data, n};

	if (!n_fds_at_rest)
		n_fds_at_rest = count_fds();
	while (in.n)
		act(&in);
	for (unsigned i = 0; i < PEERS; i++)
		hang_up(i);
	for (unsigned i = 0; i < 4; i++)
		step();
	for (unsigned i = 0; i < IPCI_CHANNEL_BUCKETS; i++)
		must(ipci_list_empty(&broker->channels[i]));
	must(ipci_list_empty(&broker->services));
	if (++n_runs % 64)
		return;
	/* What was disposed of is closed on other threads. */
	for (unsigned i = 0; i < 10000 && count_fds() > n_fds_at_rest; i++)
		step();
	must(count_fds() <= n_fds_at_rest);
}
