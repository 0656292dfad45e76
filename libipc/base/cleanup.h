/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership that the compiler undoes: every descriptor, mapping and allocation has one owner, and
 * leaves a scope either through that owner's clean-up or through TAKE_FD() and TAKE_PTR().
 */
#ifndef IPCI_BASE_CLEANUP_H
#define IPCI_BASE_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((__cleanup__(f)))

#define TAKE_GENERIC(var, type, null)                                                              \
	({                                                                                         \
		type *_take_ptr = &(var);                                                          \
		type _taken = *_take_ptr;                                                          \
		*_take_ptr = (null);                                                               \
		_taken;                                                                            \
	})
#define TAKE_FD(fd) TAKE_GENERIC(fd, int, -EBADF)
#define TAKE_PTR(ptr) TAKE_GENERIC(ptr, __typeof__(ptr), NULL)

static inline void closep(const int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		(void)close(*fd);
		errno = saved;
	}
}

static inline void freep(void *ptr)
{
	free(*(void **)ptr);
}

#endif
