/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "hold.h"
#include "json.h"

/* Longest command, and most that may wait for a client that does not read. */
#define IN_MOST 65536
#define OUT_MOST 262144
#define WHY_LEN 512

struct ctl_client {
    struct ctl *ctl;
    struct ctl_client *next;
    int fd;
    ev_io readable, writable;
    bool negotiated;
    char *in;
    size_t in_len;
    char *out;
    size_t out_len;
    bool waits;      /* for the end of a switch: no further command is read */
    json_t *wait_id; /* of that command; NULL: none */
};

/* ---- commands ---- */

static const char *life_of(const struct device *d)
{
    bool front = side_is_open(&d->wire.requester);
    bool back = device_is_live(d) || successor_is_open(d);
    if (d->closing) {
        return "closing";
    }
    if (d->wire.alone) {
        return d->held ? "held" : "detached";
    }
    if (switch_is_on(d) && front) {
        return "switching";
    }
    if (d->wire.open) {
        return "running";
    }
    return front && back ? "greeting"
           : front       ? "waiting for back-end"
           : back        ? "waiting for front-end"
                         : "idle";
}

static json_t *query_version(struct device *d, const json_t *arguments, char *why)
{
    (void)arguments;
    (void)why;
    (void)d;
    return json_pack("{s:s, s:s}", "name", "vushim", "version", VUSHIM_VERSION);
}

static json_t *waits_json(const struct relay *r)
{
    struct relay *relay = (struct relay *)r;
    const struct answer *due = answers_oldest_due(&relay->answers);
    char name[24];
    if (due == NULL) {
        return json_null();
    }
    return json_pack("{s:s, s:s, s:f}", "side", r->responder.name, "message",
                     message_name(r->space, due->request, name), "seconds",
                     monotonic_s() - due->since);
}

static json_t *endings_json(const struct device *d)
{
    json_t *endings = json_object();
    for (size_t k = 0; k < N_ENDINGS; k++) {
        if (d->endings[k] != 0) {
            json_object_set_new(endings, ending_rows[k].name,
                                json_integer((json_int_t)d->endings[k]));
        }
    }
    return endings;
}

/* Paths need not be text. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    return value != NULL ? value : json_string("?");
}

/* The successor that waits beside a live back-end. */
static json_t *standby_json(const struct device *d)
{
    char back[256];
    bool there = successor_is_open(d);
    bool sought = d->options.has_standby && !switch_is_on(d) && hold_obstacle(d) == NULL;
    size_t place = there ? d->next.place : d->live_place == PLACE_BACK ? PLACE_STANDBY : PLACE_BACK;
    if (!device_is_live(d) || !(there || sought)) {
        return json_null();
    }
    endpoint_print(&d->places[place].endpoint, back, sizeof(back));
    return json_pack("{s:o, s:s}", "back", text_json(back), "state",
                     there ? successor_state_name(d->next.state) : "connecting");
}

/* Where the back-end is from that serves now. */
static json_t *live_json(const struct device *d)
{
    char back[256];
    if (!device_is_live(d)) {
        return json_null();
    }
    endpoint_print(&d->places[d->live_place].endpoint, back, sizeof(back));
    return text_json(back);
}

static json_t *restarts_json(const struct device *d)
{
    json_t *blackouts = json_object();
    for (size_t k = 0; k < SWITCH_N_BUCKETS; k++) {
        char bound[16] = "more";
        if (switch_bucket_us[k] != 0) {
            snprintf(bound, sizeof(bound), "%u", switch_bucket_us[k]);
        }
        json_object_set_new(blackouts, bound, json_integer((json_int_t)d->blackouts[k]));
    }
    return json_pack("{s:I, s:I, s:I, s:o}", "held", (json_int_t)d->n_held, "taken_over",
                     (json_int_t)d->n_taken_over, "switched", (json_int_t)d->n_switched,
                     "blackout_us", blackouts);
}

