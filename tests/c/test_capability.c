/* SPDX-License-Identifier: MIT
 * The table itself, and what a sandbox (seccomp) makes of it: each refusal in a process of its own,
 * as neither a filter nor the table can be undone. What is checked there is that results are those
 * of an unhindered process.
 */
#include <fastsock/capability.h>
#include <fastsock/readahead.h>
#include <fastsock/receive.h>
#include <fastsock/send.h>
#include <fastsock/socket.h>

#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "datagrams.h"

#define ANY UINT32_MAX
#define COUNT 40

static bool is_linux_engine(void) {
    return strcmp(fsk_engine_name(), "linux") == 0;
}

static void test_capability_calls_belong_to_the_linux_engine(void) {
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_RECVMMSG), is_linux_engine());
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_SENDMMSG), is_linux_engine());
}

/* Before and after the first socket that wants them. */
static void test_capability_offloads_follow_engine_and_kernel(void) {
    struct udp_pair pair;
    struct fsk_readahead *readahead;
    struct fsk_segmentation *segmentation;
    struct fsk_outgoing messages[2] = {{.data = "one", .length = 3}, {.data = "two", .length = 3}};
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_UDP_GRO), is_linux_engine());
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_UDP_SEGMENT), is_linux_engine());
    open_udp(AF_INET, &pair);
    messages[0].destination = messages[1].destination = &pair.to;
    REQUIRE(fsk_readahead_new(&readahead, 1) == 0);
    REQUIRE(fsk_segmentation_new(&segmentation) == 0);
    CHECK_INT(fsk_readahead_start(readahead, pair.receiver), expects_offload(UDP_GRO));
    CHECK_INT(fsk_send_batch(pair.sender, messages, 2, 0, segmentation, &(int){0}), 2);
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_UDP_GRO), expects_offload(UDP_GRO));
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_UDP_SEGMENT), expects_offload(UDP_SEGMENT));
    fsk_segmentation_free(segmentation);
    fsk_readahead_free(readahead);
    close_udp(&pair);
}

static void test_capability_that_does_not_exist_never_works(void) {
    CHECK(!fsk_capability_works(FSK_CAPABILITY_COUNT));
    CHECK(!fsk_capability_works((enum fsk_capability)1000));
    CHECK(!fsk_capability_works((enum fsk_capability) - 1));
    CHECK_TEXT(fsk_capability_name(FSK_CAPABILITY_COUNT), NULL);
    CHECK_TEXT(fsk_capability_name((enum fsk_capability) - 1), NULL);
    CHECK_INT(fsk_capability_probe(FSK_CAPABILITY_COUNT, NULL), -EINVAL);
    CHECK_INT(fsk_capability_probe((enum fsk_capability) - 1, NULL), -EINVAL);
}

static void test_capability_names_differ(void) {
    for (int one = 0; one < FSK_CAPABILITY_COUNT; one++) {
        REQUIRE(fsk_capability_name((enum fsk_capability)one) != NULL);
        for (int other = 0; other < one; other++)
            CHECK(strcmp(fsk_capability_name((enum fsk_capability)one),
                         fsk_capability_name((enum fsk_capability)other)) != 0);
    }
    CHECK_TEXT(fsk_capability_name(FSK_CAPABILITY_RECVMMSG), "recvmmsg");
}

static bool is_of_engine(enum fsk_capability capability) {
    return capability <= FSK_CAPABILITY_UDP_SEGMENT;
}

static struct fsk_capability_report probe(enum fsk_capability capability) {
    struct fsk_capability_report report;
    memset(&report, 0xa5, sizeof report); /* all of it is to be written */
    REQUIRE(fsk_capability_probe(capability, &report) == 0);
    CHECK_INT(report.works, report.reason == NULL);
    CHECK_INT(report.is_probed, report.error == 0);
    CHECK(report.is_built || !report.works);
    return report;
}

/* What the kernel says to the same option, asked by the C library. */
static int answer(enum fsk_capability capability) {
    static const struct {
        int level, option;
    } options[FSK_CAPABILITY_COUNT] = {
        [FSK_CAPABILITY_UDP_GRO] = {SOL_UDP, UDP_GRO},
        [FSK_CAPABILITY_UDP_SEGMENT] = {SOL_UDP, UDP_SEGMENT},
        [FSK_CAPABILITY_TIMESTAMPS] = {SOL_SOCKET, SO_TIMESTAMPNS},
        [FSK_CAPABILITY_BUSY_POLL] = {SOL_SOCKET, SO_BUSY_POLL},
        [FSK_CAPABILITY_FORCE_BUFFER] = {SOL_SOCKET, SO_RCVBUFFORCE},
    };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    uint32_t drops;
    REQUIRE(fd >= 0);
    int result = 0;
    if (capability == FSK_CAPABILITY_RECEIVE_DROPS)
        result = fsk_socket_drops(fd, &drops);
    else if (options[capability].option != 0 &&
             setsockopt(fd, options[capability].level, options[capability].option, &(int){1},
                        sizeof(int)) < 0)
        result = -errno;
    close(fd);
    return result;
}

