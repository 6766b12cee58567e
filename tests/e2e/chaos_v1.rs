//! Clients of `ringpost.v1` amid the [`chaos`](crate::chaos): how one asks, and what it reads.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::chaos::{Plan, Report};

impl Report {
    /// Its handshake, and its bind right behind it.
    pub fn opening_v1(&self, address: SocketAddr) -> Vec<u8> {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: ringpost.v1\r\n\r\n"
        );
        let each: Vec<&str> = self.id.iter().flat_map(|id| id.split(',')).collect();
        let mut bind = json!({"type": "bind", "uid": self.uid, "positions": {}, "groups": {}});
        bind["groups"][&self.group] = json!(each.get(1));
        for (nth, stream) in [(0, "uid"), (2, "all")] {
            if let Some(position) = each.get(nth) {
                bind["positions"][stream] = json!(position);
            }
        }
        let bind = bind.to_string();
        let mut out = head.into_bytes();
        // Masked by nothing (RFC 6455, section 5.3).
        match bind.len() {
            short @ ..126 => out.extend([0x81, 0x80 | short as u8]),
            long => {
                out.extend([0x81, 0x80 | 126]);
                out.extend((long as u16).to_be_bytes());
            }
        }
        out.extend([0; 4]);
        out.extend(bind.as_bytes());
        out
    }

    /// Takes whole frames.
    pub fn take_frames(&mut self, unread: &mut Vec<u8>, plan: &Plan) {
        let mut taken = 0;
        while let Some((first, body)) = frame(&unread[taken..]) {
            if first == 0x81 {
                let frame = serde_json::from_slice(&unread[taken..][body.clone()]);
                self.take_frame(&frame.expect("JSON"), plan);
            }
            taken += body.end;
        }
        unread.drain(..taken);
    }

    fn take_frame(&mut self, frame: &Value, plan: &Plan) {
        let text = |name: &str| frame[name].as_str().map(str::to_owned);
        match frame["type"].as_str() {
            Some("bound") => {
                if self.id.is_none() {
                    plan.ready.fetch_add(1, Ordering::Relaxed);
                }
                let own = &frame["positions"];
                let each = [&own["uid"], &frame["groups"][&self.group], &own["all"]];
                let each: Vec<&str> = each.iter().filter_map(|one| one.as_str()).collect();
                self.id = Some(each.join(","));
            }
            Some("message") => {
                let position = text("position").expect("all are kept");
                let id = self.moved(frame, position);
                self.take_message(&id, &text("text").expect("a text"));
                self.id = Some(id);
            }
            Some("gap") => {
                let id = self.moved(frame, text("top").expect("a top"));
                let gap = json!({"kind": frame["stream"], "top": frame["top"]});
                self.take_gap(&id, &gap.to_string());
                self.id = Some(id);
            }
            Some("ping") => {}
            _ => panic!("{frame}"),
        }
    }

    /// Its positions with this one in place of that of the frame's stream.
    fn moved(&self, frame: &Value, position: String) -> String {
        let nth = match frame["stream"].as_str() {
            Some("uid") => 0,
            Some("group") => 1,
            Some("all") => 2,
            _ => panic!("{frame}"),
        };
        let id = self.id.as_deref().expect("it is bound");
        let mut each: Vec<&str> = id.split(',').collect();
        match each.get_mut(nth) {
            Some(at) => *at = &position,
            None => each.push(&position),
        }
        each.join(",")
    }
}

/// The first byte of the next whole frame, and where its body is.
fn frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&[first, short], rest) = bytes.split_first_chunk()?;
    let (size, head) = match short {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
        size => (usize::from(size), 2),
    };
    (bytes.len() >= head + size).then_some((first, head..head + size))
}
