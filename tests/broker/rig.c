// SPDX-License-Identifier: Apache-2.0
/* Every wait is for an event, and under a bound that only a hang can reach. */
#include "rig.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "half.h"
#include "layout.h"

#define BOUND_MS 20000
#define READY_FD 3

static void wait_readable(int fd, const char *what)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	cr_assert_eq(poll(&pollfd, 1, BOUND_MS), 1, "%s did not come", what);
}

/*
 * Standard output and error both go to @output where @to is STDOUT_FILENO. A broker must not
 * outlive a test that failed, so it is killed with it. The child is a copy of one of Criterion's
 * workers: it does nothing but exec.
 */
static pid_t spawn(const char *const *arguments, int output, int to)
{
	const char *argv[16] = {IPC_BROKER_PATH};
	pid_t pid;

	for (unsigned i = 0; arguments[i]; i++)
		argv[i + 1] = arguments[i];
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(output, to) == to && (to != STDOUT_FILENO || dup2(output, STDERR_FILENO) >= 0))
		(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

void rig_restart(struct rig *rig)
{
	const char *arguments[] = {"--policy",	 rig->policy, "--sockets", rig->directory,
				   "--ready-fd", "3",	      NULL};
	char line[8] = "";
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	rig->pid = spawn(arguments, fds[1], READY_FD);
	close(fds[1]);
	wait_readable(fds[0], "the broker's readiness");
	cr_assert_eq(read(fds[0], line, sizeof(line) - 1), 6, "the broker did not start");
	cr_assert_str_eq(line, "ready\n");
	close(fds[0]);
}

static void write_policy(const char *path, const char *policy)
{
	FILE *file = fopen(path, "we");

	cr_assert_not_null(file);
	for (const char *at = policy; *at;) {
		if (strncmp(at, "$UID", 4) == 0) {
			fprintf(file, "%u", geteuid());
			at += 4;
		} else {
			fputc(*at++, file);
		}
	}
	cr_assert_eq(fclose(file), 0);
}

void rig_start(struct rig *rig, const char *policy)
{
	strcpy(rig->directory, "/tmp/ipc-broker-XXXXXX");
	cr_assert_not_null(mkdtemp(rig->directory));
	(void)snprintf(rig->policy, sizeof(rig->policy), "%s/policy.yaml", rig->directory);
	write_policy(rig->policy, policy);
	rig_restart(rig);
}

static int wait_status(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Removes all: of the workloads' directories, sockets too where @force is set; else they must be
 * empty. */
static void remove_directories(struct rig *rig, bool force)
{
	DIR *directory = opendir(rig->directory);
	struct dirent *entry;

	cr_assert_not_null(directory);
	while ((entry = readdir(directory))) {
		char path[sizeof(rig->directory) + sizeof(entry->d_name) + 16];

		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "policy.yaml") == 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s/broker.sock", rig->directory,
			       entry->d_name);
		if (force)
			(void)unlink(path);
		*strrchr(path, '/') = 0;
		cr_expect_eq(rmdir(path), 0, "%s: %s", path, strerror(errno));
	}
	closedir(directory);
	(void)unlink(rig->policy);
	cr_expect_eq(rmdir(rig->directory), 0);
	rig->directory[0] = 0;
}

void rig_abandon(struct rig *rig)
{
	if (rig->pid > 0)
		rig_kill(rig);
	if (rig->directory[0])
		remove_directories(rig, true);
}

void rig_stop(struct rig *rig)
{
	int status;

	cr_assert_eq(kill(rig->pid, SIGTERM), 0);
	status = wait_status(rig->pid);
	cr_expect_eq(status, 0, "the broker ended with %d", status);
	rig->pid = 0;
	remove_directories(rig, false);
}

void rig_kill(struct rig *rig)
{
	cr_assert_eq(kill(rig->pid, SIGKILL), 0);
	(void)wait_status(rig->pid);
	rig->pid = 0;
}

int rig_run(char *output, size_t n, const char *const *arguments)
{
	size_t used = 0;
	ssize_t got;
	int fds[2];
	pid_t pid;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = spawn(arguments, fds[1], STDOUT_FILENO);
	close(fds[1]);
	do {
		char rest[512];

		wait_readable(fds[0], "output");
		got = read(fds[0], rest, sizeof(rest));
		for (ssize_t i = 0; i < got && used + 1 < n; i++)
			output[used++] = rest[i];
	} while (got > 0);
	output[used] = 0;
	close(fds[0]);
	return wait_status(pid);
}

void rig_limit_files(const struct rig *rig, unsigned n)
{
	struct rlimit limit;

	cr_assert_eq(prlimit(rig->pid, RLIMIT_NOFILE, NULL, &limit), 0, "%s", strerror(errno));
	limit.rlim_cur = n;
	cr_assert_eq(prlimit(rig->pid, RLIMIT_NOFILE, &limit, NULL), 0, "%s", strerror(errno));
}