static void test_capability_probe_tells_engine_and_kernel(void) {
    for (int i = 0; i < FSK_CAPABILITY_COUNT; i++) {
        enum fsk_capability capability = (enum fsk_capability)i;
        check_test = fsk_capability_name(capability);
        struct fsk_capability_report report = probe(capability);
        CHECK_INT(report.is_built, is_linux_engine() || !is_of_engine(capability));
        CHECK_INT(report.error, report.is_built ? answer(capability) : -EOPNOTSUPP);
        CHECK_INT(report.works, report.is_built && answer(capability) == 0);
        if (!report.is_built)
            CHECK(strstr(report.reason, "FASTSOCK_ENGINE") != NULL);
    }
}

static void test_capability_probe_leaves_no_descriptor(void) {
    int next = closed_number();
    for (int i = 0; i < FSK_CAPABILITY_COUNT; i++)
        probe((enum fsk_capability)i);
    CHECK_INT(closed_number(), next);
}

/* A call that a filter refuses: by number, and for options by what they are. */
struct refusal {
    const char *name;
    int call;
    uint32_t option; /* of SOL_UDP; ANY: whatever the arguments */
    int code;
    enum fsk_capability capability;
    bool is_lowered; /* the capability is off afterwards */
};

static const struct refusal refusals[] = {
    {"recvmmsg EPERM", SYS_recvmmsg, ANY, EPERM, FSK_CAPABILITY_RECVMMSG, true},
    {"recvmmsg ENOSYS", SYS_recvmmsg, ANY, ENOSYS, FSK_CAPABILITY_RECVMMSG, true},
    {"sendmmsg EPERM", SYS_sendmmsg, ANY, EPERM, FSK_CAPABILITY_SENDMMSG, true},
    {"sendmmsg ENOSYS", SYS_sendmmsg, ANY, ENOSYS, FSK_CAPABILITY_SENDMMSG, true},
    {"UDP_GRO EPERM", SYS_setsockopt, UDP_GRO, EPERM, FSK_CAPABILITY_UDP_GRO, true},
    {"UDP_GRO ENOSYS", SYS_setsockopt, UDP_GRO, ENOSYS, FSK_CAPABILITY_UDP_GRO, true},
    {"UDP_GRO ENOPROTOOPT", SYS_setsockopt, UDP_GRO, ENOPROTOOPT, FSK_CAPABILITY_UDP_GRO, true},
    {"UDP_SEGMENT ENOPROTOOPT", SYS_getsockopt, UDP_SEGMENT, ENOPROTOOPT,
     FSK_CAPABILITY_UDP_SEGMENT, true},
    {"UDP_SEGMENT EOPNOTSUPP", SYS_getsockopt, UDP_SEGMENT, EOPNOTSUPP, FSK_CAPABILITY_UDP_SEGMENT,
     true},
    {"UDP_SEGMENT EPERM", SYS_getsockopt, UDP_SEGMENT, EPERM, FSK_CAPABILITY_UDP_SEGMENT, false},
};

/* Arguments are 64 bits; their lower half is where the byte order puts it. */
static uint32_t argument(unsigned number) {
    bool is_big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    return (uint32_t)offsetof(struct seccomp_data, args) + 8 * number + (is_big ? 4 : 0);
}

static void refuse(const struct refusal *refusal) {
    uint8_t check = refusal->option == ANY ? 4 : 0; /* instructions to skip when the call matches */
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refusal->call, check, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(1)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_UDP, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(2)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->option, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)refusal->code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

