/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a file as a whole; writes one beside its destination, then renames, so that no reader sees
 * half. */
#include "file.h"
#include "cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int ipci_file_read(const char *path, size_t max_bytes, void **ret, size_t *size_bytes,
		   struct ipci_error *error)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_(freep) char *data = NULL;
	size_t used = 0, capacity = 4096;
	ssize_t n = 1;

	if (fd < 0)
		return ipci_error_errno(error, "%s: cannot open", path);
	while (n > 0) {
		char *more = realloc(data, capacity);

		if (!more)
			return ipci_error_set(error, -ENOMEM, "%s: out of memory", path);
		data = more;
		n = read(fd, data + used, capacity - used);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			return ipci_error_errno(error, "%s: cannot read", path);
		else
			used += (size_t)n;
		if (used > max_bytes)
			return ipci_error_set(error, -EFBIG, "%s: larger than %zu bytes", path,
					      max_bytes);
		if (used == capacity)
			capacity *= 2;
	}
	/* There is room: the read that found the end was given some. */
	data[used] = '\0';
	*ret = TAKE_PTR(data);
	*size_bytes = used;
	return 0;
}

static int write_all(int fd, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, data, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		data += written;
		n -= (size_t)written;
	}
	return 0;
}

int ipci_file_write(const char *path, const char *data, size_t size_bytes, struct ipci_error *error)
{
	_cleanup_(closep) int fd = -EBADF;
	_cleanup_(freep) char *temporary = NULL;
	mode_t mask = umask(0);

	(void)umask(mask);
	if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
		temporary = NULL;
		return ipci_error_set(error, -ENOMEM, "%s: out of memory", path);
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return ipci_error_errno(error, "%s: cannot write", path);
	if (write_all(fd, data, size_bytes) < 0 || fchmod(fd, 0666 & ~mask) < 0 ||
	    rename(temporary, path) < 0) {
		int err = ipci_error_errno(error, "%s: cannot write", path);

		(void)unlink(temporary);
		return err;
	}
	return 0;
}
