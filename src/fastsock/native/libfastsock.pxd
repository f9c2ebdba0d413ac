# SPDX-License-Identifier: MIT
# libfastsock's C API. Each function's contract is in its header.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t


cdef extern from "fastsock/fastsock.h" nogil:
    int fsk_version()
    const char *fsk_engine_name()
    int fsk_error_text(int code, char *text, size_t size)

    # The parts of the system's structures that Python's addresses are made of.
    struct sockaddr:
        unsigned short sa_family
        char sa_data[14]

    struct in_addr:
        uint32_t s_addr

    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr

    struct sockaddr_in6:
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        uint32_t sin6_scope_id

    union fsk_address_name "__typeof__(((struct fsk_address *)0)->name)":
        sockaddr any
        sockaddr_in ip4
        sockaddr_in6 ip6

    struct fsk_address:
        uint32_t length
        fsk_address_name name

    enum:
        FSK_HOST_SIZE

    int fsk_address_parse_host(fsk_address *address, int family, const char *host, uint16_t port)
    int fsk_address_format_host(const fsk_address *address, char *host)
    int fsk_address_set_path(fsk_address *address, const void *path, size_t length)
    const char *fsk_address_path(const fsk_address *address, size_t *length)
    bint fsk_address_is_abstract(const fsk_address *address)
    bint fsk_address_equal(const fsk_address *one, const fsk_address *other)
    uint64_t fsk_address_hash(const fsk_address *address, uint64_t key)

    struct iovec:
        void *iov_base
        size_t iov_len

    struct fsk_message:
        iovec *buffers
        size_t buffer_count
        fsk_address *address
        void *control
        size_t control_length
        int flags

    struct fsk_control:
        int level
        int type
        const void *data
        size_t length

    int fsk_control_next(const fsk_message *message, size_t *cursor, fsk_control *item)
    size_t fsk_control_space(size_t length)
    int fsk_control_put(fsk_message *message, size_t room, const fsk_control *item)

    ssize_t fsk_receive(int fd, void *buffer, size_t length, int flags)
    ssize_t fsk_receive_from(int fd, void *buffer, size_t length, int flags, fsk_address *source)
    ssize_t fsk_receive_message(int fd, fsk_message *message, int flags)

    ssize_t fsk_send(int fd, const void *data, size_t length, int flags)
    ssize_t fsk_send_to(int fd, const void *data, size_t length, int flags,
                        const fsk_address *destination)
    ssize_t fsk_send_message(int fd, const fsk_message *message, int flags)

    enum fsk_wait:
        FSK_WAIT_READABLE
        FSK_WAIT_WRITABLE

    int fsk_socket_accept(int fd, fsk_address *peer)
    int fsk_socket_wait(int fd, fsk_wait what, int64_t timeout_ns)
    int fsk_socket_is_blocking(int fd)
    int fsk_socket_receive_low_water(int fd)

    # The system's constants that the calls compare with (sys/socket.h, netinet/in.h).
    enum:
        AF_INET
        AF_INET6
        AF_UNIX
        MSG_DONTWAIT
        MSG_OOB
        MSG_TRUNC
        MSG_WAITALL
        SCM_RIGHTS
        SOCK_STREAM
        SOL_SOCKET
        SO_RCVLOWAT

    uint16_t ntohs(uint16_t number)
    uint32_t ntohl(uint32_t number)
    uint32_t htonl(uint32_t number)
