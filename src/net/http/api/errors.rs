//! What the API answers where it does not do what it is asked: [`ApiError`], in one shape for all.

use crate::net::http::HttpAnswer;
use crate::protocol::http::response::error_text;

/// Most characters of what an answer says of a bad request.
const MESSAGE_CHARS_MAX: usize = 200;

/// A status, a name for programs, and words for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

/// What a command has come to: its answer's text, one object of JSON.
pub type CommandResult = Result<String, ApiError>;

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
        error_text(self.code, &self.message)
    }

    pub fn answer(&self) -> HttpAnswer {
        HttpAnswer::error(self.status, self.code, &self.message)
    }
}
