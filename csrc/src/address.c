/* SPDX-License-Identifier: MIT */
#include <fastsock/address.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)

int fsk_address_parse_host(struct fsk_address *address, int family, const char *host,
                           uint16_t port) {
    if (family == AF_INET) {
        struct sockaddr_in *ip4 = &address->name.ip4;
        memset(ip4, 0, sizeof *ip4);
        ip4->sin_family = AF_INET;
        ip4->sin_port = htons(port);
        address->length = sizeof *ip4;
        return inet_pton(AF_INET, host, &ip4->sin_addr) == 1 ? 0 : -EINVAL;
    }
    if (family == AF_INET6) {
        struct sockaddr_in6 *ip6 = &address->name.ip6;
        memset(ip6, 0, sizeof *ip6);
        ip6->sin6_family = AF_INET6;
        ip6->sin6_port = htons(port);
        address->length = sizeof *ip6;
        return inet_pton(AF_INET6, host, &ip6->sin6_addr) == 1 ? 0 : -EINVAL;
    }
    return -EAFNOSUPPORT;
}

/* inet_ntop of glibc goes through sprintf, which costs more than the rest of a received address. */
static int format_ip4(const struct in_addr *ip4, char *host) {
    const unsigned char *octets = (const unsigned char *)&ip4->s_addr; /* network order */
    char *end = host;
    for (int i = 0; i < 4; i++) {
        unsigned octet = octets[i];
        if (octet >= 100)
            *end++ = (char)('0' + octet / 100);
        if (octet >= 10)
            *end++ = (char)('0' + octet / 10 % 10);
        *end++ = (char)('0' + octet % 10);
        *end++ = i < 3 ? '.' : '\0';
    }
    return (int)(end - host) - 1;
}

int fsk_address_format_host(const struct fsk_address *address, char *host) {
    if (address->length == 0)
        return -EAFNOSUPPORT;
    if (address->name.any.sa_family == AF_INET)
        return format_ip4(&address->name.ip4.sin_addr, host);
    if (address->name.any.sa_family != AF_INET6)
        return -EAFNOSUPPORT;
    inet_ntop(AF_INET6, &address->name.ip6.sin6_addr, host, FSK_HOST_SIZE);
    return (int)strlen(host);
}

int fsk_address_port(const struct fsk_address *address) {
    if (address->length == 0)
        return -EAFNOSUPPORT;
    if (address->name.any.sa_family == AF_INET)
        return ntohs(address->name.ip4.sin_port);
    if (address->name.any.sa_family == AF_INET6)
        return ntohs(address->name.ip6.sin6_port);
    return -EAFNOSUPPORT;
}

int fsk_address_set_path(struct fsk_address *address, const void *path, size_t length) {
    struct sockaddr_un *un = &address->name.path;
    bool is_abstract = length > 0 && *(const char *)path == '\0';
    /* The kernel counts an abstract name by the address length and ends a path at its NUL, for
     * which it wants room: unix_mkname, net/unix/af_unix.c. */
    size_t limit = is_abstract ? sizeof un->sun_path : sizeof un->sun_path - 1;
    if (length > limit)
        return -ENAMETOOLONG;
    memset(un, 0, sizeof *un);
    un->sun_family = AF_UNIX;
    if (length > 0)
        memcpy(un->sun_path, path, length);
    address->length = (socklen_t)(PATH_OFFSET + length + (length > 0 && !is_abstract));
    return 0;
}

bool fsk_address_is_abstract(const struct fsk_address *address) {
    return address->length > PATH_OFFSET && address->name.any.sa_family == AF_UNIX &&
           address->name.path.sun_path[0] == '\0';
}

bool fsk_address_is_multicast(const struct fsk_address *address) {
    if (address->length == 0)
        return false;
    if (address->name.any.sa_family == AF_INET)
        return IN_MULTICAST(ntohl(address->name.ip4.sin_addr.s_addr));
    return address->name.any.sa_family == AF_INET6 &&
           IN6_IS_ADDR_MULTICAST(&address->name.ip6.sin6_addr);
}

const char *fsk_address_path(const struct fsk_address *address, size_t *length) {
    const char *path = address->name.path.sun_path;
    size_t room = address->length > PATH_OFFSET ? address->length - PATH_OFFSET : 0;
    /* A path may fill sun_path without a NUL: bind takes 108 bytes from other programs. */
    *length = fsk_address_is_abstract(address) ? room : strnlen(path, room);
    return path;
}

bool fsk_address_equal(const struct fsk_address *one, const struct fsk_address *other) {
    if (one->length != other->length)
        return false;
    if (one->length == 0)
        return true;
    if (one->name.any.sa_family != other->name.any.sa_family)
        return false;
    if (one->name.any.sa_family == AF_INET)
        return one->name.ip4.sin_port == other->name.ip4.sin_port &&
               one->name.ip4.sin_addr.s_addr == other->name.ip4.sin_addr.s_addr;
    if (one->name.any.sa_family == AF_INET6)
        return one->name.ip6.sin6_port == other->name.ip6.sin6_port &&
               one->name.ip6.sin6_flowinfo == other->name.ip6.sin6_flowinfo &&
               one->name.ip6.sin6_scope_id == other->name.ip6.sin6_scope_id &&
               memcmp(&one->name.ip6.sin6_addr, &other->name.ip6.sin6_addr,
                      sizeof one->name.ip6.sin6_addr) == 0;
    return memcmp(&one->name, &other->name, one->length) == 0;
}

/* The finalizer of MurmurHash3: every bit of value reaches every bit of the result. One
 * multiplication would not do: it carries upward only, and a table takes the low bits. */
static uint64_t mix(uint64_t state, uint64_t value) {
    state ^= value;
    state = (state ^ (state >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    state = (state ^ (state >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return state ^ (state >> 33);
}

uint64_t fsk_address_hash(const struct fsk_address *address, uint64_t key) {
    if (address->length == 0)
        return mix(key, 0);
    if (address->name.any.sa_family == AF_INET)
        return mix(key,
                   (uint64_t)address->name.ip4.sin_addr.s_addr << 16 | address->name.ip4.sin_port);
    if (address->name.any.sa_family == AF_INET6) {
        uint64_t halves[2];
        memcpy(halves, &address->name.ip6.sin6_addr, sizeof halves);
        uint64_t state = mix(mix(key, halves[0]), halves[1]);
        return mix(state,
                   (uint64_t)address->name.ip6.sin6_scope_id << 16 | address->name.ip6.sin6_port);
    }
    uint64_t state = key;
    const unsigned char *bytes = (const unsigned char *)&address->name;
    for (socklen_t i = 0; i < address->length; i++)
        state = mix(state, bytes[i]);
    return state;
}
