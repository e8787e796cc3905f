/* SPDX-License-Identifier: MIT
 *
 * Prints the tables of the manual from the tables of the program: one row a line, cells separated
 * by tabs, the first line being the head. doc/pages.py lays them out.
 *
 *   doc_tables requests|request-payloads|channel|channel-payloads
 *   doc_tables policy|protocol-features|endings|events
 *   doc_tables restarts|restart-reasons
 *   doc_tables message-filters|field-filters
 *   doc_tables features|config DEVICE
 *
 * What the policy does with a message is not written down here either: every message is given to
 * the policy with one field after the other out of its range, and its verdicts are what is printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endings.h"
#include "feature.h"
#include "message.h"
#include "restart.h"
#include "rewrite.h"
#include "text.h"
#include "traceformat.h"

#define CELL_LEN 512

static void print_row(const char *const *cells, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("%s%s", i == 0 ? "" : "\t", cells[i]);
    }
    putchar('\n');
}

#define ROW(...)                                                                                   \
    print_row((const char *const[]){ __VA_ARGS__ },                                                \
              sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* ---- messages ---- */

static const char *number(char *buf, unsigned long value)
{
    snprintf(buf, CELL_LEN, "%lu", value);
    return buf;
}

static const char *range(char *buf, unsigned least, unsigned most)
{
    snprintf(buf, CELL_LEN, least == most ? "%u" : "%u to %u", least, most);
    return buf;
}

static const char *descriptors(char *buf, const struct fds_allowed *fds)
{
    const char *role = fd_role_name(fds->role);
    if (fds->rule == FDS_BY_NOFD_BIT) {
        snprintf(buf, CELL_LEN, "1 %s, or none", role);
    } else if (fds->rule == FDS_BY_REGION) {
        snprintf(buf, CELL_LEN, "1 %s a region", role);
    } else if (fds->most == 0) {
        return "none";
    } else {
        snprintf(buf, CELL_LEN, fds->least == fds->most ? "%u %s" : "%u %s, or none", fds->most,
                 role);
    }
    return buf;
}

/* The words are explained in the page. */
static const char *answer(enum answer_rule rule)
{
    static const char *const words[] = {
        [ANSWER_ACK] = "ack", [ANSWER_ACK_EVEN_UNASKED] = "ack+", [ANSWER_REPLY] = "reply",
        [ANSWER_LOG] = "log", [ANSWER_MEMORY] = "memory",
    };
    return words[rule];
}

static const char *gate(char *buf, const struct message_row *m)
{
    if (m->gate == GATE_ALWAYS) {
        return "-";
    }
    if (m->gate == GATE_PROTOCOL) {
        return protocol_of_bit(m->gate_bit)->name;
    }
    snprintf(buf, CELL_LEN, "feature %s", feature_of_bit(DEVICE_UNKNOWN, m->gate_bit)->name);
    return buf;
}

static void print_messages(enum wire_space space)
{
    char id[CELL_LEN];
    char needs[CELL_LEN];
    const struct message_row *m;
    ROW("No.", "Message", "Answer", "Needs");
    for (size_t i = 0; (m = message_row_at(space, i)) != NULL; i++) {
        ROW(number(id, m->id), m->name, answer(m->answer), gate(needs, m));
    }
}

static void print_payloads(enum wire_space space)
{
    char bytes[CELL_LEN];
    char fds[CELL_LEN];
    const struct message_row *m;
    ROW("Message", "Bytes", "Descriptors");
    for (size_t i = 0; (m = message_row_at(space, i)) != NULL; i++) {
        const struct payload *p = message_payload(m, false);
        ROW(m->name, range(bytes, p->least, p->most), descriptors(fds, &m->fds));
    }
}

/* ---- Wireshark's filters: as tools/dissector names them ---- */

static void print_message_filters(void)
{
    const struct message_row *m;
    ROW("Message", "Payload", "Answer's payload");
    for (unsigned space = SPACE_FRONT; space <= SPACE_BACK; space++) {
        for (size_t i = 0; (m = message_row_at((enum wire_space)space, i)) != NULL; i++) {
            ROW(m->name, message_payload(m, false)->name, message_payload(m, true)->name);
        }
    }
}

static void print_field_filters(void)
{
    char name[CELL_LEN];
    char bits[CELL_LEN];
    ROW("Filter", "Bits");
    for (size_t i = 0; i < N_PAYLOADS; i++) {
        const struct payload *p = &payloads[i];
        for (size_t k = 0; k < p->n_fields; k++) {
            snprintf(name, sizeof(name), TRACE_DISSECTOR ".%s.%s", p->name, p->fields[k].name);
            ROW(name, number(bits, 8ul * p->fields[k].size));
        }
        if (p->tail == TAIL_BYTES) {
            snprintf(name, sizeof(name), TRACE_DISSECTOR ".%s.bytes", p->name);
            ROW(name, "");
        } else if (p->tail == TAIL_REPEAT) {
            snprintf(name, sizeof(name), TRACE_DISSECTOR ".%s.regions", p->name);
            ROW(name, "");
        }
    }
}

