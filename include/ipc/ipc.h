/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libipc: zero-copy calls between sandboxed containers on one Linux host.
 *
 * The whole of the threading and ownership contract:
 *   1. A loop and everything on it: any thread, one at a time. Parallelism is more loops. Only
 *      ipc_loop_post() crosses threads.
 *   2. A reply from a worker: post; the loop's thread writes it in place.
 *   3. A received message is borrowed until the next ipc_loop_next(), ipc_transact() or
 *      ipc_receive() on that loop; ipc_keep() extends it.
 *   4. A call and its request's payload have separate lives: deferring keeps the call alone.
 *   5. One open room a channel; it dies with commit, abort, fail or cancel.
 *   6. A server ends each call exactly once (ipc_commit() with IPC_LAST, or ipc_fail()), also after
 *      IPC_EVENT_CANCELLED, the peer's death or the loss of the channel.
 *   7. A client's call ends with its last event, with ipc_receive() or ipc_transact() returning a
 *      message that has IPC_MSG_LAST, IPC_END or a status, or with ipc_cancel().
 *   8. After fork(), the child may only free: every other call there answers -ECHILD.
 *
 * Results: negative: an errno, and nothing was sent; positive: a documented outcome; 0: good.
 * Outputs are untouched on failure.
 */
#ifndef IPC_IPC_H
#define IPC_IPC_H

#include <ipc/call.h>
#include <ipc/channel.h>
#include <ipc/event.h>
#include <ipc/loop.h>
#include <ipc/message.h>
#include <ipc/server.h>
#include <ipc/service.h>
#include <ipc/status.h>
#include <ipc/types.h>
#include <ipc/version.h>

#endif
