/* SPDX-License-Identifier: Apache-2.0 */
/* What a process finds out about its own sandbox, by trying. */
#ifndef ORDERS_FACTS_H
#define ORDERS_FACTS_H

#include <jansson.h>

/* A new object, or NULL without memory. */
json_t *facts_collect(void);

#endif
