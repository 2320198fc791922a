/* Reports: text and charts that are well-formed, boxes that are lost and gained, pages that say what the JSON says and ask for
 * nothing from outside, and what they say where something is missing. */
#include "cli_rig.h"

#include <ctype.h>
#include <cjson/cJSON.h>
#include <signal.h>

#include "eval/map.h"
#include "recipe/html.h"
#include "recipe/poc.h"
#include "recipe/report_views.h"
#include "recipe/svg.h"

static struct ctx ctx;

/* --- A checker for well-formed pages: tags balance, attributes are quoted, text is escaped, ids are unique ------------------- */

enum { DEPTH = 64, NAME = 32 };

static const char *entity(const char *p) { /* behind a sound one, or NULL */
    static const char *const known[] = { "&amp;", "&lt;", "&gt;", "&quot;", "&#39;" };
    for (int i = 0; i < 5; ++i)
        if (!strncmp(p, known[i], strlen(known[i]))) return p + strlen(known[i]);
    return NULL;
}

static bool flaw(char *why, const char *what, const char *at) {
    snprintf(why, 200, "%s: %.80s", what, at);
    return false;
}

/* From behind the name of a tag to behind its '>'. */
static const char *attributes(const char *p, bool *closed, char *why) {
    *closed = false;
    for (;;) {
        while (isspace((unsigned char)*p)) ++p;
        if (*p == '/' && p[1] == '>') return *closed = true, p + 2;
        if (*p == '>') return p + 1;
        const char *name = p;
        while (isalnum((unsigned char)*p) || *p == '-' || *p == ':') ++p;
        if (p == name || *p != '=' || p[1] != '"') return flaw(why, "an attribute", name), NULL;
        for (p += 2; *p && *p != '"';) {
            if (*p == '<') return flaw(why, "< in an attribute", name), NULL;
            if (*p == '&' && !entity(p)) return flaw(why, "& in an attribute", name), NULL;
            p = *p == '&' ? entity(p) : p + 1;
        }
        if (!*p) return flaw(why, "an attribute does not end", name), NULL;
        ++p;
    }
}

static bool well_formed(const char *page, char why[200]) {
    char open[DEPTH][NAME];
    int depth = 0;
    const char *p = page;
    if (strncmp(p, "<!DOCTYPE html>", 15)) return flaw(why, "no doctype", p);
    for (p += 15; *p;) {
        if (*p == '&') {
            if (!entity(p)) return flaw(why, "an entity", p);
            p = entity(p);
        } else if (*p != '<') {
            ++p;
        } else {
            bool end = p[1] == '/', closed = false;
            const char *name = p + 1 + end, *at = name;
            while (isalnum((unsigned char)*at)) ++at;
            int n = (int)(at - name);
            if (n < 1 || n >= NAME) return flaw(why, "a tag", p);
            if (end && *at != '>') return flaw(why, "an end tag", p);
            if (end) {
                if (depth < 1 || (int)strlen(open[depth - 1]) != n || strncmp(open[depth - 1], name, (size_t)n)) return flaw(why, "ends what is not open", p);
                --depth;
                p = at + 1;
            } else {
                p = attributes(at, &closed, why);
                if (!p) return false;
                if (!closed && depth == DEPTH) return flaw(why, "too deep", name);
                if (!closed) snprintf(open[depth++], NAME, "%.*s", n, name);
            }
        }
    }
    return depth == 0 || flaw(why, "never closed", open[depth - 1]);
}

static bool unique_ids(const char *page, char why[200]) {
    for (const char *p = page; (p = strstr(p, " id=\"")); p += 5) {
        char id[100];
        snprintf(id, sizeof id, "%.*s\"", (int)strcspn(p + 5, "\"") + 5, p);
        if (count(page, id) != 1) return flaw(why, "an id twice", id);
    }
    return true;
}

/* Links and pictures are of the page itself or hold their data; nothing is loaded, nothing runs. */
static bool self_contained(const char *page, char why[200]) {
    static const char *const never[] = { "<script", "<link", "<iframe", "@import", "url(", " src=\"", "http:", "https:", " onload", "javascript:" };
    for (size_t i = 0; i < sizeof never / sizeof *never; ++i)
        if (has(page, never[i])) return flaw(why, "not self-contained", strstr(page, never[i]));
    for (const char *p = page; (p = strstr(p, "href=\"")); p += 6)
        if (p[6] != '#' && strncmp(p + 6, "data:image/jpeg;base64,", 23)) return flaw(why, "a link", p);
    return true;
}

