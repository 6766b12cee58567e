//! What the API answers where it does not do what it is asked: [`ApiError`], in one shape for all.

use serde_json::json;

use crate::net::http::routes::HttpAnswer;
use crate::protocol::http::{HttpError, response};

/// Most characters of what an answer says of a bad request.
const MESSAGE_CHARS_MAX: usize = 200;

/// A status, a name for programs, and words for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

impl ApiError {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> ApiError {
        let mut message = message.into();
        // It may quote a name that is none of ours, as long as the body.
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
            message.truncate(end);
        }
        ApiError {
            status,
            code,
            message,
        }
    }

    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "bad_request", message)
    }

    /// As one of a batch's answers.
    pub fn text(&self) -> String {
        json!({"error": {"code": self.code, "message": self.message}}).to_string()
    }

    pub fn answer(&self) -> HttpAnswer {
        HttpAnswer::error(self.status, self.code, &self.message)
    }
}

/// The whole answer to what is no request that can be served, after which the connection ends.
pub fn refusal(error: HttpError) -> Vec<u8> {
    let code = match error.status {
        408 => "request_timeout",
        411 => "length_required",
        413 => "body_too_large",
        414 | 431 => "head_too_large",
        417 => "expectation_failed",
        429 => "too_many_requests",
        501 => "not_implemented",
        503 => "unavailable",
        505 => "version_not_supported",
        _ => "bad_request",
    };
    let answer = HttpAnswer::error(error.status, code, error.text);
    response::response(answer.status, &answer.fields, &answer.body, false)
}