int rig_count_fds(const struct rig *rig)
{
	char path[32];
	DIR *directory;
	int n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)rig->pid);
	directory = opendir(path);
	if (!directory)
		return -1;
	for (struct dirent *entry; (entry = readdir(directory));)
		n += entry->d_name[0] != '.';
	closedir(directory);
	return n;
}

int rig_dial(const struct rig *rig, const char *workload)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/broker.sock",
		       rig->directory, workload);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

void rig_begin(struct packet *packet, ipc_broker_Kind kind, uint64_t serial)
{
	ipc_writer_init(&packet->writer, packet->data, sizeof(packet->data));
	packet->message = ipc_broker_Message_start(&packet->writer);
	ipc_broker_Message_set_kind(&packet->message, kind);
	ipc_broker_Message_set_serial(&packet->message, serial);
}

int rig_finish(struct packet *packet)
{
	return ipc_writer_finish(&packet->writer, &packet->n);
}

void rig_send(int socket, struct packet *packet, int fd)
{
	int r = rig_finish(packet);

	cr_assert_eq(r, 0, "a request could not be written: %d", r);
	/* The kernel counts an ordinary user's descriptors in flight, and here a flood's sender is
	 * the same user: until the broker has taken them. */
	for (int tries = 0; tries < 5000; tries++) {
		r = ipci_packet_send(socket, packet->data, packet->n, &fd, fd >= 0);
		if (r != -ETOOMANYREFS || geteuid() == 0)
			break;
		poll(NULL, 0, 1);
	}
	cr_assert_eq(r, 0, "a request could not be sent: %s", strerror(-r));
}

void rig_receive(int socket, struct answer *answer)
{
	struct ipc_str text;
	ssize_t n;

	*answer = (struct answer){.kind = -1};
	wait_readable(socket, "an answer");
	n = ipci_packet_recv(socket, answer->data, sizeof(answer->data), answer->fds,
			     IPCI_PACKET_FDS_MAX, &answer->n_fds);
	if (n == 0 || n == -ECONNRESET)
		return;
	cr_assert_gt(n, 0, "%s", strerror(-(int)n));
	answer->msg = ipc_msg_from(answer->data, (size_t)n);
	answer->message = ipc_broker_Message_root(&answer->msg);
	cr_assert(ipc_broker_Message_verify(answer->message),
		  "the broker sent a malformed message");
	answer->kind = ipc_broker_Message_kind(answer->message);
	answer->serial = ipc_broker_Message_serial(answer->message);
	answer->channel = ipc_broker_Message_channel(answer->message);
	answer->error = ipc_broker_Message_error(answer->message);
	text = ipc_broker_Message_text(answer->message);
	(void)snprintf(answer->text, sizeof(answer->text), "%.*s", (int)text.size_bytes, text.data);
}

void rig_done(struct answer *answer)
{
	for (unsigned i = 0; i < answer->n_fds; i++)
		close(answer->fds[i]);
	answer->n_fds = 0;
}

void rig_expect(int socket, struct answer *answer, ipc_broker_Kind kind)
{
	rig_receive(socket, answer);
	cr_assert_eq(answer->kind, kind, "kind %d came instead of %d: error %d, \"%s\"",
		     answer->kind, kind, answer->error, answer->text);
}

void rig_expect_end(int socket)
{
	struct answer answer;

	do {
		rig_receive(socket, &answer);
		rig_done(&answer);
	} while (answer.kind >= 0);
}

void rig_expect_result(int socket, uint64_t serial, int error, const char *text)
{
	struct answer answer;

	rig_expect(socket, &answer, ipc_broker_Kind_Result);
	cr_expect_eq(answer.serial, serial, "serial %llu, not %llu",
		     (unsigned long long)answer.serial, (unsigned long long)serial);
	cr_expect_eq(answer.error, error, "error %d, not %d: %s", answer.error, error, answer.text);
	cr_expect(strstr(answer.text, text), "\"%s\" does not say \"%s\"", answer.text, text);
	cr_expect_eq(answer.n_fds, 0);
	rig_done(&answer);
}

void rig_expect_nothing(int socket)
{
	struct packet packet;

	rig_begin(&packet, ipc_broker_Kind_Withdraw, 987654321);
	rig_send(socket, &packet, -1);
	rig_expect_result(socket, 987654321, ENOENT, "");
}

void rig_hello(int socket, uint32_t version)
{
	struct packet packet;
	ipc_broker_Hello_w hello;

	rig_begin(&packet, ipc_broker_Kind_Hello, 1);
	hello = ipc_broker_Message_new_hello(&packet.message);
	ipc_broker_Hello_set_version(&hello, version);
	ipc_broker_Hello_set_name_str(&hello, "rig");
	rig_send(socket, &packet, -1);
}