static void check_page(const char *what, const char *page) {
    char why[200] = "";
    CHECK(well_formed(page, why), "%s: %s", what, why);
    CHECK(unique_ids(page, why), "%s: %s", what, why);
    CHECK(self_contained(page, why), "%s: %s", what, why);
    CHECK(has(page, "prefers-color-scheme:dark") && has(page, "@media print") && has(page, "max-width:760px"), "%s: dark, paper, phones", what);
}

static void test_checker(void) {
    char why[200];
    CHECK(well_formed("<!DOCTYPE html><a b=\"c\">&lt;<d/></a>", why), "%s", why);
    static const char *const bad[] = { "<!DOCTYPE html><a>", "<!DOCTYPE html><a></b>", "<!DOCTYPE html><a b=c></a>", "<!DOCTYPE html>&nope;", "<!DOCTYPE html></a>",
                                       "<!DOCTYPE html>1 < 2", "<!DOCTYPE html><a b=\"<\"/>", "<a/>", "<!DOCTYPE html><a b=\"&\"/>" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) CHECK(!well_formed(bad[i], why), "passed: %s", bad[i]);
    CHECK(!unique_ids("<a id=\"x\"/><b id=\"x\"/>", why), "ids");
    CHECK(!self_contained("<a href=\"x.html\"/>", why) && !self_contained("<img src=\"x\"/>", why), "links");
}

/* --- Text and charts ----------------------------------------------------------------------------------------------------- */

static char *written(void (*write)(FILE *, const char *), const char *s) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    write(f, s);
    fclose(f);
    return text;
}

static void text_is(const char *s, const char *want) {
    char *text = written(html_text, s);
    CHECK(!strcmp(text, want), "%s, not %s", text, want);
    free(text);
}

static void three_of(FILE *f, const char *s) { html_short(f, s, 3); }
static void uri_of(FILE *f, const char *s) { html_data_uri(f, "x/y", s, strlen(s)); }

