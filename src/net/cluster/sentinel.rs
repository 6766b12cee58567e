//! The Redis that Sentinels know as a master: [`Sentinels`], asked anew at each attempt to join, so that a node finds the one
//! that has taken over.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisError,
};

use super::words::in_words;

/// For one Sentinel to answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Where Sentinels are, unless the URL says otherwise.
const PORT: u16 = 26_379;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sentinels {
    addresses: Vec<(String, u16)>,
    master: String,
    /// Their own password.
    pub secret: Option<String>,
}

impl Sentinels {
    /// What stands behind `redis+sentinel://`: `[USER@]HOST[:PORT],…/MASTER[/DATABASE]`; and what stands behind `redis://` for
    /// the rest, whose host is none. `None` if it is not so.
    pub fn read(rest: &str) -> Option<(Sentinels, String)> {
        let (authority, path) = rest.split_once('/')?;
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let (master, database) = match path.split_once('/') {
            Some((master, database)) => (master, format!("/{database}")),
            None => (path, String::new()),
        };
        let addresses: Option<Vec<_>> = hosts.split(',').map(|one| address(one, PORT)).collect();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = !master.is_empty() && master.bytes().all(is_plain);
        let sentinels = Sentinels {
            addresses: addresses?,
            master: master.to_owned(),
            secret: None,
        };
        is_name.then(|| (sentinels, format!("{user}sentinel{database}")))
    }

    /// In words.
    pub fn describe(&self) -> String {
        let addresses = self.addresses.iter();
        let listed: Vec<_> = addresses
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        format!(
            "master {:?} by Sentinel at {}",
            self.master,
            listed.join(", ")
        )
    }

    /// Where the master is, as the first Sentinel says that knows it. `connect` makes a client for a Sentinel, which is reached
    /// as the master is: by TLS, or not.
    pub async fn find(
        &self,
        as_this: &ConnectionInfo,
        connect: impl Fn(ConnectionInfo) -> Result<Client, RedisError>,
    ) -> Result<ConnectionAddr, String> {
        let mut last = String::new();
        for (host, port) in &self.addresses {
            let settings = RedisConnectionInfo::default();
            let settings = match &self.secret {
                Some(secret) => settings.set_password(secret),
                None => settings,
            };
            let to = as_this.clone().set_addr(at(as_this.addr(), host, *port));
            let client = connect(to.set_redis_settings(settings));
            match tokio::time::timeout(ASK_TIMEOUT, ask(client, &self.master)).await {
                Ok(Ok(Some((host, port)))) => return Ok(at(as_this.addr(), &host, port)),
                Ok(Ok(None)) => last = format!("{host}:{port} knows no master of this name"),
                Ok(Err(error)) => last = format!("{host}:{port}: {}", refused(&error)),
                Err(_) => last = format!("{host}:{port} does not answer"),
            }
        }
        Err(format!("no Sentinel knows the {}: {last}", self.describe()))
    }
}

/// An address reached in the same way as this one: by TLS, or not.
pub fn at(as_this: &ConnectionAddr, host: &str, port: u16) -> ConnectionAddr {
    match as_this {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    }
}

fn refused(error: &RedisError) -> String {
    match error.code() {
        Some("NOAUTH") => "it wants a password of its own; name the file that holds it in \
                           cluster.sentinel_secret_file"
            .to_owned(),
        Some("WRONGPASS") => "the password is wrong (cluster.sentinel_secret_file)".to_owned(),
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => {
            "the password is wrong (cluster.sentinel_secret_file)".to_owned()
        }
        _ if error.to_string().contains("unknown command") => {
            "it is no Sentinel; is the port right? Sentinels are at 26379 mostly".to_owned()
        }
        _ => in_words(error),
    }
}

async fn ask(
    client: Result<Client, RedisError>,
    master: &str,
) -> Result<Option<(String, u16)>, RedisError> {
    let client = client?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ASK_TIMEOUT))
        .set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connection.await?;
    redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master)
        .query_async(&mut connection)
        .await
}

/// `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
pub fn address(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        },
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => default,
        None => return None,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_sentinels() {
        let (sentinels, url) = Sentinels::read("me@a,b:7,[::1]:8/shop/2").expect("one");
        let addresses = [("a", PORT), ("b", 7), ("::1", 8)];
        let addresses = addresses.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(sentinels.addresses, addresses);
        assert_eq!(sentinels.master, "shop");
        assert_eq!(url, "me@sentinel/2");
        assert_eq!(
            sentinels.describe(),
            "master \"shop\" by Sentinel at a:26379, b:7, ::1:8"
        );
        let plain = Sentinels::read("a/shop").expect("one");
        assert_eq!(plain.1, "sentinel");
        for bad in [
            "a",
            "a/",
            "/shop",
            "a,/shop",
            "a:x/shop",
            "a:70000/shop",
            "[::1/shop",
            "a/sh op",
        ] {
            assert_eq!(Sentinels::read(bad), None, "{bad}");
        }
    }
}
