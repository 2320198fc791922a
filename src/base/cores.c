#include "base/cores.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

/* The first line of a small file; false: it is not there. */
static bool first_line(const char *path, char *line, int size) {
    FILE *f = fopen(path, "r");
    bool found = f && fgets(line, size, f);
    if (f) fclose(f);
    return found;
}

/* Whether an allowed processor before i belongs to the same core.  The system lists a core's threads as "3,67" or "6-7". */
static bool shares_core(const char *root, const bool *allowed, int i) {
    char path[PATH_SIZE], line[256];
    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", root, i);
    if (!first_line(path, line, sizeof line)) return false;
    for (char *p = line; *p >= '0' && *p <= '9';) {
        long first = strtol(p, &p, 10), last = *p == '-' ? strtol(p + 1, &p, 10) : first;
        for (long k = first; k <= last && k < i; ++k)
            if (allowed[k]) return true;
        if (*p == ',') ++p;
    }
    return false;
}

/* Processors' worth of time that the group at `path` may use; INFINITY: no limit. */
static double quota_of(const char *path) {
    char name[PATH_SIZE + 32], line[64];
    double quota, period;
    snprintf(name, sizeof name, "%s/cpu.max", path); /* version 2: "150000 100000" or "max 100000" */
    if (first_line(name, line, sizeof line)) return sscanf(line, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 ? quota / period : INFINITY;
    snprintf(name, sizeof name, "%s/cpu.cfs_quota_us", path); /* version 1: -1 for none */
    if (!first_line(name, line, sizeof line) || sscanf(line, "%lf", &quota) != 1 || quota <= 0) return INFINITY;
    snprintf(name, sizeof name, "%s/cpu.cfs_period_us", path);
    return first_line(name, line, sizeof line) && sscanf(line, "%lf", &period) == 1 && period > 0 ? quota / period : INFINITY;
}

/* The least quota of a group and those around it.  A container may see its group's name and yet have it mounted as the top. */
static double least_quota(const char *mount, char *group) {
    char path[PATH_SIZE];
    double least = INFINITY;
    for (;;) {
        snprintf(path, sizeof path, "%s%s", mount, group);
        least = fmin(least, quota_of(path));
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* Lines of /proc/self/cgroup: "0::/group" for version 2, "4:cpu,cpuacct:/group" for version 1. */
static double time_share(const char *root) {
    char path[PATH_SIZE], line[PATH_SIZE], mount[PATH_SIZE];
    double least = INFINITY;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        ++kind;
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s%.200s", root, *kind ? "/" : "", kind);
        bool of_time = !*kind || strcmp(kind, "cpu") == 0 || strcmp(kind, "cpu,cpuacct") == 0 || strcmp(kind, "cpuacct,cpu") == 0;
        if (of_time) least = fmin(least, least_quota(mount, group));
    }
    if (f) fclose(f);
    return least;
}

int cores_usable(const char *root, const bool *allowed, int n) {
    int cores = 0;
    for (int i = 0; i < n; ++i) cores += allowed[i] && !shares_core(root, allowed, i);
    double share = ceil(time_share(root));
    if (share < cores) cores = (int)share;
    return cores < 1 ? 1 : cores;
}

int cores_here(int *processors) {
    cpu_set_t set;
    bool allowed[CPU_SETSIZE];
    *processors = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    for (unsigned i = 0; i < CPU_SETSIZE; ++i) *processors += allowed[i] = CPU_ISSET(i, &set);
    return cores_usable("", allowed, CPU_SETSIZE);
}
