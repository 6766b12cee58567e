//! Messages that leave by another codec than they came by: nobody is harmed.

use crate::client::Got;
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    text_goes_from_every_codec_to_every_codec,
    a_line_end_inside_a_message_is_a_space_to_text_connections_alone,
    a_frame_body_that_is_not_utf8_is_binary_to_websockets,
    a_binary_message_of_a_websocket_stays_binary,
    binary_to_a_text_connection_stays_one_line,
}

async fn text_goes_from_every_codec_to_every_codec(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    for from in ["ws", "text", "frame"] {
        for to in ["ws", "text", "frame"] {
            let uids = seed::uids(&mut rng, 2);
            let mut sender = server.relay(from, &uids[0]).await;
            let mut receiver = server.relay(to, &uids[1]).await;
            sender.send(&format!("{}:grüße 🌍", uids[1])).await;
            receiver.expect("grüße 🌍").await;
        }
    }
}

async fn a_line_end_inside_a_message_is_a_space_to_text_connections_alone(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, 4);
    let mut sender = server.relay("ws", &uids[0]).await;
    let mut text = server.relay("text", &uids[1]).await;
    let mut frame = server.relay("frame", &uids[2]).await;
    let mut websocket = server.relay("ws", &uids[3]).await;
    let body = "fake\nlogin success\n\nend\n";
    for uid in &uids[1..] {
        sender.send(&format!("{uid}:{body}")).await;
    }
    sender.send("all:after").await;
    text.expect("fake login success  end ").await;
    text.expect("after").await;
    frame.expect(body).await;
    websocket.expect(body).await;
    // The broadcast's one encoding for each codec keeps to it too.
    sender.send("all:two\nlines").await;
    text.expect("two lines").await;
    frame.expect("after").await;
    frame.expect("two\nlines").await;
    websocket.expect("after").await;
    websocket.expect("two\nlines").await;
}

async fn a_frame_body_that_is_not_utf8_is_binary_to_websockets(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut sender = server.relay("frame", &uids[0]).await;
    let mut receiver = server.relay("ws", &uids[1]).await;
    let mut message = format!("{}:", uids[1]).into_bytes();
    message.extend_from_slice(b"\xff\x00\xfe");
    sender.send_binary(&message).await;
    assert_eq!(receiver.next().await, Got::Binary(b"\xff\x00\xfe".to_vec()));
    sender.send(&format!("{}:text", uids[1])).await;
    receiver.expect("text").await;
}

async fn a_binary_message_of_a_websocket_stays_binary(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 3);
    let mut sender = server.relay("ws", &uids[0]).await;
    let mut websocket = server.relay("ws", &uids[1]).await;
    let mut frame = server.relay("frame", &uids[2]).await;
    for body in [&b"\x00\xff\n"[..], b"plain"] {
        for uid in &uids[1..] {
            let mut message = format!("{uid}:").into_bytes();
            message.extend_from_slice(body);
            sender.send_binary(&message).await;
        }
        assert_eq!(websocket.next().await, Got::Binary(body.to_vec()));
        let (Got::Text(_) | Got::Binary(_)) = frame.next().await else {
            panic!("the frame connection ended");
        };
    }
}

async fn binary_to_a_text_connection_stays_one_line(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut sender = server.relay("ws", &uids[0]).await;
    let mut text = server.relay("text", &uids[1]).await;
    let mut message = format!("{}:", uids[1]).into_bytes();
    message.extend_from_slice(b"a\nb");
    sender.send_binary(&message).await;
    sender.send(&format!("{}:next", uids[1])).await;
    text.expect("a b").await;
    text.expect("next").await;
}