static void test_text(void) {
    text_is("a<b>&\"c\"'", "a&lt;b&gt;&amp;&quot;c&quot;&#39;");
    text_is("Stra\xc3\x9f" "e \xf0\x9f\x9a\x97", "Stra\xc3\x9f" "e \xf0\x9f\x9a\x97");
    text_is("a\x01" "b\xff" "c\xc3", "a\xef\xbf\xbd" "b\xef\xbf\xbd" "c\xef\xbf\xbd");
    text_is("\xc0\xaf\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* overlong, surrogate */
    char *text = written(three_of, "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f");
    CHECK(!strcmp(text, "\xc3\xa4\xc3\xb6\xc3\xbc\xe2\x80\xa6"), "%s", text);
    free(text);
    text = written(three_of, "abc");
    CHECK(!strcmp(text, "abc"), "nothing is cut off: %s", text);
    free(text);
    static const char *const pair[][2] = { { "Man", "data:x/y;base64,TWFu" }, { "Ma", "data:x/y;base64,TWE=" }, { "M", "data:x/y;base64,TQ==" }, { "", "data:x/y;base64," },
                                           { "\xff\xfe\xfd", "data:x/y;base64,//79" } };
    for (int i = 0; i < 5; ++i) {
        text = written(uri_of, pair[i][0]);
        CHECK(!strcmp(text, pair[i][1]), "%s, not %s", text, pair[i][1]);
        free(text);
    }
}

static void test_charts(void) {
    struct svg_axis a = { "x", 0, 0, 1, 0 };
    svg_axis_fit(&a, 3, 97);
    CHECK(a.min == 0 && a.max == 100, "%g to %g", a.min, a.max);
    a.scale = 1. / 1024;
    svg_axis_fit(&a, 100, 10100);
    CHECK(a.min == 0 && a.max == 10 * 1024, "round as written: %g to %g", a.min / 1024, a.max / 1024);
    svg_axis_fit(&a, 5, 5);
    CHECK(a.max > a.min, "one value alone");
    const char *label[] = { "a<b", "c" };
    double v[] = { .25, .5 }, unknown[] = { (double)NAN, .5 };
    struct svg_series s[] = { { "s", "s0", v }, { "t", "s1", unknown } };
    struct svg_bars bars = { "t\"", 2, label, label, 2, s, 1, 100, 1 };
    char *text = NULL, why[200], doc[20000];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    svg_rows(f, &bars);
    svg_columns(f, &bars, "x&", "y<");
    struct svg_plot plot = { "p", 300, 200, { "x", 0, 1, 100, 0 }, { "y", 0, 1, 100, 0 }, f };
    svg_plot_begin(&plot);
    svg_plot_line(&plot, "s1", v, unknown, 2);
    svg_plot_mark(&plot, "s0", .5, .5, 4, "<", 1, "&");
    svg_plot_end(&plot);
    fclose(f);
    snprintf(doc, sizeof doc, "<!DOCTYPE html><p>%s</p>", text);
    CHECK(well_formed(doc, why), "%s", why);
    CHECK(!has(text, "nan") && has(text, "no objects") && !has(text, ">-0<"), "%s", text);
    CHECK(has(text, "width=\"70.50\"") && has(text, "width=\"141.00\""), "bars are as long as their values: %s", text); /* of 282 */
    free(text);
}

/* --- What is lost and gained ---------------------------------------------------------------------------------------------- */

static struct detection_list detections(const struct box *box, const int *class_id, const float *prob, int n) {
    struct detection_list list = { .classes = 2 };
    for (int i = 0; i < n; ++i) {
        struct detection *d;
        if (detections_add(&ctx, &list, &d) != ST_OK) break;
        d->box = box[i];
        d->prob[class_id[i]] = prob[i];
    }
    return list;
}

static void test_views(void) {
    static const struct box a = { .2f, .2f, .2f, .2f }, b = { .5f, .5f, .2f, .2f }, c = { .8f, .8f, .2f, .2f }, d = { .8f, .2f, .2f, .2f };
    struct truth item[] = { { a, 0, -1 }, { b, 0, -1 }, { c, 1, -1 }, { d, 1, -1 } };
    struct truth_list truth = { 4, 4, item }, none = { 0 };
    struct views v;
    ctx_clear(&ctx);
    CHECK(views_open(&ctx, 3, .25f, NULL, &v) == ST_OK, "%s", ctx.error);
    /* before: a twice, b, and c as the wrong class; after: a, c, and b below the threshold */
    struct detection_list before = detections((struct box[]){ a, a, b, c }, (int[]){ 0, 0, 0, 0 }, (float[]){ .5f, .9f, .8f, .7f }, 4);
    struct detection_list after = detections((struct box[]){ a, c, b }, (int[]){ 0, 1, 0 }, (float[]){ .6f, .6f, .2f }, 3);
    struct detection_list nothing = { .classes = 2 };
    for (int side = 0; side < 2; ++side) {
        v.side = side;
        views_add(&ctx, &v, 0, &nothing, &none);
        views_add(&ctx, &v, 1, side ? &after : &before, &truth);
        views_add(&ctx, &v, 2, side ? &before : &after, &none);
    }
    CHECK(views_match(&ctx, &v, .5, true) == ST_OK, "%s", ctx.error);
    const struct view *at = &v.image[1];
    const struct view_box *t = at->truth.item;
    CHECK(at->truth.n == 4 && t[0].state == VIEW_BOTH && t[1].state == VIEW_LOST && t[2].state == VIEW_GAINED && t[3].state == VIEW_MISSED, "%d %d %d %d", t[0].state,
          t[1].state, t[2].state, t[3].state);
    CHECK(at->lost == 1 && at->gained == 1, "%d lost, %d gained", at->lost, at->gained);
    const struct view_list *s = &at->seen[REPORT_BEFORE];
    CHECK(s->n == 4 && s->item[0].prob == .9f && s->item[0].state == VIEW_BOTH, "the surest one finds it");
    CHECK(s->item[1].state == VIEW_LOST && s->item[2].state == VIEW_WRONG && s->item[3].state == VIEW_WRONG, "lost, of the wrong class, twice");
    s = &at->seen[REPORT_AFTER];
    CHECK(s->n == 2 && s->item[0].state == VIEW_BOTH && s->item[1].state == VIEW_GAINED, "after; what is below the threshold is not there");
    CHECK(v.image[2].lost == 0 && v.image[2].seen[0].item[0].state == VIEW_WRONG, "nothing is labelled there, so all is wrong");

    int chosen[3];
    bool changed[3];
    CHECK(views_choose(&v, 2, chosen, changed) == 2 && chosen[0] == 1 && changed[0] && chosen[1] == 2 && !changed[1], "one for its changes, one evenly: %d %d", chosen[0],
          chosen[1]);
    CHECK(views_choose(&v, 9, chosen, changed) == 3 && chosen[0] == 0 && chosen[2] == 2 && changed[1], "no more than there are, in order");
    CHECK(views_choose(&v, 0, chosen, changed) == 0, "none");

    v.image[2].lost = v.image[2].gained = 0;
    CHECK(views_match(&ctx, &v, .5, false) == ST_OK && v.image[2].gained == 3 && v.image[2].lost == 1, "held to each other: %d lost, %d gained", v.image[2].lost,
          v.image[2].gained);
    views_close(&v);
    detections_free(&before), detections_free(&after);
}

static void test_curve(void) {
    struct map_options opt = { .thresh = .25f, .iou_thresh = .5f, .curves = true };
    struct map_result r;
    struct map_tally *tally;
    static const struct box a = { .2f, .2f, .2f, .2f }, b = { .6f, .6f, .2f, .2f }, off = { .9f, .1f, .1f, .1f };
    struct truth item[] = { { a, 0, -1 }, { b, 0, -1 } };
    struct truth_list truth = { 2, 2, item }, none = { 0 };
    struct detection_list list = detections((struct box[]){ a, off, b }, (int[]){ 0, 0, 0 }, (float[]){ .9f, .8f, .7f }, 3);
    ctx_clear(&ctx);
    enum status st = map_begin(&ctx, 2, &opt, &r, &tally);
    if (st == ST_OK) st = map_add(&ctx, tally, &list, &truth, &none, 416, 416);
    CHECK(map_end(&ctx, tally, st) == ST_OK, "%s", ctx.error);
    CHECK(r.curve && r.curve[0][0] == 1 && r.curve[0][50] == 1, "the first is right: precision 1 up to half of the objects");
    CHECK_NEAR((double)r.curve[0][51], 2. / 3, 1e-6, "then two of three");
    CHECK_NEAR((double)r.curve[0][100], 2. / 3, 1e-6, "up to the last object");
    CHECK(r.curve[1][0] == 0, "a class without objects");
    map_free(&r);
    detections_free(&list);
}

/* --- Which network no other beats ------------------------------------------------------------------------------------------ */

static void test_front(void) {
    static const struct { double map, time, bytes; bool front; } at[] = {
        { .40, 1.0, 100, false }, { .42, 1.0, 100, true }, { .41, 0.8, 90, true }, { .39, 0.9, 80, true }, { .39, 0.9, 95, false }, { .10, 0.5, 50, true } };
    cJSON *points = cJSON_CreateArray();
    for (size_t i = 0; i < sizeof at / sizeof *at; ++i) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "map", at[i].map);
        cJSON_AddNumberToObject(o, "time_share", at[i].time);
        cJSON_AddNumberToObject(o, "weight_bytes", at[i].bytes);
        cJSON_AddItemToArray(points, o);
    }
    poc_mark_front(points);
    poc_mark_front(points); /* twice is once */
    for (size_t i = 0; i < sizeof at / sizeof *at; ++i)
        CHECK(cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetArrayItem(points, (int)i), "front")) == at[i].front, "point %zu", i);
    CHECK(poc_fastest_within(points, 1) == cJSON_GetArrayItem(points, 2), "fastest within a point");
    CHECK(poc_fastest_within(points, 31) == cJSON_GetArrayItem(points, 5), "fastest within 31 points");
    CHECK(poc_fastest_within(points, -5) == NULL, "none is that good");
    cJSON_Delete(points);

    struct poc_options o = { 0 };
    ctx_clear(&ctx);
    CHECK(poc_budgets(&ctx, "0.5,0.9,.7", &o) == ST_OK && o.n_budget == 3 && o.budget[0] == .9 && o.budget[2] == .5, "falling: %s", ctx.error);
    static const char *const bad[] = { "", "0", "1", "0.5;0.4", "x", "0.5,0.5", "-1" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        ctx_clear(&ctx);
        CHECK(poc_budgets(&ctx, bad[i], &o) == ST_USAGE && has(ctx.error, "-budgets"), "'%s': %s", bad[i], ctx.error);
    }
}

