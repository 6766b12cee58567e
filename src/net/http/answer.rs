//! What is answered to a request, and how it is written: [`HttpAnswer`].

use crate::protocol::http::response::{JSON_FIELDS, error_text, response_head};
use crate::protocol::http::{HttpError, Request};
use crate::protocol::sse;

/// One answer.
pub struct HttpAnswer {
    pub status: u16,
    pub fields: Vec<(&'static str, &'static str)>,
    pub body: Vec<u8>,
    /// Pages of this origin may read it.
    pub readable_by: Option<String>,
    /// What is said of it in the log, to whoever runs the server.
    pub told: Option<HttpError>,
    /// Whether the connection ends with it, whatever the client wants.
    pub is_last: bool,
    /// Whether its bytes have been queued already.
    pub is_written: bool,
}

impl HttpAnswer {
    pub fn new(
        status: u16,
        fields: &[(&'static str, &'static str)],
        body: impl Into<Vec<u8>>,
    ) -> HttpAnswer {
        HttpAnswer {
            status,
            fields: fields.to_vec(),
            body: body.into(),
            readable_by: None,
            told: None,
            is_last: false,
            is_written: false,
        }
    }

    /// The end of one that was written piece by piece. The connection ends with it.
    pub fn written_already() -> HttpAnswer {
        HttpAnswer {
            is_last: true,
            is_written: true,
            ..HttpAnswer::new(200, &[], "")
        }
    }

    /// One value of JSON, as its text.
    pub fn json_text(status: u16, mut text: String) -> HttpAnswer {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        HttpAnswer::new(status, &JSON_FIELDS, text)
    }

    pub fn error(status: u16, code: &str, message: &str) -> HttpAnswer {
        HttpAnswer::json_text(status, error_text(code, message))
    }

    /// An error of which the log is told, too.
    pub fn told(error: HttpError, code: &str) -> HttpAnswer {
        HttpAnswer {
            told: Some(error),
            ..HttpAnswer::error(error.status, code, error.text)
        }
    }

    pub fn not_found() -> HttpAnswer {
        HttpAnswer::error(404, "not_found", "nothing is served at this path")
    }

    pub fn method_not_allowed(allowed: &'static str) -> HttpAnswer {
        HttpAnswer::error(405, "method_not_allowed", "this path takes other methods")
            .with("Allow", allowed)
    }

    /// This answer with a further field.
    pub fn with(mut self, name: &'static str, value: &'static str) -> HttpAnswer {
        self.fields.push((name, value));
        self
    }

    /// Its bytes.
    pub fn written(&self, how: Manner) -> Vec<u8> {
        let mut fields: Vec<(&str, &str)> = self.fields.clone();
        if how.keep_alive && how.is_old {
            fields.push(("Connection", "keep-alive"));
        }
        if let Some(origin) = &self.readable_by {
            fields.extend(sse::readable_by(origin));
        }
        let length = Some(self.body.len());
        let mut bytes = response_head(self.status, &fields, length, how.keep_alive);
        if !how.head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// How a request is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    /// Without a body (HEAD).
    pub head_only: bool,
    /// To HTTP/1.0.
    pub is_old: bool,
    /// Whether another request may follow.
    pub keep_alive: bool,
}

impl Manner {
    /// With its body, and no further request.
    pub const PLAIN: Manner = Manner {
        head_only: false,
        is_old: false,
        keep_alive: false,
    };

    pub fn of(request: &Request) -> Manner {
        Manner {
            head_only: request.method() == "HEAD",
            is_old: request.is_old,
            keep_alive: request.keep_alive,
        }
    }
}
