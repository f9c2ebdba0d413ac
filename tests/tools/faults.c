/* SPDX-License-Identifier: MIT
 * A library to preload that makes chosen calls fail before the kernel sees them. faults.py tells how
 * rules are written and what they mean.
 *
 * It stands before libc's send, sendto, sendmsg and recvmsg, and before syscall(2), by which sendmmsg
 * and recvmmsg are called. Rules are set and calls that they are about are made by one thread at a
 * time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { SOL_OF_UDP = 17, SEGMENT = 103, MOST_RULES = 8, MOST_MESSAGES = 1024 /* UIO_MAXIOV */ };

static const char *const calls[] = {"send", "sendto", "sendmsg", "sendmmsg", "recvmsg", "recvmmsg"};
enum call { SEND, SENDTO, SENDMSG, SENDMMSG, RECVMSG, RECVMMSG };

static const struct {
    const char *name;
    int number;
} errors[] = {
    {"EIO", EIO},       {"EINVAL", EINVAL}, {"EMSGSIZE", EMSGSIZE},
    {"EAGAIN", EAGAIN}, {"EPERM", EPERM},   {"ENOBUFS", ENOBUFS},
    {"EINTR", EINTR},   {"ENOSYS", ENOSYS}, {"ENETUNREACH", ENETUNREACH},
    {"count", 0},
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct rule {
    size_t call;
    bool only_segmented;
    int error;           /* 0: counts only */
    unsigned long first; /* 1 is the first match */
    bool goes_on;        /* from first on; else that one only */
    long matches;
    long hits;
};

static struct rule rules[MOST_RULES];
static size_t rule_count;

/* Rules */

static bool parse_rule(char *text, struct rule *rule) {
    char *error = strchr(text, '=');
    char *when = strchr(text, '@');
    char *condition = strchr(text, '-');
    if (error == NULL || when == NULL || when < error)
        return false;
    *error++ = '\0';
    *when++ = '\0';
    *rule = (struct rule){.only_segmented = condition != NULL};
    if (condition != NULL) {
        *condition++ = '\0';
        if (strcmp(condition, "segment") != 0)
            return false;
    }
    while (rule->call < LENGTH(calls) && strcmp(text, calls[rule->call]) != 0)
        rule->call++;
    size_t found = 0;
    while (found < LENGTH(errors) && strcmp(error, errors[found].name) != 0)
        found++;
    if (rule->call == LENGTH(calls) || found == LENGTH(errors))
        return false;
    if (rule->only_segmented && rule->call != SENDMSG && rule->call != SENDMMSG)
        return false;
    rule->error = errors[found].number;
    char *end;
    rule->first = strtoul(when, &end, 10);
    rule->goes_on = *end == '+';
    return rule->first > 0 && end[rule->goes_on] == '\0';
}

/* Replace the rules; all counts start at 0. Returns their number, or -1 for a text that is no rules:
 * then there are none. */
int faults_set(const char *text) {
    char copy[512];
    rule_count = 0;
    if (strlen(text) >= sizeof(copy))
        return -1;
    strcpy(copy, text);
    char *rest = copy;
    for (char *part; (part = strtok_r(rest, ",", &rest)) != NULL;) {
        if (rule_count == MOST_RULES || !parse_rule(part, &rules[rule_count])) {
            rule_count = 0;
            return -1;
        }
        rule_count++;
    }
    return (int)rule_count;
}

long faults_matches(unsigned rule) {
    return rule < rule_count ? rules[rule].matches : -1;
}

long faults_hits(unsigned rule) {
    return rule < rule_count ? rules[rule].hits : -1;
}

__attribute__((constructor)) static void read_environment(void) {
    const char *text = getenv("FASTSOCK_FAULTS");
    if (text != NULL && faults_set(text) < 0) {
        fprintf(stderr, "FASTSOCK_FAULTS is not understood: %s\n", text);
        _Exit(2);
    }
}

/* Calls */

static bool is_segmented(const struct msghdr *header) {
    struct msghdr copy = *header;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&copy); item != NULL; item = CMSG_NXTHDR(&copy, item))
        if (item->cmsg_level == SOL_OF_UDP && item->cmsg_type == SEGMENT)
            return true;
    return false;
}

