// SPDX-License-Identifier: Apache-2.0
/* The daemon's small parts: timers, quotas, identity, the listening socket. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <acl/libacl.h>
#include <sys/acl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "identity.h"
#include "listener.h"
#include "quota.h"
#include "timer.h"

static char web[] = "web";
static struct ipci_list timers;
static struct ipci_timer timer[4];
static unsigned order[8], n_order;

static void fired(struct ipci_timer *t)
{
	order[n_order++] = (unsigned)(t - timer);
}

static void init_timers(void)
{
	ipci_list_init(&timers);
	for (unsigned i = 0; i < 4; i++)
		ipci_timer_init(&timer[i], fired);
}

Test(timer, those_that_are_due_fire_in_the_order_of_their_deadlines, .init = init_timers,
     .timeout = 5)
{
	ipci_timer_set(&timers, &timer[0], 30);
	ipci_timer_set(&timers, &timer[1], 10);
	ipci_timer_set(&timers, &timer[2], 20);
	ipci_timer_set(&timers, &timer[3], 10);
	cr_expect_eq(ipci_timers_deadline_ns(&timers), 10);
	ipci_timers_fire(&timers, 9);
	cr_expect_eq(n_order, 0);
	ipci_timers_fire(&timers, 20);
	cr_assert_eq(n_order, 3);
	cr_expect(order[0] == 1 && order[1] == 3 && order[2] == 2);
	cr_expect_eq(ipci_timers_deadline_ns(&timers), 30);
}

Test(timer, a_cleared_or_moved_one_does_not_fire_at_its_old_time, .init = init_timers, .timeout = 5)
{
	ipci_timer_set(&timers, &timer[0], 10);
	ipci_timer_set(&timers, &timer[1], 10);
	ipci_timer_set(&timers, &timer[0], 50);
	ipci_timer_clear(&timer[1]);
	ipci_timer_clear(&timer[2]);
	ipci_timer_set(&timers, &timer[3], IPCI_NEVER);
	ipci_timers_fire(&timers, 49);
	cr_expect_eq(n_order, 0);
	ipci_timers_fire(&timers, 50);
	cr_expect_eq(n_order, 1);
	cr_expect_eq(ipci_timers_deadline_ns(&timers), IPCI_NEVER);
}

static void clears_the_next(struct ipci_timer *t)
{
	fired(t);
	ipci_timer_clear(&timer[1]);
	ipci_timer_set(&timers, &timer[2], 5);
}

Test(timer, one_that_fires_may_clear_another_that_is_due, .init = init_timers, .timeout = 5)
{
	ipci_timer_init(&timer[0], clears_the_next);
	ipci_timer_set(&timers, &timer[0], 10);
	ipci_timer_set(&timers, &timer[1], 10);
	ipci_timers_fire(&timers, 10);
	cr_expect_eq(n_order, 1);
	ipci_timers_fire(&timers, 10);
	cr_expect(n_order == 2 && order[1] == 2);
}

Test(quota, a_charge_stops_at_the_limit_and_undoes_itself_once, .timeout = 5)
{
	struct ipci_policy_workload policy = {.name = web, .limits = {[IPCI_LIMIT_CHANNELS] = 3}};
	struct ipci_quota quota = {.policy = &policy};
	struct ipci_charge two = {0}, more = {0};
	struct ipci_error error = {0};

	cr_expect_eq(ipci_charge_take(&two, &quota, IPCI_LIMIT_CHANNELS, 2, &error), 0);
	cr_expect_eq(ipci_charge_take(&more, &quota, IPCI_LIMIT_CHANNELS, 2, &error), -EDQUOT);
	cr_expect(strstr(error.text, "workloads.web.limits.channels") &&
			  strstr(error.text, "2 of 3"),
		  "%s", error.text);
	cr_expect_eq(ipci_charge_take(&more, &quota, IPCI_LIMIT_CHANNELS, UINT64_MAX, &error),
		     -EDQUOT);
	cr_expect_eq(quota.used[IPCI_LIMIT_CHANNELS], 2);
	cr_expect_eq(ipci_charge_take(&more, &quota, IPCI_LIMIT_CHANNELS, 1, &error), 0);
	ipci_charge_undo(&two);
	ipci_charge_undo(&two);
	cr_expect_eq(quota.used[IPCI_LIMIT_CHANNELS], 1);
}

Test(identity, a_cgroup_matches_with_what_lies_below_it, .timeout = 5)
{
	static const char glob[] = "/machine.slice/libpod-*.scope";

	cr_expect(ipci_identity_cgroup_matches(glob, "/machine.slice/libpod-1a.scope"));
	cr_expect(ipci_identity_cgroup_matches(glob, "/machine.slice/libpod-1a.scope/container/x"));
	cr_expect(!ipci_identity_cgroup_matches(glob, "/machine.slice/other/libpod-1a.scope"));
	cr_expect(!ipci_identity_cgroup_matches(glob, "/machine.slice/libpod-1a.scopes"));
	cr_expect(!ipci_identity_cgroup_matches(glob, "/machine.slice/libpod-a/b.scope"),
		  "a * does not reach across a /");
	cr_expect(!ipci_identity_cgroup_matches(glob, "/machine.slice"));
}

Test(identity, a_uid_that_the_policy_does_not_list_is_named_with_the_rule, .timeout = 5)
{
	struct ipci_policy_workload policy = {.name = web, .n_uids = 1};
	struct ipci_error error = {0};
	char seen[32];
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	policy.uids[0] = (struct ipci_uid_range){geteuid(), geteuid()};
	cr_expect_eq(ipci_identity_check(fds[0], &policy, &error), 0);
	policy.uids[0] = (struct ipci_uid_range){geteuid() + 1, geteuid() + 9};
	cr_expect_eq(ipci_identity_check(fds[0], &policy, &error), -EACCES);
	snprintf(seen, sizeof(seen), "uid is %u", geteuid());
	cr_expect(strstr(error.text, seen) && strstr(error.text, "workloads.web.identity.uid"),
		  "%s", error.text);
}

Test(identity, a_cgroup_that_does_not_match_is_named_with_the_rule, .timeout = 5)
{
	char glob[] = "/no/such/cgroup-*";
	struct ipci_policy_workload policy = {.name = web, .n_uids = 1, .cgroup = glob};
	struct ipci_error error = {0};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	policy.uids[0] = (struct ipci_uid_range){geteuid(), geteuid()};
	cr_expect_eq(ipci_identity_check(fds[0], &policy, &error), -EACCES);
	cr_expect(strstr(error.text, "workloads.web.identity.cgroup"), "%s", error.text);
}

/* The unified hierarchy's path of this process; false where the system has none. */
static bool own_cgroup(char *path, size_t n)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool found = false;
	char line[512];

	while (file && !found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		found = strncmp(line, "0::", 3) == 0;
	}
	if (found)
		snprintf(path, n, "%s", line + 3);
	if (file)
		fclose(file);
	return found;
}

