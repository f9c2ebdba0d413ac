/* SPDX-License-Identifier: MIT
 * What the kernel tells of a datagram beside its bytes, as control data.
 *
 * Facts about Linux
 *   An IPv6 socket that is not IPV6_V6ONLY is told of IPv4 datagrams by the IPv4 options, all but the
 *   destination, which IPV6_PKTINFO gives as a mapped address.
 *   SO_TIMESTAMPNS is one option in two forms: with the time of the C library and, where that has 32
 *   bits, with 64 (SO_TIMESTAMPNS_NEW). The control data is two numbers of that width.
 *   IP_TOS comes as one byte, everything else of IP as an int.
 */
#include <fastsock/metadata.h>

#include <errno.h>
#include <string.h>

#include "cmsg.h"
#include "kernel.h"
#include "metadata.h"
#include "uapi.h"

#if FSK_HAVE_ENGINE_LINUX

/* One option and what it is part of. */
struct option {
    unsigned metadata;
    int family; /* 0: any; AF_INET: IPv4 and IPv6 sockets; AF_INET6: IPv6 sockets */
    int level;
    int number;
};

static const struct option options[] = {
    {FSK_METADATA_TIMESTAMP, 0, SOL_SOCKET, SO_TIMESTAMPNS},
    {FSK_METADATA_DESTINATION, AF_INET, IPPROTO_IP, IP_PKTINFO},
    {FSK_METADATA_DESTINATION, AF_INET6, IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {FSK_METADATA_HOP_LIMIT, AF_INET, IPPROTO_IP, IP_RECVTTL},
    {FSK_METADATA_HOP_LIMIT, AF_INET6, IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
    {FSK_METADATA_TOS, AF_INET, IPPROTO_IP, IP_RECVTOS},
    {FSK_METADATA_TOS, AF_INET6, IPPROTO_IPV6, IPV6_RECVTCLASS},
    {0, 0, 0, 0},
};

static unsigned known_metadata(void) {
    unsigned known = 0;
    for (const struct option *option = options; option->metadata != 0; option++)
        known |= option->metadata;
    return known;
}

static int get(int fd, const struct option *option, int *value) {
    socklen_t length = sizeof *value;
    *value = 0;
    return fski_getsockopt(fd, option->level, option->number, value, &length);
}

int fsk_metadata_enable(int fd, int family, unsigned metadata) {
    enum { OPTIONS = sizeof options / sizeof *options };
    int before[OPTIONS];
    int result = (metadata & ~known_metadata()) != 0 ? -EOPNOTSUPP : 0;
    size_t i = 0;
    for (; result >= 0 && options[i].metadata != 0; i++) {
        if (options[i].family == AF_INET6 && family != AF_INET6)
            continue;
        int value = (options[i].metadata & metadata) != 0;
        result = get(fd, &options[i], &before[i]);
        if (result >= 0 && value != before[i])
            result = fski_setsockopt(fd, options[i].level, options[i].number, &value, sizeof value);
    }
    if (result >= 0)
        return 0;
    /* The last one looked at did not change. */
    for (size_t j = 0; i > 0 && j < i - 1; j++)
        if (options[j].family != AF_INET6 || family == AF_INET6)
            fski_setsockopt(fd, options[j].level, options[j].number, &before[j], sizeof before[j]);
    return result == -ENOPROTOOPT ? -EOPNOTSUPP : result;
}

static uint8_t small_number(const struct fsk_control *item) {
    int number = 0;
    if (item->length >= sizeof number)
        memcpy(&number, item->data, sizeof number);
    else if (item->length > 0)
        number = *(const uint8_t *)item->data;
    return (uint8_t)number;
}

static int64_t time_ns(const struct fsk_control *item) {
    int64_t wide[2];
    int32_t narrow[2];
    if (item->length >= sizeof wide) {
        memcpy(wide, item->data, sizeof wide);
        return wide[0] * 1000000000 + wide[1];
    }
    if (item->length < sizeof narrow)
        return 0;
    memcpy(narrow, item->data, sizeof narrow);
    return (int64_t)narrow[0] * 1000000000 + narrow[1];
}

int fsk_metadata_enabled(int fd, int family) {
    unsigned enabled = known_metadata();
    for (const struct option *option = options; option->metadata != 0; option++) {
        int value;
        if (option->family == AF_INET6 && family != AF_INET6)
            continue;
        int result = get(fd, option, &value);
        if (result < 0)
            return result;
        if (value == 0)
            enabled &= ~option->metadata;
    }
    return (int)enabled;
}

static void read_ip4_destination(const struct fsk_control *item, struct fski_metadata *metadata) {
    struct in_pktinfo info;
    struct fsk_address *address = &metadata->destination;
    /* An IPv6 socket gives both; the mapped address of its own option counts. */
    if (item->length < sizeof info || address->length > 0)
        return;
    memcpy(&info, item->data, sizeof info);
    memset(&address->name.ip4, 0, sizeof address->name.ip4);
    address->name.ip4.sin_family = AF_INET;
    address->name.ip4.sin_addr = info.ipi_addr;
    address->length = sizeof address->name.ip4;
    metadata->interface = (uint32_t)info.ipi_ifindex;
}

static void read_ip6_destination(const struct fsk_control *item, struct fski_metadata *metadata) {
    struct in6_pktinfo info;
    struct fsk_address *address = &metadata->destination;
    if (item->length < sizeof info)
        return;
    memcpy(&info, item->data, sizeof info);
    memset(&address->name.ip6, 0, sizeof address->name.ip6);
    address->name.ip6.sin6_family = AF_INET6;
    address->name.ip6.sin6_addr = info.ipi6_addr;
    address->length = sizeof address->name.ip6;
    metadata->interface = (uint32_t)info.ipi6_ifindex;
}

static void read_item(const struct fsk_control *item, struct fski_metadata *metadata) {
#define IS(LEVEL, TYPE) (item->level == (LEVEL) && item->type == (TYPE))
    if (IS(FSKI_SOL_UDP, FSKI_UDP_GRO)) {
        int size = 0;
        memcpy(&size, item->data, item->length < sizeof size ? item->length : sizeof size);
        metadata->segment_size = size > 0 ? (uint32_t)size : 0;
    } else if (IS(SOL_SOCKET, SO_TIMESTAMPNS)) {
        metadata->timestamp_ns = time_ns(item);
    } else if (IS(IPPROTO_IP, IP_PKTINFO)) {
        read_ip4_destination(item, metadata);
    } else if (IS(IPPROTO_IPV6, IPV6_PKTINFO)) {
        read_ip6_destination(item, metadata);
    } else if (IS(IPPROTO_IP, IP_TTL) || IS(IPPROTO_IPV6, IPV6_HOPLIMIT)) {
        metadata->hop_limit = small_number(item);
    } else if (IS(IPPROTO_IP, IP_TOS) || IS(IPPROTO_IPV6, IPV6_TCLASS)) {
        metadata->tos = small_number(item);
    }
#undef IS
}

#else

int fsk_metadata_enable(int fd, int family, unsigned metadata) {
    (void)fd;
    (void)family;
    return metadata == 0 ? 0 : -EOPNOTSUPP;
}

int fsk_metadata_enabled(int fd, int family) {
    (void)fd;
    (void)family;
    return 0;
}

static void read_item(const struct fsk_control *item, struct fski_metadata *metadata) {
    (void)item;
    (void)metadata;
}

#endif

void fski_metadata_read(void *control, size_t length, struct fski_metadata *metadata) {
    struct fsk_message message = {.control = control, .control_length = length};
    struct fsk_control item;
    size_t cursor = 0;
    metadata->timestamp_ns = 0;
    metadata->destination.length = 0;
    metadata->interface = 0;
    metadata->hop_limit = 0;
    metadata->tos = 0;
    metadata->segment_size = 0;
    metadata->descriptors = 0;
    while (fsk_control_next(&message, &cursor, &item) > 0) {
        if (fski_control_brings_descriptors(&item))
            metadata->descriptors += fski_control_close(&item);
        else
            read_item(&item, metadata);
    }
}
