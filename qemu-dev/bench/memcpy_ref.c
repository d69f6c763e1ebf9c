/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a plain memcpy does on this host, between two buffers of the same kind
 * as QEMU's shared memory: memfd, touched, huge pages asked for as QEMU does.
 *
 *   memcpy_ref [BYTES [RUNS]]       default: 1 GiB, 5 runs
 *   memcpy_ref serve BYTES
 *
 * The first prints one line of JSON. The second reads words, a line each, and
 * answers each with the seconds it took:
 *   copy     one memcpy of BYTES
 *   pieces   a memcpy of each 4 KiB; their order in the source is scattered,
 *            as that of scattered() in the harness's benches/lab.py
 *   two      two threads, a memcpy of half of BYTES each
 *   sized N TOTAL   TOTAL bytes by memcpys of N, one behind the other, over
 *            and over from the start of the buffers
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void *buffer(const char *name, size_t size, int fill)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    void *p;

    if (fd < 0 || ftruncate(fd, size) < 0) {
        fprintf(stderr, "memcpy_ref: no memory file of %zu bytes: %s\n", size,
                strerror(errno));
        exit(1);
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "memcpy_ref: %zu bytes can't be mapped: %s\n", size,
                strerror(errno));
        exit(1);
    }
    madvise(p, size, MADV_HUGEPAGE);
    memset(p, fill, size);
    close(fd);
    return p;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static unsigned long number(const char *text, const char *what)
{
    char *end;
    unsigned long v;

    errno = 0;
    v = strtoul(text, &end, 0);
    if (errno || *end || end == text || *text == '-' || !v) {
        fprintf(stderr, "memcpy_ref: %s '%s' is no number above 0\n", what,
                text);
        exit(2);
    }
    return v;
}

static int once(int argc, char **argv)
{
    size_t size = argc > 1 ? number(argv[1], "size") : 1ul << 30;
    unsigned long runs = argc > 2 ? number(argv[2], "runs") : 5;
    double *rate = calloc(runs, sizeof(*rate));
    uint8_t *from = buffer("from", size, 0x5a);
    uint8_t *to = buffer("to", size, 0);

    if (!rate) {
        fprintf(stderr, "memcpy_ref: %lu runs are too many\n", runs);
        return 1;
    }
    for (unsigned long i = 0; i < runs; i++) {
        struct timespec a, b;

        clock_gettime(CLOCK_MONOTONIC, &a);
        memcpy(to, from, size);
        clock_gettime(CLOCK_MONOTONIC, &b);
        rate[i] = size / ((b.tv_sec - a.tv_sec) +
                          (b.tv_nsec - a.tv_nsec) * 1e-9) / (1ul << 30);
    }
    if (memcmp(from, to, size)) {
        fprintf(stderr, "memcpy_ref: the copy differs\n");
        return 1;
    }
    qsort(rate, runs, sizeof(*rate), compare);
    printf("{\"bytes\":%zu,\"runs\":%lu,\"median_gib_per_s\":%.3f,"
           "\"min_gib_per_s\":%.3f,\"max_gib_per_s\":%.3f}\n", size, runs,
           rate[runs / 2], rate[0], rate[runs - 1]);
    return 0;
}

#define PIECE 4096
#define SPREAD 0x9e3779b1u      /* odd: each place comes once */

static uint8_t *from, *to;
static size_t size;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void copy_pieces(void)
{
    size_t n = size / PIECE;

    for (size_t i = 0; i < n; i++) {
        memcpy(to + i * PIECE, from + (uint32_t)(i * SPREAD) % n * PIECE,
               PIECE);
    }
}

static void *copy_half(void *half)
{
    size_t at = half ? size / 2 : 0;

    memcpy(to + at, from + at, size / 2);
    return NULL;
}

static void copy_two(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, copy_half, &size)) {
        fprintf(stderr, "memcpy_ref: no thread\n");
        exit(1);
    }
    copy_half(NULL);
    pthread_join(thread, NULL);
}

/* "N TOTAL"; a piece that is longer than the buffers is copied in parts. */
static int copy_sized(const char *words)
{
    unsigned long long n, total;
    char end;

    if (sscanf(words, "%llu %llu %c", &n, &total, &end) != 2 || !n ||
        total % n || (n > size ? n % size : size % n)) {
        return 0;
    }
    n = n > size ? size : n;
    for (uint64_t done = 0; done < total; done += n) {
        memcpy(to + done % size, from + done % size, n);
    }
    return 1;
}

static int serve(void)
{
    char line[64];

    if (size % PIECE || (size / PIECE & (size / PIECE - 1))) {
        fprintf(stderr, "memcpy_ref: %zu bytes are no power of two of pieces "
                "of %d\n", size, PIECE);
        return 2;
    }
    from = buffer("from", size, 0x5a);
    to = buffer("to", size, 0);
    while (fgets(line, sizeof(line), stdin)) {
        double start = now();

        if (!strcmp(line, "copy\n")) {
            memcpy(to, from, size);
        } else if (!strcmp(line, "pieces\n")) {
            copy_pieces();
        } else if (!strcmp(line, "two\n")) {
            copy_two();
        } else if (!strncmp(line, "sized ", 6) && copy_sized(line + 6)) {
        } else {
            fprintf(stderr, "memcpy_ref: '%s' is not known\n", line);
            return 2;
        }
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "serve")) {
        size = number(argv[2], "size");
        return serve();
    }
    return once(argc, argv);
}