/* ---- what the policy does, found out by asking it ---- */

/* A block device with everything pinned, so that every rule has something to say. */
static struct interface strict_interface(void)
{
    return (struct interface){
        .device = DEVICE_BLK,
        .on = BIT(BLK_SEG_MAX) | BIT(RING_ACCESS_PLATFORM),
        .protocol_on = protocol_known() & ~protocol_shown(),
        .queues = 2,
        .max_ring = 64,
        .mem_slots = 1,
        .n_pins = 1,
        .pins = { { .row = config_of_name(DEVICE_BLK, "seg_max", 7), .value = 126 } },
    };
}

/* More than the interface wants, in everything. Facts cannot be hidden: none is offered. */
static struct offer generous_offer(void)
{
    return (struct offer){ .features = ~features_how(DEVICE_BLK, FEATURE_FACT),
                           .protocol_features = UINT64_MAX,
                           .queues = 4,
                           .mem_slots = 4 };
}

/* Room for the fixed fields, and for configuration bytes behind them. */
static struct msg plain_message(const struct message_row *m, bool reply)
{
    struct msg out = MSG_NULL;
    const struct payload *p = message_payload(m, reply);
    uint32_t tail = p->tail == TAIL_BYTES ? 64 : 0;
    uint32_t flags = reply ? WIRE_REPLY : 0;
    if (msg_make(m->id, flags, NULL, p->fixed + tail, &out) < 0) {
        exit(1);
    }
    const struct field *count = field_of_kind(p, KIND_QUEUE_COUNT);
    const struct field *size = field_of_kind(p, KIND_CONFIG_SIZE);
    if (count != NULL) {
        field_set(&out, count, 1);
    }
    if (size != NULL) {
        field_set(&out, size, tail);
    }
    return out;
}

static void say_once(struct text *t, char *buf, const char *words)
{
    if (strstr(buf, words) == NULL) {
        text_add_item(t, "; ", "");
        text_add(t, "%s", words);
    }
}

static const char *refusal(enum verdict_rule rule)
{
    static const char *const words[] = {
        [RULE_NONE] = "",
        [RULE_GATE] = "",
        [RULE_FEATURES] = "a bit that was not shown is refused",
        [RULE_PROTOCOL] = "a bit that was not shown is refused",
        [RULE_QUEUE_INDEX] = "a virtqueue beyond queues is refused",
        [RULE_QUEUE_COUNT] = "more virtqueues than queues are refused",
        [RULE_RING_SIZE] = "a ring above max_ring is refused",
        [RULE_MEM_SLOTS] = "a region beyond mem_slots is refused",
        [RULE_CONFIG_PINNED] = "another value of a pinned field is refused",
        [RULE_OFFER] = "a smaller offer than before ends the connection",
    };
    return words[rule];
}

static void add_request(struct text *t, char *buf, const struct rewrite *w,
                        const struct message_row *m)
{
    const struct payload *p = message_payload(m, false);
    for (size_t i = 0; i < p->n_fields; i++) {
        struct msg sent = plain_message(m, false);
        const struct field *f = &p->fields[i];
        if (f->kind != KIND_CONFIG_OFFSET && f->kind != KIND_CONFIG_SIZE && f->size <= 8) {
            /* An index of all ones, as far as bits of it are an index. */
            field_set(&sent, f, f->kind == KIND_VRING_FD ? WIRE_VRING_INDEX_MASK : UINT64_MAX);
        }
        struct verdict v = rewrite_request(w, m, &sent);
        if (v.kind != VERDICT_PASS) {
            say_once(t, buf, refusal(v.rule));
        }
        msg_clear(&sent);
    }
}

static const char *change(enum field_kind kind)
{
    switch (kind) {
    case KIND_FEATURES:
        return "the answer shows the profile's features";
    case KIND_PROTOCOL_FEATURES:
        return "the answer shows what is not withheld";
    case KIND_QUEUE_LIMIT:
        return "the answer shows queues";
    case KIND_SLOT_LIMIT:
        return "the answer shows mem_slots";
    default:
        return "the answer shows the pinned fields";
    }
}

