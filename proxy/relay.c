/* SPDX-License-Identifier: MIT
 *
 * A message in hand passes the same stations in the same order: read, check against its row, policy
 * (rewrite or refuse), note what is outstanding, send. One whole message is read only when the
 * other side has room for it, so a slow reader stops its writer and nothing else. */
#include "relay.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"
#include "print.h"

#define DETAIL_LEN 2048

static void end(struct relay *r, struct side *s, enum ending ending, const char *detail)
{
    r->hooks->end(r, s, ending, detail);
}

static void end_by_frame(struct relay *r, struct side *s, int result)
{
    char detail[DETAIL_LEN] = "";
    char name[24];
    const struct frame_reader *reader = &s->reader;
    if (result == FRAME_CUT) {
        if (reader->got >= sizeof(struct wire_header)) {
            snprintf(detail, sizeof(detail), "%s: %zu of %zu bytes",
                     message_name(r->space, reader->msg.head.request, name), reader->got,
                     sizeof(struct wire_header) + reader->msg.head.size);
        } else {
            snprintf(detail, sizeof(detail), "%zu of 12 header bytes", reader->got);
        }
    } else if (result == FRAME_TOO_MANY_FDS) {
        snprintf(detail, sizeof(detail), "more than %d for one message", WIRE_MAX_FDS);
    } else if (result == FRAME_TOO_SHORT) {
        snprintf(detail, sizeof(detail), "answer to %s: %u bytes",
                 message_name(r->space, reader->msg.head.request, name), reader->msg.head.size);
    } else if (result == FRAME_TOO_LARGE) {
        snprintf(detail, sizeof(detail), "%s: %u bytes, limit %d",
                 message_name(r->space, reader->msg.head.request, name), reader->msg.head.size,
                 WIRE_MAX_PAYLOAD);
    } else if (result == FRAME_BAD_VERSION) {
        snprintf(detail, sizeof(detail), "header flags %#x", reader->msg.head.flags);
    } else if (result == FRAME_FDS_LOST) {
        snprintf(detail, sizeof(detail),
                 "the limit of open files may be too low (ulimit -n, LimitNOFILE=)");
    } else if (result < 0 && ending_of_frame(result) == ENDING_IO_ERROR) {
        snprintf(detail, sizeof(detail), "%s", strerror(-result));
    }
    end(r, s, ending_of_frame(result), detail);
}

static void end_by_check(struct relay *r, struct side *s, const struct msg *m,
                         const struct check_fault *fault)
{
    static const char *const what[] = {
        [CHECK_BAD_FLAGS] = "undefined flag bits",
        [CHECK_WRONG_SIZE] = "bytes of payload",
        [CHECK_BAD_DESCRIPTORS] = "descriptors",
        [CHECK_BAD_FIELD] = "elements or bytes announced",
    };
    char detail[DETAIL_LEN];
    char name[24];
    int n =
        snprintf(detail, sizeof(detail), "%s: %" PRIu64 " %s, ",
                 message_name(r->space, m->head.request, name), fault->value, what[fault->result]);
    if (fault->least == fault->most) {
        snprintf(detail + n, sizeof(detail) - (size_t)n, "expected %" PRIu64, fault->most);
    } else {
        snprintf(detail + n, sizeof(detail) - (size_t)n, "expected %" PRIu64 " to %" PRIu64,
                 fault->least, fault->most);
    }
    end(r, s, ending_of_check(fault->result), detail);
}

/* ---- stations that both directions share ---- */

/* The last station of every message that leaves. */
static int send_out(struct relay *r, struct side *s, struct msg *m)
{
    trace_put_message(r->trace, relay_wire(r, s), true, m);
    return side_send(s, m);
}

/* ---- what comes too late ---- */

static double fail_after(const struct relay *r)
{
    return r->alone ? r->alone_within : r->fail_after;
}

