/* What heads learn from the same head of another network (head_ops.imitate). */
#include "head_rig.h"

/* The gradient that imitate adds is that of what it returns. */
static void check_imitate(const char *text, int channels) {
    struct rig own, other;
    OPEN(&own, text, channels, 2, 3, 2, NET_SCORE);
    OPEN(&other, text, channels, 2, 3, 2, NET_SCORE);
    fill_random(&own, 3, -1, 1);
    fill_random(&other, 4, -1, 1);
    const struct head_ops *head = own.l.ops->head;
    const int q = 7, image = 1;
    size_t n = rig_count(&own);
    memset(own.l.head_delta, 0, n * sizeof(float));
    double d = head->imitate(&own.l, &other.l, image, q, .5, 64, 64), moved = 0;
    CHECK(d > 0, "there is a distance");
    float *gradient = malloc(n * sizeof *gradient);
    memcpy(gradient, own.l.head_delta, n * sizeof *gradient);
    for (size_t i = 0; i < n; ++i) {
        float x = own.l.head_x[i];
        const float h = 1e-2f;
        own.l.head_x[i] = x + h;
        double up = head->imitate(&own.l, &other.l, image, q, 0, 64, 64);
        own.l.head_x[i] = x - h;
        double down = head->imitate(&own.l, &other.l, image, q, 0, 64, 64);
        own.l.head_x[i] = x;
        CHECK_NEAR((double)gradient[i], .5 * (up - down) / (2 * (double)h), 2e-4, "%s: element %d", own.l.ops->name, (int)i);
        moved += fabs((double)gradient[i]);
    }
    CHECK(moved > .01, "something is taught: %g", moved);
    memcpy(other.l.head_x, own.l.head_x, n * sizeof(float));
    memset(own.l.head_delta, 0, n * sizeof(float));
    CHECK_NEAR(head->imitate(&own.l, &other.l, image, q, 1, 64, 64), 0, 1e-6, "no distance to itself");
    CHECK_NEAR(rig_squares(&own), 0, 1e-9, "and nothing to learn");
    free(gradient);
    rig_close(&own), rig_close(&other);
}

static void test_imitate(void) {
    check_imitate("[yolo]\nanchors=20,20, 30,10\nnum=2\nclasses=3\niou_loss=giou\niou_normalizer=.5\nobj_normalizer=.7\n", 16);
    check_imitate("[Gaussian_yolo]\nanchors=20,20, 30,10\nnum=2\nclasses=3\n", 24);
    check_imitate("[region]\nanchors=1,1, 1.5,.7\nnum=2\nclasses=3\nsoftmax=1\nobject_scale=5\n", 16);
    check_imitate("[region]\nanchors=1,1, 1.5,.7\nnum=2\nclasses=3\n", 16);
}

int main(void) {
    test_imitate();
    return test_end("imitate");
}