/* --- Pages of the program -------------------------------------------------------------------------------------------------- */

static const char cfg_text_[] =
    "[net]\nbatch=2\nsubdivisions=1\nwidth=64\nheight=64\nchannels=3\nmax_batches=20\nlearning_rate=0.001\nburn_in=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=14\nsize=1\nstride=1\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=16,16, 8,24\nclasses=2\nnum=2\n";

/* A network that sees things everywhere, and names that want escaping. */
static void make_random(const char *cfg, const char *weights) {
    struct net *net = NULL;
    ctx_clear(&ctx);
    CHECK(net_open(&ctx, cfg, false, &net) == ST_OK, "%s", ctx.error);
    net_init_weights(net, 7);
    CHECK(net_save(&ctx, net, weights, -1) == ST_OK, "%s", ctx.error);
    net_close(net);
}

static void make_set(void) {
    make_files();
    spit("r.cfg", cfg_text_);
    make_random("r.cfg", "r.weights");
    spit("r.names", "cat <b>&\"\ndog's\n");
    spit("r.data", "classes=2\ntrain=list.txt\nvalid=list.txt\nnames=r.names\nbackup=saved\n");
}

static cJSON *json_file(const char *path) {
    char *text = slurp(path);
    cJSON *root = cJSON_Parse(text);
    CHECK(root, "%s is no JSON", path);
    free(text);
    return root;
}

