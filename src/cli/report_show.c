#include "cli/report_show.h"

#include <stdio.h>

#include "data/json.h"

static void row(const char *what, double before, double after, double scale, int digits) {
    if (before < 0 || after < 0) return;
    printf("  %-26s %12.*f -> %12.*f\n", what, digits, before * scale, digits, after * scale);
}

static double number(const cJSON *report, const char *side, const char *name) {
    return json_number(cJSON_GetObjectItem(report, side), name, -1);
}

static double accuracy(const cJSON *report, const char *side, const char *size) {
    const cJSON *o = cJSON_GetObjectItem(cJSON_GetObjectItem(report, side), "accuracy");
    if (size) o = cJSON_GetObjectItem(cJSON_GetObjectItem(o, "size"), size);
    return json_number(o, "map", -1);
}

void report_print(const cJSON *record) {
    static const char *const size[] = { "small", "medium", "large" };
    const cJSON *r = cJSON_GetObjectItem(record, "report");
    const char *missing = json_text(r, "accuracy_missing");
    char what[64];
    printf("                                     before         after\n");
    row("ms per image", number(r, "before", "ms"), number(r, "after", "ms"), 1, 2);
    row("weights, KiB", number(r, "before", "weight_bytes"), number(r, "after", "weight_bytes"), 1. / 1024, 0);
    snprintf(what, sizeof what, "mAP@%.2f, %%", json_number(r, "iou_thresh", 0));
    row(what, accuracy(r, "before", NULL), accuracy(r, "after", NULL), 100, 2);
    for (int i = 0; i < 3; ++i) {
        snprintf(what, sizeof what, "  %s objects", size[i]);
        row(what, accuracy(r, "before", size[i]), accuracy(r, "after", size[i]), 100, 2);
    }
    if (missing) printf("  no accuracy: %s\n", missing);
}
