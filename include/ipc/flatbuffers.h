/* SPDX-License-Identifier: Apache-2.0 */
/* FlatBuffers in shared memory: what the headers that ipc-gen writes are made of. */
#ifndef IPC_FLATBUFFERS_H
#define IPC_FLATBUFFERS_H

#include <ipc/reader.h>
#include <ipc/writer.h>

#endif
