// SPDX-License-Identifier: MIT
//! Print who sent each datagram and what, until Ctrl+C or SIGTERM, reading ahead (UDP GRO).
//!
//!     rustc --edition 2021 udp_receiver.rs -C link-args="$(python -m fastsock.config --libs)"
//!     ./udp_receiver 127.0.0.1 8888     # or an IPv6 host; port 0 takes a free one
use std::io::{stdout, BufWriter, Error, ErrorKind, Result, Write};
use std::os::{raw::*, unix::io::AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::{env, ffi::CStr, mem::MaybeUninit, net::UdpSocket, ptr, slice};

// Of readahead.h, address.h and socket.h. What is inside an address is left to the library.
type Queue = *mut c_void;
type Address = *const c_void;
#[repr(C)]
#[rustfmt::skip]
struct Datagram { data: *const u8, length: usize, source: Address, control: *const c_void,
    control_length: usize, flags: c_int, is_coalesced: bool }
extern "C" {
    fn fsk_readahead_new(queue: *mut Queue, buffers: c_uint) -> c_int;
    fn fsk_readahead_free(queue: Queue);
    fn fsk_readahead_start(queue: Queue, fd: c_int) -> c_int;
    fn fsk_readahead_fill(queue: Queue, fd: c_int, flags: c_int) -> isize;
    fn fsk_readahead_first(queue: Queue, datagram: *mut Datagram) -> bool;
    fn fsk_readahead_pop(queue: Queue);
    fn fsk_address_format_host(address: Address, host: *mut c_char) -> c_int;
    fn fsk_address_port(address: Address) -> c_int;
    fn fsk_socket_shutdown(fd: c_int, how: c_int) -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
}

static FD: AtomicI32 = AtomicI32::new(-1); // below 0: it is over

/// Ends the wait for datagrams. As more may come all the same, the loop looks at FD too.
extern "C" fn finish(_: c_int) {
    unsafe { fsk_socket_shutdown(FD.swap(-1, SeqCst), 0) }; // SHUT_RD
}

fn check(result: isize) -> Result<isize> {
    (result >= 0).then_some(result).ok_or_else(|| Error::from_raw_os_error(-result as i32))
}

fn main() -> Result<()> {
    let port: Option<u16> = env::args().nth(2).and_then(|port| port.parse().ok());
    let usage = Error::new(ErrorKind::InvalidInput, "usage: udp_receiver HOST PORT");
    let (host, port) = env::args().nth(1).zip(port).ok_or(usage)?;
    let socket = UdpSocket::bind((host.as_str(), port))?;
    let (fd, mut queue, mut out) = (socket.as_raw_fd(), ptr::null_mut(), BufWriter::new(stdout()));
    check(unsafe { fsk_readahead_new(&mut queue, 16) } as isize)?;
    check(unsafe { fsk_readahead_start(queue, fd) } as isize)?;
    FD.store(fd, SeqCst);
    unsafe { signal(2, finish) }; // SIGINT
    unsafe { signal(15, finish) }; // SIGTERM
    writeln!(out, "Listening on {host} port {}", socket.local_addr()?.port())?;
    while FD.load(SeqCst) >= 0 {
        out.flush()?;
        match check(unsafe { fsk_readahead_fill(queue, fd, 0) }) {
            Ok(0) => break,
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => while print_first(queue, &mut out)? {},
        }
    }
    unsafe { fsk_readahead_free(queue) };
    out.flush()
}

/// Prints the first datagram of the queue and takes it out. False when there is none.
fn print_first(queue: Queue, out: &mut impl Write) -> Result<bool> {
    let (mut first, mut host) = (MaybeUninit::uninit(), [0; 46]);
    if !unsafe { fsk_readahead_first(queue, first.as_mut_ptr()) } {
        return Ok(false);
    }
    let Datagram { data, length, source, .. } = unsafe { first.assume_init() };
    check(unsafe { fsk_address_format_host(source, host.as_mut_ptr()) } as isize)?;
    let host = unsafe { CStr::from_ptr(host.as_ptr()) }.to_string_lossy();
    let data = unsafe { slice::from_raw_parts(data, length) }.escape_ascii();
    writeln!(out, "{host} port {}: {data}", unsafe { fsk_address_port(source) })?;
    unsafe { fsk_readahead_pop(queue) };
    Ok(true)
}
