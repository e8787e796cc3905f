/* SPDX-License-Identifier: MIT
 *
 * Makes the Wireshark dissector: the tables of the program as one Lua table, and behind it the Lua
 * that reads records by them (dissect.lua).
 *
 *   generate_dissector DISSECT.LUA OUT
 *
 * Nothing of the protocol is written down in Lua: a new row of a table is dissected after the next
 * build. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endings.h"
#include "feature.h"
#include "message.h"
#include "traceformat.h"

#define NAMES_LEN 1024

/* How the printer writes a field, for Lua to do the same. */
static const char *const styles[] = {
#define KIND(name, style) [KIND_##name] = #style,
#include "fields.def"
#undef KIND
};

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
    fputc('"', out);
}

static void put_pair(FILE *out, const char *key, const char *text)
{
    fprintf(out, "%s = ", key);
    put_string(out, text);
    fputs(", ", out);
}

static void put_numbers(FILE *out)
{
    fprintf(out,
            "record = { version = %d, len = %d, fd_len = %d, max_fds = %d, max_payload = %d,\n",
            TRACE_VERSION, TRACE_RECORD_LEN, TRACE_FD_LEN, WIRE_MAX_FDS, WIRE_MAX_PAYLOAD);
    fprintf(out, "    sent = %d, big_endian = %d, redacted = %d,\n", TRACE_SENT, TRACE_BIG_ENDIAN,
            TRACE_REDACTED);
    fprintf(out, "    message = %d, ending = %d, refused = %d, event = %d, gap = %d },\n",
            TRACE_MESSAGE, TRACE_ENDING, TRACE_REFUSED, TRACE_EVENT, TRACE_GAP);
    fprintf(out, "header = { len = %zu, version = %u, reply = %u, need_reply = %u },\n",
            sizeof(struct wire_header), WIRE_VERSION_MASK, WIRE_REPLY, WIRE_NEED_REPLY);
    fprintf(out, "vring = { index = %u, nofd = %u },\n", WIRE_VRING_INDEX_MASK, WIRE_VRING_NOFD);
}

static void put_names(FILE *out)
{
    fputs("dissector = \"" TRACE_DISSECTOR "\", version = \"" VUSHIM_VERSION "\",\n", out);
    fputs("wires = {\n", out);
    for (unsigned i = 0; i < N_TRACE_WIRES; i++) {
        enum trace_wire wire = (enum trace_wire)i;
        bool front = wire == TRACE_FRONT || wire == TRACE_FRONT_CHANNEL;
        fprintf(out, "    [%u] = { ", i);
        put_pair(out, "name", trace_wire_name(wire));
        put_pair(out, "peer",
                 wire == TRACE_NEXT_BACK ? "next back-end"
                 : front                 ? "front-end"
                                         : "back-end");
        fprintf(out, "space = %d, across = %d },\n", trace_space(wire), trace_across(wire));
    }
    fputs("},\nfd_kinds = { ", out);
    for (unsigned i = 0; i < N_TRACE_FD_KINDS; i++) {
        fprintf(out, "[%u] = \"%s\", ", i, trace_fd_kind_name((enum trace_fd_kind)i));
    }
    fputs("},\nfd_roles = { ", out);
    for (unsigned i = 0; i <= ROLE_SHARED_MEMORY; i++) {
        fprintf(out, "[%u] = \"%s\", ", i, fd_role_name((enum fd_role)i));
    }
    fputs("},\n", out);
}

static void put_payload(FILE *out, const struct payload *p)
{
    static const char *const tails[] = {
        [TAIL_NONE] = "none", [TAIL_REPEAT] = "repeat", [TAIL_BYTES] = "bytes"
    };
    fputs("    { ", out);
    put_pair(out, "name", p->name);
    put_pair(out, "tail", tails[p->tail]);
    if (p->tail == TAIL_REPEAT) {
        put_pair(out, "element", payloads[p->tail_element].name);
    }
    fprintf(out, "count = %u, fixed = %u, least = %u, most = %u, fields = {\n",
            p->tail_count_offset, p->fixed, p->least, p->most);
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        fputs("        { ", out);
        put_pair(out, "name", f->name);
        put_pair(out, "style", styles[f->kind]);
        put_pair(out, "kind", field_kind_name(f->kind));
        fprintf(out, "offset = %u, size = %u },\n", f->offset, f->size);
    }
    fputs("    } },\n", out);
}

