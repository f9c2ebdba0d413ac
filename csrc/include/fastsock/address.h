/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_ADDRESS_H
#define FASTSOCK_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <netinet/in.h>
#include <sys/un.h>

#include <fastsock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A socket address as the kernel takes and gives it. The caller owns the storage; it may lie on the
 * stack and need not be cleared before a call that fills it. Bytes past length are undefined.
 */
struct fsk_address {
    socklen_t length; /* bytes of the union in use; 0: no address */
    union {
        struct sockaddr any; /* any.sa_family tells which member holds the address */
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
        struct sockaddr_un path;
        struct sockaddr_storage storage;
    } name;
};

/* Room for every numeric host fsk_address_format_host writes, its NUL included. */
#define FSK_HOST_SIZE 46

/*
 * Make an address from a numeric host and a port.
 *
 *   address  out  port in network order; IPv6 flow information and scope are 0. Undefined after
 *                 -EINVAL
 *   family   in   AF_INET or AF_INET6
 *   host     in   "192.0.2.1" or "2001:db8::1"; no name, no %scope, no short form such as "127.1"
 *   port     in   host order
 *
 * Returns 0, -EINVAL when host is not numeric in that family, -EAFNOSUPPORT for other families.
 * Source: inet_pton(3).
 */
FSK_API int fsk_address_parse_host(struct fsk_address *address, int family, const char *host,
                                   uint16_t port);

/*
 * Write the numeric host of an IP address, without port or scope.
 *
 *   host  out  at least FSK_HOST_SIZE bytes; NUL-terminated
 *
 * Returns the length of the text, or -EAFNOSUPPORT when address is not an IP address. The text is
 * that of inet_ntop(3).
 */
FSK_API int fsk_address_format_host(const struct fsk_address *address, char *host);

/* The port of an IP address in host order, 0..65535, or -EAFNOSUPPORT when it is not one. */
FSK_API int fsk_address_port(const struct fsk_address *address);

/*
 * Make an AF_UNIX address from a path or an abstract name.
 *
 *   address  out  as it was after an error
 *   path     in   length bytes, no NUL needed; a first byte of 0 makes it an abstract name (Linux),
 *                 in which every byte counts; no byte at all asks the kernel to choose one at bind
 *   length   in   at most 107 for a path (the kernel wants room for its NUL), 108 for a name
 *
 * Returns 0 or -ENAMETOOLONG. Source: unix(7).
 */
FSK_API int fsk_address_set_path(struct fsk_address *address, const void *path, size_t length);

/*
 * The path or abstract name of an AF_UNIX address.
 *
 *   address  in   of AF_UNIX, or of length 0
 *   length   out  bytes; 0 for an unnamed socket; an abstract name includes its leading 0
 *
 * Returns a pointer into address, not NUL-terminated; valid as long as address is.
 */
FSK_API const char *fsk_address_path(const struct fsk_address *address, size_t *length);

/* True for an AF_UNIX address whose name is abstract: it starts with a 0 byte. */
FSK_API bool fsk_address_is_abstract(const struct fsk_address *address);

/* True for an IP address of a group: 224.0.0.0/4 or ff00::/8. */
FSK_API bool fsk_address_is_multicast(const struct fsk_address *address);

/*
 * True when both name the same endpoint. Only what the family defines is compared: family, port and
 * address of IPv4, with flow information and scope for IPv6; the bytes in use for every other.
 */
FSK_API bool fsk_address_equal(const struct fsk_address *one, const struct fsk_address *other);

/*
 * A hash for tables of addresses: equal addresses hash alike under the same key.
 *
 *   key  in  a random number that peers don't know: it keeps them from choosing addresses that
 *            collide
 */
FSK_API uint64_t fsk_address_hash(const struct fsk_address *address, uint64_t key);

#ifdef __cplusplus
}
#endif

#endif
