/* How many threads are worth starting: cores, their threads, and a container's share of time, as the system's files tell. */
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/io.h"

static char folder[64];

static void put(const char *name, const char *text) {
    struct ctx ctx = { 0 };
    char path[512], *slash;
    snprintf(path, sizeof path, "%s%s", folder, name);
    slash = strrchr(path, '/');
    *slash = '\0';
    CHECK(io_make_dirs(&ctx, path) == ST_OK, "%s", ctx.error);
    *slash = '/';
    CHECK(io_write(&ctx, path, text, strlen(text)) == ST_OK, "%s", ctx.error);
}

static int usable(int n, const char *mask) {
    bool allowed[16] = { false };
    for (int i = 0; i < n; ++i) allowed[i] = mask[i] == '1';
    return cores_usable(folder, allowed, n);
}

/* Eight processors: 0 and 4 are threads of one core, 1 and 5 of the next, ... */
static void siblings(const char *form) {
    for (int i = 0; i < 8; ++i) {
        char name[128], text[32];
        int first = strcmp(form, "far") == 0 ? i % 4 : i / 2 * 2;
        snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
        if (strcmp(form, "far") == 0) snprintf(text, sizeof text, "%d,%d\n", first, first + 4);
        else snprintf(text, sizeof text, "%d-%d\n", first, first + 1);
        put(name, text);
    }
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/test_cores.XXXXXX");
    CHECK(mkdtemp(folder), "a folder");
    CHECK(usable(8, "11111111") == 8, "a system that tells nothing: every processor");
    CHECK(usable(8, "00100001") == 2, "only those that the process may use");
    CHECK(usable(8, "00000000") == 1, "at least one");

    siblings("far");
    CHECK(usable(8, "11111111") == 4, "four cores of two threads: %d", usable(8, "11111111"));
    CHECK(usable(8, "10001000") == 1 && usable(8, "11000000") == 2 && usable(8, "00001111") == 4, "cores of the processors allowed");
    siblings("near");
    CHECK(usable(8, "11111111") == 4 && usable(8, "11110000") == 2 && usable(8, "01010101") == 4, "siblings as a range");

    put("/proc/self/cgroup", "0::/outer/inner\n");
    put("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
    CHECK(usable(8, "11111111") == 4, "version 2 without a quota");
    put("/sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
    CHECK(usable(8, "11111111") == 2, "the group around has one and a half: %d", usable(8, "11111111"));
    put("/sys/fs/cgroup/outer/inner/cpu.max", "50000 100000\n");
    CHECK(usable(8, "11111111") == 1, "the group itself has a half");
    put("/proc/self/cgroup", "0::/elsewhere\n");
    CHECK(usable(8, "11111111") == 4, "another group");
    put("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    CHECK(usable(8, "11111111") == 3, "a container's own, mounted as the top");

    put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/a\n3:cpuset:/q\n1:cpu,cpuacct:/a/b\n0::/none\n");
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/cpuset/q/cpu.cfs_quota_us", "1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    CHECK(usable(8, "11111111") == 4, "version 1 without a quota: %d", usable(8, "11111111"));
    put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "200000\n");
    CHECK(usable(8, "11111111") == 2, "version 1 with one");

    int processors, cores = cores_here(&processors);
    CHECK(cores >= 1 && cores <= processors, "%d cores of %d processors here", cores, processors);
    char line[128];
    snprintf(line, sizeof line, "rm -rf '%s'", folder);
    CHECK(system(line) == 0, "%s", line);
    return test_end("cores");
}
