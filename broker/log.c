// SPDX-License-Identifier: Apache-2.0
/*
 * A line goes out in one write, and only where it cannot block: a log that nobody reads is dropped
 * and counted. What workloads say of themselves is in there, so control characters are replaced.
 */
#include "log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define LINE_BYTES 1024u /* below PIPE_BUF: a pipe that polls writable takes it whole */

static unsigned n_lost;

static void put(char *line, size_t n)
{
	struct pollfd pollfd = {.fd = STDERR_FILENO, .events = POLLOUT};

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	if (poll(&pollfd, 1, 0) != 1 || !(pollfd.revents & POLLOUT) ||
	    write(STDERR_FILENO, line, n) < 0)
		n_lost++;
}

__attribute__((__format__(__printf__, 2, 0))) static void vlog(const char *workload,
							       const char *format, va_list ap)
{
	char line[LINE_BYTES];
	size_t n;

	n = (size_t)snprintf(line, sizeof(line), "ipc-broker: ");
	if (n_lost > 0)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "[%u lines lost] ", n_lost);
	if (workload)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "workload \"%s\": ", workload);
	(void)vsnprintf(line + n, sizeof(line) - n, format, ap);
	n_lost = 0;
	put(line, strlen(line));
}

void ipci_log(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vlog(NULL, format, ap);
	va_end(ap);
}

void ipci_log_workload(struct ipci_log_budget *budget, const char *workload, const char *format,
		       ...)
{
	uint64_t second = ipci_now_ns() / IPCI_NS_PER_S;
	va_list ap;

	if (budget->second != second) {
		unsigned n_dropped = budget->n_dropped;

		*budget = (struct ipci_log_budget){.second = second};
		if (n_dropped > 0)
			ipci_log("workload \"%s\": %u more lines in an earlier second", workload,
				 n_dropped);
	}
	if (budget->n_lines == IPCI_LOG_LINES_PER_S) {
		budget->n_dropped++;
		return;
	}
	budget->n_lines++;
	va_start(ap, format);
	vlog(workload, format, ap);
	va_end(ap);
}
