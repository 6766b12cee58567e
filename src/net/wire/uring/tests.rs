//! The ring itself at its bounds, over real sockets: queues of a few entries, many connections.

use std::collections::HashMap;
use std::io::{Read, Write as _};
use std::net::TcpListener;

use super::*;
use crate::net::wire::BatchMemory;

struct Peer {
    stream: TcpStream,
    client: TcpStream,
    read: usize,
}

fn small(requests: u32, completions: u32) -> Option<Uring> {
    crate::net::wire::probe::probe().ok()?;
    Some(Uring::with_sizes(requests, completions).unwrap())
}

fn peers(count: u32) -> HashMap<ConnId, Peer> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pair = |slot| {
        let client = TcpStream::connect(address).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let generation = slot * 3;
        let peer = Peer {
            stream,
            client,
            read: 0,
        };
        (ConnId { slot, generation }, peer)
    };
    (0..count).map(pair).collect()
}

/// Reads what is ready, watches again what is not watched, until nothing more comes.
fn serve(wire: &mut Uring, peers: &mut HashMap<ConnId, Peer>) -> usize {
    let (mut ready, mut again) = (Vec::new(), 0);
    wire.settle();
    while wire.has_ready() {
        wire.take(&mut ready);
        for one in ready.drain(..) {
            let Some(peer) = peers.get_mut(&one.connection()) else {
                continue;
            };
            if one.unwatched {
                again += 1;
                wire.watch(one.connection(), &peer.stream);
            }
            while let Ok(count @ 1..) = peer.stream.read(&mut [0; 100]) {
                peer.read += count;
            }
        }
        wire.settle();
    }
    again
}

#[test]
fn a_ring_that_overflows_loses_nothing() {
    let Some(mut wire) = small(4, 8) else { return };
    let mut peers = peers(200);
    for (id, peer) in &peers {
        wire.watch(*id, &peer.stream);
    }
    let mut again = serve(&mut wire, &mut peers);
    for round in 1..=10 {
        for peer in peers.values_mut() {
            peer.client.write_all(b"ten bytes.").unwrap();
        }
        again += serve(&mut wire, &mut peers);
        let unread = peers.values().filter(|peer| peer.read != round * 10);
        assert_eq!(unread.count(), 0, "readiness was lost");
    }
    assert!(again > 0, "it never overflowed, so nothing is tested");
    assert_eq!(wire.in_flight(), peers.len());
    for (id, peer) in peers.drain() {
        drop(peer.stream);
        wire.forget(id);
    }
    serve(&mut wire, &mut peers);
    assert_eq!(wire.in_flight(), 0, "a poll is left");
}

#[test]
fn the_results_of_sends_are_right_in_a_ring_that_overflows() {
    let Some(mut wire) = small(4, 8) else { return };
    let mut peers = peers(120);
    let mut memory = BatchMemory::default();
    let large = vec![7; 8 << 20];
    for (id, peer) in &peers {
        wire.watch(*id, &peer.stream);
        socket2::SockRef::from(&peer.stream)
            .set_send_buffer_size(16 << 10)
            .unwrap();
    }
    // First every third has more to send than fits, then all of those are blocked.
    let mut sent = HashMap::new();
    for round in 0..20 {
        let mut batch = Batch::new(memory);
        for (id, peer) in &peers {
            let bytes = if id.slot % 3 == 0 {
                &large[..]
            } else {
                b"small"
            };
            batch.push(*id, &peer.stream, [bytes].into_iter());
        }
        wire.write(&mut batch);
        let mut done = Vec::new();
        memory = batch.finish(&mut done);
        assert_eq!(done.len(), peers.len());
        for (id, written) in done {
            match written {
                Written::Bytes(5) => assert!(id.slot % 3 != 0),
                Written::Bytes(bytes) => {
                    assert!(id.slot % 3 == 0 && bytes < large.len(), "{bytes} bytes");
                    *sent.entry(id).or_insert(0) += bytes;
                }
                Written::Blocked => assert!(id.slot % 3 == 0 && round > 0, "{round}"),
                Written::Broken => panic!("nobody broke it"),
            }
        }
    }
    serve(&mut wire, &mut peers);
    for (id, peer) in &mut peers {
        let expected = sent.get(id).copied().unwrap_or(5 * 20);
        let mut bytes = vec![0; expected];
        peer.client.read_exact(&mut bytes).unwrap();
        peer.client.set_nonblocking(true).unwrap();
        let more = peer.client.read(&mut [0; 10]);
        assert!(more.is_err(), "more than was said: {more:?}");
    }
}
