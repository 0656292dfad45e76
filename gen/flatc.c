/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs flatc without a shell, into a directory of its own that is gone afterwards. --bfbs-builtins
 * keeps the attributes that flatc knows itself, methods' ids and streaming among them;
 * --bfbs-comments keeps the comments.
 */
#include "flatc.h"
#include "cleanup.h"
#include "file.h"

#include <dirent.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define BFBS_MAX_BYTES (16 << 20)
#define HEADER_MAX_BYTES (256 << 20)

extern char **environ;

/* A directory with at most files in it. */
static void remove_directoryp(char **path)
{
	DIR *dir = *path ? opendir(*path) : NULL;
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		(void)closedir(dir);
	if (*path)
		(void)rmdir(*path);
	free(*path);
}

static int wait_for(pid_t pid, const char *path, struct ipci_error *error)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return ipci_error_errno(error, "%s: cannot wait for flatc", path);
	if (WIFSIGNALED(status))
		return ipci_error_set(error, -EINVAL, "%s: flatc: ended by signal %d", path,
				      WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return ipci_error_set(error, -EINVAL, "%s: flatc: refused the schema", path);
	return 0;
}

static int spawn(const char *path, char **argv, struct ipci_error *error)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int err;

	err = posix_spawn_file_actions_init(&actions);
	if (err)
		return ipci_error_set(error, -err, "%s: cannot run flatc: %s", path, strerror(err));
	/* flatc complains on its standard output. */
	err = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (!err)
		err = posix_spawnp(&pid, "flatc", &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (err)
		return ipci_error_set(error, -err,
				      "%s: cannot run flatc (Debian: flatbuffers-compiler): %s",
				      path, strerror(err));
	return wait_for(pid, path, error);
}

/* What flatc's C++ header at @header says of ulong fields' defaults. */
static int check_defaults(const char *path, const char *header, struct ipci_error *error)
{
	static const char field[] = "GetField<uint64_t>(VT_", table[] = "\nstruct ";
	_cleanup_(freep) char *text = NULL;
	const char *name = "";
	size_t n;
	int err;

	err = ipci_file_read(header, HEADER_MAX_BYTES, (void **)&text, &n, error);
	if (err)
		return err;
	for (const char *at = text; *at; at++) {
		if (strncmp(at, table, sizeof(table) - 1) == 0)
			name = at + sizeof(table) - 1;
		if (strncmp(at, field, sizeof(field) - 1) != 0)
			continue;
		at += sizeof(field) - 1;
		n = strcspn(at, ",)\n");
		if (at[n] == ',' && strtoull(at + n + 1, NULL, 10) > INT64_MAX)
			return ipci_error_set(
				error, -EINVAL,
				"%s: %.*s: the default of %.*s is above 2^63-1, which flatc loses",
				path, (int)strcspn(name, " \n"), name, (int)n, at);
	}
	return 0;
}

/* flatc names its output after the schema. */
static char *output_path(const char *directory, const char *path, const char *suffix)
{
	const char *base = strrchr(path, '/');
	const char *dot;
	char *ret;

	base = base ? base + 1 : path;
	dot = strrchr(base, '.');
	if (asprintf(&ret, "%s/%.*s%s", directory,
		     (int)(dot ? dot - base : (ptrdiff_t)strlen(base)), base, suffix) < 0)
		return NULL;
	return ret;
}

static char *make_directory(void)
{
	const char *parent = getenv("TMPDIR");
	char *path;

	if (asprintf(&path, "%s/ipc-gen.XXXXXX", parent && *parent ? parent : "/tmp") < 0)
		return NULL;
	if (!mkdtemp(path)) {
		freep(&path);
		return NULL;
	}
	return path;
}

/* The command line; its strings are borrowed. */
static char **arguments(const char *directory, const char *path, const char *const *include_dirs)
{
	static const char *const fixed[] = {"flatc",	       "-b",
					    "--schema",	       "--bfbs-builtins",
					    "--bfbs-comments", "--cpp",
					    "--gen-all",       "-o"};
	size_t n = 0, n_dirs = 0;
	const char **argv;

	while (include_dirs[n_dirs])
		n_dirs++;
	argv = calloc(sizeof(fixed) / sizeof(*fixed) + 2 * n_dirs + 3, sizeof(*argv));
	if (!argv)
		return NULL;
	memcpy(argv, fixed, sizeof(fixed));
	n = sizeof(fixed) / sizeof(*fixed);
	argv[n++] = directory;
	for (size_t i = 0; i < n_dirs; i++) {
		argv[n++] = "-I";
		argv[n++] = include_dirs[i];
	}
	argv[n] = path;
	/* posix_spawn() changes none of them. */
	return (char **)(void *)argv;
}

int ipci_flatc_run(const char *path, const char *const *include_dirs, void **ret,
		   size_t *size_bytes, struct ipci_error *error)
{
	_cleanup_(remove_directoryp) char *directory = make_directory();
	_cleanup_(freep) char *input = NULL, *output = NULL, *header = NULL;
	_cleanup_(freep) char **argv = NULL;
	int err;

	if (!directory)
		return ipci_error_errno(error, "%s: cannot make a temporary directory", path);
	/* flatc would take a leading dash for an option. */
	if (asprintf(&input, "%s%s", *path == '-' ? "./" : "", path) < 0)
		input = NULL;
	output = output_path(directory, path, ".bfbs");
	header = output_path(directory, path, "_generated.h");
	argv = input ? arguments(directory, input, include_dirs) : NULL;
	if (!input || !output || !header || !argv)
		return ipci_error_set(error, -ENOMEM, "%s: out of memory", path);
	err = spawn(path, argv, error);
	if (!err)
		err = check_defaults(path, header, error);
	if (err)
		return err;
	return ipci_file_read(output, BFBS_MAX_BYTES, ret, size_bytes, error);
}