static json_t *query_status(struct device *d, const json_t *arguments, char *why)
{
    (void)arguments;
    (void)why;
    char front[256];
    char back[256];
    endpoint_print(&d->options.front, front, sizeof(front));
    endpoint_print(&d->options.back, back, sizeof(back));
    json_t *held = d->held ? json_real(monotonic_s() - d->held_since) : json_null();
    return json_pack("{s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o}",
                     "name", d->options.name, "front", text_json(front), "back", text_json(back),
                     "live", live_json(d), "life", life_of(d), "held_seconds", held, "waits_for",
                     waits_json(&d->wire), "channel_waits_for", waits_json(&d->channel), "requests",
                     (json_int_t)d->wire.n_requests, "answers", (json_int_t)d->wire.n_answers,
                     "refused", (json_int_t)d->wire.n_refused, "standby", standby_json(d),
                     "restarts", restarts_json(d), "endings", endings_json(d));
}

static json_t *query_state(struct device *d, const json_t *arguments, char *why)
{
    (void)arguments;
    (void)why;
    char spec[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
    interface_canonical(&d->options.identity, spec, sizeof(spec));
    interface_digest(&d->options.identity, digest);
    json_t *state =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", d->options.name, "spec", spec, "digest",
                  digest, "device", device_name(d->options.interface.device), "life", life_of(d));
    json_add_state(state, d->options.interface.device, &d->record);
    const char *verdict;
    const char *reason;
    const struct restart_row *row = hold_verdict(d, &verdict, &reason);
    enum restart_source source = hold_obstacle(d) != NULL ? SOURCE_NOWHERE : row->source;
    json_object_set_new(state, "restart",
                        json_pack("{s:s, s:s, s:s}", "verdict", verdict, "by",
                                  restart_source_name(source), "why", reason));
    return state;
}

/* A plain `host` device asks its back-end nothing, so there is nothing to tell. */
static json_t *query_offer(struct device *d, const json_t *arguments, char *why)
{
    (void)arguments;
    char back[256];
    enum device_type device = d->options.interface.device;
    bool guessed = device == DEVICE_UNKNOWN;
    bool ready = successor_is_open(d) && d->next.state >= READY;
    const struct offer *offer = device_is_live(d) ? &d->offer
                                : ready           ? &d->next.greeting.offer
                                                  : NULL;
    if (offer == NULL || interface_is_transparent(&d->options.interface)) {
        snprintf(why, WHY_LEN, "no back-end is connected, or the device is not pinned");
        return NULL;
    }
    endpoint_print(&d->options.back, back, sizeof(back));
    device = guessed ? offer_guess_device(offer) : device;
    return json_of_offer(back, device, guessed, offer);
}

static json_t *query_trace(struct device *d, const json_t *arguments, char *why)
{
    (void)arguments;
    if (d->wire.trace == NULL) {
        snprintf(why, WHY_LEN, "no trace is being written");
        return NULL;
    }
    struct trace_status s = trace_status(d->wire.trace);
    return json_pack("{s:o, s:s, s:I, s:I, s:I, s:s*}", "file", text_json(s.path), "writer", s.sink,
                     "records", (json_int_t)s.records, "lost", (json_int_t)s.lost, "bytes",
                     (json_int_t)s.bytes, "error", s.error != 0 ? strerror(-s.error) : NULL);
}

/* {"file": PATH, "max": BYTES, "files": N, "redact": BOOL, "lossless": BOOL}, all but the first with
 * the defaults of vushim run. The file is opened here and now, so that the answer says whether. */
static json_t *start_trace(struct device *d, const json_t *arguments, char *why)
{
    struct trace_options o = { .files = TRACE_FILES_DEFAULT };
    json_int_t max = 0;
    json_int_t files = TRACE_FILES_DEFAULT;
    int redact = 0;
    int lossless = 0;
    json_error_t error;
    if (json_unpack_ex((json_t *)arguments, &error, JSON_STRICT, "{s:s, s?I, s?I, s?b, s?b}",
                       "file", &o.path, "max", &max, "files", &files, "redact", &redact, "lossless",
                       &lossless) < 0) {
        snprintf(why, WHY_LEN, "arguments: %s", arguments != NULL ? error.text : "file is missing");
        return NULL;
    }
    if ((max != 0 && max < TRACE_MAX_LEAST) || files < 1 || files > TRACE_FILES_MOST) {
        snprintf(why, WHY_LEN, "max must be at least %u bytes, files 1 to %u", TRACE_MAX_LEAST,
                 TRACE_FILES_MOST);
        return NULL;
    }
    o.max = (uint64_t)max;
    o.files = (unsigned)files;
    o.redact = redact != 0;
    o.lossless = lossless != 0;
    return device_trace_start(d, &o, why, WHY_LEN) == 0 ? json_object() : NULL;
}

