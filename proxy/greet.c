/* SPDX-License-Identifier: MIT
 *
 * What happens between a back-end's connection and the first message of the front-end that it sees: it is
 * asked for its offer, and the offer is held against the profile, against what a guest needs that is to
 * come here, and against what a guest that is here already has been promised. */
#include <stdio.h>
#include <string.h>

#include "device.h"

#define DETAIL_LEN 2048

static void refuse_back_end(struct device *d, const struct gap *gap)
{
    char detail[DETAIL_LEN];
    gap_print(gap, d->options.interface.device, detail, sizeof(detail));
    device_end(d, &d->wire.responder, ENDING_INCOMPATIBLE, detail);
}

/* A back-end that has come back with less than before may still serve the profile; whoever upgraded
 * it wants to know. */
static void warn_of_drift(struct device *d)
{
    const struct offer *now = &d->greeting.offer;
    uint64_t features = d->last_offer.features & ~now->features;
    uint64_t protocol = d->last_offer.protocol_features & ~now->protocol_features;
    char names[1024];
    char protocol_names[1024];
    if (d->had_offer && (features | protocol) != 0) {
        features_print(d->options.interface.device, features, names, sizeof(names));
        protocol_print(protocol, protocol_names, sizeof(protocol_names));
        char text[DETAIL_LEN + 64];
        snprintf(text, sizeof(text), "features {%s}, protocol features {%s}", names,
                 protocol_names);
        log_warn(d->options.name, "back", "offers less than before: %s", text);
        device_tell(d, EVENT_BACK_OFFERS_LESS, &d->wire.responder, N_ENDINGS, text);
    }
    d->last_offer = *now;
    d->had_offer = true;
}

/* Told before anybody relies on it: the guest that is to come here could not carry on. */
static bool meets_expectation(struct device *d)
{
    char why[DETAIL_LEN];
    if (!d->options.expects || expectation_met(&d->options.expectation, &d->options.interface,
                                               &d->greeting.offer, why, sizeof(why))) {
        return true;
    }
    device_end(d, &d->wire.responder, ENDING_INCOMPATIBLE, why);
    d->finished(d, true);
    return false;
}

/* Names without device= mean the first kind of device that has them, which may not be this one. */
static void warn_of_kind(struct device *d)
{
    enum device_type wanted = d->options.interface.device;
    enum device_type looks = offer_guess_device(&d->greeting.offer);
    if (wanted != DEVICE_UNKNOWN && looks != DEVICE_UNKNOWN && wanted != looks) {
        log_warn(d->options.name, "back",
                 "looks like a %s device, the profile is for %s (add device=%s to it?)",
                 device_name(looks), device_name(wanted), device_name(looks));
    }
}

/* What the front-end has been promised and has acknowledged in the back-end's absence. */
static bool can_take_over(struct device *d)
{
    char why[DETAIL_LEN];
    const struct offer *o = &d->greeting.offer;
    uint64_t vhost = d->options.detached_offer.features & features_of_vhost() & ~o->features;
    struct expectation e = expectation_of_record(&d->record);
    if (vhost == 0 && expectation_met(&e, &d->options.interface, o, why, sizeof(why))) {
        return true;
    }
    if (vhost != 0) {
        features_print(d->options.interface.device, vhost, why, sizeof(why));
    }
    device_end(d, &d->wire.responder, ENDING_INCOMPATIBLE, why);
    return false;
}

static void greeting_over(struct device *d)
{
    struct gap gap = { .config = false };
    warn_of_drift(d);
    warn_of_kind(d);
    if (!compat_check(&d->options.interface, &d->greeting.offer, &gap)) {
        refuse_back_end(d, &gap);
        if (d->options.expects) {
            d->finished(d, true);
        }
        return;
    }
    d->greeted = meets_expectation(d) && (!d->alone || can_take_over(d));
}

/* Sends questions as long as there is room and no answer is due. */
void device_greet(struct device *d)
{
    if (interface_is_transparent(&d->options.interface) && !d->options.expects) {
        d->greeted = true;
        return;
    }
    while (!d->asking && !d->greeted && !d->closing && side_has_room(&d->wire.responder)) {
        struct msg m = MSG_NULL;
        int next = greeting_next(&d->greeting, &d->options.interface, &m);
        if (next == GREETING_OVER) {
            greeting_over(d);
            return;
        }
        d->asking = next == GREETING_ASK;
        int err = next < 0 ? next : relay_ask(&d->wire, &m, d->asking);
        if (err < 0) {
            device_end(d, &d->wire.responder, ending_of_frame(err), strerror(-err));
        }
    }
}
