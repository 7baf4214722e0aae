//! `check web-config`: the file behind `--web.config.file`, in the format of Prometheus's exporter
//! toolkit, with the files it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

/// Longest file that is read.
const LIMIT_BYTES: u64 = 1 << 20;
/// Headers that answers may be given, and what they may say; anything where nothing is listed.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];
/// Who may come without a certificate, or with which; the first three ask for none that is checked.
const CLIENT_AUTH: [&str; 7] = [
    "",
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "RequireClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
];
const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];
const CURVES: [&str; 4] = ["CurveP256", "CurveP384", "CurveP521", "X25519"];
/// Those that Go calls secure.
const CIPHERS: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// The file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WebConfig {
    tls_server_config: TlsServer,
    http_server_config: HttpServer,
    rate_limit: RateLimit,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsServer {
    cert: String,
    key: String,
    client_ca: String,
    cert_file: String,
    key_file: String,
    client_auth_type: String,
    client_ca_file: String,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    min_version: Option<String>,
    max_version: Option<String>,
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: bool,
    #[serde(rename = "client_allowed_sans")]
    _client_allowed_sans: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpServer {
    #[serde(rename = "http2")]
    _http2: bool,
    headers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RateLimit {
    #[serde(rename = "burst")]
    _burst: i64,
    interval: String,
}

/// Reads a file and those it names; says what is wrong in words.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let text = read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let config: Option<WebConfig> =
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    // A file without anything asks for nothing.
    let config = config.unwrap_or_default();
    for (user, hash) in &config.basic_auth_users {
        if !is_bcrypt(hash) {
            return Err(format!(
                "basic_auth_users: what stands for {user:?} is no bcrypt hash: make one with `htpasswd -nBC 10 \"\"`"
            ));
        }
    }
    for (name, value) in &config.http_server_config.headers {
        let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| known == name) else {
            return Err(format!("HTTP header {name:?} can not be configured"));
        };
        if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
            return Err(format!(
                "invalid value for {name}. Expected one of: {allowed:?}, but got: {value:?}"
            ));
        }
    }
    let interval = &config.rate_limit.interval;
    if !interval.is_empty()
        && interval.parse::<i64>().is_err()
        && barograph_model::duration::parse_duration_ms(interval).is_err()
    {
        return Err(format!(
            "rate_limit: interval {interval:?} is no duration, such as 1s"
        ));
    }
    tls(
        &config.tls_server_config,
        path.parent().unwrap_or(Path::new("")),
    )
}

fn read(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > LIMIT_BYTES {
        let text = format!("it has more than {LIMIT_BYTES} bytes");
        return Err(std::io::Error::other(text));
    }
    fs::read_to_string(path)
}

/// `$2b$10$` and 53 letters.
fn is_bcrypt(hash: &str) -> bool {
    let Some((version, rest)) = hash
        .strip_prefix("$2")
        .and_then(|rest| rest.split_once('$'))
    else {
        return false;
    };
    let Some((cost, rest)) = rest.split_once('$') else {
        return false;
    };
    let of_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    version.len() <= 1
        && cost.len() == 2
        && cost.parse().is_ok_and(|cost: u8| (4..=31).contains(&cost))
        && rest.len() == 53
        && rest.bytes().all(of_alphabet)
}

