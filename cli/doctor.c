// SPDX-License-Identifier: Apache-2.0
/* ipc doctor: what libipc finds here, what that means, and what to change. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/ipc.h>

#include "command.h"
#include "findings.h"

static const char usage[] =
	"Usage: ipc doctor [--broker PATH] [--json]\n"
	"Looks whether libipc works here, and how well; says what to change where it does not.\n"
	"\n"
	"  --broker PATH    the broker's socket to reach, if not that of $IPC_BROKER\n"
	"  --json           print the findings as data\n"
	"\n"
	"Exit status: 0 libipc works here, if perhaps slower than it could; 1 it does not;\n"
	"2 a wrong command line.\n";

static const char *const state_names[] = {"ok", "note", "slower", "bad"};

bool findings_read_line(const char *path, char *ret, int size_bytes)
{
	FILE *file = fopen(path, "re");
	bool good = file && fgets(ret, size_bytes, file);

	if (good)
		ret[strcspn(ret, "\n")] = '\0';
	if (file)
		(void)fclose(file);
	return good;
}

long findings_read_number(const char *path, long otherwise)
{
	char line[64], *end;
	long number;

	if (!findings_read_line(path, line, sizeof(line)))
		return otherwise;
	number = strtol(line, &end, 10);
	return end == line ? otherwise : number;
}

void findings_add(struct findings *findings, const char *id, enum finding_state state,
		  const char *advice, const char *format, ...)
{
	struct finding *finding = &findings->list[findings->n];
	va_list arguments;

	if (findings->n == FINDINGS_MAX)
		return;
	findings->n++;
	finding->id = id;
	finding->state = state;
	(void)snprintf(finding->advice, sizeof(finding->advice), "%s", advice ? advice : "");
	va_start(arguments, format);
	(void)vsnprintf(finding->text, sizeof(finding->text), format, arguments);
	va_end(arguments);
}

/* Control characters and bytes beyond ASCII may come from paths and labels. */
static void print_string(const char *text)
{
	putchar('"');
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < 0x20 || *c >= 0x7f)
			printf("\\u%04x", *c);
		else
			putchar(*c);
	}
	putchar('"');
}

static void print_member(const char *name, const char *value, const char *after)
{
	print_string(name);
	fputs(": ", stdout);
	print_string(value);
	fputs(after, stdout);
}

static void print_json(const struct findings *findings, bool well)
{
	printf("{");
	print_member("version", ipc_version(), ",\n");
	printf(" \"well\": %s,\n \"checks\": [\n", well ? "true" : "false");
	for (unsigned i = 0; i < findings->n; i++) {
		const struct finding *finding = &findings->list[i];

		fputs("  {", stdout);
		print_member("id", finding->id, ", ");
		print_member("state", state_names[finding->state], ",\n   ");
		print_member("text", finding->text, ",\n   ");
		print_member("advice", finding->advice, i + 1 < findings->n ? "},\n" : "}\n");
	}
	fputs(" ]}\n", stdout);
}

static void print_text(const struct findings *findings, bool well)
{
	for (unsigned i = 0; i < findings->n; i++) {
		const struct finding *finding = &findings->list[i];

		printf("%-7s %-15s %s\n", state_names[finding->state], finding->id, finding->text);
		if (*finding->advice)
			printf("%-7s %-15s > %s\n", "", "", finding->advice);
	}
	puts(well ? "libipc works here." : "libipc does not work here: see what is bad.");
}

/* -1 go on; else the exit status. */
static int parse_options(int argc, char **argv, const char **broker, bool *json)
{
	static const struct option known[] = {
		{"broker", required_argument, NULL, 'b'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'b':
			*broker = optarg;
			break;
		case 'j':
			*json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return command_flush(STATUS_OK);
		default:
			return command_usage("ipc doctor");
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "ipc: unexpected argument \"%s\"\n", argv[optind]);
	return command_usage("ipc doctor");
}

int command_doctor(int argc, char **argv)
{
	struct findings findings = {};
	const char *broker = NULL;
	bool json = false, well = true;
	int status = parse_options(argc, argv, &broker, &json);

	if (status >= 0)
		return status;
	check_kernel(&findings);
	check_limits(&findings);
	check_memory(&findings);
	check_waiting(&findings);
	check_broker(&findings, broker);
	check_choice(&findings);
	for (unsigned i = 0; i < findings.n; i++)
		well = well && findings.list[i].state != FINDING_BAD;
	if (json)
		print_json(&findings, well);
	else
		print_text(&findings, well);
	return command_flush(well ? STATUS_OK : STATUS_FAILED);
}