/* Runs of equal datagrams through everything that has a capability. */
static void exchange(void) {
    static unsigned char bytes[COUNT][100];
    struct udp_pair pair;
    struct fsk_outgoing messages[COUNT];
    struct fsk_segmentation *segmentation;
    struct fsk_readahead *readahead;
    struct fsk_batch *batch = new_batch(COUNT, 100);
    open_udp(AF_INET, &pair);
    REQUIRE(fsk_segmentation_new(&segmentation) == 0);
    REQUIRE(fsk_readahead_new(&readahead, 4) == 0);
    for (size_t i = 0; i < COUNT; i++) {
        size_t length = i / 10 + 20;
        ledger_add(bytes[i], length, false);
        messages[i] =
            (struct fsk_outgoing){.data = bytes[i], .length = length, .destination = &pair.to};
    }
    CHECK_INT(fsk_send_batch(pair.sender, messages, COUNT, 0, segmentation, &(int){0}), COUNT);
    settle();
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), COUNT);
    ledger_take_rows(batch, 0, false);
    fsk_batch_clear(batch);
    CHECK(fsk_readahead_start(readahead, pair.receiver) >= 0);
    ledger_begin();
    for (size_t i = 0; i < COUNT; i++)
        ledger_add(bytes[i], messages[i].length, false);
    CHECK_INT(fsk_send_batch(pair.sender, messages, COUNT, 0, segmentation, &(int){0}), COUNT);
    settle();
    CHECK_INT(fsk_readahead_receive(readahead, pair.receiver, 0, batch), COUNT);
    for (uint32_t row = 0; row < batch->count; row++)
        ledger_take(batch->arena + batch->offsets[row], batch->lengths[row]);
    ledger_end();
    CHECK_INT(fsk_readahead_stop(readahead, pair.receiver), 0);
    CHECK_INT(fsk_segmentation_refusals(segmentation), 0);
    fsk_readahead_free(readahead);
    fsk_segmentation_free(segmentation);
    fsk_batch_free(batch);
    close_udp(&pair);
}

/* Before its refusal is noticed by a call, and after. */
static void check_report_of(const struct refusal *refusal) {
    struct fsk_capability_report report = probe(refusal->capability);
    if (!report.is_built)
        return;
    CHECK_INT(report.error, -refusal->code);
    CHECK(!report.works);
}

static void check_under(const struct refusal *refusal, bool is_late) {
    int status = -1;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        check_test = refusal->name;
        if (is_late)
            exchange();
        bool worked = fsk_capability_works(refusal->capability);
        refuse(refusal);
        check_report_of(refusal);
        if (is_late)
            CHECK_INT(fsk_capability_works(refusal->capability), worked);
        exchange();
        if (refusal->is_lowered)
            CHECK(!fsk_capability_works(refusal->capability));
        check_report_of(refusal);
        exchange();
        _exit(check_failures == 0 ? 0 : 1);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
}

static void test_capability_refused_from_the_start_changes_no_result(void) {
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        check_under(&refusals[i], false);
}

/* The filter comes when the capability is known and in use. */
static void test_capability_refused_later_changes_no_result(void) {
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        check_under(&refusals[i], true);
}

/* Not known is not no: what is in use stays so. */
static void test_capability_that_cannot_be_asked_for_is_not_known(void) {
    struct rlimit none, before;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    exchange();
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    struct fsk_capability_report gro = probe(FSK_CAPABILITY_UDP_GRO);
    struct fsk_capability_report drops = probe(FSK_CAPABILITY_RECEIVE_DROPS);
    struct fsk_capability_report call = probe(FSK_CAPABILITY_RECVMMSG);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_INT(gro.error, is_linux_engine() ? -EMFILE : -EOPNOTSUPP);
    CHECK_INT(gro.works, fsk_capability_works(FSK_CAPABILITY_UDP_GRO));
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_UDP_GRO), is_linux_engine());
    CHECK_INT(drops.error, -EMFILE);
    CHECK(!drops.works && strstr(drops.reason, "not known") != NULL);
    CHECK(fsk_capability_works(FSK_CAPABILITY_RECEIVE_DROPS));
    CHECK_INT(call.works, is_linux_engine());
}

/* That a call fails for another reason, or where the plain call fails alike, is no refusal. */
static void test_capability_errors_of_the_caller_lower_nothing(void) {
    struct fsk_batch *batch = new_batch(4, 10);
    struct fsk_outgoing messages[2] = {{.data = "x", .length = 1}, {.data = "y", .length = 1}};
    CHECK_INT(fsk_receive_batch(-1, SOCK_DGRAM, 0, batch), -EBADF);
    CHECK_INT(fsk_send_batch(-1, messages, 2, 0, NULL, &(int){0}), -EBADF);
    CHECK_INT(fsk_send_batch(closed_number(), messages, 2, 0, NULL, &(int){0}), -EBADF);
    test_capability_calls_belong_to_the_linux_engine();
    fsk_batch_free(batch);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_capability_that_does_not_exist_never_works);
    RUN(test_capability_names_differ);
    RUN(test_capability_probe_tells_engine_and_kernel);
    RUN(test_capability_probe_leaves_no_descriptor);
    RUN(test_capability_calls_belong_to_the_linux_engine);
    RUN(test_capability_errors_of_the_caller_lower_nothing);
    RUN(test_capability_refused_from_the_start_changes_no_result);
    RUN(test_capability_refused_later_changes_no_result);
    RUN(test_capability_that_cannot_be_asked_for_is_not_known);
    RUN(test_capability_offloads_follow_engine_and_kernel);
    return check_report();
}
