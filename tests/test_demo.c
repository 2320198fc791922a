/* Video: the demo command, objects followed over frames, listeners over TCP. */
#include "cli_rig.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/stream.h"
#include "eval/track.h"
#include "vision/video.h"

/* --- Listeners ------------------------------------------------------------------------------------------ */

static int knock(int port) {
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int to = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(to, (struct sockaddr *)&at, sizeof at) == 0, "port %d", port);
    return to;
}

static void heard(int from, const char *expected) {
    char text[256];
    size_t n = 0;
    for (ssize_t got; n < sizeof text - 1 && (got = recv(from, text + n, sizeof text - 1 - n, 0)) > 0;) n += (size_t)got;
    text[n] = '\0';
    CHECK(!strcmp(text, expected), "'%s' instead of '%s'", text, expected);
    close(from);
}

static void test_stream(void) {
    struct ctx ctx = { 0 };
    struct stream *s, *other;
    CHECK(stream_open(&ctx, 0, "head;", &s) == ST_OK, "%s", ctx.error);
    if (!s) return;
    CHECK(stream_open(&ctx, stream_port(s), "", &other) == ST_IO && !other && has(ctx.error, "port"), "taken: %s", ctx.error);
    int early = knock(stream_port(s));
    stream_send(s, ", ", "one", 3);
    int late = knock(stream_port(s)), gone = knock(stream_port(s));
    CHECK(stream_listeners(s) == 3, "three listen");
    close(gone);
    stream_send(s, ", ", "two", 3);
    CHECK(stream_listeners(s) == 2, "who left is forgotten");
    stream_close(s, ".");
    heard(early, "head;one, two.");
    heard(late, "head;two.");
}

/* Takes one request, keeps it, answers. */
static char request[1024];
static void *answer(void *user) {
    int listening = *(int *)user, who = accept(listening, NULL, NULL);
    size_t n = 0;
    for (ssize_t got; !has(request, "\n\n") && !has(request, "end\n") && (got = recv(who, request + n, sizeof request - 1 - n, 0)) > 0;) n += (size_t)got;
    (void)!write(who, "HTTP/1.0 200 OK\r\n\r\n", 19);
    close(who);
    return NULL;
}

static void test_post(void) {
    struct ctx ctx = { 0 };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    pthread_t thread;
    bool ready = bind(listening, (struct sockaddr *)&at, sizeof at) == 0 && listen(listening, 1) == 0 &&
                 getsockname(listening, (struct sockaddr *)&at, &size) == 0 && pthread_create(&thread, NULL, answer, &listening) == 0;
    CHECK(ready, "a server");
    if (!ready) return;
    char where[64];
    snprintf(where, sizeof where, "127.0.0.1:%d/seen", ntohs(at.sin_port));
    CHECK(stream_post(&ctx, where, "cat, id: 1\nend\n") == ST_OK, "%s", ctx.error);
    pthread_join(thread, NULL);
    close(listening);
    CHECK(!strncmp(request, "POST /seen HTTP/1.0\r\n", 21) && has(request, "Content-Length: 15\r\n\r\ncat, id: 1\nend\n"), "%s", request);
    CHECK(stream_post(&ctx, where, "x") == ST_IO && has(ctx.error, "nobody answers"), "closed: %s", ctx.error);
    ctx_clear(&ctx);
    CHECK(stream_post(&ctx, "/seen", "x") == ST_USAGE, "no host");
}

/* --- Tracks --------------------------------------------------------------------------------------------- */

static struct track_options track_options;
static float looks[8][2]; /* embedding per prediction */
static void fake_info(const struct layer *l, struct head_info *i) {
    (void)l;
    *i = (struct head_info){ .classes = 1, .embedding = 2, .track = track_options };
}
static void fake_embedding(const struct layer *l, int image, int prediction, float *dst) {
    (void)l, (void)image;
    memcpy(dst, looks[prediction], sizeof looks[0]);
}

