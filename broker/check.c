// SPDX-License-Identifier: Apache-2.0
/* Two shapes of one answer. Compilers' form for people, so that editors find the place. */
#include "check.h"

void ipci_check_print_faults(FILE *out, const char *path, const struct ipci_faults *faults)
{
	for (unsigned i = 0; i < faults->n; i++) {
		const struct ipci_fault *fault = &faults->fault[i];

		if (fault->line > 0)
			fprintf(out, "%s:%zu:%zu: %s\n", path, fault->line, fault->column,
				fault->text);
		else
			fprintf(out, "%s: %s\n", path, fault->text);
	}
	if (faults->n == IPCI_FAULTS_MAX)
		fprintf(out, "%s: there may be more\n", path);
}

/* Bytes from 0x80 go out as they came: a policy is UTF-8, or libyaml refused it; a path is what it
 * is. */
static void print_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ')
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

void ipci_check_print_json(FILE *out, const char *path, const struct ipci_policy *policy,
			   const struct ipci_faults *faults)
{
	fprintf(out, "{\"policy\": ");
	print_string(out, path);
	fprintf(out, ", \"ok\": %s, \"workloads\": [", policy ? "true" : "false");
	for (size_t i = 0; policy && i < policy->n_workloads; i++) {
		fprintf(out, "%s", i ? ", " : "");
		print_string(out, policy->workloads[i]->name);
	}
	fprintf(out, "], \"faults\": [");
	for (unsigned i = 0; i < faults->n; i++) {
		const struct ipci_fault *fault = &faults->fault[i];

		fprintf(out, "%s{\"line\": %zu, \"column\": %zu, \"text\": ", i ? ", " : "",
			fault->line, fault->column);
		print_string(out, fault->text);
		fprintf(out, "}");
	}
	fprintf(out, "]}\n");
}
