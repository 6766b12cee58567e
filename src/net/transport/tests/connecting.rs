//! How connections come and go: what of it is seen before the wire watches them, and after it.

use socket2::{Domain, Socket, Type};

use super::*;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// A masked close frame with 1000, and the answer to it.
const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
const CLOSE_ANSWER: &[u8] = b"\x88\x02\x03\xe8";

/// A client whose kernel takes about so many bytes that it does not read, or as many as kernels do.
fn connect(core: &mut Core, takes: Option<usize>) -> TcpStream {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(bytes) = takes {
        client.set_recv_buffer_size(bytes).unwrap();
    }
    let address = core.listener.local_addr().unwrap();
    client.connect(&address.into()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    client.into()
}

fn accept(core: &mut Core) -> ConnId {
    let (stream, peer) = core.listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    core.transport.accept(&mut core.host, 0, stream, peer);
    *core.host.shard().connections.ids().last().unwrap()
}

/// The head of the answer to the handshake.
fn read_head(client: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read(client, 1));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
}

fn is_watched(core: &mut Core, id: ConnId) -> bool {
    core.transport
        .links
        .get_mut(id)
        .is_some_and(|link| link.watch.is_on())
}

#[test]
fn who_has_said_all_is_served_and_gone_in_one_turn() {
    on_both(|kind| {
        let mut core = Core::new(kind);
        let mut client = connect(&mut core, None);
        client.write_all(&[REQUEST, HI, CLOSE].concat()).unwrap();
        let id = accept(&mut core);
        assert!(!is_watched(&mut core, id));
        core.turn();
        // It has neither read nor ended its own stream.
        assert_eq!(core.host.flow(id), Flow::Gone);
        read_head(&mut client);
        assert_eq!(read(&mut client, 4), HI_ANSWER);
        assert_eq!(read(&mut client, 4), CLOSE_ANSWER);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let closed = &core.host.shard().stats.closed;
        assert_eq!(closed[CloseReason::ByPeer.index()], 1);
    });
}

#[test]
fn who_has_said_nothing_yet_is_watched() {
    on_both(|kind| {
        let mut core = Core::new(kind);
        let mut client = connect(&mut core, None);
        let id = accept(&mut core);
        core.turn();
        assert!(is_watched(&mut core, id));
        for part in [&REQUEST[..20], &REQUEST[20..], HI] {
            client.write_all(part).unwrap();
            core.turn();
        }
        read_head(&mut client);
        assert_eq!(read(&mut client, 4), HI_ANSWER);
        assert_eq!(core.host.flow(id), Flow::Go);
    });
}

/// What it has not taken would be in the kernel's hands alone, for as long as it likes.
#[test]
fn who_has_said_close_and_does_not_read_is_not_let_go_of() {
    on_both(|kind| {
        let mut core = Core::new(kind);
        let mut client = connect(&mut core, Some(1));
        client.write_all(REQUEST).unwrap();
        let id = accept(&mut core);
        core.turn();
        read_head(&mut client);
        let message = [0x55; 8000];
        client.write_all(b"\x82\xfe\x1f\x40\0\0\0\0").unwrap();
        client.write_all(&message).unwrap();
        client.write_all(CLOSE).unwrap();
        while core.host.flow(id) == Flow::Go {
            core.turn();
        }
        assert!(
            core.host.shard().connections.outbox_is_empty(id),
            "nothing is tested"
        );
        core.turn();
        assert_eq!(core.host.flow(id), Flow::End);
        assert_eq!(read(&mut client, 4), b"\x82\x7e\x1f\x40");
        assert_eq!(read(&mut client, message.len()), message);
        assert_eq!(read(&mut client, 4), CLOSE_ANSWER);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        while core.host.flow(id) != Flow::Gone {
            core.turn();
        }
    });
}

/// It is let go of where its place is wanted, and its turn to be read comes after that.
#[test]
fn who_is_gone_before_it_was_read_is_passed_over() {
    on_both(|kind| {
        let mut core = Core::new(kind);
        let mut client = connect(&mut core, None);
        client.write_all(REQUEST).unwrap();
        let id = accept(&mut core);
        core.host.close(id, CloseReason::HandshakeLimit);
        core.transport.cut_off(&mut core.host, id);
        let mut other = connect(&mut core, None);
        other.write_all(REQUEST).unwrap();
        let next = accept(&mut core);
        assert_eq!(next.slot, id.slot, "nothing is tested");
        core.turn();
        read_head(&mut other);
        assert!(is_watched(&mut core, next));
        assert!(client.read(&mut [0]).is_err());
    });
}

/// Until it has said something it is watched for that alone.
#[test]
fn who_takes_no_more_before_its_first_message_gets_the_rest() {
    on_both(|kind| {
        let mut core = Core::new(kind);
        let mut client = connect(&mut core, Some(1));
        client.write_all(REQUEST).unwrap();
        let id = accept(&mut core);
        core.turn();
        let much = vec![7; 1 << 20];
        let mut bytes = 0;
        while core.host.shard().connections.outbox_is_empty(id) {
            let shard = core.host.shard();
            shard.send_raw(id, |_, out| out.extend_from_slice(&much));
            bytes += much.len();
            core.turn();
        }
        read_head(&mut client);
        let reader = std::thread::spawn(move || {
            let all = read(&mut client, bytes);
            (client, all.iter().all(|byte| *byte == 7))
        });
        while !reader.is_finished() {
            core.turn();
        }
        let (mut client, is_whole) = reader.join().unwrap();
        assert!(is_whole);
        client.write_all(HI).unwrap();
        while core.host.shard().stats.messages_in == 0 {
            core.turn();
        }
        assert_eq!(read(&mut client, 4), HI_ANSWER);
        if kind == WireKind::Uring {
            assert_eq!(watched(&core), 1, "one poll, and no more");
        }
    });
}

/// What comes while it is not watched is told when it is.
#[test]
fn what_follows_a_first_message_at_any_time_is_read() {
    on_both(|kind| {
        let mut core = Core::new(kind);
        let (mut client, id) = core.connect();
        core.turn();
        client.write_all(HI).unwrap();
        for one in core.take_ready() {
            core.transport.be_ready(&mut core.host, one);
            // Its first has been read, and this is there before the kernel hears that it is watched on.
            client.write_all(HI).unwrap();
        }
        while core.host.shard().stats.messages_in < 2 {
            core.turn();
        }
        core.turn();
        assert_eq!(read(&mut client, 8), [HI_ANSWER, HI_ANSWER].concat());
        client.shutdown(std::net::Shutdown::Write).unwrap();
        while core.host.flow(id) != Flow::Gone {
            core.turn();
        }
    });
}