Test(identity, a_process_in_the_demanded_cgroup_is_let_in, .timeout = 5)
{
	char path[512];
	struct ipci_policy_workload policy = {.name = web, .n_uids = 1, .cgroup = path};
	struct ipci_error error = {0};
	int fds[2], r;

	if (!own_cgroup(path, sizeof(path)))
		cr_skip_test("no unified cgroup hierarchy");
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	policy.uids[0] = (struct ipci_uid_range){geteuid(), geteuid()};
	r = ipci_identity_check(fds[0], &policy, &error);
	cr_expect_eq(r, 0, "%s", error.text);
}

static char directory[] = "/tmp/ipc-listener-XXXXXX";
static struct ipci_policy_workload workload = {
	.name = web, .n_uids = 1, .socket_mode = 0600, .socket_group = (gid_t)-1};
static struct ipci_listener listener;
static struct ipci_error error;

static void make_directory(void)
{
	cr_assert_not_null(mkdtemp(directory));
	workload.uids[0] = (struct ipci_uid_range){geteuid(), geteuid()};
}

static void remove_directory(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/web/broker.sock", directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/web", directory);
	rmdir(path);
	rmdir(directory);
}

static int listen_there(struct ipci_listener *ret)
{
	return ipci_listener_init(ret, directory, &workload, &error);
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/web/broker.sock", directory);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -errno;
}

Test(listener, it_listens_with_mode_0600_and_removes_its_socket, .init = make_directory,
     .fini = remove_directory, .timeout = 5)
{
	struct stat st;
	int fd;

	cr_assert_eq(listen_there(&listener), 0, "%s", error.text);
	cr_assert_eq(stat(listener.path, &st), 0);
	cr_expect_eq(st.st_mode, S_IFSOCK | 0600, "%o", st.st_mode);
	fd = dial();
	cr_expect_geq(fd, 0);
	close(fd);
	ipci_listener_deinit(&listener);
	cr_expect_eq(stat(listener.path, &st), -1);
	ipci_listener_deinit(&listener);
}

