/* SPDX-License-Identifier: Apache-2.0 */
/* Files as the kernel shows them, below a directory of the test's own. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "cpu-quota.h"
#include "spin.h"

static char root[64];

static void make_root(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/test-quota-XXXXXX");
	cr_assert_not_null(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status, (void)type, (void)ftw;
	return remove(path);
}

static void remove_root(void)
{
	(void)nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(quota, .init = make_root, .fini = remove_root, .timeout = 10);

static void put(const char *path, const char *text)
{
	char whole[512];
	FILE *file;

	(void)snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		cr_assert(mkdir(whole, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	file = fopen(whole, "we");
	cr_assert_not_null(file, "%s: %s", whole, strerror(errno));
	cr_assert_geq(fputs(text, file), 0);
	cr_assert_eq(fclose(file), 0);
}

Test(quota, nothing_there_is_no_limit)
{
	cr_assert_eq(ipci_cpu_quota(root), UINT_MAX);
	put("/proc/self/cgroup", "0::/user.slice\n");
	cr_assert_eq(ipci_cpu_quota(root), UINT_MAX);
}

Test(quota, version_2_says_it_in_one_file)
{
	static const struct {
		const char *text;
		unsigned cpus;
	} cases[] = {
		{"max 100000\n", UINT_MAX}, {"200000 100000\n", 2}, {"199999 100000\n", 1},
		{"50000 100000\n", 0},	    {"20000 10000\n", 2},   {"100000000000 1\n", UINT_MAX},
	};

	put("/proc/self/cgroup", "0::/app\n");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put("/sys/fs/cgroup/app/cpu.max", cases[i].text);
		cr_assert_eq(ipci_cpu_quota(root), cases[i].cpus, "%s", cases[i].text);
	}
}

Test(quota, version_1_says_it_in_two)
{
	put("/proc/self/cgroup", "4:memory:/app\n3:cpu,cpuacct:/app\n2:cpuset:/\n0::/\n");
	put("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "-1\n");
	cr_assert_eq(ipci_cpu_quota(root), UINT_MAX);
	put("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "350000\n");
	cr_assert_eq(ipci_cpu_quota(root), 3);
	put("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "90000\n");
	cr_assert_eq(ipci_cpu_quota(root), 0);
}

Test(quota, other_controllers_are_not_taken_for_it)
{
	put("/proc/self/cgroup", "3:cpuset:/app\n2:cpuacct:/app\n1:name=systemd:/app\n");
	put("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "100000\n");
	put("/sys/fs/cgroup/app/cpu.max", "100000 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), UINT_MAX);
	put("/proc/self/cgroup", "1:cpu:/app\n");
	cr_assert_eq(ipci_cpu_quota(root), 1);
}

Test(quota, the_tightest_group_on_the_way_up_counts)
{
	put("/proc/self/cgroup", "0::/a/b/c\n");
	put("/sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
	put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), 4);
	put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), 3);
	put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), 1);
}

Test(quota, both_versions_at_once)
{
	put("/proc/self/cgroup", "1:cpu:/app\n0::/app\n");
	put("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "500000\n");
	cr_assert_eq(ipci_cpu_quota(root), 5);
	put("/sys/fs/cgroup/unified/app/cpu.max", "200000 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), 2);
}

Test(quota, a_container_sees_its_own_group_as_the_root)
{
	/* The path is the host's. */
	put("/proc/self/cgroup", "0::/machine.slice/libpod-1.scope\n");
	put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), 1);
	/* Or leads out of what is mounted, to files that are others'. */
	put("/proc/self/cgroup", "0::/../other\n");
	put("/sys/fs/other/cpu.max", "10000 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), 1);
}

Test(quota, what_makes_no_sense_is_no_limit)
{
	static const char *const texts[] = {"",		 "\n",	     "max",	"100000",
					    "-5 100000", "100000 0", "abc def", "100000 x"};

	put("/proc/self/cgroup", "\n::\nnonsense\n0:\n0::/app\n");
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put("/sys/fs/cgroup/app/cpu.max", texts[i]);
		cr_assert_eq(ipci_cpu_quota(root), UINT_MAX, "\"%s\"", texts[i]);
	}
}

Test(quota, a_path_that_is_longer_than_any_is_survived)
{
	char line[6000] = "0::";

	memset(line + 3, '/', sizeof(line) - 4);
	put("/proc/self/cgroup", line);
	put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
	cr_assert_eq(ipci_cpu_quota(root), 2);
}

Test(quota, counts_among_the_cpus_that_a_spin_may_have)
{
	unsigned n;

	put("/proc/self/cgroup", "0::/\n");
	n = ipci_spin_cpus(root);
	put("/sys/fs/cgroup/cpu.max", "100000000 100000\n");
	cr_assert_eq(ipci_spin_cpus(root), n);
	put("/sys/fs/cgroup/cpu.max", "199000 100000\n");
	cr_assert_eq(ipci_spin_cpus(root), 1);
	put("/sys/fs/cgroup/cpu.max", "10000 100000\n");
	cr_assert_eq(ipci_spin_cpus(root), 1);
}

Test(quota, that_of_this_process_can_be_asked_for)
{
	(void)ipci_cpu_quota("");
}