static void put_messages(FILE *out, enum wire_space space)
{
    const struct message_row *m;
    fprintf(out, "    [%d] = {\n", space);
    for (size_t i = 0; (m = message_row_at(space, i)) != NULL; i++) {
        fprintf(out, "        [%u] = { ", m->id);
        put_pair(out, "name", m->name);
        put_pair(out, "request", message_payload(m, false)->name);
        put_pair(out, "answer", message_payload(m, true)->name);
        fprintf(out, "ack_is_u64 = %s },\n", m->answer == ANSWER_MEMORY ? "true" : "false");
    }
    fputs("    },\n", out);
}

static void put_feature_names(FILE *out, enum device_type device)
{
    char names[NAMES_LEN];
    fprintf(out, "    [%u] = { ", device_id(device));
    put_pair(out, "name", device_name(device));
    fputs("bits = {\n", out);
    for (unsigned bit = 0; bit < 64; bit++) {
        features_print(device, BIT(bit), names, sizeof(names));
        fprintf(out, "        [%u] = ", bit);
        put_string(out, names);
        fputs(",\n", out);
    }
    fputs("    }, config = {\n", out);
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *c = &config_rows[i];
        if (c->device == device) {
            fputs("        { ", out);
            put_pair(out, "name", c->name);
            fprintf(out, "offset = %u, size = %u, text = %s },\n", c->offset, c->size,
                    (c->traits & CONFIG_TEXT) != 0 ? "true" : "false");
        }
    }
    fputs("    } },\n", out);
}

static void put_features(FILE *out)
{
    char names[NAMES_LEN];
    fputs("devices = {\n", out);
    for (unsigned d = 0; d < N_DEVICE_TYPES; d++) {
        if (d == DEVICE_UNKNOWN || device_id((enum device_type)d) != 0) {
            put_feature_names(out, (enum device_type)d);
        }
    }
    fputs("},\nprotocol_bits = {\n", out);
    for (unsigned bit = 0; bit < 64; bit++) {
        protocol_print(BIT(bit), names, sizeof(names));
        fprintf(out, "    [%u] = \"%s\",\n", bit, names);
    }
    fputs("},\n", out);
}

static void put_endings(FILE *out)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };
    fputs("endings = {\n", out);
    for (size_t i = 0; i < N_ENDINGS; i++) {
        fprintf(out, "    %s = { ", ending_rows[i].name);
        put_pair(out, "level", levels[ending_rows[i].level]);
        put_pair(out, "text", ending_rows[i].text);
        fputs("},\n", out);
    }
    fputs("},\nevents = {\n", out);
#define EVENT(name, text)                                                                          \
    fputs("    ", out);                                                                            \
    put_pair(out, #name, text);                                                                    \
    fputc('\n', out);
#include "events.def"
#undef EVENT
    fputs("},\n", out);
}

static void put_tables(FILE *out)
{
    fputs("local T = {\n", out);
    put_numbers(out);
    put_names(out);
    fputs("payloads = {\n", out);
    for (unsigned i = 0; i < N_PAYLOADS; i++) {
        put_payload(out, &payloads[i]);
    }
    fputs("},\nmessages = {\n", out);
    put_messages(out, SPACE_FRONT);
    put_messages(out, SPACE_BACK);
    fputs("},\n", out);
    put_features(out);
    put_endings(out);
    fputs("}\n\n", out);
}

static void copy(FILE *in, FILE *out)
{
    char buf[4096];
    size_t n;
    while ((n = fread(buf, 1, sizeof(buf), in)) > 0) {
        fwrite(buf, 1, n, out);
    }
}

int main(int argc, char **argv)
{
    FILE *in = argc == 3 ? fopen(argv[1], "r") : NULL;
    FILE *out = in != NULL ? fopen(argv[2], "w") : NULL;
    if (out == NULL) {
        fprintf(stderr, "generate_dissector: give it dissect.lua and a file to write\n");
        return 2;
    }
    fputs("-- SPDX-License-Identifier: MIT\n"
          "-- Made by generate_dissector of vushim " VUSHIM_VERSION ": do not edit.\n",
          out);
    put_tables(out);
    copy(in, out);
    bool good = ferror(in) == 0 && ferror(out) == 0;
    fclose(in);
    return fclose(out) == 0 && good ? 0 : 1;
}
