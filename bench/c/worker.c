/*
 * One process to be measured: private memory of its own size, a file that all
 * map, a file that a few map, and nothing to do. Dies with its parent.
 *
 *     worker PARENT PRIVATE_KIB SHARED_FILE GROUP_FILE WHAT
 *
 * Writes a byte to its standard output when it is set up, and another each
 * time it has answered SIGUSR1. That takes EXTRA more memory or gives it back
 * when WHAT is "private", and unmaps the group's file or maps it again when it
 * is "group": then the PSS of its neighbours moves, and their statm does not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, EXTRA = 384 << 10 };

static char *take(size_t length)
{
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        _exit(2);
    /* Small pages: the same amount on every machine. */
    madvise(memory, length, MADV_NOHUGEPAGE);
    memset(memory, 1, length);
    return memory;
}

struct mapping {
    void *memory;
    size_t length;
};

static struct mapping map_file(const char *path)
{
    struct stat about;
    volatile char sum = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &about) != 0)
        _exit(3);
    const char *memory = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        _exit(3);
    for (off_t at = 0; at < about.st_size; at += PAGE)
        sum += memory[at];
    close(file);
    return (struct mapping){(void *)memory, (size_t)about.st_size};
}

static void report(void)
{
    if (write(1, "x", 1) != 1)
        _exit(4);
}

int main(int count, char **arguments)
{
    sigset_t signals;
    char *extra = NULL;
    int signal;
    if (count != 6)
        return 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != atoi(arguments[1]))
        return 1;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    take((size_t)atol(arguments[2]) << 10);
    map_file(arguments[3]);
    struct mapping group = map_file(arguments[4]);
    int of_group = strcmp(arguments[5], "group") == 0;
    report();
    while (sigwait(&signals, &signal) == 0) {
        if (of_group && group.memory) {
            munmap(group.memory, group.length);
            group.memory = NULL;
        } else if (of_group) {
            group = map_file(arguments[4]);
        } else if (extra) {
            munmap(extra, EXTRA);
            extra = NULL;
        } else {
            extra = take(EXTRA);
        }
        report();
    }
    return 0;
}