struct sight { float x, look_x, look_y, prob; };

static void frame(struct tracker *t, const struct net *net, const struct sight *sight, int n, int *id) {
    struct ctx ctx = { 0 };
    float prob[8];
    struct detection item[8];
    for (int i = 0; i < n; ++i) {
        prob[i] = sight[i].prob;
        looks[i][0] = sight[i].look_x, looks[i][1] = sight[i].look_y;
        item[i] = (struct detection){ .box = { sight[i].x, .5f, .1f, .1f }, .objectness = 1, .prob = &prob[i], .head = 0, .prediction = i };
    }
    struct detection_list list = { .n = n, .classes = 1, .item = item };
    CHECK(tracker_follow(&ctx, t, net, &list, .25f, id) == ST_OK, "%s", ctx.error);
}

static void test_tracks(void) {
    static const struct head_ops head = { .info = fake_info, .embedding = fake_embedding };
    static const struct layer_ops ops = { .name = "fake", .head = &head }, blind = { .name = "none" };
    struct layer layer = { .ops = &ops }, none = { .ops = &blind };
    struct net net = { .n = 1, .layer = &layer }, plain = { .n = 1, .layer = &none };
    struct ctx ctx = { 0 };
    struct tracker *t;
    int id[8];
    track_options = (struct track_options){ .history = 2, .for_track = 1, .for_show = 1, .similarity = .8, .ciou_norm = .01 };
    CHECK(tracker_open(&ctx, &plain, &t) == ST_OK && !t, "no embeddings, no tracker");
    CHECK(tracker_open(&ctx, &net, &t) == ST_OK && t, "%s", ctx.error);
    if (!t) return;
    frame(t, &net, (struct sight[]){ { .2f, 1, 0, .9f }, { .8f, 0, 1, .9f }, { .5f, 1, 1, .1f } }, 3, id);
    CHECK(id[0] == 1 && id[1] == 2 && id[2] == 0, "new ones are numbered, below the threshold none: %d %d %d", id[0], id[1], id[2]);
    frame(t, &net, (struct sight[]){ { .8f, .1f, 2, .9f }, { .3f, 3, .1f, .9f } }, 2, id);
    CHECK(id[0] == 2 && id[1] == 1, "they are known by their looks: %d %d", id[0], id[1]);
    frame(t, &net, (struct sight[]){ { .3f, 1, .05f, .9f }, { .9f, 1, .2f, .9f } }, 2, id);
    CHECK(id[0] == 1 && id[1] == 3, "one object is in one place, the likest: %d %d", id[0], id[1]);
    frame(t, &net, NULL, 0, id);
    frame(t, &net, (struct sight[]){ { .8f, 0, 1, .9f } }, 1, id);
    CHECK(id[0] == 4, "2 was last seen before the history of 2 frames: %d", id[0]);
    tracker_close(t);
    track_options.for_show = 2;
    CHECK(tracker_open(&ctx, &net, &t) == ST_OK && t, "%s", ctx.error);
    for (int i = 0; t && i < 3; ++i) {
        frame(t, &net, (struct sight[]){ { .2f, 1, 0, .9f } }, 1, id);
        CHECK(id[0] == (i > 0), "shown from the second frame on: %d", id[0]);
    }
    tracker_close(t);
}

/* --- The command ---------------------------------------------------------------------------------------- */

enum { FRAMES = 5 };

static bool make_video(const char *path, int w, int h) {
    struct ctx ctx = { 0 };
    struct video_writer *out = NULL;
    struct pixels px = { 0 };
    bool ok = pixels_new(&ctx, w, h, 3, &px) == ST_OK && video_create(&ctx, path, 10, w, h, &out) == ST_OK;
    for (int i = 0; ok && i < FRAMES; ++i) {
        for (int k = 0; k < w * h * 3; ++k) px.data[k] = (uint8_t)(40 * i + k % 3 * 30);
        ok = video_add(&ctx, out, &px) == ST_OK;
    }
    video_finish(out);
    pixels_free(&px);
    CHECK(ok, "%s", ctx.error);
    return ok;
}