static json_t *stop_trace(struct device *d, const json_t *arguments, char *why)
{
    (void)arguments;
    if (!device_trace_stop(d)) {
        snprintf(why, WHY_LEN, "no trace is being written");
        return NULL;
    }
    return json_object();
}

/* ---- switch: answered when it is over ---- */

static json_t *error_json(const char *class, const char *desc)
{
    return json_pack("{s:{s:s, s:s}}", "error", "class", class, "desc", desc);
}

static json_t *switched_json(const struct device *d)
{
    char back[256];
    json_t *rings = json_array();
    for (size_t ring = 0; ring < d->record.n_rings; ring++) {
        uint32_t us = switch_blackout_us(d, ring);
        if (us != 0) {
            json_array_append_new(rings, json_pack("{s:I, s:I}", "index", (json_int_t)ring,
                                                   "blackout_us", (json_int_t)us));
        }
    }
    endpoint_print(&d->places[d->live_place].endpoint, back, sizeof(back));
    return json_pack("{s:{s:o, s:o}}", "return", "back", text_json(back), "rings", rings);
}

static bool client_say(struct ctl_client *client, json_t *value);
static bool client_parse(struct ctl_client *client);

static void on_switched(void *owner, struct device *d, const char *error)
{
    struct ctl_client *client = owner;
    json_t *reply = error == NULL ? switched_json(d) : error_json("GenericError", error);
    if (client->wait_id != NULL) {
        json_object_set_new(reply, "id", client->wait_id);
    }
    client->wait_id = NULL;
    client->waits = false;
    if (client_say(client, reply)) {
        client_parse(client);
    }
}

/* {"back": "connect:PATH"}. NULL: its end will be told. */
static json_t *begin_switch(struct ctl_client *client, const json_t *arguments, const json_t *id)
{
    const char *text;
    struct endpoint e;
    char why[WHY_LEN];
    json_error_t error;
    if (json_unpack_ex((json_t *)arguments, &error, JSON_STRICT, "{s:s}", "back", &text) < 0) {
        return error_json("GenericError", "arguments: back is missing (connect:PATH)");
    }
    if (!endpoint_parse(text, ENDPOINT_CONNECT, &e, why, sizeof(why))) {
        return error_json("GenericError", why);
    }
    if (e.kind != ENDPOINT_CONNECT) {
        return error_json("GenericError", "back: a switch goes to connect:PATH");
    }
    client->waits = true;
    client->wait_id = json_incref((json_t *)id);
    if (switch_begin(client->ctl->device, &e, on_switched, client, why, sizeof(why)) < 0) {
        client->waits = false;
        json_decref(client->wait_id);
        client->wait_id = NULL;
        return error_json("GenericError", why);
    }
    return NULL;
}

static json_t *quit(struct device *d, const json_t *arguments, char *why)
{
    (void)arguments;
    (void)why;
    ev_break(d->loop, EVBREAK_ALL);
    return json_object();
}

static json_t *query_commands(struct device *d, const json_t *arguments, char *why);

static const struct ctl_command {
    const char *name;
    /* The value to return; NULL with a reason in `why` (WHY_LEN) for an error. */
    json_t *(*run)(struct device *d, const json_t *arguments, char *why);
} commands[] = {
    { "query-version", query_version },
    { "query-commands", query_commands },
    { "query-status", query_status },
    { "query-state", query_state },
    { "query-offer", query_offer },
    { "query-trace", query_trace },
    { "trace-start", start_trace },
    { "trace-stop", stop_trace },
    { "switch", NULL }, /* begin_switch() */
    { "quit", quit },
};

