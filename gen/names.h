/* SPDX-License-Identifier: Apache-2.0 */
/* Which names C, C++ and what generated headers include keep for themselves. */
#ifndef IPCI_GEN_NAMES_H
#define IPCI_GEN_NAMES_H

#include <stdbool.h>

/* Keywords of C17 and C++20, and macros that every compiler or header of ours brings along. */
bool ipci_name_is_reserved(const char *name);

#endif
