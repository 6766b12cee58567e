//! [`Front`]: a proxy that speaks TLS in front of ringpost, as most deployments have one.

use std::path::Path;
use std::{fs, io};

use crate::contender::Places;

/// Which proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Front {
    Nginx,
    Haproxy,
}

pub const FRONTS: [Front; 2] = [Front::Nginx, Front::Haproxy];

impl Front {
    pub fn name(self) -> &'static str {
        match self {
            Front::Nginx => "nginx",
            Front::Haproxy => "haproxy",
        }
    }

    /// Whether it is installed.
    pub fn is_there(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|folder| folder.join(self.name()).exists())
    }

    /// The command that runs it in front of a listener, once its configuration is written.
    pub fn command(self, places: &Places, from: u16, to: u16) -> io::Result<String> {
        let certificate = places.certificate();
        let key = places.key();
        let folder = &places.logs;
        let path = folder.join(format!("{}.conf", self.name()));
        let (text, command) = match self {
            Front::Nginx => (
                nginx(&certificate, &key, folder, from, to),
                format!("nginx -c '{}' -e stderr", path.display()),
            ),
            Front::Haproxy => {
                let both = folder.join("certificate-and-key.pem");
                fs::write(&both, fs::read(&certificate)?)?;
                let mut pem = fs::OpenOptions::new().append(true).open(&both)?;
                io::copy(&mut fs::File::open(&key)?, &mut pem)?;
                (
                    haproxy(&both, from, to),
                    format!("haproxy -f '{}'", path.display()),
                )
            }
        };
        fs::write(&path, text)?;
        Ok(command)
    }
}

/// As nginx' manual has a proxy for websockets, on one worker.
fn nginx(certificate: &Path, key: &Path, folder: &Path, from: u16, to: u16) -> String {
    let (certificate, key, folder) = (certificate.display(), key.display(), folder.display());
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 50000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{from} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
        location / {{
            proxy_pass http://127.0.0.1:{to};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
    }}
}}
"
    )
}

/// On one thread, without a look into what goes through.
fn haproxy(pem: &Path, from: u16, to: u16) -> String {
    format!(
        "global
    nbthread 1
    tune.ssl.cachesize 100000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen tls
    bind 127.0.0.1:{from} ssl crt {} backlog 4096
    server ringpost 127.0.0.1:{to}
",
        pem.display()
    )
}