static const cJSON *at(const cJSON *o, const char *path) {
    char name[64];
    for (const char *p = path; o && *p; p += *p == '.') {
        size_t n = strcspn(p, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        o = cJSON_GetObjectItem(o, name);
        p += n;
    }
    return o;
}
static double number(const cJSON *o, const char *path) {
    const cJSON *v = at(o, path);
    return cJSON_IsNumber(v) ? v->valuedouble : (double)NAN;
}

/* The page's figure with this id. */
static double shown(const char *page, const char *id) {
    char key[64];
    snprintf(key, sizeof key, " id=\"%s\" value=\"", id);
    const char *p = strstr(page, key);
    return p ? atof(p + strlen(key)) : (double)NAN;
}

static const char *const section[] = { "speed", "memory", "accuracy", "sizes", "curves", "pictures", "layers", "tables", "audit" };

static void check_sections(const char *what, const char *page) {
    for (size_t i = 0; i < sizeof section / sizeof *section; ++i) {
        char id[40];
        snprintf(id, sizeof id, " id=\"%s\"", section[i]);
        CHECK(count(page, id) == 1, "%s: section %s", what, section[i]);
    }
}

static void check_figures(const char *page, const cJSON *record) {
    static const char *const same[][2] = { { "ms_before", "report.before.ms" }, { "ms_after", "report.after.ms" }, { "peak_before", "report.before.peak_bytes" },
                                           { "peak_after", "report.after.peak_bytes" }, { "map_before", "report.before.accuracy.map" },
                                           { "map_after", "report.after.accuracy.map" } };
    for (size_t i = 0; i < sizeof same / sizeof *same; ++i)
        CHECK(shown(page, same[i][0]) == number(record, same[i][1]), "%s: %.17g on the page, %.17g in the JSON", same[i][0], shown(page, same[i][0]), number(record, same[i][1]));
}

static void test_report(void) {
    make_set();
    unlink("r.html"), unlink("r.json");
    run("detector report r.data t.cfg t.weights r.cfg r.weights -out r.html -title '<script>alert(1)</script>' -thresh 0.1");
    CHECK(run_.status == 0, "%s", run_.err);
    char *page = slurp("r.html");
    cJSON *record = json_file("r.json");
    check_page("report", page);
    check_sections("report", page);
    check_figures(page, record);
    CHECK(has(page, "&lt;script&gt;alert(1)") && has(page, "cat &lt;b&gt;&amp;&quot;") && has(page, "dog&#39;s"), "names are escaped");
    CHECK(number(record, "report.before.accuracy.map") >= .5, "the first network knows: %g", number(record, "report.before.accuracy.map"));
    CHECK(number(record, "report.before.accuracy.truths") == 3, "truths");
    CHECK(cJSON_GetArraySize(at(record, "report.examples")) == 2 && count(page, "data:image/jpeg;base64,") >= 2, "both pictures, once each and their heat maps");
    CHECK(cJSON_IsFalse(at(record, "report.layers_paired")) && has(page, "built of different layers"), "layers of different networks are not paired");
    CHECK(cJSON_GetArraySize(at(record, "report.before.accuracy.curve")) == 101, "the curve is in the JSON");
    CHECK(has(run_.out, "mAP@0.50, %") && has(run_.out, "written: r.html, r.json"), "%s", run_.out);
    cJSON_Delete(record);
    free(page);

    run("detector map r.data t.cfg t.weights -json m.json");
    cJSON *map = json_file("m.json");
    record = json_file("r.json");
    CHECK_NEAR(number(map, "map"), number(record, "report.before.accuracy.map"), 1e-12, "as detector map");
    CHECK_NEAR(number(map, "size.small.map"), number(record, "report.before.accuracy.size.small.map"), 1e-12, "by size, too");
    cJSON_Delete(map), cJSON_Delete(record);

    run("detector report r.data t.cfg t.weights t.cfg t.weights -out r.html");
    check_refused("there already", "r.html", "-force");
    run("detector report r.data t.cfg t.weights t.cfg t.weights -out r.html -force -report_images 0");
    page = slurp("r.html");
    CHECK(run_.status == 0 && !has(page, "data:image") && has(page, "No pictures"), "no pictures: %s", run_.err);
    check_page("the same twice", page);
    free(page);
}

static void test_missing(void) {
    make_set();
    spit("nov.data", "classes=2\ntrain=list.txt\nnames=t.names\n");
    run("detector report nov.data t.cfg t.weights r.cfg r.weights -out n.html -force -thresh 0.1");
    cJSON *record = json_file("n.json");
    char *page = slurp("n.html");
    CHECK(run_.status == 0 && has(run_.err, "no accuracy in the report: nov.data has no 'valid=' list"), "%s", run_.err);
    CHECK(has(page, "nov.data has no &#39;valid=&#39; list") && !has(page, "id=\"map_before\"") && !at(record, "report.before.accuracy"), "no figure where there is none");
    CHECK(cJSON_GetArraySize(at(record, "report.examples")) == 2 && has(page, "held to each other"), "pictures of the other list");
    check_page("no valid list", page);
    check_sections("no valid list", page);
    cJSON_Delete(record), free(page);

    unlink("a.txt"), unlink("b.txt");
    run("detector report t.data t.cfg t.weights r.cfg r.weights -out n.html -force");
    page = slurp("n.html");
    CHECK(run_.status == 0 && has(page, "the 2 images of list.txt have no labelled objects") && !has(page, "id=\"map_before\""), "no labels: %s", run_.err);
    free(page);

    make_set();
    spit("list.txt", "a.png\ngone.png\nb.png\n");
    run("detector report t.data t.cfg t.weights r.cfg r.weights -out n.html -force");
    record = json_file("n.json");
    page = slurp("n.html");
    CHECK(run_.status == 0 && has(run_.err, "gone.png") && number(record, "report.data.images_unreadable") == 1 && number(record, "report.data.images_seen") == 2,
          "a missing picture is named and counted: %s", run_.err);
    CHECK(has(page, "1 of 3 listed images could not be read"), "and the page says so");
    CHECK(number(record, "report.before.accuracy.map") >= .5, "the others count");
    cJSON_Delete(record), free(page);
    spit("list.txt", "gone.png\n");
    run("detector report t.data t.cfg t.weights r.cfg r.weights -out n.html -force");
    page = slurp("n.html");
    CHECK(run_.status == 0 && has(page, "none of the 1 images of list.txt can be read"), "none is left: %s", run_.err);
    check_page("none is left", page);
    free(page);
    spit("list.txt", "a.png\nb.png\n");
}

static void test_refused(void) {
    make_set();
    run("detector report r.data t.cfg t.weights r.cfg");
    check_refused("too few words", "detector report", "DATA CFG WEIGHTS CFG2 WEIGHTS2");
    run("detector report r.data t.cfg t.weights r.cfg r.weights -out page.htm");
    check_refused("name", "-out page.htm", ".html");
    run("detector report r.data t.cfg t.weights r.cfg r.weights -out nowhere/page.html");
    check_refused("folder", "nowhere/page.html", "cannot be written");
    run("detector report r.data t.cfg t.weights r.cfg t.weights -out x.html");
    check_refused("weights", "t.weights", "");
    char text[2000], *from;
    snprintf(text, sizeof text, "%s", cfg_text_);
    memcpy(strstr(text, "filters=14"), "filters=16", 10);
    from = strstr(text, "classes=2");
    from[8] = '3';
    spit("c3.cfg", text);
    make_random("c3.cfg", "c3.weights");
    run("detector report r.data t.cfg t.weights c3.cfg c3.weights -out x.html");
    check_refused("classes", "c3.cfg: classes=3", "classes=2 in t.cfg");
    CHECK(!io_exists("x.html") && !io_exists("x.json"), "nothing was written");
}

static void test_prune(void) {
    make_set();
    run("detector prune r.data r.cfg r.weights -out cut -criterion l1 -ratio 0.4 -images 2 -report_images 1");
    CHECK(run_.status == 0 && has(run_.out, "cut.html"), "%s", run_.err);
    char *page = slurp("cut.html");
    cJSON *record = json_file("cut.prune.json");
    check_page("prune", page);
    check_sections("prune", page);
    check_figures(page, record);
    CHECK(cJSON_IsTrue(at(record, "report.layers_paired")) && cJSON_GetArraySize(at(record, "report.examples")) == 1, "layer by layer");
    CHECK(has(page, "masked against pruned") && has(page, cJSON_GetStringValue(at(record, "inputs.weights.sha256"))) &&
              has(page, cJSON_GetStringValue(at(record, "report.after.weights.sha256"))), "the audit record");
    CHECK(number(record, "report.after.params") == number(record, "after.params"), "the same count");
    cJSON_Delete(record), free(page);

    run("detector prune r.data r.cfg r.weights -out again -from_plan cut.prune.json -no_report");
    CHECK(run_.status == 0 && !io_exists("again.html"), "a plan that holds a report still cuts, and -no_report writes none: %s", run_.err);
    run("detector prune r.data r.cfg r.weights -out again2 -criterion l1 -dry_run");
    CHECK(run_.status == 0 && !io_exists("again2.html"), "no page of a dry run");
    unlink("cut.cfg"), unlink("cut.weights"), unlink("cut.prune.json");
    run("detector prune r.data r.cfg r.weights -out cut -criterion l1 -ratio 0.4");
    check_refused("the page alone is enough", "cut.html", "-force");
}

static void test_course(void) {
    make_set();
    run("detector prune r.data r.cfg r.weights -out steps -criterion l1 -target_flops 0.6 -steps 2 -finetune 2 -baseline -images 2 -report_images 1");
    CHECK(run_.status == 0, "%s", run_.err);
    char *page = slurp("steps.html");
    check_page("in steps", page);
    CHECK(count(page, " id=\"schedule\"") == 1 && has(page, "2 of 2 planned steps") && has(page, "unpruned, same training"), "the course");
    free(page);
}

static void test_poc(void) {
    make_set();
    run("detector poc r.data r.cfg r.weights -budgets 0.8,nix");
    check_refused("budgets", "-budgets", "0.9,0.7,0.5");
    spit("nov.data", "classes=2\ntrain=list.txt\nnames=t.names\n");
    run("detector poc nov.data r.cfg r.weights -out p");
    check_refused("no valid list", "nov.data", "valid=");
    run("detector poc r.data r.cfg r.weights -out nowhere/p");
    check_refused("folder", "nowhere/p", "cannot be written");

    const char *const words = "detector poc r.data r.cfg r.weights -budgets 0.4,0.9 -finetune 3 -images 2 -criterion l1 -report_images 1 -out p";
    run(words);
    CHECK(run_.status == 0 && has(run_.out, "uncut, trained on"), "%s", run_.err);
    char *page = slurp("p.html"), whole[65] = "", again_hash[65] = "";
    cJSON *record = json_file("p.json"), *again;
    const cJSON *points = at(record, "poc.points"), *p;
    int i = 0;
    check_page("poc", page);
    CHECK(points && points->child, "points");
    if (!points || !points->child) {
        cJSON_Delete(record), free(page);
        return;
    }
    CHECK(cJSON_GetArraySize(points) == 4 && number(points->child, "time_share") == 1, "uncut, trained, and two cuts");
    cJSON_ArrayForEach(p, points) {
        char id[32];
        snprintf(id, sizeof id, "map_%d", i++);
        CHECK(shown(page, id) == number(p, "map"), "%s: %g, %g", id, shown(page, id), number(p, "map"));
    }
    CHECK(number(cJSON_GetArrayItem(points, 2), "flops") > number(cJSON_GetArrayItem(points, 3), "flops"), "the larger budget first");
    static const char *const of[] = { "cfg", "weights", "prune.json", "html" };
    for (int k = 0; k < 4; ++k) {
        char name[40];
        snprintf(name, sizeof name, "p_90.%s", of[k]);
        CHECK(io_exists(name), "%s", name);
    }

    char kept[65] = "", kept_hash[65] = "";
    ctx_clear(&ctx);
    CHECK(io_sha256(&ctx, "p_40.weights", whole) == ST_OK && io_sha256(&ctx, "p_90.prune.json", kept) == ST_OK, "%s", ctx.error);
    unlink("p.html"), unlink("p.json"), unlink("p_40.html");
    run(words); /* all that is there is kept */
    again = json_file("p.json");
    CHECK(run_.status == 0 && io_exists("p_40.html") && cJSON_Compare(at(at(again, "poc.points")->child, "map"), at(points->child, "map"), true), "taken up: %s", run_.err);
    ctx_clear(&ctx);
    CHECK(io_sha256(&ctx, "p_40.weights", again_hash) == ST_OK && !strcmp(whole, again_hash), "the same weights");
    CHECK(io_sha256(&ctx, "p_90.prune.json", kept_hash) == ST_OK && !strcmp(kept, kept_hash), "what was there in full is not touched");
    cJSON_Delete(again);

    unlink("p_40.prune.json"); /* that budget anew; what lies there is not overwritten without a word */
    run(words);
    CHECK(run_.status == 1 && has(run_.err, "p_40.cfg") && has(run_.err, "-force"), "%s", run_.err);
    cJSON_Delete(record), free(page);
}

/* Killed in the middle, then the same command: the same networks as without. */
static void test_poc_killed(void) {
    make_set();
    const char *const words[] = { program, "detector", "poc", "r.data", "r.cfg", "r.weights", "-budgets", "0.7", "-finetune", "30", "-images", "2", "-no_baseline",
                                  "-report_images", "0", "-criterion", "l1", "-out", "k", NULL };
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("out", "w", stdout) || !freopen("err", "w", stderr)) _exit(99);
        execv(program, (char *const *)words);
        _exit(99);
    }
    for (int i = 0; i < 1200 && !io_exists("k_70.steps/step1_cut.weights"); ++i) usleep(5000);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    CHECK(io_exists("k_70.steps/step1_cut.weights"), "it was under way");
    const char *const rest = "-budgets 0.7 -finetune 30 -images 2 -no_baseline -report_images 0 -criterion l1";
    char line[300];
    for (int i = 0; i < 2; ++i) {
        snprintf(line, sizeof line, "detector poc r.data r.cfg r.weights %s -out %s", rest, i ? "whole" : "k");
        run(line);
        CHECK(run_.status == 0, "%s", run_.err);
    }
    char a[65], b[65];
    ctx_clear(&ctx);
    CHECK(io_sha256(&ctx, "k_70.weights", a) == ST_OK && io_sha256(&ctx, "whole_70.weights", b) == ST_OK && !strcmp(a, b), "the same bytes: %s", ctx.error);
}

