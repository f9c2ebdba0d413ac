/* SPDX-License-Identifier: MIT
 * Finding out what works, and saying in words why the rest does not.
 *
 * Facts about Linux
 *   A kernel without a system call answers ENOSYS, one without a socket option ENOPROTOOPT. Sandboxes
 *   (seccomp) answer EPERM or ENOSYS to either.
 *   SO_RCVBUFFORCE and, above the system's own value, SO_BUSY_POLL want CAP_NET_ADMIN; else EPERM.
 */
#include "capability.h"

#include <fastsock/metadata.h>
#include <fastsock/socket.h>

#include "engine.h"
#include "kernel.h"
#include "uapi.h"

atomic_int fski_capabilities[FSK_CAPABILITY_COUNT];

/* Names and reasons; where two are one, both errors mean the same. */
struct description {
    const char *name;
    const char *refused; /* EPERM */
    const char *unknown; /* ENOSYS */
    const char *missing; /* ENOPROTOOPT, EOPNOTSUPP */
};

#define SANDBOX(WHAT, ERROR)                                                                       \
    "a sandbox refuses " WHAT " (" ERROR "); allow it in its seccomp filter"

static const struct description descriptions[FSK_CAPABILITY_COUNT] = {
    [FSK_CAPABILITY_RECVMMSG] = {"recvmmsg", SANDBOX("recvmmsg", "EPERM"),
                                 SANDBOX("recvmmsg", "ENOSYS"), NULL},
    [FSK_CAPABILITY_SENDMMSG] = {"sendmmsg", SANDBOX("sendmmsg", "EPERM"),
                                 SANDBOX("sendmmsg", "ENOSYS"), NULL},
    [FSK_CAPABILITY_UDP_GRO] = {"udp_gro", SANDBOX("UDP_GRO", "EPERM"),
                                SANDBOX("UDP_GRO", "ENOSYS"),
                                "the kernel has no UDP_GRO; Linux 5.0 has"},
    [FSK_CAPABILITY_UDP_SEGMENT] = {"udp_segment", SANDBOX("UDP_SEGMENT", "EPERM"),
                                    SANDBOX("UDP_SEGMENT", "ENOSYS"),
                                    "the kernel has no UDP_SEGMENT; Linux 4.18 has"},
    [FSK_CAPABILITY_RECEIVE_DROPS] = {"receive_drops", SANDBOX("SO_MEMINFO", "EPERM"),
                                      SANDBOX("SO_MEMINFO", "ENOSYS"),
                                      "the kernel has no SO_MEMINFO; Linux 4.12 has"},
    [FSK_CAPABILITY_TIMESTAMPS] = {"timestamps", SANDBOX("SO_TIMESTAMPNS", "EPERM"),
                                   SANDBOX("SO_TIMESTAMPNS", "ENOSYS"),
                                   "the kernel has no SO_TIMESTAMPNS; Linux 2.6.22 has"},
    [FSK_CAPABILITY_BUSY_POLL] = {"busy_poll",
                                  "this process may not set SO_BUSY_POLL (EPERM); it takes "
                                  "CAP_NET_ADMIN",
                                  SANDBOX("SO_BUSY_POLL", "ENOSYS"),
                                  "the kernel is built without CONFIG_NET_RX_BUSY_POLL"},
    [FSK_CAPABILITY_FORCE_BUFFER] = {"force_buffer",
                                     "this process may not set SO_RCVBUFFORCE (EPERM); it takes "
                                     "CAP_NET_ADMIN, or a higher net.core.rmem_max instead",
                                     SANDBOX("SO_RCVBUFFORCE", "ENOSYS"),
                                     "the kernel has no SO_RCVBUFFORCE; Linux 2.6.14 has"},
};

static bool exists(enum fsk_capability capability) {
    return (int)capability >= 0 && capability < FSK_CAPABILITY_COUNT;
}

static bool is_call(enum fsk_capability capability) {
    return capability == FSK_CAPABILITY_RECVMMSG || capability == FSK_CAPABILITY_SENDMMSG;
}

/* What the engine in use may do without, not an option that the user asks for by name. */
static bool is_of_engine(enum fsk_capability capability) {
    return capability <= FSK_CAPABILITY_UDP_SEGMENT;
}

