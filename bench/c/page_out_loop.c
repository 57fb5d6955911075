/*
 * The yardstick of page-out: process_madvise(MADV_PAGEOUT) over every private
 * writable mapping of the process that the argument names, and nothing else.
 *
 * Prints the nanoseconds that it took, from reading the mappings on.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    char path[64], line[4352];
    snprintf(path, sizeof path, "/proc/%s/maps", arguments[1]);
    uint64_t start = nanoseconds();
    int process = (int)syscall(SYS_pidfd_open, (pid_t)atoi(arguments[1]), 0);
    FILE *maps = fopen(path, "re");
    if (process < 0 || !maps)
        return 1;
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3)
            continue;
        if (rights[1] != 'w' || rights[3] != 'p')
            continue;
        while (from < to) {
            struct iovec range = {.iov_base = (void *)from, .iov_len = to - from};
            long done = syscall(SYS_process_madvise, process, &range, 1, MADV_PAGEOUT, 0);
            if (done <= 0)
                break;
            from += (unsigned long)done;
        }
    }
    printf("%llu\n", (unsigned long long)(nanoseconds() - start));
    return 0;
}
