/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a process can die between two stores that another one sees: before each of them, and behind
 * those that something else follows. A build with -DIPCI_CRASH_POINTS, which tests/crash alone
 * makes, calls ipci_crash_point() there; in every other build there is nothing at all.
 */
#ifndef IPCI_RING_CRASH_POINT_H
#define IPCI_RING_CRASH_POINT_H

/* name, and what comes next */
#define IPCI_CRASH_POINTS_LIST(X)                                                                  \
	X(IDENTITY, "a new half's identity")                                                       \
	X(FIRST, "the first commit word of a ring")                                                \
	X(EXTENSION, "a request's deadline")                                                       \
	X(PAYLOAD, "the second half of a payload")                                                 \
	X(TEXT, "an error's text")                                                                 \
	X(CREDIT, "a stream's credit")                                                             \
	X(TAIL, "the padding behind a payload")                                                    \
	X(PLACE, "a later frame of a batch")                                                       \
	X(NEXT, "the 0 in the next commit word")                                                   \
	X(HEADER, "a header's kind and method")                                                    \
	X(CALL_ID, "a header's call id")                                                           \
	X(COMMIT, "a commit word")                                                                 \
	X(COMMITTED, "the look at who sleeps, after a commit")                                     \
	X(AHEAD, "the 0 ahead of the next frame")                                                  \
	X(EXPIRE, "a deadline that has passed")                                                    \
	X(PRODUCED, "`produced`")                                                                  \
	X(CONSUMED, "`consumed`")                                                                  \
	X(GIVEN_BACK, "the look at who sleeps, after `consumed`")                                  \
	X(AWAKE, "`waiting`, to stay awake")                                                       \
	X(DROWSY, "`waiting`, to be awake no more")                                                \
	X(ARM, "`waiting`, to sleep")                                                              \
	X(ARMED, "the last look before a sleep")                                                   \
	X(DISARM, "`waiting`, awake again")                                                        \
	X(BELL, "a bell word")                                                                     \
	X(RUNG, "the system call behind a bell word")                                              \
	X(TAKEN, "`taken`")                                                                        \
	X(STATE, "`state`")                                                                        \
	X(CLOSED, "the bells behind `state`")

#define IPCI_CRASH_POINT_ENUM(name, next) IPCI_CRASH_##name,
enum ipci_crash_point {
	IPCI_CRASH_NONE,
	IPCI_CRASH_POINTS_LIST(IPCI_CRASH_POINT_ENUM) IPCI_N_CRASH_POINTS
};

#ifdef IPCI_CRASH_POINTS
void ipci_crash_point(enum ipci_crash_point point);
#define IPCI_CRASH_POINT(name) ipci_crash_point(IPCI_CRASH_##name)
#else
#define IPCI_CRASH_POINT(name) ((void)0)
#endif

#endif
