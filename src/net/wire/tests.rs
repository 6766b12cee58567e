//! Both backends over real sockets, by the same tests.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;

/// Runs a test on each backend that works here.
fn on_both(test: fn(Wire)) {
    test(Wire::new(WireKind::Epoll).unwrap());
    match Wire::probe(WireKind::Uring) {
        Ok(()) => test(Wire::new(WireKind::Uring).unwrap()),
        Err(cause) => eprintln!("not tested on io_uring: {cause}"),
    }
}

fn id(slot: u32, generation: u32) -> ConnId {
    ConnId { slot, generation }
}

/// A connection: the server's end, which does not block, and the client's.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let patience = Some(Duration::from_secs(5));
    client.set_read_timeout(patience).unwrap();
    (stream, client)
}

/// Whether the wire's descriptor becomes readable within so many milliseconds.
fn wakes(wire: &Wire, timeout: i32) -> bool {
    let mut poll = libc::pollfd {
        fd: wire.descriptor().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&mut poll, 1, timeout) > 0 }
}

/// What is told of one connection, one after the other, until `enough` of them say what it asks for.
fn until(wire: &mut Wire, id: ConnId, enough: fn(&Ready) -> bool) -> Ready {
    let mut ready = Vec::new();
    wire.settle();
    for _ in 0..5 {
        wire.take(&mut ready).unwrap();
        let found = ready
            .iter()
            .find(|one| one.connection() == id && enough(one));
        if let Some(found) = found {
            return *found;
        }
        assert!(wire.has_stash() || wakes(wire, 5_000), "the wire is silent");
    }
    panic!("only {ready:?}");
}

/// Takes what is told until nothing is left.
fn drain(wire: &mut Wire) -> Vec<Ready> {
    let mut ready = Vec::new();
    wire.settle();
    while wire.has_stash() || wakes(wire, 0) {
        wire.take(&mut ready).unwrap();
    }
    ready
}

fn write(wire: &mut Wire, id: ConnId, stream: &TcpStream, pieces: &[&[u8]]) -> Written {
    let mut batch = Batch::new(BatchMemory::default());
    batch.push(id, stream, pieces.iter().copied());
    wire.write(&mut batch);
    let mut done = Vec::new();
    batch.finish(&mut done);
    assert_eq!((done.len(), done[0].0), (1, id));
    done[0].1
}

#[test]
fn what_is_ready_already_is_reported() {
    on_both(|mut wire| {
        let (stream, mut client) = pair();
        client.write_all(b"early").unwrap();
        wire.watch(id(1, 1), &stream).unwrap();
        until(&mut wire, id(1, 1), |one| one.readable);
    });
}

#[test]
fn each_arrival_is_reported_and_then_silence() {
    on_both(|mut wire| {
        let (mut stream, mut client) = pair();
        wire.watch(id(1, 1), &stream).unwrap();
        for _ in 0..100 {
            drain(&mut wire);
            assert!(!wakes(&wire, 0), "nothing has happened");
            client.write_all(b"hello").unwrap();
            let one = until(&mut wire, id(1, 1), |one| one.readable);
            assert!(!one.ending && !one.broken && !one.unwatched);
            assert_eq!(stream.read(&mut [0; 100]).unwrap(), 5);
        }
        client.shutdown(Shutdown::Write).unwrap();
        until(&mut wire, id(1, 1), |one| one.ending && one.readable);
    });
}

#[test]
fn a_batch_is_written_in_order_and_whole() {
    on_both(|mut wire| {
        let pairs: Vec<_> = (0..40).map(|_| pair()).collect();
        let pieces: Vec<Vec<u8>> = (0..100).map(|byte| vec![byte; 10]).collect();
        let mut batch = Batch::new(BatchMemory::default());
        for (number, (stream, _)) in pairs.iter().enumerate() {
            // None, one and many, up to more than one write takes.
            let pieces = pieces.iter().take(number * 3).map(|piece| &**piece);
            batch.push(id(number as u32, 0), stream, pieces);
        }
        wire.write(&mut batch);
        let mut done = Vec::new();
        batch.finish(&mut done);
        for (number, (_, mut client)) in pairs.into_iter().enumerate() {
            let pieces = &pieces[..(number * 3).min(batch::PIECES_MAX)];
            let expected = (id(number as u32, 0), Written::Bytes(pieces.len() * 10));
            assert_eq!(done[number], expected);
            let mut bytes = vec![0; pieces.len() * 10];
            client.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, pieces.concat());
        }
    });
}