static void watch_lateness(struct relay *r)
{
    double fail = fail_after(r);
    if (ev_is_active(&r->late) || (r->slow_after <= 0 && fail <= 0)) {
        return;
    }
    bool fail_first = fail > 0 && (r->slow_after <= 0 || fail < r->slow_after);
    ev_timer_set(&r->late, fail_first ? fail : r->slow_after, 0);
    ev_timer_start(r->loop, &r->late);
}

static void send_our_answers(struct relay *r);
static void pass_answer(struct relay *r, struct answer *to, struct msg *m);

static bool can_fail(const struct answer *a)
{
    struct msg m = MSG_NULL;
    int result = a->row != NULL ? failure_make(a->row, a->body_len, &m) : 0;
    msg_clear(&m);
    return result == 1;
}

/* The requester gets a failure now; the responder's own answer, when it comes, is dropped. False: there
 * is none that it could get. */
static bool replace_late_answer(struct relay *r, struct answer *late)
{
    bool takes_long = late->row != NULL && (late->row->traits & TAKES_LONG) != 0;
    if (late->kind != ANSWER_TO_RELAY || answers_full(&r->answers) || (takes_long && !r->alone)) {
        return false;
    }
    double age = monotonic_s() - late->since;
    if (r->alone) {
        char name[24];
        r->hooks->slow(r, late, age, true);
        if (can_fail(late)) {
            late->kind = ANSWER_OURS;
            send_our_answers(r);
        } else {
            end(r, &r->requester, ENDING_NO_BACK_END, message_name(r->space, late->request, name));
        }
        return true;
    }
    if (!can_fail(late)) {
        return false;
    }
    r->hooks->slow(r, late, age, true);
    answers_replace(&r->answers, late);
    send_our_answers(r);
    return true;
}

static void on_late(struct ev_loop *loop, ev_timer *w, int events)
{
    struct relay *r = w->data;
    struct answer *oldest = answers_oldest_due(&r->answers);
    double fail = fail_after(r);
    (void)events;
    if (oldest == NULL) {
        return; /* nothing outstanding: no timer, no wake-ups */
    }
    double age = monotonic_s() - oldest->since;
    double next = HUGE_VAL; /* nothing more to say of this one: the next one starts the timer */
    if (r->slow_after > 0 && !oldest->said_slow && !r->alone) {
        if (age >= r->slow_after) {
            oldest->said_slow = true;
            r->hooks->slow(r, oldest, age, false);
            if (!side_is_open(&r->responder)) {
                return; /* the device has drawn its conclusion */
            }
        } else {
            next = r->slow_after - age;
        }
    }
    if (fail > 0 && oldest->kind == ANSWER_TO_RELAY) {
        if (age >= fail) {
            next = replace_late_answer(r, oldest) ? 0 : next;
        } else if (fail - age < next) {
            next = fail - age;
        }
    }
    bool goes_on = side_is_open(&r->responder) || (r->alone && side_is_open(&r->requester));
    if (goes_on && next != HUGE_VAL) {
        ev_timer_set(&r->late, next < 0.001 ? 0.001 : next, 0);
        ev_timer_start(loop, &r->late);
    }
    relay_update(r);
}

/* ---- requests ---- */

/* Failures, each in its turn among the answers. */
static void send_our_answers(struct relay *r)
{
    struct answer *due;
    while (side_has_room(&r->requester) && (due = answers_ours_due(&r->answers)) != NULL) {
        struct msg m = MSG_NULL;
        int err = failure_make(due->row, due->body_len, &m);
        answers_remove(&r->answers, due);
        if (err == 1) {
            err = send_out(r, &r->requester, &m);
        }
        if (err < 0) {
            end_by_frame(r, &r->requester, err);
            return;
        }
    }
}

static void refuse(struct relay *r, const struct message_row *row, struct msg *m,
                   const struct verdict *v)
{
    char reason[DETAIL_LEN / 2];
    char detail[DETAIL_LEN];
    bool by_ack = record_can_refuse(r->record, row, m);
    verdict_print(v, r->rewrite.interface->device, reason, sizeof(reason));
    snprintf(detail, sizeof(detail), "%s: %s", row->name, reason);
    r->n_refused++;
    if (!by_ack) {
        end(r, &r->requester, ENDING_REFUSED, detail);
        return;
    }
    answers_push(&r->answers, (struct answer){ .request = m->head.request,
                                               .kind = ANSWER_OURS,
                                               .row = row,
                                               .since = monotonic_s() });
    r->hooks->refused(r, detail);
    send_our_answers(r);
}

