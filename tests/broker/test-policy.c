// SPDX-License-Identifier: Apache-2.0
/* The policy file: what a good one says, and where a bad one is wrong. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy.h"

/* Loads @text as a file. */
static int load(const char *text, struct ipci_policy **ret, struct ipci_faults *faults)
{
	char path[] = "/tmp/ipc-policy-XXXXXX";
	int fd = mkstemp(path), r;

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	*faults = (struct ipci_faults){0};
	r = ipci_policy_load(ret, path, faults);
	unlink(path);
	return r;
}

static struct ipci_policy *good(const char *text)
{
	struct ipci_policy *policy = NULL;
	struct ipci_faults faults;
	int r = load(text, &policy, &faults);

	cr_assert_eq(r, 0, "%d: line %zu: %s", r, faults.fault[0].line, faults.fault[0].text);
	return policy;
}

/* Loading fails; the first fault is on @line and its text contains @text. */
static void bad(const char *policy_text, size_t line, const char *text)
{
	struct ipci_policy *policy = (struct ipci_policy *)-1;
	struct ipci_faults faults;

	cr_assert_lt(load(policy_text, &policy, &faults), 0, "accepted: %s", policy_text);
	cr_assert_eq(policy, (struct ipci_policy *)-1, "the output was touched");
	cr_assert_geq(faults.n, 1);
	cr_expect_eq(faults.fault[0].line, line, "line %zu, not %zu: %s", faults.fault[0].line,
		     line, faults.fault[0].text);
	cr_expect(strstr(faults.fault[0].text, text), "\"%s\" does not say \"%s\"",
		  faults.fault[0].text, text);
}

#define HEAD "version: 1\nworkloads:\n"
#define WEB HEAD "  web:\n    identity: { uid: 1 }\n"

static const char full[] =
	"version: 1\n"
	"sockets: /run/ipc-test\n"
	"defaults:\n"
	"  limits: { channels: 64, shared_memory: 16MiB, pending_opens: 16, "
	"calls_in_flight: 256 }\n"
	"workloads:\n"
	"  orders:\n"
	"    identity: { uid: 165531-165532, cgroup: \"/machine.slice/libpod-*.scope\" }\n"
	"    serve: [shop.Orders]\n"
	"    limits: { channels: 1024, shared_memory: 256MiB }\n"
	"  web:\n"
	"    identity: { uid: 165531 }\n"
	"    call: { shop.Orders: [Place, Watch], shop.Prices: [\"*\"] }\n"
	"  operator:\n"
	"    identity: { uid: [0, 10-12] }\n"
	"    socket: { group: root, mode: 0660 }\n"
	"    admin: [status, audit, revoke, drain]\n"
	"    call: { shop.Orders: [Place] }\n";

