/*
 * A process whose memory is paged out again and again: as many MiB of private
 * memory as its argument says, half of each page random, half a text.
 *
 * Prints "ready" when all of it is there, and again after each line on its
 * standard input, when it has touched all of it.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>

int main(int count, char **arguments)
{
    enum { PAGE = 4096 };
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    size_t size = (count > 1 ? strtoul(arguments[1], NULL, 10) : 64) << 20;
    unsigned char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    /* Both ways of paging out shall meet the same pages. */
    madvise(memory, size, MADV_NOHUGEPAGE);
    uint64_t state = 88172645463325252u;
    for (size_t at = 0; at < size; at += sizeof state) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if (at % PAGE < PAGE / 2)
            memcpy(memory + at, &state, sizeof state);
        else
            memcpy(memory + at, "a memory", sizeof state);
    }
    char line[16];
    do {
        /* Written, not only read: a clean page that is still in swap costs
         * nothing to page out again. */
        for (size_t at = 0; at < size; at += PAGE)
            memory[at] += 1;
        puts("ready");
        fflush(stdout);
    } while (fgets(line, sizeof line, stdin));
    return 0;
}