/* Numbers of the back-end channel that were reused count only once what they belong to has been
 * negotiated (messages.def). */
static const struct message_row *row_of(const struct relay *r, const struct msg *m)
{
    const struct message_row *row = message_row(r->space, m->head.request);
    if (row != NULL && r->space == SPACE_BACK &&
        !record_gate_open(row, r->record->features_acked, r->record->protocol_acked)) {
        return NULL;
    }
    return row;
}

static enum answer_kind kind_of(enum expect expect)
{
    return expect == EXPECT_ANSWER ? ANSWER_TO_RELAY : ANSWER_MAYBE;
}

/* Without its descriptors: a request that is answered with more than an acknowledgement has none that
 * would matter when it is asked again. */
static struct answer due_for(const struct relay *r, const struct message_row *row,
                             const struct msg *m, enum answer_kind kind)
{
    struct answer due = { .request = m->head.request,
                          .flags = m->head.flags,
                          .kind = kind,
                          .row = row,
                          .body_len = m->head.size,
                          .since = monotonic_s() };
    bool copies = r->keeps && kind == ANSWER_TO_RELAY && m->head.size > 0;
    due.body = copies ? malloc(m->head.size) : NULL;
    if (due.body != NULL) {
        memcpy(due.body, m->body, m->head.size);
    }
    return due;
}

static void note_outstanding(struct relay *r, const struct message_row *row, const struct msg *m)
{
    enum expect expect = record_expects(r->record, row, m);
    if (expect == EXPECT_NOTHING) {
        return;
    }
    answers_push(&r->answers, due_for(r, row, m, kind_of(expect)));
    if (expect == EXPECT_ANSWER) {
        watch_lateness(r);
    }
}

/* ---- without a responder ---- */

/* There is nobody to pass it to: the device keeps it, and answers. */
static void take_alone(struct relay *r, const struct message_row *row, struct msg *m)
{
    struct msg answer = MSG_NULL;
    struct answer due = due_for(r, row, m, ANSWER_TO_RELAY);
    int result = r->hooks->alone(r, row, m, &answer);
    if (result == ALONE_WAITS) {
        answers_push(&r->answers, due);
        due.body = NULL;
        watch_lateness(r);
    } else if (result == ALONE_ANSWERED) {
        pass_answer(r, &due, &answer);
    } else if (result < 0) {
        end_by_frame(r, &r->requester, result);
    }
    free(due.body);
    msg_clear(&answer);
}

static int request_again(const struct answer *due, struct msg *ret_msg)
{
    if (due->body == NULL && due->body_len > 0) {
        return -ENOMEM; /* there was none when it came */
    }
    return msg_make(due->request, due->flags & ~WIRE_REPLY, due->body, due->body_len, ret_msg);
}

/* What the lost responder owed, as far as the device can answer it. */
static void answer_owed(struct relay *r)
{
    while (r->alone && side_has_room(&r->requester) && r->answers.n > 0 &&
           r->answers.queue[0].kind == ANSWER_TO_RELAY) {
        struct answer due = r->answers.queue[0];
        struct msg m = MSG_NULL;
        struct msg answer = MSG_NULL;
        int result = request_again(&due, &m);
        result = result < 0 ? result : r->hooks->owed(r, due.row, &m, &answer);
        if (result == ALONE_ANSWERED || result == ALONE_SILENT) {
            answers_remove(&r->answers, &r->answers.queue[0]);
            due.body = NULL;
        }
        if (result == ALONE_ANSWERED) {
            pass_answer(r, &due, &answer);
        }
        msg_clear(&m);
        msg_clear(&answer);
        if (result < 0) {
            end_by_frame(r, &r->requester, result);
        }
        if (result < 0 || result == ALONE_WAITS) {
            break;
        }
        send_our_answers(r);
    }
    if (relay_owes(r)) {
        watch_lateness(r);
    }
}