fn tls(config: &TlsServer, directory: &Path) -> Result<(), String> {
    for (field, versions) in [
        ("min_version", &config.min_version),
        ("max_version", &config.max_version),
    ] {
        if let Some(version) = versions
            && !VERSIONS.contains(&version.as_str())
        {
            return Err(format!("{field}: unknown TLS version: {version}"));
        }
    }
    for name in &config.cipher_suites {
        if !CIPHERS.contains(&name.as_str()) {
            return Err(format!("unknown cipher: {name}"));
        }
    }
    for name in &config.curve_preferences {
        if !CURVES.contains(&name.as_str()) {
            return Err(format!("unknown curve: {name}"));
        }
    }
    let (cert, key) = (
        Source::new(&config.cert, &config.cert_file),
        Source::new(&config.key, &config.key_file),
    );
    let clients = Source::new(&config.client_ca, &config.client_ca_file);
    let (cert, key) = match (cert, key) {
        (None, None) if clients.is_none() && config.client_auth_type.is_empty() => return Ok(()),
        (None, _) => return Err("missing one of cert or cert_file".to_owned()),
        (_, None) => return Err("missing one of key or key_file".to_owned()),
        (Some(cert), Some(key)) => (cert, key),
    };
    let pem = cert.text("cert_file", directory)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| format!("cert_file: {error}"))?;
    if chain.is_empty() {
        return Err("cert_file: there is no certificate in it".to_owned());
    }
    let pem = key.text("key_file", directory)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| format!("key_file: {error}"))?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider)
        .map_err(|error| format!("certificate and key are no pair: {error}"))?;
    if let Some(clients) = &clients {
        clients.text("client_ca_file", directory)?;
    }
    let auth = config.client_auth_type.as_str();
    if !CLIENT_AUTH.contains(&auth) {
        return Err(format!("invalid ClientAuth: {auth}"));
    }
    if clients.is_some() && matches!(auth, "" | "NoClientCert") {
        return Err("client CA's have been configured without a Client Auth Policy".to_owned());
    }
    Ok(())
}

/// A text in the configuration, or in a file it names.
enum Source<'a> {
    Inline(&'a str),
    File(&'a str),
}

impl<'a> Source<'a> {
    fn new(inline: &'a str, file: &'a str) -> Option<Self> {
        match (file.is_empty(), inline.is_empty()) {
            (false, _) => Some(Self::File(file)),
            (true, false) => Some(Self::Inline(inline)),
            (true, true) => None,
        }
    }

    /// Relative files are beside the configuration.
    fn text(&self, field: &str, directory: &Path) -> Result<Vec<u8>, String> {
        match self {
            Self::Inline(text) => Ok(text.as_bytes().to_vec()),
            Self::File(file) => {
                let path = directory.join(file);
                let text = read(&path);
                text.map(String::into_bytes).map_err(|error| {
                    format!("failed to read {field} ({}): {error}", path.display())
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.yml");
        fs::write(&path, text).expect("written");
        check(&path)
    }

    #[test]
    fn files_are_taken_and_refused_as_promtool_does() {
        let hash = "$2y$10$EYxs8IOG46m9CtpB/XlPxO1ei7E4BjAen0SUv6di7mD4keR/8JO6m";
        assert_eq!(checked(""), Ok(()));
        assert_eq!(
            checked(&format!("basic_auth_users:\n  a: {hash}\n")),
            Ok(())
        );
        assert_eq!(
            checked("http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n"),
            Ok(())
        );
        assert_eq!(checked("rate_limit:\n  burst: 3\n  interval: 1s\n"), Ok(()));
        for (text, want) in [
            ("basic_auth_users:\n  a: secret\n", "no bcrypt hash"),
            ("nope: 1\n", "nope"),
            (
                "http_server_config:\n  headers:\n    X-Frame-Options: x\n",
                "Expected one of",
            ),
            (
                "http_server_config:\n  headers:\n    Server: x\n",
                "can not be configured",
            ),
            (
                "tls_server_config:\n  cert_file: a\n",
                "missing one of key or key_file",
            ),
            (
                "tls_server_config:\n  key_file: a\n",
                "missing one of cert or cert_file",
            ),
            (
                "tls_server_config:\n  client_auth_type: x\n",
                "missing one of cert",
            ),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n",
                "failed to read cert_file",
            ),
            (
                "tls_server_config:\n  cert: a\n  key: b\n",
                "no certificate",
            ),
            (
                "tls_server_config:\n  min_version: TLS9\n",
                "unknown TLS version: TLS9",
            ),
            (
                "tls_server_config:\n  cipher_suites: [x]\n",
                "unknown cipher: x",
            ),
            (
                "tls_server_config:\n  curve_preferences: [x]\n",
                "unknown curve: x",
            ),
            ("rate_limit:\n  interval: soon\n", "no duration"),
        ] {
            let error = checked(text).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
        assert!(check(Path::new("nowhere/web.yml")).is_err());
    }
}
