/*
 * The yardstick: getdents64 of /proc, then openat, read and close of one file
 * of each process, with one buffer, and no look at what was read.
 *
 * Prints "ready", then answers each line on its standard input with one line:
 *     wall_ns cpu_ns files bytes
 * Requests: "statm", "smaps_rollup" (a pass over that file), and "command",
 * which runs the arguments of this program once with their output thrown away
 * and answers with that command's own times.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static char entries[32 << 10] __attribute__((aligned(8)));
static char content[4096];

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int pass(const char *file, uint64_t *files, uint64_t *bytes)
{
    char path[300];
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return -1;
    long filled;
    while ((filled = syscall(SYS_getdents64, proc, entries, sizeof entries)) > 0) {
        for (long at = 0; at < filled;) {
            const struct entry *entry = (const struct entry *)(entries + at);
            at += entry->length;
            if (entry->name[0] < '1' || entry->name[0] > '9')
                continue;
            size_t length = strlen(entry->name);
            memcpy(path, entry->name, length);
            path[length] = '/';
            strcpy(path + length + 1, file);
            int descriptor = openat(proc, path, O_RDONLY | O_CLOEXEC);
            if (descriptor < 0)
                continue;
            ssize_t count = read(descriptor, content, sizeof content);
            close(descriptor);
            if (count > 0) {
                *files += 1;
                *bytes += (uint64_t)count;
            }
        }
    }
    close(proc);
    return filled < 0 ? -1 : 0;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

static int run(char **command, uint64_t *cpu)
{
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    struct rusage usage;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    int failed = posix_spawnp(&child, command[0], &actions, NULL, command, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed || wait4(child, &status, 0, &usage) != child)
        return -1;
    *cpu = (microseconds(usage.ru_utime) + microseconds(usage.ru_stime)) * 1000u;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

int main(int count, char **arguments)
{
    char request[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(request, sizeof request, stdin)) {
        uint64_t files = 0, bytes = 0, child_cpu = 0;
        int failed;
        request[strcspn(request, "\n")] = 0;
        uint64_t wall = nanoseconds(CLOCK_MONOTONIC);
        uint64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        int command = strcmp(request, "command") == 0;
        if (command)
            failed = count > 1 ? run(arguments + 1, &child_cpu) : -1;
        else
            failed = pass(request, &files, &bytes);
        cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        wall = nanoseconds(CLOCK_MONOTONIC) - wall;
        if (failed)
            return 1;
        printf("%llu %llu %llu %llu\n", (unsigned long long)wall,
               (unsigned long long)(command ? child_cpu : cpu),
               (unsigned long long)files, (unsigned long long)bytes);
    }
    return 0;
}