void relay_lose_responder(struct relay *r)
{
    side_close(&r->responder);
    answers_inherit(&r->answers);
    ev_timer_stop(r->loop, &r->late);
    r->n_owed = 0;
    r->alone = true;
    r->paused = false;
    send_our_answers(r);
    answer_owed(r);
}

/* Asks a new responder what the one before it did not answer. */
static void ask_owed(struct relay *r)
{
    while (r->n_owed > 0 && side_has_room(&r->responder)) {
        struct answer *due = &r->answers.queue[r->answers.n - r->n_owed];
        struct msg m = MSG_NULL;
        r->n_owed--;
        if (due->kind != ANSWER_TO_RELAY) {
            continue;
        }
        int err = request_again(due, &m);
        due->since = monotonic_s();
        if (err == 0) {
            err = send_out(r, &r->responder, &m);
        }
        msg_clear(&m);
        if (err < 0) {
            end_by_frame(r, &r->responder, err);
            return;
        }
    }
}

void relay_found_responder_take(struct relay *r, int fd)
{
    side_open_take(&r->responder, fd);
    ev_timer_stop(r->loop, &r->late);
    r->alone = r->paused = false;
    r->n_owed = r->answers.n;
    ask_owed(r);
    if (relay_owes(r)) {
        watch_lateness(r);
    }
}

int relay_steal_responder(struct relay *r)
{
    ev_timer_stop(r->loop, &r->late);
    answers_clear(&r->answers);
    return side_steal(&r->responder);
}

bool relay_owes(const struct relay *r)
{
    for (size_t i = 0; i < r->answers.n; i++) {
        if (r->answers.queue[i].kind == ANSWER_TO_RELAY) {
            return true;
        }
    }
    return false;
}

/* ---- requests that pass ---- */

/* The request has passed: both ends of the wire are told, the record first. */
static void pass_request(struct relay *r, const struct message_row *row, struct msg *m)
{
    int err = 0;
    note_outstanding(r, row, m);
    if (row != NULL) {
        if (r->space == SPACE_FRONT) {
            record_request(r->record, row, m);
        }
        err = r->hooks->passing != NULL ? r->hooks->passing(r, row, m) : 0;
    }
    if (err == 0) {
        err = send_out(r, &r->responder, m);
        if (r->hooks->passed != NULL) {
            r->hooks->passed(r);
        }
    }
    if (err < 0) {
        end_by_frame(r, &r->responder, err);
    }
}

static void log_message(const struct relay *r, const struct side *s, const char *verb,
                        const struct msg *m)
{
    char text[DETAIL_LEN];
    if (log_wants(LOG_LEVEL_DEBUG)) {
        message_print(r->space, r->rewrite.interface->device, m, text, sizeof(text));
        log_debug(r->device, s->name, "%s%s", verb, text);
    }
}

static void take_request(struct relay *r, struct msg *m)
{
    const struct message_row *row = row_of(r, m);
    struct check_fault fault = check_message(row, false, m);
    log_message(r, &r->requester, "", m);
    r->n_requests++;
    if (msg_is_reply(m)) {
        char name[24];
        end(r, &r->requester, ENDING_NOT_A_REQUEST, message_name(r->space, m->head.request, name));
        return;
    }
    if (fault.result != CHECK_OK) {
        end_by_check(r, &r->requester, m, &fault);
        return;
    }
    struct verdict v = { .kind = VERDICT_PASS };
    if (row != NULL) {
        v = rewrite_request(&r->rewrite, row, m);
    }
    if (v.kind != VERDICT_PASS) {
        refuse(r, row, m, &v);
    } else if (r->alone) {
        take_alone(r, row, m);
    } else {
        pass_request(r, row, m);
    }
}

/* ---- answers ---- */

