/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SOCKET_INTERNAL_H
#define FASTSOCK_SOCKET_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

/* The address family of a socket, or -errno. */
int fski_socket_family(int fd);

/* Whether a descriptor is a socket of AF_INET or AF_INET6, whatever its type. */
bool fski_socket_is_internet(int fd);

/* SO_TYPE: SOCK_DGRAM or the like, or -errno. */
int fski_socket_type(int fd);

/* More messages than a socket's receive buffer holds at any one time. */
size_t fski_socket_queue_limit(int fd);

/* Whether it is of those and SOCK_DGRAM: UDP. */
bool fski_socket_is_udp(int fd);

#endif