static bool is_built(enum fsk_capability capability) {
    return FSK_HAVE_ENGINE_LINUX &&
           (!is_of_engine(capability) || fski_engine() != &fski_engine_portable);
}

bool fsk_capability_works(enum fsk_capability capability) {
    if (!exists(capability) || !is_built(capability))
        return false;
    return (!is_of_engine(capability) || fski_engine()->has(capability)) &&
           fski_capability(capability) != FSKI_REFUSED;
}

const char *fsk_capability_name(enum fsk_capability capability) {
    return exists(capability) ? descriptions[capability].name : NULL;
}

static int set_option(int fd, int level, int option, int value) {
    return fski_setsockopt(fd, level, option, &value, sizeof value);
}

/* As the function that needs it asks. */
static int probe_option(enum fsk_capability capability, int fd, int family) {
    int size = 0;
    socklen_t length = sizeof size;
    switch (capability) {
    case FSK_CAPABILITY_UDP_GRO:
        return set_option(fd, FSKI_SOL_UDP, FSKI_UDP_GRO, 1);
    case FSK_CAPABILITY_UDP_SEGMENT:
        return fski_getsockopt(fd, FSKI_SOL_UDP, FSKI_UDP_SEGMENT, &size, &length);
    case FSK_CAPABILITY_RECEIVE_DROPS:
        return fsk_socket_drops(fd, &(uint32_t){0});
    case FSK_CAPABILITY_TIMESTAMPS:
        return fsk_metadata_enable(fd, family, FSK_METADATA_TIMESTAMP);
    case FSK_CAPABILITY_BUSY_POLL:
        return set_option(fd, SOL_SOCKET, SO_BUSY_POLL, 1);
    case FSK_CAPABILITY_FORCE_BUFFER:
        return set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 65536);
    default:
        return -EINVAL;
    }
}

static const char *reason_of(enum fsk_capability capability, int error) {
    const struct description *description = &descriptions[capability];
    if (error == -EPERM)
        return description->refused;
    if (error == -ENOSYS)
        return description->unknown;
    if ((error == -ENOPROTOOPT || error == -EOPNOTSUPP) && description->missing != NULL)
        return description->missing;
    return "the kernel answered with an error";
}

/* 0 or -errno; was_asked tells whose: the kernel's answer, or why it could not be asked. */
static int ask(enum fsk_capability capability, bool *was_asked) {
    int family = AF_INET;
    *was_asked = true;
    if (is_call(capability))
        return fski_engine()->probe(capability);
    int fd = fski_socket(family, SOCK_DGRAM | FSKI_SOCK_CLOEXEC, 0);
    if (fd == -EAFNOSUPPORT) {
        family = AF_INET6;
        fd = fski_socket(family, SOCK_DGRAM | FSKI_SOCK_CLOEXEC, 0);
    }
    *was_asked = fd >= 0;
    if (fd < 0)
        return fd;
    int result = probe_option(capability, fd, family);
    fski_close(fd);
    return result < 0 ? result : 0;
}

int fsk_capability_probe(enum fsk_capability capability, struct fsk_capability_report *report) {
    bool was_asked;
    if (!exists(capability))
        return -EINVAL;
    *report = (struct fsk_capability_report){.is_built = is_built(capability)};
    if (!report->is_built) {
        report->error = -EOPNOTSUPP;
        report->reason = FSK_HAVE_ENGINE_LINUX
                             ? "the engine in use is the portable one; unset FASTSOCK_ENGINE"
                             : "only Linux has it";
        return 0;
    }
    report->error = ask(capability, &was_asked);
    report->is_probed = report->error == 0;
    int state = fski_capability(capability);
    report->works = was_asked ? report->is_probed && state != FSKI_REFUSED : state == FSKI_WORKS;
    if (report->works)
        return 0;
    if (!was_asked)
        report->reason = "not known, as there is no socket to ask the kernel with";
    else if (report->error < 0)
        report->reason = reason_of(capability, report->error);
    else
        report->reason = "refused to this process before, if not now; start it anew";
    return 0;
}