/* A real detector against itself, on real pictures. */
static void test_real(const char *root) {
    char text[5000], line[5000]; /* four paths as long as data can be */
    snprintf(text, sizeof text, "%s/coco/val2017/000000000139.jpg\n%s/coco/val2017/000000000285.jpg\n", root, root);
    spit("real.txt", text);
    snprintf(text, sizeof text, "classes=80\nvalid=real.txt\nnames=%s/weights/yolo-fastest-1.1_coco/coco.names\n", root);
    spit("real.data", text);
    snprintf(line, sizeof line, "detector report real.data %s/weights/yolo-fastest-1.1_coco/yolo-fastest-1.1.cfg %s/weights/yolo-fastest-1.1_coco/yolo-fastest-1.1.weights "
             "%s/weights/yolo-fastest-1.1_coco/yolo-fastest-1.1-xl.cfg %s/weights/yolo-fastest-1.1_coco/yolo-fastest-1.1-xl.weights -out real.html", root, root, root, root);
    run(line);
    CHECK(run_.status == 0, "%s", run_.err);
    char *page = slurp("real.html");
    cJSON *record = json_file("real.json");
    check_page("real", page);
    check_sections("real", page);
    check_figures(page, record);
    CHECK(number(record, "report.after.params") > number(record, "report.before.params"), "the other is larger");
    CHECK(strlen(page) > 100000 && strlen(page) < 3000000, "%zu bytes", strlen(page));
    double inside = number(cJSON_GetArrayItem(at(record, "report.examples"), 0), "heat_before.inside");
    CHECK(inside > 0 && inside <= 1, "share of the heat map in the boxes: %g", inside);
    cJSON_Delete(record), free(page);
}

int main(void) {
    test_checker();
    test_text();
    test_charts();
    test_views();
    test_curve();
    test_front();
    const char *root = test_data("a real report");
    char data[1024] = "";
    if (root && !realpath(root, data)) data[0] = '\0';
    if (cli_start()) {
        test_report();
        test_missing();
        test_refused();
        test_prune();
        test_course();
        test_poc();
        test_poc_killed();
        if (*data) test_real(data);
        cli_end();
    }
    return test_end("report");
}