/* Count one call or message; return the error that it is to get, or 0. */
static int meet(enum call call, const struct msghdr *header) {
    int error = 0;
    for (struct rule *rule = rules; rule < rules + rule_count; rule++) {
        if (rule->call != call || (rule->only_segmented && !is_segmented(header)))
            continue;
        unsigned long match = (unsigned long)++rule->matches;
        bool fires = match == rule->first || (rule->goes_on && match > rule->first);
        if (!fires || error != 0)
            continue;
        rule->hits += rule->error != 0;
        error = rule->error;
    }
    return error;
}

/* The functions of libc, or of what is preloaded after this. */
struct functions {
    long (*syscall)(long, ...);
    ssize_t (*send)(int, const void *, size_t, int);
    ssize_t (*sendto)(int, const void *, size_t, int, const void *, socklen_t);
    ssize_t (*sendmsg)(int, const struct msghdr *, int);
    ssize_t (*recvmsg)(int, struct msghdr *, int);
};

/* Found at the first call: constructors of other libraries make calls before one of ours ran (CPython
 * 3.13's mimalloc asks for random bytes). */
static const struct functions *next(void) {
    static struct functions found;
    if (found.syscall == NULL) {
        *(void **)&found.send = dlsym(RTLD_NEXT, "send");
        *(void **)&found.sendto = dlsym(RTLD_NEXT, "sendto");
        *(void **)&found.sendmsg = dlsym(RTLD_NEXT, "sendmsg");
        *(void **)&found.recvmsg = dlsym(RTLD_NEXT, "recvmsg");
        *(void **)&found.syscall = dlsym(RTLD_NEXT, "syscall");
    }
    return &found;
}

static long fail(int error) {
    errno = error;
    return -1;
}

/* As the kernel does: the messages before the one that fails are sent and counted, and the error is
 * told only if there are none. */
static long send_many(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    struct rule before[MOST_RULES];
    memcpy(before, rules, sizeof(rules));
    int error = 0;
    unsigned good = 0;
    if (count > MOST_MESSAGES)
        count = MOST_MESSAGES;
    while (good < count && (error = meet(SENDMMSG, &messages[good].msg_hdr)) == 0)
        good++;
    if (good == 0 && error != 0)
        return fail(error);
    long sent = next()->syscall(SYS_sendmmsg, fd, messages, good, flags);
    if (sent == (long)good)
        return sent;
    /* The kernel stopped earlier: count what it tried, and nothing after that. */
    int kept = errno;
    memcpy(rules, before, sizeof(rules));
    for (long tried = 0; tried <= (sent < 0 ? 0 : sent); tried++)
        meet(SENDMMSG, &messages[tried].msg_hdr);
    errno = kept;
    return sent;
}

/* Under libc's names by label, as their declarations differ between C libraries. */
long own_syscall(long number, ...) __asm__("syscall");
ssize_t own_send(int, const void *, size_t, int) __asm__("send");
ssize_t own_sendto(int, const void *, size_t, int, const void *, socklen_t) __asm__("sendto");
ssize_t own_sendmsg(int, const struct msghdr *, int) __asm__("sendmsg");
ssize_t own_recvmsg(int, struct msghdr *, int) __asm__("recvmsg");

long own_syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (size_t i = 0; i < LENGTH(a); i++)
        a[i] = va_arg(list, long);
    va_end(list);
    /* Without messages it is only asked whether the call is there. The upper half of an argument that
     * was passed as an int is not defined. */
    unsigned count = (unsigned)a[2];
    if (number == SYS_sendmmsg && count > 0)
        return send_many((int)a[0], (struct mmsghdr *)a[1], count, (int)a[3]);
    int error = number == SYS_recvmmsg && count > 0 ? meet(RECVMMSG, NULL) : 0;
    return error != 0 ? fail(error) : next()->syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t own_send(int fd, const void *data, size_t length, int flags) {
    int error = meet(SEND, NULL);
    return error != 0 ? fail(error) : next()->send(fd, data, length, flags);
}

ssize_t own_sendto(int fd, const void *data, size_t length, int flags, const void *address,
                   socklen_t address_length) {
    int error = meet(SENDTO, NULL);
    return error != 0 ? fail(error)
                      : next()->sendto(fd, data, length, flags, address, address_length);
}

ssize_t own_sendmsg(int fd, const struct msghdr *header, int flags) {
    int error = meet(SENDMSG, header);
    return error != 0 ? fail(error) : next()->sendmsg(fd, header, flags);
}

ssize_t own_recvmsg(int fd, struct msghdr *header, int flags) {
    int error = meet(RECVMSG, NULL);
    return error != 0 ? fail(error) : next()->recvmsg(fd, header, flags);
}