static void add_answer(struct text *t, char *buf, const struct rewrite *w,
                       const struct message_row *m)
{
    const struct payload *p = message_payload(m, true);
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        struct msg sent = plain_message(m, true);
        if (f->kind != KIND_CONFIG_OFFSET && f->kind != KIND_CONFIG_SIZE && f->size <= 8) {
            field_set(&sent, f, f->kind == KIND_FEATURES ? w->offer->features : UINT64_MAX);
        }
        struct msg before = MSG_NULL;
        if (msg_make(m->id, WIRE_REPLY, sent.body, sent.head.size, &before) < 0) {
            exit(1);
        }
        struct verdict v = rewrite_answer(w, m, &sent);
        if (v.kind != VERDICT_PASS) {
            say_once(t, buf, refusal(v.rule));
        } else if (sent.head.size > 0 && memcmp(before.body, sent.body, sent.head.size) != 0) {
            say_once(t, buf, change(f->kind));
        }
        msg_clear(&sent);
        msg_clear(&before);
    }
}

static void add_traits(struct text *t, char *buf, const struct message_row *m)
{
    if ((m->traits & TAKES_CHANNEL) != 0) {
        say_once(t, buf, "the socket is replaced by one of vushim");
    }
    if ((m->traits & CLOSES_FDS) != 0) {
        say_once(t, buf, "descriptors that come along are closed");
    }
}

/* One line each. */
static void print_clauses(const char *name, char *clauses)
{
    char *rest = clauses;
    for (char *clause; (clause = strsep(&rest, ";")) != NULL; name = "") {
        ROW(name, clause[0] == ' ' ? clause + 1 : clause);
    }
}

static void print_policy_of(enum wire_space space, const struct rewrite *w)
{
    char cell[CELL_LEN];
    const struct message_row *m;
    for (size_t i = 0; (m = message_row_at(space, i)) != NULL; i++) {
        struct text t = text_in(cell, sizeof(cell));
        add_request(&t, cell, w, m);
        add_answer(&t, cell, w, m);
        add_traits(&t, cell, m);
        if (cell[0] != '\0') {
            print_clauses(m->name, cell);
        }
    }
}

static void print_policy(void)
{
    static struct record record = { .n_regions = 1 };
    struct interface strict = strict_interface();
    struct offer generous = generous_offer();
    struct rewrite w = rewrite_prepare(&strict, &generous, &record);
    ROW("Message", "What happens on a pinned device");
    print_policy_of(SPACE_FRONT, &w);
    print_policy_of(SPACE_BACK, &w);
}

/* ---- names ---- */

static void add_features(struct text *t, enum device_type device, uint64_t bits)
{
    const char *join = "";
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((bits & BIT(bit)) != 0) {
            text_add(t, "%s%s", join, feature_of_bit(device, bit)->name);
            join = " or ";
        }
    }
}

static void add_protocol_features(struct text *t, const char *before, uint64_t bits)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((bits & BIT(bit)) != 0) {
            text_add(t, "%s%s", before, protocol_of_bit(bit)->name);
            before = ", ";
        }
    }
}

/* Each feature that it needs in a line of its own. */
static void print_protocol_features(void)
{
    char bit[CELL_LEN];
    ROW("Bit", "Protocol feature", "Pinned", "Needs");
    for (size_t i = 0; i < n_protocol_rows; i++) {
        const struct protocol_row *p = &protocol_rows[i];
        const char *pinned = p->how == PROTOCOL_SHOWN ? "shown" : "on request";
        uint64_t needs = p->needs;
        for (unsigned n = 0; n < 64; n++) {
            if ((needs & BIT(n)) != 0) {
                bool first = (needs & (BIT(n) - 1)) == 0;
                ROW(first ? number(bit, p->bit) : "", first ? p->name : "", first ? pinned : "",
                    protocol_of_bit(n)->name);
            }
        }
        if (needs == 0) {
            ROW(number(bit, p->bit), p->name, pinned, "");
        }
    }
}

static void print_features(enum device_type device)
{
    static const char *const kinds[] = { [FEATURE_PLAIN] = "",
                                         [FEATURE_LAYOUT] = "layout",
                                         [FEATURE_FACT] = "fact",
                                         [FEATURE_VHOST] = "vhost" };
    char bit[CELL_LEN];
    char needs[CELL_LEN];
    ROW("Bit", "Feature", "Kind", "Needs");
    for (size_t i = 0; i < n_feature_rows; i++) {
        const struct feature_row *f = &feature_rows[i];
        if (f->device != device) {
            continue;
        }
        struct text t = text_in(needs, sizeof(needs));
        add_features(&t, device, f->needs);
        add_protocol_features(&t, f->needs != 0 ? ", protocol " : "protocol ", f->protocol);
        ROW(number(bit, f->bit), f->name, kinds[f->how], needs);
    }
}

