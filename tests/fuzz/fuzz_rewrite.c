/* SPDX-License-Identifier: MIT
 *
 * A conversation of any messages under an interface: checked, rewritten, recorded. A message that
 * has passed is still a valid one of the same size, and a plain `host` changes nothing.
 *
 * Input: interface, offer, then messages. */
#include <string.h>

#include "check.h"
#include "input.h"
#include "rewrite.h"
#include "specs.h"

static const char *const specs[] = {
    "host",
    "host,mq=off",
    "host,queues=1,max_ring=256,mem_slots=3",
    "csum=on,mac=front,packed=on,ctrl_vq=on,mq=on,queues=2",
    "device=blk,seg_max=on,config.seg_max=126,config.capacity=7,config.geometry.heads=3,queues=4",
    "host,protocol.reply_ack=off,protocol.xen_mmap=on",
    "device=fs,config.num_request_queues=1",
    "version_1=on,max_ring=1",
};

static struct record record;

static void request(const struct rewrite *w, enum wire_space space, struct msg *m)
{
    const struct message_row *row = message_row(space, m->head.request);
    struct msg before = MSG_NULL;
    if (check_message(row, false, m).result != CHECK_OK) {
        return;
    }
    record_expects(w->record, row, m);
    if (row == NULL || msg_make(0, 0, m->body, m->head.size, &before) < 0) {
        return;
    }
    struct verdict v = rewrite_request(w, row, m);
    fuzz_check(m->head.size == before.head.size);
    fuzz_check(!w->transparent || v.kind == VERDICT_PASS || v.rule == RULE_QUEUE_INDEX);
    fuzz_check(!w->transparent || m->head.size == 0 ||
               memcmp(m->body, before.body, m->head.size) == 0);
    if (v.kind == VERDICT_PASS) {
        fuzz_check(check_message(row, false, m).result == CHECK_OK);
        if (space == SPACE_FRONT) {
            record_request(&record, row, m);
        }
    } else {
        char words[256];
        verdict_print(&v, w->interface->device, words, sizeof(words));
        fuzz_check(words[0] != '\0');
        record_can_refuse(w->record, row, m);
    }
    fuzz_check(record.n_regions <= RECORD_MAX_REGIONS);
    msg_clear(&before);
}

static void answer(const struct rewrite *w, enum wire_space space, struct msg *m)
{
    const struct message_row *row = message_row(space, m->head.request);
    uint32_t size = m->head.size;
    if (row == NULL || check_message(row, true, m).result != CHECK_OK) {
        return;
    }
    struct verdict v = rewrite_answer(w, row, m);
    fuzz_check(m->head.size == size);
    if (v.kind == VERDICT_PASS) {
        fuzz_check(check_message(row, true, m).result == CHECK_OK);
    } else {
        char words[256];
        verdict_print(&v, w->interface->device, words, sizeof(words));
        fuzz_check(words[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct interface i;
    struct spec_error error;
    struct offer offer = { .features = 0 };
    int lowest = fuzz_lowest_free_fd();
    fuzz_check(parse_spec(specs[input_u8(&in) % ARRAY_SIZE(specs)], &i, &error) == 0);
    offer.features = input_u64(&in);
    offer.protocol_features = input_u64(&in);
    offer.queues = input_u16(&in);
    offer.mem_slots = input_u16(&in);
    memset(&record, 0, sizeof(record));
    const struct rewrite w = rewrite_prepare(&i, &offer, &record);
    while (in.left > 0) {
        uint8_t way = input_u8(&in);
        enum wire_space space = way & 1 ? SPACE_BACK : SPACE_FRONT;
        bool reply = (way & 2) != 0;
        struct msg m = input_message(&in, space, reply);
        if (reply) {
            answer(&w, space, &m);
        } else {
            request(&w, space, &m);
        }
        msg_clear(&m);
    }
    fuzz_check(fuzz_lowest_free_fd() == lowest);
    return 0;
}