Test(listener, a_dead_brokers_socket_is_taken_out_of_the_way, .init = make_directory,
     .fini = remove_directory, .timeout = 5)
{
	int fd;

	cr_assert_eq(listen_there(&listener), 0, "%s", error.text);
	close(listener.fd); /* as if it had died */
	close(listener.directory);
	cr_assert_eq(dial(), -ECONNREFUSED);
	cr_assert_eq(listen_there(&listener), 0, "%s", error.text);
	fd = dial();
	cr_expect_geq(fd, 0);
	close(fd);
	ipci_listener_deinit(&listener);
}

Test(listener, a_second_broker_is_refused_and_the_first_goes_on, .init = make_directory,
     .fini = remove_directory, .timeout = 5)
{
	struct ipci_listener second;
	int fd;

	cr_assert_eq(listen_there(&listener), 0, "%s", error.text);
	cr_expect_eq(listen_there(&second), -EADDRINUSE);
	cr_expect(strstr(error.text, "another broker"), "%s", error.text);
	fd = dial();
	cr_expect_geq(fd, 0);
	close(fd);
	ipci_listener_deinit(&listener);
}

Test(listener, what_is_no_socket_or_still_answers_is_left_alone, .init = make_directory,
     .fini = remove_directory, .timeout = 5)
{
	struct stat st;
	char path[64];

	cr_assert_eq(listen_there(&listener), 0, "%s", error.text);
	close(listener.directory); /* a foreign program's socket: it answers, and nothing is locked
				    */
	cr_expect_eq(listen_there(&listener), -EADDRINUSE);
	close(listener.fd);
	unlink(listener.path);
	snprintf(path, sizeof(path), "%s/web/broker.sock", directory);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	cr_expect_eq(listen_there(&listener), -EADDRINUSE);
	cr_expect_eq(stat(path, &st), 0);
}

Test(listener, a_directory_that_others_may_write_is_refused, .init = make_directory,
     .fini = remove_directory, .timeout = 5)
{
	cr_assert_eq(chmod(directory, 0777), 0);
	cr_expect_eq(listen_there(&listener), -EPERM);
	cr_expect(strstr(error.text, "mode 0777"), "%s", error.text);
}

Test(listener, a_path_that_no_socket_address_can_hold_is_refused, .timeout = 5)
{
	char path[128];

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[127] = 0;
	cr_expect_eq(ipci_listener_init(&listener, path, &workload, &error), -ENAMETOOLONG);
}

static unsigned count_users(const char *path, uid_t uid)
{
	acl_t acl = acl_get_file(path, ACL_TYPE_ACCESS);
	acl_entry_t entry;
	unsigned n = 0;

	cr_assert_not_null(acl);
	for (int at = ACL_FIRST_ENTRY; acl_get_entry(acl, at, &entry) == 1; at = ACL_NEXT_ENTRY) {
		acl_permset_t permissions;
		acl_tag_t tag;

		acl_get_tag_type(entry, &tag);
		acl_get_permset(entry, &permissions);
		if (tag == ACL_USER && *(uid_t *)acl_get_qualifier(entry) == uid &&
		    acl_get_perm(permissions, ACL_WRITE) == 1)
			n++;
	}
	acl_free(acl);
	return n;
}

Test(listener, the_policys_uids_get_entries_in_the_acl, .init = make_directory,
     .fini = remove_directory, .timeout = 5)
{
	struct stat st;

	workload.uids[0] = (struct ipci_uid_range){70001, 70002};
	if (listen_there(&listener) == -EOPNOTSUPP)
		cr_skip_test("no ACLs on the file system of /tmp");
	cr_expect_eq(count_users(listener.path, 70001), 1);
	cr_expect_eq(count_users(listener.path, 70002), 1);
	cr_expect_eq(count_users(listener.path, 70003), 0);
	cr_expect_eq(stat(listener.path, &st), 0);
	cr_expect_eq(st.st_mode & 07, 0, "others stay out");
	ipci_listener_deinit(&listener);
}

Test(listener, more_uids_than_an_acl_should_list_are_left_to_the_credentials,
     .init = make_directory, .fini = remove_directory, .timeout = 5)
{
	struct stat st;

	workload.uids[0] = (struct ipci_uid_range){100000, 165535};
	cr_assert_eq(listen_there(&listener), 0, "%s", error.text);
	cr_expect_eq(stat(listener.path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0666);
	ipci_listener_deinit(&listener);
}
