/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox is worth what it refuses, so nothing here repeats what the launcher was told to do:
 * each fact is read from the kernel, or is the outcome of an attempt from inside. What cannot be
 * found out is reported as null, which the launcher takes for a failure.
 */
#include "facts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"

static void dirp(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

static void filep(FILE **file)
{
	if (*file != NULL)
		(void)fclose(*file);
}

static json_t *string_or_null(const char *text)
{
	return text != NULL ? json_string(text) : json_null();
}

/* "Uid", "CapEff" and the like: the first word of the value, as procfs prints it. */
static void facts_status(json_t *facts)
{
	static const char *const wanted[] = {"Uid",    "Gid",	     "CapEff",
					     "CapBnd", "NoNewPrivs", "Seccomp"};
	_cleanup_(filep) FILE *file = fopen("/proc/self/status", "re");
	char line[256], key[32], value[64];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "%31[^:]: %63s", key, value) != 2)
			continue;
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
			if (strcmp(key, wanted[i]) == 0)
				(void)json_object_set_new(facts, key, json_string(value));
		}
	}
}

static json_t *facts_namespaces(void)
{
	static const char *const names[] = {"user", "pid", "net", "ipc", "mnt", "uts", "cgroup"};
	json_t *json = json_object();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64], target[64];
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		(void)json_object_set_new(json, names[i], string_or_null(n > 0 ? target : NULL));
	}
	return json;
}

static json_t *facts_interfaces(void)
{
	struct if_nameindex *names = if_nameindex();
	json_t *json;

	if (names == NULL)
		return json_null();
	json = json_array();
	for (size_t i = 0; names[i].if_index != 0; i++)
		(void)json_array_append_new(json, json_string(names[i].if_name));
	if_freenameindex(names);
	return json;
}

static json_t *facts_directory(const char *path)
{
	_cleanup_(dirp) DIR *dir = opendir(path);
	const struct dirent *entry;
	json_t *json;

	if (dir == NULL)
		return json_null();
	json = json_array();
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			(void)json_array_append_new(json, json_string(entry->d_name));
	}
	return json;
}

static json_t *facts_processes(void)
{
	_cleanup_(dirp) DIR *dir = opendir("/proc");
	const struct dirent *entry;
	json_int_t n = 0;

	if (dir == NULL)
		return json_null();
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
	return json_integer(n);
}

/* True if the attempt to write where it must not be possible failed as it must. */
static json_t *facts_read_only(const char *path)
{
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0) {
		(void)unlink(path);
		return json_false();
	}
	return errno == EROFS ? json_true() : json_null();
}

/* How the attempt that just returned @result ended. */
static json_t *outcome(long result)
{
	return json_string(result < 0 ? strerrorname_np(errno) : "allowed");
}

static json_t *facts_io_uring(void)
{
	struct io_uring_params params = {0};
	_cleanup_(closep) int fd = (int)syscall(SYS_io_uring_setup, 1, &params);

	return outcome(fd);
}

/* Calls that do nothing where no filter refuses them. */
static json_t *facts_filter(void)
{
	json_t *json = json_object();
	int r = 0;

	r |= json_object_set_new(json, "unshare", outcome(syscall(SYS_unshare, 0L)));
	r |= json_object_set_new(json, "keyctl", outcome(syscall(SYS_keyctl, 0L, -3L, 0L)));
	r |= json_object_set_new(json, "process_vm_readv",
				 outcome(syscall(SYS_process_vm_readv, (long)getpid(), NULL, 0L,
						 NULL, 0L, 0L)));
	if (r == 0)
		return json;
	json_decref(json);
	return NULL;
}

/* Connecting a datagram socket sends nothing: it asks whether there is a way to a documentation
 * address. */
static json_t *facts_internet(void)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(9),
		.sin_addr.s_addr = htonl(0xc0000201), /* 192.0.2.1 */
	};
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return json_null();
	return outcome(connect(fd, (const struct sockaddr *)&address, sizeof(address)));
}

json_t *facts_collect(void)
{
	char hostname[HOST_NAME_MAX + 1] = "";
	json_t *facts = json_object();
	int r = 0;

	facts_status(facts);
	(void)gethostname(hostname, sizeof(hostname));
	r |= json_object_set_new(facts, "hostname", json_string(hostname));
	r |= json_object_set_new(facts, "namespaces", facts_namespaces());
	r |= json_object_set_new(facts, "interfaces", facts_interfaces());
	r |= json_object_set_new(facts, "processes", facts_processes());
	r |= json_object_set_new(facts, "root", facts_directory("/"));
	r |= json_object_set_new(facts, "run", facts_directory("/run"));
	r |= json_object_set_new(facts, "run_ipc", facts_directory("/run/ipc"));
	r |= json_object_set_new(facts, "root_read_only", facts_read_only("/probe"));
	r |= json_object_set_new(facts, "broker_read_only", facts_read_only("/run/ipc/probe"));
	r |= json_object_set_new(facts, "internet", facts_internet());
	r |= json_object_set_new(facts, "filter", facts_filter());
	r |= json_object_set_new(facts, "io_uring", facts_io_uring());
	if (r == 0)
		return facts;
	json_decref(facts);
	return NULL;
}