/// Packets that have come.
fn packets(stream: &TcpStream) -> u32 {
    // linux/tcp.h: tcpi_segs_in of struct tcp_info.
    const AT: usize = 140;
    let mut info = [0_u8; AT + 4];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which there are.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    assert_eq!((done, length as usize), (0, info.len()));
    u32::from_ne_bytes(info[AT..].try_into().unwrap())
}

/// Unless this thread has to wait for so long in between that the kernel does not.
#[test]
fn the_last_bytes_and_the_end_of_the_stream_come_in_one_packet() {
    on_both(|mut wire| {
        let mut least = u32::MAX;
        for pieces in [&[&b"last"[..]][..], &[&[7; 16 << 10], b"last"]].repeat(10) {
            let (stream, mut client) = pair();
            let before = packets(&client);
            let mut batch = Batch::new(BatchMemory::default());
            batch.push(id(1, 1), &stream, pieces.iter().copied());
            batch.ends_stream();
            wire.write(&mut batch);
            batch.finish(&mut Vec::new());
            stream.shutdown(Shutdown::Write).unwrap();
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, pieces.concat());
            least = least.min(packets(&client) - before);
        }
        assert_eq!(least, 1);
    });
}

#[test]
fn a_write_that_does_not_fit_says_how_much_it_was_and_room_is_reported() {
    on_both(|mut wire| {
        let (stream, mut client) = pair();
        wire.watch(id(1, 1), &stream).unwrap();
        drain(&mut wire);
        let bytes: Vec<u8> = (0..20 << 20).map(|at: u32| (at % 251) as u8).collect();
        let reading = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let mut all = vec![0; 20 << 20];
            client.read_exact(&mut all).unwrap();
            all
        });
        let (mut sent, mut blocked) = (0, 0);
        while sent < bytes.len() {
            let rest = &bytes[sent..];
            let (one, other) = rest.split_at(rest.len() / 3);
            match write(&mut wire, id(1, 1), &stream, &[one, other]) {
                Written::Bytes(part) => sent += part,
                Written::Blocked => {
                    blocked += 1;
                    until(&mut wire, id(1, 1), |one| one.writable);
                }
                Written::Broken => panic!("nobody broke it"),
            }
        }
        assert!(blocked > 0, "nothing is tested");
        assert!(reading.join().unwrap() == bytes, "it arrived otherwise");
    });
}

#[test]
fn one_that_broke_does_not_spoil_the_batch() {
    on_both(|mut wire| {
        let (broken, client) = pair();
        let (sound, mut other) = pair();
        wire.watch(id(1, 1), &broken).unwrap();
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        until(&mut wire, id(1, 1), |one| one.broken);
        let mut batch = Batch::new(BatchMemory::default());
        batch.push(id(1, 1), &broken, [&b"lost"[..]].into_iter());
        batch.push(id(2, 1), &sound, [&b"gained"[..]].into_iter());
        batch.push(id(1, 1), &broken, [&b"lo"[..], b"st"].into_iter());
        wire.write(&mut batch);
        let mut done = Vec::new();
        batch.finish(&mut done);
        let results: Vec<_> = done.iter().map(|(_, written)| *written).collect();
        let expected = [Written::Broken, Written::Bytes(6), Written::Broken];
        assert_eq!(results, expected);
        let mut bytes = [0; 6];
        other.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"gained");
    });
}

