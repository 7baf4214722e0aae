//! TLS, client certificates, proxies, secrets in files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use barograph_scraper::{Health, ScrapeConfig, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Server, Stack, job, page};

/// An authority and a certificate of it for localhost and 127.0.0.1, made for these tests; both
/// hold for a hundred years.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scrape/tls")
        .join(name)
}

/// A TLS server with one page; asks for a certificate of the test authority where told to.
async fn tls_server(client_certificates: bool) -> ScrapeConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("known versions");
    let builder = if client_certificates {
        let mut roots = RootCertStore::empty();
        let authority =
            CertificateDer::from_pem_file(file("authority.pem")).expect("a certificate");
        roots.add(authority).expect("usable");
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().expect("usable"))
    } else {
        builder.with_no_client_auth()
    };
    let certificate = CertificateDer::from_pem_file(file("server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let config = builder
        .with_single_cert(vec![certificate], key)
        .expect("fitting");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut head = [0u8; 4096];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(&page("a 1\n")).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    ScrapeConfig {
        scheme: "https".into(),
        interval_ms: 500,
        timeout_ms: 500,
        ..job(&address.to_string())
    }
}

/// Scrapes once; returns the error, which must be empty exactly if `up`.
async fn scrape(config: ScrapeConfig, up: bool) -> String {
    let stack = Stack::new();
    stack.scraper.apply(vec![config]).await;
    let status = stack.next_scrape().await;
    stack.scraper.stop().await;
    assert_eq!(status.health == Health::Up, up, "{}", status.last_error);
    assert_eq!(stack.values("a").is_empty(), !up);
    status.last_error
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_verified_against_the_given_authority() {
    let mut config = tls_server(false).await;
    let error = scrape(config.clone(), false).await;
    assert!(
        error.contains("set tls_config.ca_file") || error.contains("no root certificates"),
        "{error}"
    );
    config.http.tls.ca_file = Some(file("authority.pem"));
    scrape(config.clone(), true).await;
    config.http.tls.server_name = Some("other.example".into());
    let error = scrape(config.clone(), false).await;
    assert!(error.contains("set tls_config.server_name"), "{error}");
    config.http.tls.ca_file = None;
    config.http.tls.insecure_skip_verify = true;
    scrape(config.clone(), true).await;
    config.http.tls.insecure_skip_verify = false;
    config.http.tls.ca_file = Some(file("absent.pem"));
    let error = scrape(config, false).await;
    assert!(error.contains("absent.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown() {
    let mut config = tls_server(true).await;
    config.http.tls.ca_file = Some(file("authority.pem"));
    scrape(config.clone(), false).await;
    config.http.tls.cert_file = Some(file("server.pem"));
    let error = scrape(config.clone(), false).await;
    assert!(
        error.contains("cert_file and key_file need each other"),
        "{error}"
    );
    config.http.tls.key_file = Some(file("server.key"));
    scrape(config, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_asked_with_the_whole_url() {
    let heads = Arc::new(Mutex::new(String::new()));
    let seen = heads.clone();
    let proxy = Server::fixed(move |head| {
        head.clone_into(&mut seen.lock().expect("not poisoned"));
        page("a 1\n")
    })
    .await;
    let mut config = ScrapeConfig {
        interval_ms: 500,
        timeout_ms: 500,
        ..job("behind.invalid:8080")
    };
    // The client of a proxied job is built with the roots it would need for TLS.
    config.http.tls.ca_file = Some(file("authority.pem"));
    config.http.proxy_url = Some(format!("http://{}", proxy.address));
    scrape(config, true).await;
    let head = heads.lock().expect("not poisoned").clone();
    assert!(
        head.starts_with("GET http://behind.invalid:8080/metrics "),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_from_its_file_at_each_scrape() {
    let heads = Arc::new(Mutex::new(String::new()));
    let seen = heads.clone();
    let server = Server::fixed(move |head| {
        head.clone_into(&mut seen.lock().expect("not poisoned"));
        page("a 1\n")
    })
    .await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").expect("writable");
    let mut config = server.job();
    config.http.authorization = Some(("Bearer".into(), Secret::File(token.clone())));
    let stack = Stack::new();
    stack.scraper.apply(vec![config]).await;
    stack.next_scrape().await;
    assert!(
        heads
            .lock()
            .expect("not poisoned")
            .contains("Bearer first\r\n")
    );
    std::fs::write(&token, "second").expect("writable");
    stack.next_scrape().await;
    stack.next_scrape().await;
    assert!(
        heads
            .lock()
            .expect("not poisoned")
            .contains("Bearer second\r\n")
    );
    std::fs::remove_file(&token).expect("removable");
    stack.next_scrape().await;
    let status = stack.next_scrape().await;
    stack.scraper.stop().await;
    assert!(
        status.last_error.contains("cannot read the secret in"),
        "{}",
        status.last_error
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_connected_to() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("metrics.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bindable");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0u8; 4096];
            while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                let _ = stream.write_all(&page("a 1\n")).await;
            }
        }
    });
    let mut config = job("localhost");
    let labels = [("__unix_socket__", path.to_string_lossy().into_owned())];
    config.static_targets[0].labels = barograph_model::Labels::from_pairs(labels);
    scrape(config, true).await;
}