static void end_by_match(struct relay *r, enum answers_match match, const struct msg *m,
                         const struct answer *due)
{
    char detail[DETAIL_LEN];
    char name[24];
    char due_name[24];
    const char *got = message_name(r->space, m->head.request, name);
    if (match == ANSWERS_UNASKED) {
        end(r, &r->responder, ENDING_UNASKED_REPLY, got);
        return;
    }
    snprintf(detail, sizeof(detail), "%s, due is %s", got,
             message_name(r->space, due->request, due_name));
    end(r, &r->responder, ENDING_WRONG_REPLY, detail);
}

/* An answer of the responder's that is of no use to anyone: the requester still waits for one, if the
 * device lives on without this responder. */
static void reject_answer(struct relay *r, struct answer *to)
{
    if (to->kind == ANSWER_TO_RELAY && !r->alone) {
        answers_put_back_take(&r->answers, to);
    }
}

static void pass_answer(struct relay *r, struct answer *to, struct msg *m)
{
    struct verdict v = { .kind = VERDICT_PASS };
    if (to->row != NULL && r->hooks->answering != NULL) {
        r->hooks->answering(r, to, m);
    }
    if (to->row != NULL) {
        v = rewrite_answer(&r->rewrite, to->row, m);
    }
    if (v.kind != VERDICT_PASS) {
        char reason[DETAIL_LEN / 2];
        char detail[DETAIL_LEN];
        verdict_print(&v, r->rewrite.interface->device, reason, sizeof(reason));
        snprintf(detail, sizeof(detail), "answer to %s: %s", to->row->name, reason);
        reject_answer(r, to);
        end(r, &r->responder, v.kind == VERDICT_INCOMPATIBLE ? ENDING_INCOMPATIBLE : ENDING_REFUSED,
            detail);
        return;
    }
    r->n_answers++;
    if (!r->rewrite.transparent) {
        log_message(r, &r->requester, "is told: ", m);
    }
    int err = send_out(r, &r->requester, m);
    if (err < 0) {
        end_by_frame(r, &r->requester, err);
    }
}

static void take_answer(struct relay *r, struct msg *m)
{
    struct answer to = { .row = NULL };
    log_message(r, &r->responder, "", m);
    if (!msg_is_reply(m)) {
        char name[24];
        end(r, &r->responder, ENDING_NOT_A_REPLY, message_name(r->space, m->head.request, name));
        return;
    }
    enum answers_match match = answers_take(&r->answers, m->head.request, &to);
    if (match != ANSWERS_MATCHED) {
        end_by_match(r, match, m, &to);
        return;
    }
    if (r->answers.n > 0 && !ev_is_active(&r->late)) {
        watch_lateness(r); /* one that stands behind one that was late */
    }
    struct check_fault fault = check_message(to.row, true, m);
    if (fault.result != CHECK_OK) {
        reject_answer(r, &to);
        end_by_check(r, &r->responder, m, &fault);
    } else if (to.kind == ANSWER_TO_US) {
        r->hooks->answered(r, m);
    } else if (to.kind != ANSWER_SWALLOWED && side_is_open(&r->requester)) {
        pass_answer(r, &to, m);
    }
    free(to.body);
}

/* ---- events ---- */

/* One message of one side, if it is there. False when nothing more can be read for now. */
static bool take_one(struct relay *r, struct side *s)
{
    struct msg m = MSG_NULL;
    size_t expect = s == &r->responder ? answers_next_size(&r->answers) : 0;
    int result = side_read(s, expect, &m);
    if (result == FRAME_AGAIN) {
        return false;
    }
    if (result != FRAME_OK) {
        end_by_frame(r, s, result);
        return false;
    }
    trace_put_message(r->trace, relay_wire(r, s), false, &m);
    if (s == &r->requester) {
        take_request(r, &m);
    } else {
        take_answer(r, &m);
    }
    msg_clear(&m);
    send_our_answers(r);
    return true;
}

static void on_readable(struct side *s, void *owner)
{
    struct relay *r = owner;
    take_one(r, s);
    relay_update(r);
}

