/* SPDX-License-Identifier: MIT */
#include "show.h"

#include <stdio.h>
#include <stdlib.h>

void show_json(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    puts(text != NULL ? text : "{}");
    free(text);
    json_decref(value);
}
