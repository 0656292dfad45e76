// SPDX-License-Identifier: Apache-2.0
/* ipc-gen over an arbitrary .bfbs: a header, or a refusal in words. */
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "input.h"
#include "target.h"

void target_start(void)
{
}

void target_run(const uint8_t *data, size_t n)
{
	struct ipci_error error = {};
	char *header = NULL;
	void *copy = NULL;
	int r;

	must(posix_memalign(&copy, 8, n ? n : 1) == 0);
	memcpy(copy, data, n);
	r = ipci_compile("fuzz.bfbs", "fuzz", copy, n, &header, &error);
	must(r == 0 ? header && strlen(header) > 0 : header == NULL && error.text[0]);
	free(header);
	free(copy);
}
