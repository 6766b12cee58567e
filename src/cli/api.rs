//! Which server's HTTP API a command asks, and how: [`ApiArgs`]; and why it has no answer: [`Problem`].

use std::time::Duration;

use ringpost::escape::Escaped;

use super::http::HttpRequest;
use super::output::{Status, complain};
use super::slot::parse_time;
use super::trust::TrustArgs;

/// Longest response that is read: a page has 1 MiB of messages, or one message, of which each byte may be six.
const RESPONSE_BYTES_MAX: usize = 128 << 20;

/// Longest line of an answer without end.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Such an answer has a word in less than half of that.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Which server, and how long to wait for it.
#[derive(clap::Args, Debug)]
pub struct ApiArgs {
    /// The server's http:// port with its API, https://HOST:PORT, or unix:///PATH
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub to: String,
    /// A back end's token with the right to it
    #[arg(long, env = "RINGPOST_BACKEND_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// How long to wait for the connection and each response
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s")]
    pub timeout: Duration,
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Why it was not done.
pub struct Problem {
    pub status: Status,
    pub words: String,
}

impl Problem {
    /// Says so.
    pub fn report(&self) -> Status {
        complain(&self.words);
        self.status
    }
}

impl ApiArgs {
    /// The body of an answer that is no error.
    pub fn ask(&self, method: &str, target: &str) -> Result<String, Problem> {
        self.request(method, target, None)
    }

    /// Of one to a request with a body of JSON.
    pub fn tell(&self, target: &str, body: &str) -> Result<String, Problem> {
        self.request("POST", target, Some(body))
    }

    /// Has each line of an answer without end, until no more is wanted or the server ends it.
    pub fn follow(&self, target: &str, take: impl FnMut(&str) -> bool) -> Result<(), Problem> {
        let request = HttpRequest {
            bytes_max: LINE_BYTES_MAX,
            ..self.of("GET", target, None)
        };
        match request.follow(self.timeout.max(SILENCE_MAX), take) {
            Ok(None) => Ok(()),
            Ok(Some((status, body))) => Err(self.refused(status, &body)),
            Err(words) => Err(Problem {
                status: Status::Trouble,
                words,
            }),
        }
    }

    fn of<'r>(
        &'r self,
        method: &'r str,
        target: &'r str,
        body: Option<&'r str>,
    ) -> HttpRequest<'r> {
        HttpRequest {
            to: &self.to,
            method,
            target,
            body,
            token: self.token.as_deref(),
            timeout: self.timeout,
            trust: &self.trust,
            bytes_max: RESPONSE_BYTES_MAX,
        }
    }

    fn request(&self, method: &str, target: &str, body: Option<&str>) -> Result<String, Problem> {
        match self.of(method, target, body).send() {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => Err(self.refused(status, &body)),
            Err(words) => Err(Problem {
                status: Status::Trouble,
                words,
            }),
        }
    }

    fn refused(&self, status: u16, body: &str) -> Problem {
        let error = serde_json::from_str::<serde_json::Value>(body).ok();
        let words = error
            .as_ref()
            .and_then(|it| it["error"]["message"].as_str());
        let hint = match status {
            401 | 403 => " (--token TOKEN, or RINGPOST_BACKEND_TOKEN)",
            404 => " (--to names an http:// port that serves api)",
            _ => "",
        };
        let (to, words) = (
            Escaped(&self.to),
            Escaped(words.unwrap_or("no reason given")),
        );
        Problem {
            status: Status::Failed,
            words: format!("{to} answers with {status}: {words}{hint}"),
        }
    }

    /// Something else has answered.
    pub fn not_ours(&self) -> Problem {
        Problem {
            status: Status::Failed,
            words: format!("{} does not answer as ringpost does", Escaped(&self.to)),
        }
    }
}
