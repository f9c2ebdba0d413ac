// SPDX-License-Identifier: MIT

// Print who sent each datagram and what, until Ctrl+C or SIGTERM, reading ahead (UDP GRO).
//
//	PKG_CONFIG_PATH=$(python -m fastsock.config --pkg-config) go build udp_receiver.go
//	./udp_receiver 127.0.0.1 8888     # or an IPv6 host; port 0 takes a free one
package main

// #cgo pkg-config: fastsock
// #include <errno.h>
// #include <fastsock/fastsock.h>
import "C"

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func check(result C.ssize_t, what string) {
	if result < 0 {
		log.Fatalf("%s: %s", what, syscall.Errno(-result))
	}
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: udp_receiver HOST PORT")
	}
	socket := must(net.ListenPacket("udp", net.JoinHostPort(os.Args[1], os.Args[2])))
	file := must(socket.(*net.UDPConn).File())
	socket.Close() // as file has a descriptor of its own
	fd := C.int(file.Fd())
	var queue *C.struct_fsk_readahead
	check(C.ssize_t(C.fsk_readahead_new(&queue, 16)), "queue")
	check(C.ssize_t(C.fsk_readahead_start(queue, fd)), "start")

	var isOver atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		C.fsk_socket_shutdown(fd, C.SHUT_RD) // ends the wait
		isOver.Store(true)                   // and the loop, though more may come
	}()
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprintf(out, "Listening on %s port %d\n", os.Args[1], socket.LocalAddr().(*net.UDPAddr).Port)
	var datagram C.struct_fsk_datagram
	var host [C.FSK_HOST_SIZE]C.char
	for !isOver.Load() {
		must(0, out.Flush())
		if filled := C.fsk_readahead_fill(queue, fd, 0); filled != -C.EINTR {
			check(filled, "receive")
		}
		for C.fsk_readahead_first(queue, &datagram) {
			C.fsk_address_format_host(datagram.source, &host[0])
			data := C.GoBytes(datagram.data, C.int(datagram.length))
			port := C.fsk_address_port(datagram.source)
			fmt.Fprintf(out, "%s port %d: %q\n", C.GoString(&host[0]), port, data)
			C.fsk_readahead_pop(queue)
		}
	}
	must(0, out.Flush())
	C.fsk_readahead_free(queue)
	file.Close()
}
