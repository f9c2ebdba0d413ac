// SPDX-License-Identifier: MIT
//! Send back each frame (its length before it in 4 bytes, network order) of every TCP client.
//!
//!     rustc --edition 2021 frame_server.rs -C link-args="$(python -m fastsock.config --libs)"
//!     ./frame_server 127.0.0.1 8888     # or an IPv6 host; port 0 takes a free one
use std::io::{Error, ErrorKind, ErrorKind::*, Result};
use std::os::{raw::*, unix::io::IntoRawFd};
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};
use std::{env, mem::size_of, mem::zeroed, net::TcpListener, ptr};

// Of framing.h and server.h; and of batch.h up to the last member that is used here.
#[rustfmt::skip] #[repr(C)]
struct Framing { size: usize, kind: c_uint, max_frame: u32, header_size: u8, little_endian: bool,
    includes_header: bool, keeps_delimiter: bool, delimiter_size: u8, delimiter: [u8; 64],
    frame_size: u32 }
#[rustfmt::skip] #[repr(C)]
struct Options<'a> { size: usize, framing: &'a Framing, memory: usize, max_pending: usize,
    max_connections: u32, closes_slow: bool, idle_timeout_ns: i64 }
#[rustfmt::skip] #[repr(C)]
struct Batch { capacity: u32, max_message: u32, count: u32, metadata: u32, arena: *const u8,
    used: usize, offsets: *const u64, lengths: *const u32, wire_lengths: *const u32,
    flags: *const u32, source: *const u32 }
#[rustfmt::skip]
extern "C" {
    fn fsk_batch_new(batch: *mut *mut Batch, capacity: u32, max_message: u32, key: u64) -> c_int;
    fn fsk_server_open(to: *mut *mut c_void, listener: c_int, options: &Options) -> c_int;
    fn fsk_server_arena(framing: &Framing) -> usize;
    fn fsk_server_next(server: *mut c_void, timeout_ns: i64, batch: *mut Batch) -> c_int;
    fn fsk_server_send(server: *mut c_void, to: u32, data: *const u8, length: usize) -> c_int;
    fn fsk_server_stop(server: *mut c_void, drain_ns: i64);
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
}
static SERVER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Connections then have a second to take the answers that are on their way.
extern "C" fn finish(_: c_int) {
    unsafe { fsk_server_stop(SERVER.load(SeqCst), 1_000_000_000) };
}

/// Makes an error of the library one of Rust, unless it is the one that the caller goes on after.
fn check(result: c_int, harmless: ErrorKind) -> Result<c_int> {
    let error = Error::from_raw_os_error(-result);
    (result >= 0 || error.kind() == harmless).then_some(result).ok_or(error)
}

fn main() -> Result<()> {
    let port: Option<u16> = env::args().nth(2).and_then(|port| port.parse().ok());
    let usage = Error::new(ErrorKind::InvalidInput, "usage: frame_server HOST PORT");
    let (host, port) = env::args().nth(1).zip(port).ok_or(usage)?;
    let listener = TcpListener::bind((host.as_str(), port))?;
    let port = listener.local_addr()?.port();
    #[rustfmt::skip]
    let framing = Framing { size: size_of::<Framing>(), kind: 0, max_frame: 1 << 20, header_size: 4,
        ..unsafe { zeroed() } }; // kind 0: FSK_FRAMING_LENGTH
    #[rustfmt::skip]
    let options = Options { size: size_of::<Options>(), framing: &framing, memory: 64 << 20,
        max_pending: 4 << 20, max_connections: 1000, closes_slow: true, idle_timeout_ns: -1 };
    let (mut server, mut batch) = (ptr::null_mut(), ptr::null_mut());
    unsafe {
        let length = fsk_server_arena(&framing) as u32 / 1024 + 1; // of 1024 rows
        check(fsk_server_open(&mut server, listener.into_raw_fd(), &options), Other)?;
        check(fsk_batch_new(&mut batch, 1024, length, 0), Other)?;
        SERVER.store(server, SeqCst);
        signal(2, finish); // SIGINT
        signal(15, finish); // SIGTERM
    }
    println!("Listening on {host} port {port}");
    while check(unsafe { fsk_server_next(server, -1, batch) }, Interrupted)? != 0 {
        let frames = unsafe { &*batch };
        for i in 0..frames.count as usize {
            let sent = unsafe {
                let data = frames.arena.add(*frames.offsets.add(i) as usize);
                fsk_server_send(server, *frames.source.add(i), data, *frames.lengths.add(i) as usize)
            };
            check(sent, BrokenPipe)?; // the connection has ended
        }
    }
    Ok(()) // the end of the process frees the server and the batch
}
