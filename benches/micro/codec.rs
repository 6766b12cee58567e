//! The three codecs: messages out of a connection's bytes, and into them.
//!
//! Decoding is measured as a connection has it: one decoder, asked until the input is taken, with the call
//! that finds nothing more. It includes unmasking and the check for UTF-8, which `mask` and `utf8` measure
//! alone. Bytes are those of the messages, without headers.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use ringpost::Config;
use ringpost::payload::Message;
use ringpost::protocol::{Codec, Decoded, Decoder};

use crate::input::{ascii, client_frame, wide};

/// As much as a core reads at once.
const READ_BYTES: usize = 64 << 10;
/// What one Ethernet frame brings of a stream.
const SEGMENT_BYTES: usize = 1448;

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    decode_whole(&mut group);
    decode_many(&mut group);
    decode_pieces(&mut group);
    encode(&mut group);
    group.finish();
}

/// Input of a connection, and the message of which it holds some.
struct Stream {
    codec: Codec,
    decoder: Decoder,
    input: Vec<u8>,
    /// How much of the input one read brings.
    piece_bytes: usize,
    message: String,
    messages: usize,
}

impl Stream {
    fn new(codec: Codec, message: String, messages: usize) -> Stream {
        let one = match codec {
            Codec::WebSocket | Codec::V1 => client_frame(&message),
            Codec::Text | Codec::Frame | Codec::Sse | Codec::Http => {
                let mut bytes = Vec::new();
                codec.encode(Message::Text(&message), &mut bytes);
                bytes
            }
        };
        let stream = Stream {
            codec,
            decoder: Decoder::new(codec, Config::default().message_bytes_max),
            input: one.repeat(messages),
            piece_bytes: usize::MAX,
            message,
            messages,
        };
        stream.checked()
    }

    /// This input in reads of so many bytes.
    fn in_pieces(self, piece_bytes: usize) -> Stream {
        let whole = Stream::new(self.codec, self.message, self.messages);
        Stream {
            piece_bytes,
            ..whole
        }
        .checked()
    }

    /// Twice, because a websocket's input is another after it was unmasked in place.
    fn checked(mut self) -> Stream {
        let input = self.input.clone();
        let expected = self.message.clone();
        let mut seen = 0;
        self.decode(|message| {
            assert!(message == Message::Text(&expected), "as it was sent");
            seen += 1;
        });
        assert_eq!(seen, self.messages);
        assert_eq!(self.count(), self.messages * expected.len());
        assert!(self.input == input, "masked as it was");
        assert_eq!(self.decoder.bytes_held(), 0, "nothing is left incomplete");
        self
    }

    fn decode(&mut self, mut found: impl FnMut(Message<'_>)) {
        for piece in self.input.chunks_mut(self.piece_bytes) {
            let mut at = 0;
            while let Some(event) = self
                .decoder
                .next(piece, &mut at)
                .expect("what a codec allows")
            {
                match event {
                    Decoded::Message(message) => found(message),
                    other => panic!("{other:?} is no message"),
                }
            }
        }
    }

    /// The bytes of all messages.
    fn count(&mut self) -> usize {
        let mut bytes = 0;
        self.decode(|message| bytes += black_box(message).len());
        bytes
    }

    fn measure(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: &str,
        throughput: Throughput,
    ) {
        let id = BenchmarkId::new(
            format!("{name} {}", codec_name(self.codec)),
            self.message.len(),
        );
        let bytes = self.messages * self.message.len();
        group.throughput(throughput);
        group.bench_function(id, |bencher| {
            bencher.iter(|| assert_eq!(self.count(), bytes));
        });
    }
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::WebSocket | Codec::V1 => "websocket",
        Codec::Text => "text",
        Codec::Frame => "frame",
        Codec::Sse => "events",
        Codec::Http => "http",
    }
}

/// One message, complete in what was read: nothing is copied.
fn decode_whole(group: &mut BenchmarkGroup<'_, WallTime>) {
    let all = [16, 125, 128, 1024, 16 << 10, 64 << 10];
    for (codec, sizes) in [
        (Codec::WebSocket, &all[..]),
        (Codec::Text, &[16, 128, 1024, 16 << 10]),
        (Codec::Frame, &[16, 128, 1024, 16 << 10]),
    ] {
        for &bytes in sizes {
            let mut stream = Stream::new(codec, ascii(bytes), 1);
            stream.measure(group, "decode", Throughput::Bytes(bytes as u64));
        }
    }
    let mut stream = Stream::new(Codec::WebSocket, wide(1024), 1);
    stream.measure(group, "decode wide", Throughput::Bytes(1024));
}

/// A read full of small messages, as a back end or a busy client sends them: what each of them costs.
fn decode_many(group: &mut BenchmarkGroup<'_, WallTime>) {
    for codec in [Codec::WebSocket, Codec::Text, Codec::Frame] {
        let one = Stream::new(codec, ascii(128), 1).input.len();
        let mut stream = Stream::new(codec, ascii(128), READ_BYTES / one);
        let messages = stream.messages as u64;
        stream.measure(group, "decode many", Throughput::Elements(messages));
    }
}

/// A message that comes in several reads: it is gathered in memory of the connection's own, which is
/// allocated for it and freed after it.
fn decode_pieces(group: &mut BenchmarkGroup<'_, WallTime>) {
    for codec in [Codec::WebSocket, Codec::Text, Codec::Frame] {
        for bytes in [16 << 10, 64 << 10] {
            let mut stream = Stream::new(codec, ascii(bytes), 1).in_pieces(SEGMENT_BYTES);
            stream.measure(group, "decode segments", Throughput::Bytes(bytes as u64));
        }
    }
    // The first cut goes through the header.
    let mut stream = Stream::new(Codec::WebSocket, ascii(128), 1).in_pieces(5);
    stream.measure(group, "decode crumbs of 5", Throughput::Bytes(128));
}

/// The copy with its header, into a buffer with room, as the second message that waits for a connection has it.
///
/// What is encoded lies where a decoder has left it, behind its header. The place matters: there are CPUs that
/// copy a large message twenty times slower to a place that lies a few bytes further in its page.
fn encode(group: &mut BenchmarkGroup<'_, WallTime>) {
    for (codec, sizes) in [
        (Codec::WebSocket, &[16, 128, 1024, 16 << 10, 64 << 10][..]),
        (Codec::Text, &[128, 16 << 10]),
        (Codec::Frame, &[128, 16 << 10]),
    ] {
        for &bytes in sizes {
            let mut stream = Stream::new(codec, ascii(bytes), 1);
            let mut at = 0;
            let event = stream.decoder.next(&mut stream.input, &mut at);
            let Ok(Some(Decoded::Message(message))) = event else {
                panic!("{event:?} is no message");
            };
            let mut out = Vec::new();
            codec.encode(message, &mut out);
            assert_eq!(out.len(), codec.encoded_len(message));
            assert!(
                out.windows(bytes)
                    .any(|part| part == stream.message.as_bytes())
            );
            group.throughput(Throughput::Bytes(bytes as u64));
            let id = BenchmarkId::new(format!("encode {}", codec_name(codec)), bytes);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    out.clear();
                    codec.encode(black_box(message), &mut out);
                    black_box(out.as_slice()).len()
                });
            });
        }
    }
}
