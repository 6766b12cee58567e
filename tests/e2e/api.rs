//! Asking the HTTP API: JSON out, JSON in, each request on a connection, and so on a core, of its own.

use serde_json::Value;

use crate::http::{JSON, Response, get, post};
use crate::server::Server;

/// The answer to `POST` of a body.
pub async fn asked(server: &Server, path: &str, body: &str) -> Response {
    post(server.address("http", "page"), path, JSON, body).await
}

/// The answer to `POST` of a body, which must be well.
pub async fn told(server: &Server, path: &str, body: &str) -> Value {
    let response = asked(server, path, body).await;
    assert_eq!(response.status, 200, "{path} {body:.200}: {response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    response.json()
}

/// The answer to `GET`, which must be well.
pub async fn read(server: &Server, path: &str) -> Value {
    let response = get(server.address("http", "page"), path).await;
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.json()
}

/// Status and code of an error, which has that shape and words.
pub fn error(response: &Response) -> (u16, String) {
    let body = response.json();
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["error"], "{body}");
    let words = body["error"]["message"].as_str().expect("words");
    assert!((1..=200).contains(&words.chars().count()), "{words}");
    let code = body["error"]["code"].as_str().expect("a code");
    (response.status, code.to_owned())
}

/// Of an integer in an answer.
pub fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}
