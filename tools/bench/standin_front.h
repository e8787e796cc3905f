/* SPDX-License-Identifier: MIT
 *
 * A front-end with guest memory and rings, and the driver that fills them. */
#pragma once

/* Connects to the path and sets up own_rings of them. A thread's function: the back-end that it
 * speaks to may be served by its caller. */
void *front_set_up(void *path);

/* Some more buffers in each ring. */
void front_add(void);