static void on_writable(struct side *s, void *owner)
{
    struct relay *r = owner;
    int err = side_flush(s);
    if (err < 0) {
        end_by_frame(r, s, err);
    } else {
        send_our_answers(r);
        answer_owed(r);
        ask_owed(r);
        r->hooks->drained(r);
    }
    relay_update(r);
}

/* The requester has left before anything was relayed: what it sent is of no use to anyone. */
static void on_hangup(struct side *s, void *owner)
{
    struct relay *r = owner;
    end(r, s, ENDING_LEFT, "while it waited");
    relay_update(r);
}

void relay_init(struct relay *r, struct ev_loop *loop, enum wire_space space, const char *device,
                const struct interface *interface, const struct relay_hooks *hooks, void *owner)
{
    *r = (struct relay){ .space = space,
                         .requester_wire = space == SPACE_FRONT ? TRACE_FRONT : TRACE_BACK_CHANNEL,
                         .responder_wire = space == SPACE_FRONT ? TRACE_BACK : TRACE_FRONT_CHANNEL,
                         .device = device,
                         .rewrite = { .interface = interface },
                         .hooks = hooks,
                         .owner = owner,
                         .loop = loop };
    side_init(&r->requester, loop, trace_wire_name(r->requester_wire), on_readable, on_writable,
              on_hangup, r);
    side_init(&r->responder, loop, trace_wire_name(r->responder_wire), on_readable, on_writable,
              on_hangup, r);
    ev_init(&r->late, on_late);
    r->late.data = r;
}

void relay_open(struct relay *r, const struct rewrite *w, struct record *record)
{
    r->rewrite = *w;
    r->record = record;
    r->open = true;
}

int relay_ask(struct relay *r, struct msg *m, bool has_answer)
{
    if (!side_has_room(&r->responder) || (has_answer && answers_full(&r->answers))) {
        msg_clear(m);
        return -ENOBUFS;
    }
    if (has_answer) {
        answers_push(&r->answers, (struct answer){ .request = m->head.request,
                                                   .kind = ANSWER_TO_US,
                                                   .row = message_row(r->space, m->head.request),
                                                   .since = monotonic_s() });
        watch_lateness(r);
    }
    return send_out(r, &r->responder, m);
}

static bool may_read_requester(const struct relay *r)
{
    if (trace_is_full(r->trace)) {
        return false;
    }
    if (r->paused) {
        return false;
    }
    if (r->alone) {
        return side_has_room(&r->requester) && r->answers.n == 0;
    }
    return r->open && r->n_owed == 0 && side_has_room(&r->responder) && !answers_full(&r->answers);
}

static bool may_read_responder(const struct relay *r)
{
    if (trace_is_full(r->trace) || r->n_owed > 0) {
        return false; /* what it has not been asked yet it cannot answer */
    }
    return !side_is_open(&r->requester) || side_has_room(&r->requester);
}

void relay_drain(struct relay *r, struct side *from)
{
    bool requester = from == &r->requester;
    while (side_is_open(from) && !r->stopped &&
           (requester ? may_read_requester(r) : may_read_responder(r)) && take_one(r, from)) {
    }
}

void relay_update(struct relay *r)
{
    if (r->stopped) {
        return;
    }
    side_want_read(&r->requester, may_read_requester(r));
    side_want_hangup(&r->requester, !r->open || r->paused || (r->alone && r->answers.n > 0));
    side_want_read(&r->responder, may_read_responder(r));
}

void relay_stop_reading(struct relay *r)
{
    r->stopped = true;
    side_want_read(&r->requester, false);
    side_want_hangup(&r->requester, false);
    side_want_read(&r->responder, false);
}

bool relay_is_sending(const struct relay *r)
{
    return r->requester.writer.busy || r->responder.writer.busy;
}

void relay_close(struct relay *r)
{
    side_close(&r->requester);
    side_close(&r->responder);
    ev_timer_stop(r->loop, &r->late);
    answers_clear(&r->answers);
    r->open = r->stopped = r->alone = r->paused = false;
    r->n_owed = 0;
    r->n_requests = r->n_answers = r->n_refused = 0;
}
