/* Names in the folder that a test makes for itself. */
#ifndef TESTS_IN_FOLDER_H
#define TESTS_IN_FOLDER_H

#include <stdio.h>

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[8][256];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

#endif
