/* SPDX-License-Identifier: MIT
 *
 * The subcommands of vushim, and what they share. */
#pragma once

#include "options.h"
#include "spec.h"

int cmd_run(const struct command *command, int argc, char **argv);
int cmd_probe(const struct command *command, int argc, char **argv);
int cmd_profile(const struct command *command, int argc, char **argv);

/* Parses a spec string; false after one line on stderr that points at the word. */
bool spec_from_option(const char *command, const char *spec, struct interface *ret_interface);