/* How probe treats a field: what belongs to one device is no part of an interface. */
static const char *pinning(const struct config_row *c)
{
    if ((c->traits & CONFIG_TEXT) != 0) {
        return "never";
    }
    return (c->traits & CONFIG_OF_INSTANCE) != 0 ? "hand" : "probe";
}

static void print_config(enum device_type device)
{
    static const char *const relations[] = {
        [CONFIG_ANY] = "any", [CONFIG_UP_TO] = "up to", [CONFIG_SAME] = "same"
    };
    char where[CELL_LEN];
    ROW("Field", "Bytes", "Pinned", "Value", "With feature");
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *c = &config_rows[i];
        bool always = c->gate == CONFIG_ALWAYS_VALID;
        if (c->device == device) {
            unsigned last = c->offset + c->size - 1u;
            snprintf(where, sizeof(where), c->size == 1 ? "%u" : "%u-%u", c->offset, last);
            ROW(c->name, where, pinning(c), relations[c->relation],
                always ? "" : feature_of_bit(device, c->gate)->name);
        }
    }
}

static void print_endings(void)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };
    ROW("Ending", "Level", "Text");
    for (size_t i = 0; i < N_ENDINGS; i++) {
        ROW(ending_rows[i].name, levels[ending_rows[i].level], ending_rows[i].text);
    }
}

static void print_events(void)
{
    ROW("Event", "When");
#define EVENT(name, text) ROW(#name, text);
#include "events.def"
#undef EVENT
}

/* "split, in-flight region" */
static const char *conditions(char *buf, unsigned when)
{
    static const char *const names[] = { "split",     "packed",   "region",
                                         "no region", "in order", "by iommu" };
    struct text t = text_in(buf, CELL_LEN);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((when & 1u << i) != 0) {
            text_add_item(&t, ", ", "");
            text_add(&t, "%s", names[i]);
        }
    }
    return buf;
}

static void print_restarts(void)
{
    char when[CELL_LEN];
    char no[CELL_LEN];
    ROW("No", "Device", "When", "Verdict", "Goes on at");
    const struct restart_row *row;
    for (size_t i = 0; (row = restart_row_at(i)) != NULL; i++) {
        when[0] = '\0';
        ROW(number(no, i + 1),
            row->device < 0                 ? "any"
            : row->device == DEVICE_UNKNOWN ? "not known"
                                            : device_name((enum device_type)row->device),
            conditions(when, row->when), restart_verdict_name(row),
            restart_source_name(row->source));
    }
}

static void print_restart_reasons(void)
{
    char no[CELL_LEN];
    ROW("No", "Because");
    const struct restart_row *row;
    for (size_t i = 0; (row = restart_row_at(i)) != NULL; i++) {
        ROW(number(no, i + 1), row->text);
    }
}

/* "any" and "vhost" are groups of features, not devices. */
static bool device_or_group(const char *name, enum device_type *ret_device)
{
    for (unsigned d = 0; d < N_DEVICE_TYPES; d++) {
        if (strcmp(name, device_name((enum device_type)d)) == 0) {
            *ret_device = (enum device_type)d;
            return true;
        }
    }
    return false;
}

static bool print_table(const char *name)
{
    if (strcmp(name, "requests") == 0) {
        print_messages(SPACE_FRONT);
    } else if (strcmp(name, "channel") == 0) {
        print_messages(SPACE_BACK);
    } else if (strcmp(name, "request-payloads") == 0) {
        print_payloads(SPACE_FRONT);
    } else if (strcmp(name, "channel-payloads") == 0) {
        print_payloads(SPACE_BACK);
    } else if (strcmp(name, "policy") == 0) {
        print_policy();
    } else if (strcmp(name, "protocol-features") == 0) {
        print_protocol_features();
    } else if (strcmp(name, "endings") == 0) {
        print_endings();
    } else if (strcmp(name, "message-filters") == 0) {
        print_message_filters();
    } else if (strcmp(name, "field-filters") == 0) {
        print_field_filters();
    } else if (strcmp(name, "events") == 0) {
        print_events();
    } else if (strcmp(name, "restarts") == 0) {
        print_restarts();
    } else if (strcmp(name, "restart-reasons") == 0) {
        print_restart_reasons();
    } else {
        return false;
    }
    return true;
}

static bool print_table_of(const char *name, const char *device_text)
{
    enum device_type device;
    if (!device_or_group(device_text, &device)) {
        return false;
    }
    if (strcmp(name, "features") == 0) {
        print_features(device);
    } else if (strcmp(name, "config") == 0) {
        print_config(device);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    bool known =
        (argc == 2 && print_table(argv[1])) || (argc == 3 && print_table_of(argv[1], argv[2]));
    if (!known) {
        fprintf(stderr, "doc_tables: no such table (see the head of doc/tables.c)\n");
        return 2;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
