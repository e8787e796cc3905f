/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "util.h"

static int cmd_help(const struct command *command, int argc, char **argv);

static const char spec_notes[] =
    "SPEC is one of\n"
    "  org.dpdk.v22.11               a named version (see vushim versions)\n"
    "  org.dpdk.v22.11,mq=off        the same with changes\n"
    "  host                          whatever the back-end offers, unpinned\n"
    "  host,mq=off                   the same with changes\n"
    "  mrg_rxbuf=on,max_ring=256     the whole interface: what is not listed is off\n"
    "made of\n"
    "  FEATURE=on|off|front          a virtio feature by QEMU's property name; front: the "
    "front-end\n"
    "                                implements it, the back-end never hears of it\n"
    "  queues=N max_ring=N mem_slots=N\n"
    "  protocol.FEATURE=on|off       a vhost-user protocol feature that is required or withheld\n"
    "  config.FIELD=N                a field of the configuration space; min:N shows the smaller "
    "of N\n"
    "                                and the back-end's value\n"
    "  device=net|blk|...            where names are looked up; without it, in the first kind of\n"
    "                                device that has all of them";

static const char probe_notes[] = "Connecting is not without effect. A live DPDK, Open vSwitch or "
                                  "SPDK socket creates a device for\n"
                                  "each connection. Many daemons (qemu-storage-daemon, virtiofsd) "
                                  "serve only one client: a probe\n"
                                  "waits behind a running one, and some end when their first "
                                  "client leaves. Probe a back-end that\n"
                                  "is not in use.";

static const char ctl_notes[] =
    "status  what it is doing, and what it waits for\n"
    "state   what the guest has negotiated: save it with --json for run --expect and check "
    "--state\n"
    "offer   what the connected back-end offers, as vushim probe shows it\n"
    "trace start FILE, trace stop, trace    a protocol trace: begins it, ends it, says how it "
    "goes\n"
    "quit    ends it\n"
    "Any other word is sent as a command of the QMP wire format (query-commands lists them).";

static const char offer_notes[] =
    "OFFER is one of\n"
    "  FILE            what vushim probe --json has written\n"
    "  ctl:PATH        the back-end of a running vushim, by its control socket\n"
    "  connect:PATH    the back-end that listens there (see vushim probe --help for what a\n"
    "                  connection does)\n"
    "Exit status: 0 yes, 1 no, 2 error.";

static const char trace_notes[] =
    "FILE, A and B are traces (of vushim run --trace); - is standard input.\n"
    "diagram  draws who said what to whom, as a picture that a browser shows\n"
    "diff     compares the last connection of each file that has a message: what is offered, "
    "which\n"
    "         messages come, their values. Left out is what always differs: addresses,\n"
    "         descriptors, ring bases. Exit status: 0 equal, 1 different, 2 error; times to "
    "answer\n"
    "         are shown when they differ by more than twice, and do not count.";

static const struct command commands[] = {
    { "run", "--front EP --back EP", "Stands between a front-end (QEMU) and a back-end.",
      spec_notes, cmd_run },
    { "probe", "EP", "Shows what a back-end offers, and the spec string that pins exactly this.",
      probe_notes, cmd_probe },
    { "versions", "", "Lists the named interfaces, or those that a back-end can serve.",
      offer_notes, cmd_versions },
    { "check", "SPEC --offer OFFER", "Says whether a back-end can serve an interface.", offer_notes,
      cmd_check },
    { "profile", "show SPEC | diff SPEC SPEC | capture OFFER | baseline OFFER... | lint FILE",
      "Shows, compares, makes and checks interfaces.", spec_notes, cmd_profile },
    { "trace", "show FILE | diagram FILE | diff A B | replay FILE --back EP",
      "Reads protocol traces.", trace_notes, cmd_trace },
    { "extcap", "", "Running vushims as capture interfaces of Wireshark (it calls this).", NULL,
      cmd_extcap },
    { "ctl", "PATH status|state|offer|quit|trace start FILE|trace stop",
      "Asks a running vushim at its control socket.", ctl_notes, cmd_ctl },
    { "help", "[COMMAND|spec]", "Shows this list, or the help of a command.", NULL, cmd_help },
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static void print_commands(FILE *to)
{
    fprintf(to, "usage: vushim COMMAND ...\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(to, "\nvushim COMMAND --help says more. vushim --version prints the version.\n"
                "Exit status: 0 yes or done, 1 no, 2 error.\n");
}

static int cmd_help(const struct command *command, int argc, char **argv)
{
    char help[] = "--help";
    char *help_argv[] = { help };
    (void)command;
    if (argc == 0) {
        print_commands(stdout);
        return 0;
    }
    if (strcmp(argv[0], "spec") == 0) {
        puts(spec_notes);
        return 0;
    }
    const struct command *of = find_command(argv[0]);
    if (of == NULL || of->run == cmd_help) {
        print_commands(stdout);
        return of == NULL ? usage_error("help: no such command: %s", argv[0]) : 0;
    }
    return of->run(of, 1, help_argv);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return usage_error("say what to do: vushim run, probe, profile (see vushim help)");
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("vushim " VUSHIM_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_commands(stdout);
        return 0;
    }
    const struct command *command = find_command(argv[1]);
    if (command == NULL) {
        return usage_error("no such command: %s (see vushim help)", argv[1]);
    }
    int status = command->run(command, argc - 2, argv + 2);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return usage_error("%s: cannot write its output", command->name);
    }
    return status;
}
