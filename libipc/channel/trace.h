/* SPDX-License-Identifier: Apache-2.0 */
/*
 * W3C Trace Context, https://www.w3.org/TR/trace-context/: the traceparent header, as text and as
 * 26 bytes.
 */
#ifndef IPCI_CHANNEL_TRACE_H
#define IPCI_CHANNEL_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define IPCI_TRACE_TEXT_BYTES 56u /* "00-" 32 hex "-" 16 hex "-" 2 hex, and the NUL */

/* False for what is no traceparent of version 00; @ret is untouched then. */
bool ipci_trace_parse(const char *text, uint8_t ret[IPCI_TRACE_BYTES]);
void ipci_trace_format(const uint8_t trace[IPCI_TRACE_BYTES], char ret[IPCI_TRACE_TEXT_BYTES]);

#endif