Test(policy, what_a_full_policy_says_is_what_it_answers, .timeout = 5)
{
	struct ipci_policy *policy = good(full);
	const struct ipci_policy_workload *orders = policy->workloads[0],
					  *web = policy->workloads[1],
					  *operator= policy->workloads[2];
	const struct ipci_call_rule *rule;

	cr_assert_eq(policy->n_workloads, 3);
	cr_expect_str_eq(policy->sockets, "/run/ipc-test");
	cr_expect_str_eq(orders->name, "orders");
	cr_expect_str_eq(orders->cgroup, "/machine.slice/libpod-*.scope");
	cr_expect(ipci_policy_has_uid(orders, 165531) && ipci_policy_has_uid(orders, 165532));
	cr_expect(!ipci_policy_has_uid(orders, 165533) && !ipci_policy_has_uid(orders, 0));
	cr_expect(ipci_policy_may_serve(orders, "shop.Orders"));
	cr_expect(!ipci_policy_may_serve(orders, "shop.Order") &&
		  !ipci_policy_may_serve(web, "shop.Orders"));
	cr_expect_eq(orders->limits[IPCI_LIMIT_CHANNELS], 1024);
	cr_expect_eq(orders->limits[IPCI_LIMIT_SHARED_MEMORY], 256ull << 20);
	cr_expect_eq(orders->limits[IPCI_LIMIT_PENDING_OPENS], 16);
	cr_expect_eq(web->limits[IPCI_LIMIT_SHARED_MEMORY], 16ull << 20);
	cr_expect_eq(web->limits[IPCI_LIMIT_CONNECTIONS], 64);

	cr_expect_null(ipci_policy_call_rule(orders, "shop.Orders"), "denied by default");
	rule = ipci_policy_call_rule(web, "shop.Orders");
	cr_assert_not_null(rule);
	cr_expect(ipci_call_rule_allows(rule, "Watch", 5));
	cr_expect(!ipci_call_rule_allows(rule, "Cancel", 6) &&
		  !ipci_call_rule_allows(rule, "Plac", 4));
	rule = ipci_policy_call_rule(web, "shop.Prices");
	cr_expect(ipci_call_rule_allows(rule, "Anything", 8));

	cr_expect(ipci_policy_has_uid(operator, 0) && ipci_policy_has_uid(operator, 11) &&
		  !ipci_policy_has_uid(operator, 9));
	cr_expect_eq(operator->socket_mode, 0660);
	cr_expect_eq(operator->socket_group, 0);
	cr_expect_eq(operator->admin,
		     IPCI_ADMIN_STATUS | IPCI_ADMIN_AUDIT | IPCI_ADMIN_REVOKE | IPCI_ADMIN_DRAIN);
	cr_expect_eq(web->socket_mode, 0600);
	cr_expect_eq(web->socket_group, (gid_t)-1);
	cr_expect_eq(web->admin, 0);
	ipci_policy_free(policy);
}

Test(policy, defaults_apply_wherever_in_the_file_they_stand, .timeout = 5)
{
	struct ipci_policy *policy = good(WEB "    limits: { pending_opens: 2 }\n"
					      "defaults: { limits: { channels: 7 } }\n");

	cr_expect_eq(policy->workloads[0]->limits[IPCI_LIMIT_CHANNELS], 7);
	cr_expect_eq(policy->workloads[0]->limits[IPCI_LIMIT_PENDING_OPENS], 2);
	cr_expect_str_eq(policy->sockets, "/run/ipc");
	ipci_policy_free(policy);
}

Test(policy, a_shared_node_may_be_an_alias, .timeout = 5)
{
	struct ipci_policy *policy = good(HEAD "  a:\n    identity: &i { uid: 7 }\n"
					       "  b:\n    identity: *i\n");

	cr_expect(ipci_policy_has_uid(policy->workloads[1], 7));
	ipci_policy_free(policy);
}

Test(policy, every_unit_of_memory_is_understood, .timeout = 5)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {{"4096", 4096}, {"8KiB", 8192}, {"3MiB", 3 << 20}, {"2GiB", 2ull << 30}};

	for (unsigned i = 0; i < 4; i++) {
		char text[256];
		struct ipci_policy *policy;

		snprintf(text, sizeof(text), WEB "    limits: { shared_memory: %s }\n",
			 cases[i].text);
		policy = good(text);
		cr_expect_eq(policy->workloads[0]->limits[IPCI_LIMIT_SHARED_MEMORY],
			     cases[i].bytes);
		ipci_policy_free(policy);
	}
}

Test(policy, a_wrong_top_level_is_named_with_its_line, .timeout = 5)
{
	bad("", 0, "empty");
	bad("- a\n", 1, "expected a mapping, not a list");
	bad("workloads: {}\n", 1, "\"version\" is missing");
	bad("version: 1\n", 1, "\"workloads\" is missing");
	bad("version: 2\nworkloads: {}\n", 1, "expected a number from 1 to 1");
	bad("version: 1\nsocket: /x\nworkloads: {}\n", 2,
	    "unknown key \"socket\", expected one of version, sockets, defaults, workloads");
	bad("version: 1\nsockets: run\nworkloads: {}\n", 2, "absolute path");
	bad("version: 1\nversion: 1\nworkloads: {}\n", 2, "a second time, first on line 1");
	bad("version: 1\nworkloads:\n", 2, "expected a mapping, not a single value");
	bad("version: 1\nworkloads: {}\n---\nversion: 1\n", 3, "second document");
	bad("version: 1\ndefaults: { limit: 1 }\nworkloads: {}\n", 2, "unknown key \"limit\"");
}

