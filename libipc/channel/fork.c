/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After fork() the child must neither use the parent's channels nor hide the parent's death from
 * its peers. Halves are not inherited (MADV_DONTFORK); sockets are, so their numbers stand in one
 * table, and a pthread_atfork() child handler closes them. A generation count tells every call in
 * the child to answer -ECHILD.
 *
 * The table alone is locked: the objects of other threads may be half changed at the moment of the
 * fork.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "objects.h"

unsigned ipci_fork_count;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result;
static int *table;
static size_t n_table, n_table_max;

static void before(void)
{
	(void)pthread_mutex_lock(&table_lock);
}

static void in_parent(void)
{
	(void)pthread_mutex_unlock(&table_lock);
}

static void in_child(void)
{
	int saved = errno;

	ipci_fork_count++;
	for (size_t i = 0; i < n_table; i++)
		(void)close(table[i]);
	n_table = 0;
	(void)pthread_mutex_unlock(&table_lock);
	errno = saved;
}

static void install(void)
{
	once_result = -pthread_atfork(before, in_parent, in_child);
}

int ipci_fork_register(int fd)
{
	int r;

	(void)pthread_once(&once, install);
	if (once_result < 0)
		return once_result;
	(void)pthread_mutex_lock(&table_lock);
	r = 0;
	if (n_table == n_table_max) {
		size_t n = n_table_max ? 2 * n_table_max : 16;
		int *bigger = realloc(table, n * sizeof(*table));

		if (bigger) {
			table = bigger;
			n_table_max = n;
		} else {
			r = -ENOMEM;
		}
	}
	if (r == 0)
		table[n_table++] = fd;
	(void)pthread_mutex_unlock(&table_lock);
	return r;
}

void ipci_fork_unregister(int fd)
{
	(void)pthread_mutex_lock(&table_lock);
	for (size_t i = 0; i < n_table; i++) {
		if (table[i] == fd) {
			table[i] = table[--n_table];
			break;
		}
	}
	(void)pthread_mutex_unlock(&table_lock);
}
