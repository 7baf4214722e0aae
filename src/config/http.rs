//! How targets are asked: as written → resolved.

use std::path::{Path, PathBuf};

use barograph_scraper::{BasicAuth, HttpSettings, Secret, TlsSettings};

use super::Notice;
use super::file::{HttpClientFile, HttpFields, TlsConfig, entries};
use super::resolve::Source;
use super::scalar::SecretText;

/// Reads a file that says how to ask servers, and what of it is not built.
///
/// # Errors
/// The file cannot be read, or does not hold what it should; in words.
pub(crate) fn client_file(path: &Path) -> Result<(HttpSettings, Vec<Notice>), String> {
    let place = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| place(&error))?;
    let source = Source::new(path, &text);
    let file: HttpClientFile = source.parse().map_err(|error| error.to_string())?;
    let mut notices = Vec::new();
    let owner = path.display().to_string();
    let settings =
        settings(&source, &file.http(), &owner, &mut notices).map_err(|error| place(&error))?;
    Ok((settings, notices))
}

/// Resolves the HTTP client's part of a section. `owner` names the section in notices.
///
/// # Errors
/// Settings that exclude each other, in words.
pub(super) fn settings(
    source: &Source<'_>,
    fields: &HttpFields<'_>,
    owner: &str,
    notices: &mut Vec<Notice>,
) -> Result<HttpSettings, String> {
    let bearer = fields.bearer_token.is_some() || fields.bearer_token_file.is_some();
    let ways = [
        fields.basic_auth.is_some(),
        fields.authorization.is_some() || bearer,
        fields
            .not_built
            .iter()
            .any(|(name, used)| *name == "oauth2" && *used),
    ];
    if ways.iter().filter(|used| **used).count() > 1 || (bearer && fields.authorization.is_some()) {
        return Err(
            "at most one of basic_auth, authorization, bearer_token and oauth2 may be configured"
                .into(),
        );
    }
    let mut absent = |what: &str| {
        notices.push(Notice {
            text: format!("{owner}: {what} is accepted but not built: requests go out without it"),
            loud: true,
        });
    };
    for (name, _) in fields.not_built.iter().filter(|(_, used)| *used) {
        absent(name);
    }
    let basic_auth = match fields.basic_auth {
        None => None,
        Some(auth) => {
            if auth.username_file.is_some() {
                absent("basic_auth.username_file");
            }
            let password = secret(
                source,
                auth.password.as_ref(),
                auth.password_file.as_deref(),
            )
            .map_err(
                |()| "at most one of basic_auth.password and password_file may be configured",
            )?;
            Some(BasicAuth {
                username: auth.username.clone().unwrap_or_default(),
                password: password.unwrap_or(Secret::Inline(String::new())),
            })
        }
    };
    let authorization = match fields.authorization {
        Some(auth) => {
            let kind = auth.r#type.clone().unwrap_or_else(|| "Bearer".into());
            if kind.eq_ignore_ascii_case("basic") {
                return Err("authorization.type cannot be Basic: use basic_auth".into());
            }
            secret(source, auth.credentials.as_ref(), auth.credentials_file.as_deref())
                .map_err(|()| "at most one of authorization.credentials and credentials_file may be configured")?
                .map(|secret| (kind, secret))
        }
        None => secret(source, fields.bearer_token, fields.bearer_token_file)
            .map_err(|()| "at most one of bearer_token and bearer_token_file may be configured")?
            .map(|secret| ("Bearer".into(), secret)),
    };
    let mut headers = Vec::new();
    for (name, header) in fields.headers.into_iter().flatten() {
        if header.files.is_some() {
            absent(&format!("http_headers.{name}.files"));
        }
        let written = entries(header.values.as_ref()).iter().map(String::as_str);
        let secrets = entries(header.secrets.as_ref())
            .iter()
            .map(SecretText::reveal);
        headers.extend(
            written
                .chain(secrets)
                .map(|value| (name.clone(), value.to_owned())),
        );
    }
    Ok(HttpSettings {
        basic_auth,
        authorization,
        tls: fields
            .tls
            .map(|tls| tls_settings(source, tls, &mut absent))
            .unwrap_or_default(),
        follow_redirects: fields.follow_redirects,
        proxy_url: fields.proxy_url.map(str::to_owned),
        headers,
    })
}

fn tls_settings(
    source: &Source<'_>,
    tls: &TlsConfig,
    absent: &mut impl FnMut(&str),
) -> TlsSettings {
    for (name, used) in [
        ("tls_config.ca (inline)", tls.ca.is_some()),
        ("tls_config.cert (inline)", tls.cert.is_some()),
        ("tls_config.key (inline)", tls.key.is_some()),
        ("tls_config.min_version", tls.min_version.is_some()),
        ("tls_config.max_version", tls.max_version.is_some()),
    ] {
        if used {
            absent(name);
        }
    }
    let file = |path: &Option<String>| path.as_deref().map(|path| source.path(path));
    TlsSettings {
        ca_file: file(&tls.ca_file),
        cert_file: file(&tls.cert_file),
        key_file: file(&tls.key_file),
        server_name: tls.server_name.clone(),
        insecure_skip_verify: tls.insecure_skip_verify.unwrap_or(false),
    }
}

/// The secret written or in a file; `Err` where both are given.
fn secret(
    source: &Source<'_>,
    text: Option<&SecretText>,
    file: Option<&str>,
) -> Result<Option<Secret>, ()> {
    let file: Option<PathBuf> = file.map(|path| source.path(path));
    match (text, file) {
        (Some(_), Some(_)) => Err(()),
        (Some(text), None) => Ok(Some(Secret::Inline(text.reveal().to_owned()))),
        (None, Some(file)) => Ok(Some(Secret::File(file))),
        (None, None) => Ok(None),
    }
}
