/* SPDX-License-Identifier: Apache-2.0 */
/* every-file write|check FILE: the message with everything in it, to a file, or from one that
 * others wrote. */
#include "every.h"

#include <stdio.h>
#include <stdlib.h>

static _Alignas(16) unsigned char bytes[1 << 16];

static int write_file(const char *path)
{
	static struct ipc_writer writer;
	FILE *file = fopen(path, "wbe");
	size_t n = 0;
	int bad = !file || every_write(&writer, bytes, sizeof(bytes), &n) < 0 ||
		  fwrite(bytes, 1, n, file) != n;

	if (file && fclose(file) != 0)
		bad = 1;
	return bad;
}

static int check_file(const char *path)
{
	FILE *file = fopen(path, "rbe");
	struct ipc_msg msg;
	const char *wrong;
	size_t n;

	if (!file)
		return 1;
	n = fread(bytes, 1, sizeof(bytes), file);
	(void)fclose(file);
	msg = ipc_msg_from(bytes, n);
	wrong = every_check(&msg);
	if (wrong)
		fprintf(stderr, "%s: not so: %s\n", path, wrong);
	return wrong != NULL;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	return strcmp(argv[1], "write") == 0 ? write_file(argv[2]) : check_file(argv[2]);
}