#[test]
fn one_that_moves_is_the_other_wires_alone_and_ends_there() {
    on_both(|mut wire| {
        let kind = match wire {
            Wire::Epoll(_) => WireKind::Epoll,
            Wire::Uring(_) => WireKind::Uring,
        };
        let mut there = Wire::new(kind).unwrap();
        let (stream, mut client) = pair();
        wire.watch(id(1, 1), &stream).unwrap();
        drain(&mut wire);
        wire.release(id(1, 1), &stream).unwrap();
        there.watch(id(5, 5), &stream).unwrap();
        drain(&mut wire);
        drain(&mut there);
        client.write_all(b"hello").unwrap();
        until(&mut there, id(5, 5), |one| one.readable);
        assert!(drain(&mut wire).is_empty(), "it is watched here, too");
        drop(stream);
        there.forget(id(5, 5));
        there.settle();
        // Unread bytes make it a reset.
        let end = client.read(&mut [0; 10]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert!(!matches!(end, Err(error) if error.kind() == io::ErrorKind::WouldBlock));
    });
}

#[test]
fn one_that_is_closed_is_let_go_of_and_its_slot_used_again() {
    on_both(|mut wire| {
        for generation in 0..200 {
            let (stream, mut client) = pair();
            let own = id(3, generation);
            wire.watch(own, &stream).unwrap();
            if generation % 2 == 0 {
                client.write_all(b"hello").unwrap();
                until(&mut wire, own, |one| one.readable);
                (&stream).read_exact(&mut [0; 5]).unwrap();
            }
            drop(stream);
            wire.forget(own);
            wire.settle();
            let end = client.read(&mut [0; 1]);
            assert_eq!(end.unwrap(), 0, "the socket stays open");
        }
        let generations = drain(&mut wire).into_iter().map(|one| one.connection());
        assert!(generations.into_iter().all(|one| one.generation <= 199));
        if let Wire::Uring(uring) = wire {
            assert_eq!(uring.in_flight(), 0, "a poll is left");
        }
    });
}

#[test]
fn one_that_is_watched_once_is_told_of_input_and_not_of_room() {
    on_both(|mut wire| {
        let (stream, mut client) = pair();
        let own = id(1, 1);
        if wire.watch_once(own, &stream).unwrap() != Watch::Once {
            assert_eq!(wire.kind(), WireKind::Epoll);
            return;
        }
        assert!(drain(&mut wire).is_empty(), "there is room from the start");
        client.write_all(b"hello").unwrap();
        let one = until(&mut wire, own, |one| one.readable);
        assert!(one.unwatched && !one.writable && !one.recalled);
        client.write_all(b"more").unwrap();
        assert!(drain(&mut wire).is_empty(), "it is watched on");
        // What has come meanwhile is told then.
        wire.watch(own, &stream).unwrap();
        until(&mut wire, own, |one| one.readable && one.writable);
    });
}

#[test]
fn one_that_is_recalled_says_so_or_what_has_come() {
    on_both(|mut wire| {
        for number in 0..100 {
            let (stream, mut client) = pair();
            let own = id(1, number);
            if wire.watch_once(own, &stream).unwrap() != Watch::Once {
                return;
            }
            wire.settle();
            if number % 2 == 0 {
                client.write_all(b"hello").unwrap();
            }
            wire.recall(own);
            let last = drain(&mut wire);
            assert_eq!(last.len(), 1, "{last:?}");
            assert_ne!(last[0].unwatched, last[0].recalled, "{last:?}");
            assert!(last[0].recalled || number % 2 == 0, "nothing has come");
            if let Wire::Uring(uring) = &wire {
                assert_eq!(uring.in_flight(), 0, "a poll is left");
            }
        }
    });
}

/// So a turn that something else has begun is not followed by another for it.
#[test]
fn a_single_write_does_not_wake_who_waits() {
    on_both(|mut wire| {
        let (stream, mut client) = pair();
        assert_eq!(
            write(&mut wire, id(1, 1), &stream, &[b"hello"]),
            Written::Bytes(5)
        );
        assert!(!wakes(&wire, 0));
        client.read_exact(&mut [0; 5]).unwrap();
    });
}