static json_t *query_commands(struct device *d, const json_t *arguments, char *why)
{
    json_t *list = json_array();
    (void)d;
    (void)arguments;
    (void)why;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        json_array_append_new(list, json_pack("{s:s}", "name", commands[i].name));
    }
    return list;
}

/* ---- one client ---- */

static void client_close(struct ctl_client *client)
{
    struct ctl *c = client->ctl;
    struct ctl_client **link = &c->clients;
    switch_disown(c->device, client);
    json_decref(client->wait_id);
    while (*link != client) {
        link = &(*link)->next;
    }
    *link = client->next;
    c->n_clients--;
    ev_io_stop(c->loop, &client->readable);
    ev_io_stop(c->loop, &client->writable);
    close(client->fd);
    free(client->in);
    free(client->out);
    free(client);
}

/* False when the client is gone. */
static bool client_flush(struct ctl_client *client)
{
    while (client->out_len > 0) {
        ssize_t n = send(client->fd, client->out, client->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            ev_io_start(client->ctl->loop, &client->writable);
            return true;
        }
        if (n < 0) {
            client_close(client);
            return false;
        }
        client->out_len -= (size_t)n;
        memmove(client->out, client->out + n, client->out_len);
    }
    ev_io_stop(client->ctl->loop, &client->writable);
    return true;
}

/* Adds a value (given up) to what is to be sent, one line. False when the client is gone. */
static bool client_say(struct ctl_client *client, json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    char *line = NULL;
    json_decref(value);
    int len = text != NULL ? asprintf(&line, "%s\r\n", text) : -1;
    free(text);
    char *grown = len >= 0 && client->out_len + (size_t)len < OUT_MOST
                      ? realloc(client->out, client->out_len + (size_t)len + 1)
                      : NULL;
    if (grown == NULL) {
        free(len >= 0 ? line : NULL);
        client_close(client);
        return false;
    }
    client->out = grown;
    memcpy(grown + client->out_len, line, (size_t)len + 1);
    client->out_len += (size_t)len;
    free(line);
    return client_flush(client);
}

/* NULL when the answer comes later. */
static json_t *execute(struct ctl_client *client, const char *name, const json_t *arguments,
                       const json_t *id)
{
    char why[WHY_LEN] = "";
    if (strcmp(name, "qmp_capabilities") == 0) {
        client->negotiated = true;
        return json_pack("{s:{}}", "return");
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) != 0) {
            continue;
        }
        if (!client->negotiated) {
            return error_json("CommandNotFound", "execute qmp_capabilities first");
        }
        if (commands[i].run == NULL) {
            return begin_switch(client, arguments, id);
        }
        json_t *value = commands[i].run(client->ctl->device, arguments, why);
        return value != NULL ? json_pack("{s:o}", "return", value)
                             : error_json("GenericError", why);
    }
    return error_json("CommandNotFound", "no such command (see query-commands)");
}

static bool answer(struct ctl_client *client, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "execute"));
    json_t *id = json_object_get(request, "id");
    json_t *reply = name != NULL ? execute(client, name, json_object_get(request, "arguments"), id)
                                 : error_json("GenericError", "not a command: no \"execute\"");
    if (reply == NULL) {
        return true;
    }
    if (id != NULL) {
        json_object_set(reply, "id", id);
    }
    return client_say(client, reply);
}

/* Commands are objects, and may come in pieces that end inside a word: that is told from a wrong one by
 * where the parser gave up. A character of UTF-8 has at most four bytes. */
static bool is_cut(const struct ctl_client *client, const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    bool at_end = (size_t)error->position + 3 >= client->in_len;
    return code == json_error_premature_end_of_input ||
           (client->in[0] == '{' && at_end && code != json_error_null_character);
}