int rig_join(const struct rig *rig, const char *workload)
{
	int fd = rig_dial(rig, workload);
	struct answer answer;
	struct ipc_str name;

	cr_assert_geq(fd, 0, "%s: %s", workload, strerror(-fd));
	rig_hello(fd, 1);
	rig_expect(fd, &answer, ipc_broker_Kind_Welcome);
	name = ipc_broker_Welcome_workload(ipc_broker_Message_welcome(answer.message));
	cr_expect(ipc_str_equals(name, workload));
	cr_expect_eq(answer.serial, 1);
	return fd;
}

static void write_methods(ipc_broker_Method_vec_w *vec, const char *const *methods)
{
	for (unsigned i = 0; methods[i]; i++) {
		ipc_broker_Method_w method = ipc_broker_Method_new_at(vec, i);

		ipc_broker_Method_set_name_str(&method, methods[i]);
		ipc_broker_Method_set_id(&method, (uint16_t)(10 + i));
	}
}

static size_t count(const char *const *methods)
{
	size_t n = 0;

	while (methods[n])
		n++;
	return n;
}

void rig_serve(int socket, uint64_t serial, const char *service)
{
	static const char *const methods[] = {"Place", "Watch", NULL};
	ipc_broker_Method_vec_w vec;
	ipc_broker_Serve_w serve;
	struct packet packet;

	rig_begin(&packet, ipc_broker_Kind_Serve, serial);
	serve = ipc_broker_Message_new_serve(&packet.message);
	ipc_broker_Serve_set_service_str(&serve, service);
	vec = ipc_broker_Serve_new_methods(&serve, count(methods));
	write_methods(&vec, methods);
	rig_send(socket, &packet, -1);
}

void rig_write_open(struct packet *packet, uint64_t serial, const char *service,
		    const char *const *methods, uint64_t timeout_ns)
{
	ipc_broker_Method_vec_w vec;
	ipc_broker_Open_w open;

	rig_begin(packet, ipc_broker_Kind_Open, serial);
	open = ipc_broker_Message_new_open(&packet->message);
	ipc_broker_Open_set_service_str(&open, service);
	ipc_broker_Open_set_max_calls(&open, 100);
	ipc_broker_Open_set_ring_bytes(&open, RIG_RING_BYTES);
	ipc_broker_Open_set_layout(&open, IPCI_LAYOUT_VERSION);
	ipc_broker_Open_set_features(&open, 5);
	ipc_broker_Open_set_timeout_ns(&open, timeout_ns);
	vec = ipc_broker_Open_new_methods(&open, count(methods));
	write_methods(&vec, methods);
}

int rig_half(void)
{
	struct ipci_error error = {0};
	struct ipci_half half;
	int fd, r = ipci_half_create(&half, &fd, RIG_RING_BYTES, &error);

	cr_assert_eq(r, 0, "%s", error.text);
	ipci_half_deinit(&half);
	return fd;
}

void rig_open(int socket, uint64_t serial, const char *service, const char *method,
	      uint64_t timeout_ns)
{
	const char *methods[] = {method, NULL};
	struct packet packet;
	int half = rig_half();

	rig_write_open(&packet, serial, service, methods, timeout_ns);
	rig_send(socket, &packet, half);
	close(half);
}

void rig_write_accept(struct packet *packet, uint64_t serial)
{
	ipc_broker_Accept_w accept;

	rig_begin(packet, ipc_broker_Kind_Accept, serial);
	accept = ipc_broker_Message_new_accept(&packet->message);
	ipc_broker_Accept_set_ring_bytes(&accept, RIG_RING_BYTES);
	ipc_broker_Accept_set_layout(&accept, IPCI_LAYOUT_VERSION);
	ipc_broker_Accept_set_features(&accept, 6);
	ipc_broker_Accept_set_max_calls(&accept, 50);
}

void rig_accept(int socket, uint64_t serial)
{
	struct packet packet;
	int half = rig_half();

	rig_write_accept(&packet, serial);
	rig_send(socket, &packet, half);
	close(half);
}

void rig_close(int socket, uint64_t channel)
{
	struct packet packet;

	rig_begin(&packet, ipc_broker_Kind_Close, 0);
	ipc_broker_Message_set_channel(&packet.message, channel);
	rig_send(socket, &packet, -1);
}

void rig_offer_service(int server, uint64_t serial, const char *service)
{
	rig_serve(server, serial, service);
	rig_expect_result(server, serial, 0, "");
}

uint64_t rig_connect(int client, int server, const char *service, int *client_bell,
		     int *server_bell)
{
	struct answer offer, opened;

	rig_open(client, 77, service, "Place", RIG_SECOND);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	cr_assert_eq(offer.n_fds, 2);
	rig_accept(server, offer.serial);
	rig_expect(client, &opened, ipc_broker_Kind_Opened);
	cr_assert_eq(opened.n_fds, 2);
	cr_assert_eq(opened.channel, offer.channel);
	if (server_bell) {
		*server_bell = offer.fds[1];
		offer.n_fds = 1;
	}
	if (client_bell) {
		*client_bell = opened.fds[1];
		opened.n_fds = 1;
	}
	rig_done(&offer);
	rig_done(&opened);
	return opened.channel;
}
