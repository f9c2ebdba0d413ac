/* SPDX-License-Identifier: MIT
 * A server without memory: of all that it allocates in a run, each allocation fails once, and from each on
 * every one. Nothing crashes or leaks, and the counts hold. The linker gives us the library's calls of
 * malloc, calloc and realloc (--wrap). */
#include "servers.h"

static int left = -1; /* allocations that still succeed; below 0: all do */
static bool fails_on; /* and all after the first that failed fail too */
static int failures;

static bool fails(void) {
    if (left < 0 || left-- > 0)
        return false;
    if (fails_on)
        left = 0;
    failures++;
    return true;
}

/* What --wrap calls the functions is not ours to choose. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}

enum { CLIENTS = 5, LAST = 5001 };

/* Takes until nothing more comes, or all has ended. */
static void take_what_comes(struct served *served) {
    for (int quiet = 0; quiet < 3;)
        quiet = take(served, 0) == 1 ? 0 : quiet + 1;
}

/* Frames that wait for the rest, long and short, and answers. */
static void serve_some(struct served *served, unsigned char *stream) {
    int clients[CLIENTS];
    size_t size = write_frame(stream, 1, 100);
    size += write_frame(stream + size, 2, 50000);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = open_connected(&served->name);
    take_what_comes(served);
    for (size_t at = 0; at < size; at += size / 4 + 1)
        for (int i = 0; i < CLIENTS; i++) {
            size_t part = size - at < size / 4 + 1 ? size - at : size / 4 + 1;
            send(clients[i], stream + at, part, MSG_NOSIGNAL);
            take_what_comes(served);
        }
    for (size_t i = 0; i < told.opened_count; i++)
        fsk_server_send(served->server, told.opened[i], stream, 5000);
    take_what_comes(served);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    take_what_comes(served);
}

/* Returns whether an allocation failed. */
static bool run(int successes, bool on) {
    static unsigned char stream[60000];
    const struct fsk_server_options options = usual();
    struct served served;
    told.frame_count = told.used = told.opened_count = told.closed_count = 0;
    REQUIRE(fsk_batch_new(&served.batch, 8, 100000, 1) == 0);
    served.listener = open_listener(AF_INET, &served.name);
    failures = 0;
    fails_on = on;
    left = successes;
    int result = fsk_server_open(&served.server, served.listener, &options);
    if (result < 0) {
        CHECK_INT(result, -ENOMEM);
        CHECK(served.server == NULL);
        close(served.listener);
        fsk_batch_free(served.batch);
        left = -1;
        return true;
    }
    serve_some(&served, stream);
    left = -1;
    /* With memory again it goes on; those that came before wait for that too. */
    int client = open_connected(&served.name);
    size_t seen = 0, last;
    send_frame(client, 9, LAST);
    do {
        last = seen;
        for (; last < told.frame_count && told.frames[last].length != LAST; last++) {
        }
        seen = told.frame_count;
    } while (last == seen && take(&served, LONG_WAIT) == 1);
    check_frame(last, told.frames[last].connection, 9, LAST);
    close(client);
    take_what_comes(&served);
    end_served(&served);
    return failures > 0;
}

static void each_allocation_may_fail(void) {
    int successes = 0;
    while (run(successes, false))
        successes++;
    CHECK(successes > 10);
}

static void memory_may_run_out_at_each_allocation(void) {
    for (int successes = 0; run(successes, true); successes++) {
    }
}

int main(void) {
    RUN(each_allocation_may_fail);
    RUN(memory_may_run_out_at_each_allocation);
    return check_report();
}