/* Whole values at the head of the input. False when the client is gone. */
static bool client_parse(struct ctl_client *client)
{
    for (;;) {
        size_t blank = 0;
        json_error_t error;
        while (blank < client->in_len && strchr(" \t\r\n", client->in[blank]) != NULL) {
            blank++;
        }
        client->in_len -= blank;
        memmove(client->in, client->in + blank, client->in_len);
        if (client->in_len == 0 || client->out_len > 0 || client->waits) {
            return true;
        }
        json_t *request = json_loadb(client->in, client->in_len, JSON_DISABLE_EOF_CHECK, &error);
        if (request == NULL && is_cut(client, &error)) {
            return true;
        }
        if (request == NULL) {
            if (client_say(client, error_json("GenericError", "not JSON"))) {
                client_close(client);
            }
            return false;
        }
        client->in_len -= (size_t)error.position;
        memmove(client->in, client->in + error.position, client->in_len);
        bool alive = answer(client, request);
        json_decref(request);
        if (!alive) {
            return false;
        }
    }
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
    struct ctl_client *client = w->data;
    (void)loop;
    (void)events;
    ssize_t n =
        recv(client->fd, client->in + client->in_len, IN_MOST - client->in_len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        client_close(client);
        return;
    }
    client->in_len += (size_t)n;
    if (client_parse(client) && client->in_len == IN_MOST) {
        client_close(client); /* a command without end, or a client that never reads */
    }
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
    struct ctl_client *client = w->data;
    (void)loop;
    (void)events;
    if (client_flush(client) && client->out_len == 0) {
        client_parse(client);
    }
}

/* ---- events ---- */

static json_t *event_json(const struct device *d, enum event event, const char *side,
                          enum ending ending, const char *detail)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return json_pack("{s:s, s:{s:s, s:s, s:s*, s:s*}, s:{s:I, s:I}}", "event", event_name(event),
                     "data", "device", d->options.name, "side", side, "ending",
                     ending < N_ENDINGS ? ending_rows[ending].name : NULL, "detail",
                     detail[0] != '\0' ? detail : NULL, "timestamp", "seconds",
                     (json_int_t)now.tv_sec, "microseconds", (json_int_t)(now.tv_nsec / 1000));
}

static void on_event(void *owner, const struct device *d, enum event event, const char *side,
                     enum ending ending, const char *detail)
{
    struct ctl *c = owner;
    struct ctl_client *next;
    for (struct ctl_client *client = c->clients; client != NULL; client = next) {
        next = client->next;
        if (client->negotiated) {
            client_say(client, event_json(d, event, side, ending, detail));
        }
    }
}

static json_t *greeting(void)
{
    return json_pack("{s:{s:{s:{s:i, s:i, s:i}, s:s}, s:[]}}", "QMP", "version", "qemu", "major", 0,
                     "minor", 0, "micro", 0, "package", "vushim " VUSHIM_VERSION, "capabilities");
}

static void on_client(struct listener *l, int fd)
{
    struct ctl *c = l->owner;
    struct ctl_client *client = calloc(1, sizeof(*client));
    char *in = malloc(IN_MOST);
    if (client == NULL || in == NULL || c->n_clients == CTL_MAX_CLIENTS) {
        free(client);
        free(in);
        close(fd);
        return;
    }
    client->ctl = c;
    client->fd = fd;
    client->in = in;
    client->next = c->clients;
    c->clients = client;
    c->n_clients++;
    ev_io_init(&client->readable, on_readable, fd, EV_READ);
    ev_io_init(&client->writable, on_writable, fd, EV_WRITE);
    client->readable.data = client->writable.data = client;
    ev_io_start(c->loop, &client->readable);
    client_say(client, greeting());
}

int ctl_start(struct ctl *c, struct ev_loop *loop, struct device *d, const struct endpoint *e,
              char *why, size_t why_len)
{
    *c = (struct ctl){ .loop = loop, .device = d };
    listener_init(&c->listener, loop, on_client, c);
    /* The mode must hold from the first moment on. */
    mode_t before = umask(0177);
    int err = listener_start(&c->listener, e, why, why_len);
    umask(before);
    return err;
}

void ctl_listen(struct ctl *c)
{
    device_listen(c->device, on_event, c);
}

void ctl_stop(struct ctl *c)
{
    struct ctl_client *next;
    for (struct ctl_client *client = c->clients; client != NULL; client = next) {
        next = client->next;
        client_close(client);
    }
    if (c->loop != NULL) {
        listener_stop(&c->listener);
    }
}
