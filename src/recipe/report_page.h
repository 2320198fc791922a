/* The parts of a report's page. */
#ifndef RECIPE_REPORT_PAGE_H
#define RECIPE_REPORT_PAGE_H

#include <stdio.h>

#include "recipe/report.h"

struct page {
    FILE *to;
    const cJSON *record, *report, *side[REPORT_SIDES], *accuracy[REPORT_SIDES]; /* accuracy: NULL where there is none */
    const struct report *pictures;
};
double page_number(const cJSON *o, const char *name); /* NaN: none, or null */
const char *page_text(const cJSON *o, const char *name); /* "": none */
const cJSON *page_item(const cJSON *o, const char *name); /* NULL: none; o may be NULL */

/* The page's frame, for other pages in the same style. */
void page_begin(FILE *, const char *title);
void page_end(FILE *);
void page_legend(FILE *, const char *const *name, int n); /* series s0, s1, ...; NULL: left out */

void page_examples(const struct page *);  /* report_pictures.c */
void page_schedule(const struct page *); /* report_schedule.c; nothing for a run in one go */
void page_class_table(const struct page *); /* report_tables.c */
void page_layer_table(const struct page *);
void page_audit(const struct page *);

#endif