static int frames_in(const char *path, int w, int h) {
    struct ctx ctx = { 0 };
    struct video *v;
    struct video_info info;
    struct pixels px = { 0 };
    bool end = false;
    int n = 0;
    if (video_open(&ctx, path, &v, &info) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return 0;
    }
    CHECK(info.w == w && info.h == h && !info.live && info.fps > 9 && info.fps < 11, "%d x %d, %g fps", info.w, info.h, info.fps);
    while (video_read(&ctx, v, &px, &end) == ST_OK && !end) {
        CHECK(abs((int)px.data[0] - 40 * n) < 12 && abs((int)px.data[2] - px.data[0] - 60) < 24, "RGB of frame %d: %d %d %d", n, px.data[0], px.data[1], px.data[2]);
        ++n;
    }
    video_close(v);
    pixels_free(&px);
    return n;
}

static void test_video(void) {
    if (!make_video("v.avi", 64, 48)) return;
    CHECK(frames_in("v.avi", 64, 48) == FRAMES, "what was written comes back");
    run("detector demo t.data t.cfg t.weights v.avi -dont_show -out_filename o.avi -json_file_output o.json -prefix f");
    CHECK(run_.status == 0 && count(run_.out, "Objects:\n\ncat: 92%\ndog: 64%\n\nFPS:") == FRAMES && !has(run_.out, "\033"), "%d: %s%s", run_.status, run_.out, run_.err);
    char *text = slurp("o.json");
    cJSON *all = cJSON_Parse(text);
    CHECK(cJSON_GetArraySize(all) == FRAMES && !strncmp(text, "[\n{\n \"frame_id\":1, \n \"objects\": [ \n  {\"class_id\":1, \"name\":\"dog\"", 62), "%s", text);
    cJSON_Delete(all);
    free(text);
    CHECK(io_exists("f_00000001.jpg") && io_exists("f_00000005.jpg") && !io_exists("f_00000006.jpg"), "frames as pictures");
    CHECK(io_exists("o.avi"), "the drawn video");
    run("detector demo t.data t.cfg t.weights v.avi -dont_show -s 1");
    CHECK(run_.status == 0 && count(run_.out, "Objects:") == FRAMES / 2, "every other frame: %s", run_.out);
    run("detector demo t.data t.cfg t.weights v.avi -dont_show -benchmark -time_limit_sec 0.2");
    CHECK(run_.status == 0 && count(run_.out, "Objects:") > FRAMES, "the first frame again and again: %s", run_.out);
    run("detector demo t.data t.cfg t.weights nothing.avi");
    check_refused("file", "nothing.avi", "No such file");
    run("detector demo t.data t.cfg t.weights t.names");
    check_refused("file", "t.names", "cannot be opened as a video");
    run("detector demo t.data t.cfg t.weights v.avi -dont_show -out_filename nowhere/o.avi");
    CHECK(run_.status == 1 && has(run_.err, "nowhere/o.avi"), "%s", run_.err);
    run("detector demo t.data t.cfg t.weights -c 99");
    check_refused("camera", "camera 99", "-c N");
}

int main(void) {
    test_stream();
    test_post();
    test_tracks();
    if (!cli_start()) return test_end("demo");
    make_files();
    run("detector demo t.data t.cfg");
    check_refused("words", "detector demo", "needs DATA CFG WEIGHTS");
    if (video_built()) {
        test_video();
    } else {
        SKIP("videos and windows: this build has no OpenCV (make OPENCV=1)");
        run("detector demo t.data t.cfg t.weights v.avi -json_port 8070");
        check_refused("video", "OPENCV=1", "built without");
    }
    cli_end();
    return test_end("demo");
}
