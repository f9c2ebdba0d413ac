// SPDX-License-Identifier: MIT

// Send back each frame (its length before it in 4 bytes, network order) of every TCP client.
//
//	PKG_CONFIG_PATH=$(python -m fastsock.config --pkg-config) go build frame_server.go
//	./frame_server 127.0.0.1 8888     # or an IPv6 host; port 0 takes a free one
package main

// #cgo pkg-config: fastsock
// #include <errno.h>
// #include <fastsock/fastsock.h>
//
// // Here, as Go's memory must not hold a pointer to more of it when C gets it.
// const struct fsk_framing framing = {
//     .size = sizeof framing, .kind = FSK_FRAMING_LENGTH, .max_frame = 1 << 20, .header_size = 4};
import "C"

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// check ends the program on an error but the one that is harmless.
func check(result C.int, harmless C.int) C.int {
	if result < 0 && result != -harmless {
		log.Fatal(syscall.Errno(-result))
	}
	return result
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: frame_server HOST PORT")
	}
	listener := must(net.Listen("tcp", net.JoinHostPort(os.Args[1], os.Args[2])))
	file := must(listener.(*net.TCPListener).File())
	fd := must(syscall.Dup(int(file.Fd()))) // the server's, which closes it
	syscall.CloseOnExec(fd)
	listener.Close()
	file.Close()
	options := C.struct_fsk_server_options{size: C.sizeof_struct_fsk_server_options, framing: &C.framing,
		memory: 64 << 20, max_pending: 4 << 20, max_connections: 1000, closes_slow: true,
		idle_timeout_ns: C.FSK_FOREVER}
	var server *C.struct_fsk_server
	var batch *C.struct_fsk_batch
	check(C.fsk_server_open(&server, C.int(fd), &options), 0)
	check(C.fsk_batch_new(&batch, 1024, C.uint32_t(C.fsk_server_arena(&C.framing)/1024+1), 0), 0)
	signals, stopped := make(chan os.Signal, 1), make(chan bool)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		C.fsk_server_stop(server, 1_000_000_000) // and a second for the answers on their way
		close(stopped)
	}()
	fmt.Printf("Listening on %s port %d\n", os.Args[1], listener.Addr().(*net.TCPAddr).Port)
	for check(C.fsk_server_next(server, C.FSK_FOREVER, batch), C.EINTR) != 0 {
		offsets, lengths := unsafe.Slice(batch.offsets, batch.count), unsafe.Slice(batch.lengths, batch.count)
		for i, connection := range unsafe.Slice(batch.source, batch.count) {
			data := unsafe.Add(unsafe.Pointer(batch.arena), offsets[i])
			sent := C.fsk_server_send(server, connection, data, C.size_t(lengths[i]))
			check(sent, C.EPIPE) // the connection has ended
		}
	}
	<-stopped // before it is freed
	C.fsk_server_free(server)
	C.fsk_batch_free(batch)
}
