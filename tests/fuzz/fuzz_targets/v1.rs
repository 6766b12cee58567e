//! Frames of `ringpost.v1`: any bytes are a request or an error, and what is told of them is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::payload::Message;
use ringpost::protocol::v1::told::ToldFrame;
use ringpost::protocol::v1::{ClientRequest, ToldStream, envelope};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let binary = Message::Binary(bytes);
    assert!(ClientRequest::read(binary).is_err());
    let text = std::str::from_utf8(bytes).ok();
    let message = text.map_or(binary, Message::Text);
    if let Some(text) = text {
        let json: Option<Value> = serde_json::from_str(text).ok();
        let id = match ClientRequest::read(message) {
            Ok(request) => {
                if let Some(json) = &json {
                    assert!(json["type"].is_string());
                }
                request.id
            }
            Err(error) => {
                let is_object = json.as_ref().is_some_and(Value::is_object);
                assert!(!is_object || error.code != "bad_json", "{error:?}");
                error.id
            }
        };
        let told = ToldFrame::error(id.as_ref(), "bad_request", text).string("group", text);
        let told: Value = serde_json::from_str(&told.end()).expect("it is JSON");
        assert_eq!(told["error"]["message"], text);
    }
    let told = envelope(ToldStream::Group(text.unwrap_or("g")), None, message);
    match serde_json::from_str::<Value>(&told) {
        // What nests deeper than this reader goes is passed on as it is.
        Err(error) if error.to_string().contains("recursion limit") => {}
        told => drop(told.expect("it is JSON")),
    }
});