Test(policy, what_is_not_yaml_is_named_with_its_line, .timeout = 5)
{
	bad("version: 1\nworkloads: {\n", 3, "not YAML");
	bad("version: 1\n\tworkloads: {}\n", 2, "not YAML");
	bad("version: 1\nworkloads: *nowhere\n", 2, "not YAML");
	bad("version: \"a\n", 2, "not YAML");
	bad("\xff\xfe\xff", 1, "not YAML");
}

Test(policy, a_wrong_workload_is_named_with_its_line, .timeout = 5)
{
	bad(HEAD "  we/b:\n    identity: { uid: 1 }\n", 3, "expected a workload's name");
	bad(HEAD "  ..:\n    identity: { uid: 1 }\n", 3, "expected a workload's name");
	bad(HEAD "  [a]:\n    identity: { uid: 1 }\n", 3, "expected a key, not a list");
	bad(HEAD "  web: 5\n", 3, "workload \"web\": expected a mapping");
	bad(HEAD "  web: {}\n", 3, "workload \"web\": \"identity\" is missing");
	bad(WEB "  web:\n    identity: { uid: 1 }\n", 5, "\"web\" a second time, first on line 3");
	bad(WEB "    tokens: []\n", 5,
	    "unknown key \"tokens\", expected one of identity, serve, call");
	bad(WEB "    admin: [status, root]\n", 5, "expected status, audit, revoke or drain");
	bad(WEB "    admin: status\n", 5, "expected a list");
}

Test(policy, a_wrong_identity_is_named_with_its_line, .timeout = 5)
{
	bad(HEAD "  web:\n    identity: {}\n", 4, "\"uid\" is missing");
	bad(HEAD "  web:\n    identity: { uid: web }\n", 4, "expected a uid, or a range");
	bad(HEAD "  web:\n    identity: { uid: 5-4 }\n", 4, "expected a uid, or a range");
	bad(HEAD "  web:\n    identity: { uid: -4 }\n", 4, "expected a uid, or a range");
	bad(HEAD "  web:\n    identity: { uid: 4294967295 }\n", 4, "expected a uid, or a range");
	bad(HEAD "  web:\n    identity: { uid: 99999999999999999999999 }\n", 4, "expected a uid");
	bad(HEAD "  web:\n    identity: { uid: [] }\n", 4, "at least one");
	bad(HEAD "  web:\n    identity:\n      uid:\n        - 1\n        - x\n", 7,
	    "expected a uid");
	bad(HEAD "  web:\n    identity: { uid: { a: 1 } }\n", 4, "not a mapping");
	bad(HEAD "  web:\n    identity: { uid: 1, cgroup: x }\n", 4, "begins with /");
	bad(HEAD "  web:\n    identity: { uid: 1, gid: 1 }\n", 4, "unknown key \"gid\"");
}

Test(policy, a_wrong_right_is_named_with_its_line, .timeout = 5)
{
	bad(WEB "    serve: shop.Orders\n", 5, "expected a list");
	bad(WEB "    serve: [shop.Orders, shop..Orders]\n", 5, "expected a service");
	bad(WEB "    serve: [5hop]\n", 5, "expected a service");
	bad(WEB "    serve: [\"*\"]\n", 5, "expected a service");
	bad(WEB "    serve: [\"\"]\n", 5, "expected a service");
	bad(WEB "    serve: [a.B, a.B]\n", 5, "\"a.B\" a second time");
	bad(WEB "    call: [shop.Orders]\n", 5, "expected a mapping");
	bad(WEB "    call:\n      shop.Orders: Place\n", 6, "expected a list");
	bad(WEB "    call:\n      shop.Orders: [\"Pl ace\"]\n", 6, "expected a method");
	bad(WEB "    call:\n      shop.Orders: [Place, Place]\n", 6, "\"Place\" a second time");
	bad(WEB "    call:\n      shop-Orders: [Place]\n", 6, "expected a service");
	bad(WEB "    call:\n      a.B: [X]\n      a.B: [Y]\n", 7, "a second time, first on line 6");
}

