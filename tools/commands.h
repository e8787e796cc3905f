/* SPDX-License-Identifier: MIT
 *
 * The subcommands of vushim. */
#pragma once

#include "options.h"

int cmd_run(const struct command *command, int argc, char **argv);
int cmd_ctl(const struct command *command, int argc, char **argv);
int cmd_probe(const struct command *command, int argc, char **argv);
int cmd_versions(const struct command *command, int argc, char **argv);
int cmd_check(const struct command *command, int argc, char **argv);
int cmd_extcap(const struct command *command, int argc, char **argv);
int cmd_trace(const struct command *command, int argc, char **argv);
int cmd_profile(const struct command *command, int argc, char **argv);
