# SPDX-License-Identifier: MIT
# libfastsock's C API. Each function's contract is in its header.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "fastsock/fastsock.h" nogil:
    enum:
        FSK_VERSION_MAJOR, FSK_VERSION_MINOR, FSK_VERSION_PATCH

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
    int fsk_address_port(const fsk_address *address)
    int fsk_address_set_path(fsk_address *address, const void *path, size_t length)
    const char *fsk_address_path(const fsk_address *address, size_t *length)
    bint fsk_address_is_abstract(const fsk_address *address)
    bint fsk_address_is_multicast(const fsk_address *address)
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
    int fsk_control_descriptors(const fsk_message *message, int *fds, int room, int *refused)

    ssize_t fsk_receive(int fd, void *buffer, size_t length, int flags)
    ssize_t fsk_receive_from(int fd, void *buffer, size_t length, int flags, fsk_address *source)
    ssize_t fsk_receive_message(int fd, fsk_message *message, int flags)

    ssize_t fsk_send(int fd, const void *data, size_t length, int flags)
    ssize_t fsk_send_to(int fd, const void *data, size_t length, int flags,
                        const fsk_address *destination)
    ssize_t fsk_send_message(int fd, const fsk_message *message, int flags)

    enum fsk_capability:
        FSK_CAPABILITY_RECVMMSG, FSK_CAPABILITY_SENDMMSG, FSK_CAPABILITY_UDP_GRO
        FSK_CAPABILITY_UDP_SEGMENT, FSK_CAPABILITY_RECEIVE_DROPS, FSK_CAPABILITY_TIMESTAMPS
        FSK_CAPABILITY_BUSY_POLL, FSK_CAPABILITY_FORCE_BUFFER, FSK_CAPABILITY_COUNT

    struct fsk_capability_report:
        bint is_built
        bint is_probed
        bint works
        int error
        const char *reason

    const char *fsk_capability_name(fsk_capability capability)
    int fsk_capability_probe(fsk_capability capability, fsk_capability_report *report)
    bint fsk_capability_works(fsk_capability capability)

    enum:
        FSK_METADATA_TIMESTAMP, FSK_METADATA_DESTINATION, FSK_METADATA_HOP_LIMIT, FSK_METADATA_TOS

    int fsk_metadata_enabled(int fd, int family)
    int fsk_metadata_enable(int fd, int family, unsigned metadata)

    enum:
        FSK_BATCH_TRUNCATED, FSK_BATCH_CONTROL_TRUNCATED, FSK_BATCH_COALESCED

    const uint32_t FSK_NO_ADDRESS

    struct fsk_batch:
        uint32_t capacity
        uint32_t max_message
        uint32_t count
        uint32_t metadata
        unsigned char *arena
        size_t used
        uint64_t *offsets
        uint32_t *lengths
        uint32_t *wire_lengths
        uint32_t *flags
        uint32_t *source
        uint32_t source_count
        int64_t *timestamps_ns
        uint32_t *destination
        uint32_t destination_count
        uint32_t *interface
        uint8_t *hop_limit
        uint8_t *tos

    int fsk_batch_new(fsk_batch **batch, uint32_t capacity, uint32_t max_message, uint64_t key)
    void fsk_batch_free(fsk_batch *batch)
    int fsk_batch_reshape(fsk_batch *batch, uint32_t capacity, uint32_t max_message)
    void fsk_batch_clear(fsk_batch *batch)
    size_t fsk_batch_size(const fsk_batch *batch)
    void fsk_batch_source(const fsk_batch *batch, uint32_t index, fsk_address *address)
    void fsk_batch_destination(const fsk_batch *batch, uint32_t index, fsk_address *address)

    int fsk_receive_batch(int fd, int type, int flags, fsk_batch *batch)

    enum:
        FSK_READAHEAD_BUFFERS, FSK_READAHEAD_ROWS

    struct fsk_readahead:
        pass

    struct fsk_datagram:
        const void *data
        size_t length
        const fsk_address *source
        const void *control
        size_t control_length
        int flags
        bint is_coalesced

    int fsk_readahead_new(fsk_readahead **readahead, unsigned buffers)
    void fsk_readahead_free(fsk_readahead *readahead)
    int fsk_readahead_start(fsk_readahead *readahead, int fd)
    int fsk_readahead_stop(fsk_readahead *readahead, int fd)
    ssize_t fsk_readahead_fill(fsk_readahead *readahead, int fd, int flags)
    bint fsk_readahead_first(const fsk_readahead *readahead, fsk_datagram *datagram)
    void fsk_readahead_pop(fsk_readahead *readahead)
    size_t fsk_readahead_pending(const fsk_readahead *readahead)
    void fsk_readahead_clear(fsk_readahead *readahead)
    int fsk_readahead_receive(fsk_readahead *readahead, int fd, int flags, fsk_batch *batch)

    enum:
        FSK_RECEIVER_MEMORY, FSK_RECEIVER_SHARDS
        FSK_OVERFLOW_DROP_NEWEST, FSK_OVERFLOW_DROP_OLDEST, FSK_OVERFLOW_BLOCK

    struct fsk_receiver:
        pass

    struct fsk_receiver_options:
        size_t size
        size_t memory
        int overflow
        bint gro
        bint keeps_sockets
        unsigned metadata
        const int *cpus
        int priority
        uint32_t busy_poll_us
        uint64_t key

    struct fsk_receiver_stats_t "fsk_receiver_stats":
        size_t size
        uint64_t received, delivered, queued, ring_drops, discarded
        uint64_t bytes, system_calls, largest_batch, high_water, kernel_drops
        bint kernel_drops_exact
        uint64_t truncated, control_truncated, descriptors, errors
        unsigned pinned

    int fsk_receiver_open(fsk_receiver **receiver, const int *fds, unsigned count,
                          const fsk_receiver_options *options)
    int fsk_receiver_next(fsk_receiver *receiver, int64_t timeout_ns, fsk_batch **batch)
    void fsk_receiver_release(fsk_receiver *receiver, fsk_batch *batch)
    int fsk_receiver_fd(fsk_receiver *receiver)
    int fsk_receiver_stats(fsk_receiver *receiver, fsk_receiver_stats_t *stats)
    int fsk_receiver_close(fsk_receiver *receiver)
    void fsk_receiver_free(fsk_receiver *receiver)

    struct fsk_segmentation:
        pass

    int fsk_segmentation_new(fsk_segmentation **segmentation)
    void fsk_segmentation_free(fsk_segmentation *segmentation)
    void fsk_segmentation_forget(fsk_segmentation *segmentation)
    uint64_t fsk_segmentation_refusals(const fsk_segmentation *segmentation)

    struct fsk_outgoing:
        const void *data
        size_t length
        const fsk_address *destination

    ssize_t fsk_send_batch(int fd, const fsk_outgoing *messages, size_t count, int flags,
                           fsk_segmentation *segmentation, int *error)

    const int64_t FSK_FOREVER

    enum fsk_wait:
        FSK_WAIT_READABLE
        FSK_WAIT_WRITABLE

    enum:
        FSK_READY, FSK_HUNG_UP

    int fsk_socket_open(int family, int type, int protocol)
    int fsk_socket_close(int fd)
    int fsk_socket_bind(int fd, const fsk_address *address)
    int fsk_socket_listen(int fd, int backlog)
    int fsk_socket_connect(int fd, const fsk_address *address)
    int fsk_socket_shutdown(int fd, int how)
    int fsk_socket_name(int fd, fsk_address *address)
    int fsk_socket_peer(int fd, fsk_address *address)
    int fsk_socket_set_option(int fd, int level, int option, int value)
    int fsk_socket_option(int fd, int level, int option, int *value)
    int fsk_socket_set_blocking(int fd, bint blocking)
    int fsk_socket_set_receive_buffer(int fd, int bytes, bint force)
    int fsk_socket_accept(int fd, fsk_address *peer)
    int fsk_socket_wait(int fd, fsk_wait what, int64_t timeout_ns)
    int fsk_socket_wait_either(int fd, int other, int64_t timeout_ns)
    int fsk_socket_is_blocking(int fd)
    int fsk_socket_receive_low_water(int fd)

    struct fsk_credentials:
        int64_t pid
        uint32_t uid
        uint32_t gid

    int fsk_socket_peer_credentials(int fd, fsk_credentials *credentials)
    int fsk_socket_drops(int fd, uint32_t *drops)

    int fsk_multicast_join(int fd, const fsk_address *group, unsigned interface,
                           const fsk_address *source)
    int fsk_multicast_leave(int fd, const fsk_address *group, unsigned interface,
                            const fsk_address *source)
    int fsk_multicast_only_joined(int fd, int family)

    # The system's constants that the calls compare with (sys/socket.h, netinet/in.h).
    enum:
        AF_INET, AF_INET6, AF_UNIX
        MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL
        SCM_RIGHTS
        SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
        SOL_SOCKET, SO_RCVLOWAT

    uint16_t ntohs(uint16_t number)
    uint32_t ntohl(uint32_t number)
    uint32_t htonl(uint32_t number)

    enum:
        FSK_FRAME_MAX, FSK_DELIMITER_MAX, FSK_FRAME_HEADER_MAX

    enum fsk_framing_kind:
        FSK_FRAMING_LENGTH
        FSK_FRAMING_VARINT
        FSK_FRAMING_DELIMITER
        FSK_FRAMING_FIXED

    struct fsk_framing:
        size_t size
        fsk_framing_kind kind
        uint32_t max_frame
        uint8_t header_size
        bint little_endian
        bint includes_header
        bint keeps_delimiter
        uint8_t delimiter_size
        unsigned char delimiter[64]
        uint32_t frame_size

    struct fsk_cut:
        uint64_t offset
        size_t searched
        uint64_t missing
        uint64_t needed
        size_t header

    int fsk_framing_check(const fsk_framing *framing)
    ssize_t fsk_framing_cut(const fsk_framing *framing, fsk_cut *cut, const unsigned char *data,
                            size_t *start, size_t end, uint64_t *offsets, uint32_t *lengths,
                            size_t capacity)
    int fsk_framing_check_frame(const fsk_framing *framing, const void *data, size_t length)
    size_t fsk_framing_encoded_size(const fsk_framing *framing, size_t length)
    size_t fsk_framing_header(const fsk_framing *framing, size_t length, unsigned char *header)
    size_t fsk_framing_encode(const fsk_framing *framing, const void *data, size_t length,
                              unsigned char *encoded)

    struct fsk_server:
        pass

    enum fsk_close_reason:
        FSK_CLOSE_EOF, FSK_CLOSE_RESET, FSK_CLOSE_IDLE, FSK_CLOSE_OVERSIZE, FSK_CLOSE_SLOW
        FSK_CLOSE_LOCAL, FSK_CLOSE_MEMORY, FSK_CLOSE_REASONS

    enum:
        FSK_CLOSE_PLACES

    struct fsk_server_options:
        size_t size
        const fsk_framing *framing
        size_t memory
        size_t max_pending
        uint32_t max_connections
        int64_t idle_timeout_ns
        bint closes_slow

    struct fsk_closed:
        uint32_t connection
        uint32_t unfinished
        fsk_close_reason reason

    struct fsk_server_stats_t "fsk_server_stats":
        size_t size
        uint64_t accepted
        uint64_t connections
        uint64_t closed[16]  # FSK_CLOSE_PLACES
        uint64_t frames_received
        uint64_t bytes_received
        uint64_t frames_queued
        uint64_t bytes_sent
        uint64_t bytes_unsent
        uint64_t bytes_unfinished
        uint64_t accept_pauses
        uint64_t memory
        uint64_t memory_peak

    int fsk_server_open(fsk_server **server, int listener, const fsk_server_options *options)
    size_t fsk_server_arena(const fsk_framing *framing)
    int fsk_server_next(fsk_server *server, int64_t timeout_ns, fsk_batch *batch)
    const uint32_t *fsk_server_opened(const fsk_server *server, size_t *count)
    const fsk_closed *fsk_server_closed(const fsk_server *server, size_t *count)
    int fsk_server_send(fsk_server *server, uint32_t connection, const void *data, size_t length)
    int fsk_server_flush(fsk_server *server)
    int fsk_server_abort(fsk_server *server, uint32_t connection)
    int fsk_server_end(fsk_server *server, uint32_t connection)
    size_t fsk_server_pending(const fsk_server *server, uint32_t connection)
    void fsk_server_peer(const fsk_server *server, uint32_t connection, fsk_address *address)
    int fsk_server_connection_fd(const fsk_server *server, uint32_t connection)
    void fsk_server_stop(fsk_server *server, int64_t drain_ns)
    void fsk_server_interrupt(fsk_server *server)
    int fsk_server_fd(fsk_server *server)
    int64_t fsk_server_due(fsk_server *server)
    int fsk_server_stats(const fsk_server *server, fsk_server_stats_t *stats)
    void fsk_server_free(fsk_server *server)

    struct fsk_framer:
        pass

    const size_t FSK_FRAMER_READAHEAD

    int fsk_framer_new(fsk_framer **framer, const fsk_framing *framing, size_t readahead)
    void fsk_framer_free(fsk_framer *framer)
    int fsk_framer_room(fsk_framer *framer, unsigned char **where, size_t *size)
    void fsk_framer_put(fsk_framer *framer, size_t n)
    int fsk_framer_feed(fsk_framer *framer, const void *data, size_t n)
    ssize_t fsk_framer_next(fsk_framer *framer, uint64_t *offsets, uint32_t *lengths,
                            size_t capacity)
    ssize_t fsk_framer_cut(fsk_framer *framer, const unsigned char *data, size_t *start, size_t end,
                           const unsigned char **base, uint64_t *offsets, uint32_t *lengths,
                           size_t capacity)
    void fsk_framer_back(fsk_framer *framer, size_t n)
    const unsigned char *fsk_framer_data(const fsk_framer *framer)
    uint64_t fsk_framer_offset(const fsk_framer *framer)
    void fsk_framer_left(const fsk_framer *framer, const unsigned char **data, size_t *size,
                         uint64_t *missing)
    int fsk_framer_begun(const fsk_framer *framer, size_t *header, uint64_t *length)
    void fsk_framer_leave(fsk_framer *framer)
    size_t fsk_framer_take(fsk_framer *framer, void *buffer, size_t n)
