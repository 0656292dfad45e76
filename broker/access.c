// SPDX-License-Identifier: Apache-2.0
/*
 * The socket's mode stays the policy's and the workload's users get entries of their own: that is
 * all an unprivileged broker can do, and it leaves the file's owner alone. An ACL's mask shows as
 * the group's mode bits, so the mode is set before the ACL and never after.
 */
#include "access.h"

#include <acl/libacl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define USER_ENTRY_BYTES 24u

/* How many uids besides @own the policy names; counting stops beyond what an ACL is used for. */
static unsigned count_users(const struct ipci_policy_workload *workload, uid_t own)
{
	unsigned n = 0;

	for (size_t i = 0; i < workload->n_uids; i++)
		for (uint64_t uid = workload->uids[i].first; uid <= workload->uids[i].last; uid++)
			if (uid != own && ++n > IPCI_ACL_USERS_MAX)
				return n;
	return n;
}

static const char *bits(mode_t mode)
{
	static const char *const text[] = {"---", "--x", "-w-", "-wx", "r--", "r-x", "rw-", "rwx"};

	return text[mode & 7];
}

/* The ACL in its long text form, which libacl parses and validates. */
static acl_t make_acl(const struct ipci_policy_workload *workload, uid_t own)
{
	mode_t mode = workload->socket_mode;
	char text[64 + USER_ENTRY_BYTES * (IPCI_ACL_USERS_MAX + 1)];
	size_t n;

	n = (size_t)snprintf(text, sizeof(text), "u::%s,g::%s,o::%s,m::rw-", bits(mode >> 6),
			     bits(mode >> 3), bits(mode));
	for (size_t i = 0; i < workload->n_uids; i++)
		for (uint64_t uid = workload->uids[i].first; uid <= workload->uids[i].last; uid++)
			if (uid != own)
				n += (size_t)snprintf(text + n, sizeof(text) - n, ",u:%u:rw-",
						      (unsigned)uid);
	return acl_from_text(text);
}

static int give_to_only_user(const char *path, const struct ipci_policy_workload *workload,
			     struct ipci_error *error)
{
	if (geteuid() != 0 || workload->n_uids != 1 ||
	    workload->uids[0].first != workload->uids[0].last)
		return ipci_error_set(error, -EOPNOTSUPP,
				      "%s: the file system has no ACLs to let several uids in: put "
				      "\"sockets\" on one that has (tmpfs, ext4, xfs, btrfs)",
				      path);
	if (lchown(path, workload->uids[0].first, (gid_t)-1) < 0)
		return ipci_error_errno(error, "%s: cannot give it to uid %u", path,
					workload->uids[0].first);
	return 0;
}

int ipci_access_grant(const char *path, const struct ipci_policy_workload *workload,
		      struct ipci_error *error)
{
	uid_t own = geteuid();
	unsigned n_users = count_users(workload, own);
	mode_t mode = n_users > IPCI_ACL_USERS_MAX ? 0666 : workload->socket_mode;
	acl_t acl;
	int r = 0;

	if (workload->socket_group != (gid_t)-1 &&
	    lchown(path, (uid_t)-1, workload->socket_group) < 0)
		return ipci_error_errno(error, "%s: cannot give it to group %u", path,
					workload->socket_group);
	if (chmod(path, mode) < 0)
		return ipci_error_errno(error, "%s: cannot set its mode", path);
	if (n_users == 0 || n_users > IPCI_ACL_USERS_MAX)
		return 0;

	acl = make_acl(workload, own);
	if (!acl)
		return ipci_error_errno(error, "%s: cannot make an ACL", path);
	if (acl_set_file(path, ACL_TYPE_ACCESS, acl) < 0)
		r = errno == EOPNOTSUPP || errno == ENOSYS
			    ? give_to_only_user(path, workload, error)
			    : ipci_error_errno(error, "%s: cannot set its ACL", path);
	(void)acl_free(acl);
	return r;
}
