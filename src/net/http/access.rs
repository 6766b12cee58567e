//! Who may use the API and the metrics: [`Access`], by the tokens of back ends.

use super::HttpAnswer;
use crate::auth::backend_tokens::{BackendTokens, Rights};
use crate::protocol::http::token::bearer;
use crate::protocol::http::{HttpError, Request};

const FORWARDED: HttpError = HttpError {
    status: 403,
    text: "a proxy has forwarded this; without backend.token the API and the metrics are for this machine alone",
};

/// The tokens of a server's back ends, as requests show them.
pub struct Access(BackendTokens);

impl Access {
    /// By these tokens; if there are none, whoever is on this machine may do everything.
    pub fn new(backend_tokens: BackendTokens) -> Access {
        Access(backend_tokens)
    }

    /// Whether a token is asked for at all.
    pub fn asks_for_token(&self) -> bool {
        !self.0.is_empty()
    }

    /// What the token allows that a request shows, if it is known here; with that, what who asks may do without one. A wrong
    /// token is a mistake, whoever shows it.
    fn rights(&self, request: &Request) -> Option<Rights> {
        let own = self.0.rights_of(&request.proof);
        match token(request) {
            Some(token) => {
                let shown = self.0.rights(token)?;
                Some(own.map_or(shown, |own| own.and(shown)))
            }
            None => own,
        }
    }

    /// Whether a request comes from who may do something here.
    pub fn may_act(&self, request: &Request) -> bool {
        match self.asks_for_token() {
            true => self.rights(request).is_some(),
            false => !request.is_forwarded,
        }
    }

    /// Whether it shows a token that is none which is known here.
    pub fn is_wrong(&self, request: &Request) -> bool {
        self.asks_for_token() && token(request).is_some() && self.rights(request).is_none()
    }

    /// Whether who asks may do this; what is answered if not.
    pub fn authorize(&self, request: &Request, right: Rights) -> Result<(), HttpAnswer> {
        if !self.asks_for_token() {
            // Whoever is on this machine may; but a proxy is on it for others.
            if !request.is_forwarded {
                return Ok(());
            }
            return Err(HttpAnswer::told(FORWARDED, "forwarded"));
        }
        match self.rights(request) {
            Some(rights) if rights.has(right) => Ok(()),
            Some(_) => Err(HttpAnswer::error(
                403,
                "no_right",
                &format!("this token has no right to {right}"),
            )),
            None => {
                let words = match token(request) {
                    Some(_) => "wrong token",
                    None => "expected Authorization: Bearer TOKEN",
                };
                let answer = HttpAnswer::error(401, "unauthorized", words);
                Err(answer.with("WWW-Authenticate", "Bearer"))
            }
        }
    }
}

fn token(request: &Request) -> Option<&str> {
    request.authorization.as_deref().and_then(bearer)
}
