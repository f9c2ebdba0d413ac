/* SPDX-License-Identifier: MIT
 * libfastsock: POSIX sockets with one error convention and exact accounting. */
#ifndef FASTSOCK_FASTSOCK_H
#define FASTSOCK_FASTSOCK_H

#include <fastsock/address.h>
#include <fastsock/batch.h>
#include <fastsock/capability.h>
#include <fastsock/error.h>
#include <fastsock/framer.h>
#include <fastsock/framing.h>
#include <fastsock/message.h>
#include <fastsock/metadata.h>
#include <fastsock/multicast.h>
#include <fastsock/readahead.h>
#include <fastsock/receive.h>
#include <fastsock/receiver.h>
#include <fastsock/segmentation.h>
#include <fastsock/send.h>
#include <fastsock/server.h>
#include <fastsock/socket.h>
#include <fastsock/version.h>

#endif