Test(policy, a_wrong_limit_or_socket_is_named_with_its_line, .timeout = 5)
{
	bad(WEB "    limits: { channels: 0 }\n", 5, "expected a number from 1 to");
	bad(WEB "    limits: { channels: -1 }\n", 5, "expected a number");
	bad(WEB "    limits: { channels: many }\n", 5, "not \"many\"");
	bad(WEB "    limits: { channels: [1] }\n", 5, "expected a number, not a list");
	bad(WEB "    limits: { shared_memory: 16MB }\n", 5, "as in 16MiB, not \"16MB\"");
	bad(WEB "    limits: { shared_memory: MiB }\n", 5, "as in 16MiB");
	bad(WEB "    limits: { shared_memory: 1 }\n", 5, "as in 16MiB");
	bad(WEB "    limits: { shared_memory: 17592186044416GiB }\n", 5, "as in 16MiB");
	bad(WEB "    limits: { memory: 1 }\n", 5, "unknown key \"memory\"");
	bad(WEB "    socket: { mode: 888 }\n", 5, "expected a mode");
	bad(WEB "    socket: { mode: 01777 }\n", 5, "expected a mode");
	bad(WEB "    socket: { group: no-such-group-here }\n", 5, "expected a group");
	bad(WEB "    socket: { owner: 0 }\n", 5, "unknown key \"owner\"");
}

Test(policy, all_faults_are_told_at_once, .timeout = 5)
{
	struct ipci_policy *policy;
	struct ipci_faults faults;

	cr_assert_lt(load(WEB "    serve: [5]\n    admin: [root]\n    limits: { channels: 0 }\n",
			  &policy, &faults),
		     0);
	cr_assert_eq(faults.n, 3);
	cr_expect_eq(faults.fault[0].line, 5);
	cr_expect_eq(faults.fault[0].column, 13);
	cr_expect_eq(faults.fault[1].line, 6);
	cr_expect_eq(faults.fault[2].line, 7);
}

Test(policy, a_flood_of_faults_is_cut, .timeout = 5)
{
	char text[4096] = "version: 1\nworkloads: {}\n";
	struct ipci_policy *policy;
	struct ipci_faults faults;

	for (int i = 0; i < 100; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "key%d: 1\n", i);
	cr_assert_lt(load(text, &policy, &faults), 0);
	cr_expect_eq(faults.n, IPCI_FAULTS_MAX);
}

Test(policy, what_is_no_regular_file_is_refused, .timeout = 5)
{
	static const char *const paths[] = {"/nonexistent/policy.yaml", "/tmp", "/dev/zero"};

	for (unsigned i = 0; i < 3; i++) {
		struct ipci_faults faults = {0};
		struct ipci_policy *policy;

		cr_expect_lt(ipci_policy_load(&policy, paths[i], &faults), 0);
		cr_assert_eq(faults.n, 1);
		cr_expect_eq(faults.fault[0].line, 0);
	}
}

/* No input makes the reader crash or loop: the sanitizers watch. */
Test(policy, every_prefix_and_every_changed_byte_of_a_policy_is_survived, .timeout = 60)
{
	char text[sizeof(full)];
	struct ipci_policy *policy;
	struct ipci_faults faults;

	for (size_t i = 0; i < sizeof(full) - 1; i++) {
		static const char bytes[] = "\n:[&*\x80\"-";

		memcpy(text, full, sizeof(full));
		text[i] = bytes[i % (sizeof(bytes) - 1)];
		if (load(text, &policy, &faults) == 0)
			ipci_policy_free(policy);
		else
			cr_expect_gt(faults.n, 0);
		text[i] = 0;
		if (load(text, &policy, &faults) == 0)
			ipci_policy_free(policy);
		else
			cr_expect_gt(faults.n, 0);
	}
}
