/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of types without looking at a schema. */
#include "schema.h"

const struct ipci_scalar ipci_scalars[IPCI_N_BASES] = {
	[IPCI_BOOL] = {"bool", "bool", "", 1},
	[IPCI_BYTE] = {"int8", "int8_t", "INT8_C", 1},
	[IPCI_UBYTE] = {"uint8", "uint8_t", "UINT8_C", 1},
	[IPCI_SHORT] = {"int16", "int16_t", "INT16_C", 2},
	[IPCI_USHORT] = {"uint16", "uint16_t", "UINT16_C", 2},
	[IPCI_INT] = {"int32", "int32_t", "INT32_C", 4},
	[IPCI_UINT] = {"uint32", "uint32_t", "UINT32_C", 4},
	[IPCI_LONG] = {"int64", "int64_t", "INT64_C", 8},
	[IPCI_ULONG] = {"uint64", "uint64_t", "UINT64_C", 8},
	[IPCI_FLOAT] = {"float", "float", "", 4},
	[IPCI_DOUBLE] = {"double", "double", "", 8},
};

bool ipci_in_range(uint32_t base, int64_t value)
{
	switch (base) {
	case IPCI_BOOL:
		return value == 0 || value == 1;
	case IPCI_BYTE:
		return value >= INT8_MIN && value <= INT8_MAX;
	case IPCI_UBYTE:
		return value >= 0 && value <= UINT8_MAX;
	case IPCI_SHORT:
		return value >= INT16_MIN && value <= INT16_MAX;
	case IPCI_USHORT:
		return value >= 0 && value <= UINT16_MAX;
	case IPCI_INT:
		return value >= INT32_MIN && value <= INT32_MAX;
	case IPCI_UINT:
		return value >= 0 && value <= UINT32_MAX;
	default:
		return true;
	}
}

void ipci_schema_deinit(struct ipci_schema *schema)
{
	ipci_arena_deinit(&schema->arena);
}
