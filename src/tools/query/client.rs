//! How a server is asked: credentials, TLS, headers.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use barograph_scraper::{HttpSettings, Secret, TlsSettings};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Proxy, RequestBuilder, redirect};

/// Asks a server with what it wants to see.
pub(super) struct Client {
    http: reqwest::Client,
    /// User and password.
    basic_auth: Option<(String, String)>,
}

impl Client {
    /// A client that waits so long; `headers` as `Name: value`.
    ///
    /// # Errors
    /// Headers, credentials or certificates that cannot be read or used, in words.
    pub(super) fn new(
        settings: &HttpSettings,
        headers: &[String],
        timeout: Duration,
    ) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut all = header_map(headers)?;
        for (name, value) in &settings.headers {
            let fail = || format!("http_headers: {name} is no header, or its value none");
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fail())?;
            all.append(header, HeaderValue::from_str(value).map_err(|_| fail())?);
        }
        if let Some((kind, secret)) = &settings.authorization {
            let credentials = format!("{kind} {}", reveal(secret)?);
            let mut value = HeaderValue::from_str(&credentials)
                .map_err(|_| "the credentials hold control characters".to_owned())?;
            value.set_sensitive(true);
            all.insert(AUTHORIZATION, value);
        }
        let basic_auth = match &settings.basic_auth {
            Some(auth) => Some((auth.username.clone(), reveal(&auth.password)?)),
            None => None,
        };
        let mut builder = reqwest::Client::builder()
            .timeout(timeout)
            .default_headers(all);
        if !settings.follow_redirects {
            builder = builder.redirect(redirect::Policy::none());
        }
        if let Some(url) = &settings.proxy_url {
            let proxy = Proxy::all(url).map_err(|error| format!("proxy_url: {error}"))?;
            builder = builder.proxy(proxy);
        }
        let http = with_tls(builder, &settings.tls)?.build();
        Ok(Self {
            http: http.map_err(|error| reason(&error))?,
            basic_auth,
        })
    }

    /// A request by GET.
    pub(super) fn get(&self, url: &str) -> RequestBuilder {
        self.with_user(self.http.get(url))
    }

    /// A request by POST.
    pub(super) fn post(&self, url: &str) -> RequestBuilder {
        self.with_user(self.http.post(url))
    }

    fn with_user(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.basic_auth {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }
}

/// What lies at the bottom of an error: not that a request could not be sent, but why.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

fn with_tls(builder: ClientBuilder, tls: &TlsSettings) -> Result<ClientBuilder, String> {
    if tls.server_name.is_some() {
        return Err("tls_config.server_name is not built for queries: \
                    name the server as its certificate does"
            .to_owned());
    }
    let mut builder = builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    if let Some(file) = &tls.ca_file {
        let fail = |error: &dyn std::fmt::Display| format!("ca_file {}: {error}", file.display());
        let pem = std::fs::read(file).map_err(|error| fail(&error))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|error| fail(&reason(&error)))?;
        builder = builder.tls_certs_only(roots);
    }
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(builder),
        (Some(cert), Some(key)) => {
            let read = |path: &Path| {
                let read = std::fs::read(path);
                read.map_err(|error| format!("{}: {error}", path.display()))
            };
            let mut pem = read(cert)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            let identity = Identity::from_pem(&pem);
            let identity = identity
                .map_err(|error| format!("cert_file {}: {}", cert.display(), reason(&error)))?;
            Ok(builder.identity(identity))
        }
        _ => Err("cert_file and key_file need each other".to_owned()),
    }
}

fn reveal(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Inline(text) => Ok(text.clone()),
        Secret::File(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(text.trim().to_owned())
        }
    }
}

fn header_map(headers: &[String]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for header in headers {
        let fail = || format!("--header={header}: write it as \"Name: value\"");
        let (name, value) = header.split_once(':').ok_or_else(fail)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| fail())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| fail())?;
        map.append(name, value);
    }
    Ok(map)
}
