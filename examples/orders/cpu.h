/* SPDX-License-Identifier: Apache-2.0 */
/* Two processes that talk belong on two CPUs, the same two in every measurement. */
#ifndef ORDERS_CPU_H
#define ORDERS_CPU_H

enum cpu_role { CPU_CLIENT, CPU_SERVER };

/*
 * Pins the calling thread, and those it will start, to the first (client) or last (server) CPU that
 * it may run on. Returns the CPU, or -1 where there are no two, and nothing was pinned.
 */
int cpu_pin(enum cpu_role role);

#endif
